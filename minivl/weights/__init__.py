"""Weights on disk: our own files, and those that others have published.

safetensors.py is the format that we write. torch_file.py reads what torch.save and TorchScript wrote, without PyTorch.
clip_names.py and coca_names.py say what the published tensors are called here.
"""

from .fit import WeightsError, match
from .safetensors import DTYPES, load_safetensors, read_header, save_safetensors
from .torch_file import load_torch


def load_pretrained(path, model, **options):
    """A model with published weights: see minivl/pretrained.py, which knows models, as nothing in this folder does."""
    from .. import load_pretrained

    return load_pretrained(path, model, **options)


__all__ = [
    "DTYPES",
    "WeightsError",
    "load_pretrained",
    "load_safetensors",
    "load_torch",
    "match",
    "read_header",
    "save_safetensors",
]
