"""minivl: vision-language models from scratch, in NumPy and CuPy, to be read end to end.

Axis letters, everywhere: B batch, N image patches, T text tokens, M memory tokens, C width, H heads, D head width,
V vocabulary, E experts, K experts per token, F frames, Q queries. Masks: True = may attend.

Read tensor.py first, then ops/layernorm.py, ops/attention.py, masks.py, nn/ and models/coca.py.
"""

__version__ = "0.1.0"

from . import masks, ops
from .gradcheck import GradientError, gradcheck
from .tensor import Tensor, checkpoint, no_grad, op
from .trace import AnomalyError, detect_anomaly, trace

__all__ = [
    "AnomalyError",
    "GradientError",
    "Tensor",
    "checkpoint",
    "detect_anomaly",
    "gradcheck",
    "load",
    "load_pretrained",
    "masks",
    "no_grad",
    "op",
    "ops",
    "trace",
]


def load(run, device="cpu"):
    """The model of a training run: `load(RUN).encode_image(pictures)`. See minivl/run.py."""
    from .run import load

    return load(run, device=device)


def load_pretrained(path, model, **options):
    """A model with published weights: `load_pretrained("ViT-B-32.pt", "clip")`. See minivl/pretrained.py."""
    from .pretrained import load_pretrained

    return load_pretrained(path, model, **options)
