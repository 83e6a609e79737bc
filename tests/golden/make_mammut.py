"""Makes mammut_*.npz: what two passes of open_clip's blocks give for random weights. Needs the peers extra.

    python tests/golden/make_mammut.py

A file holds the Config, the batch, all weights by our names, and the peer's embeddings, logits, losses and gradients.
tests/models/test_mammut_golden.py compares them with ours, without PyTorch. Weights and pictures are numbers of
float16, so that a file stays small and nothing is lost.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "peers"))

import transformers  # noqa: E402, F401  before the hollow torchvision, see there
from hollow_torchvision import install  # noqa: E402

from minivl.models.mammut import Config, MaMMUT  # noqa: E402
from minivl.nn import Unallocated  # noqa: E402
from minivl.weights.names import to_ours  # noqa: E402

SMALL = dict(
    image_size=8, patch=4, image_width=8, image_heads=2, image_layers=1, image_hidden=16, vocabulary=23, context=6,
    width=12, heads=2, layers=2, cross_layers=1, hidden=24,
)  # fmt: skip
KINDS = {
    "mammut_focal": SMALL,
    "mammut_softmax": {**SMALL, "contrast": "softmax", "cross_layers": 2, "mask_pads": False},
}


def results(name):
    """What stands in the file of that name: {"weights/...", "gradients/...", "out/...", "batch/...", "config"}."""
    from mammut_of_blocks import Peer, random_everywhere, rules

    c = Config(**KINDS[name])
    torch.manual_seed(0)
    peer = random_everywhere(Peer(c), keep_half=True).double()
    random = np.random.default_rng(1)
    text, lengths = random.integers(1, c.vocabulary, (3, c.context)), np.array([c.context, 4, 3])
    text[np.arange(c.context) >= lengths[:, None]] = 0
    images = random.standard_normal((3, 3, c.image_size, c.image_size)).astype(np.float16)
    out = peer(torch.tensor(images).double(), torch.tensor(text), torch.tensor(lengths))
    (out["contrastive_loss"] + out["caption_loss"]).backward()
    shapes = {key: a.shape for key, a in MaMMUT(c, Unallocated()).state_dict().items()}
    weights = to_ours(rules(c), {key: p.detach().numpy() for key, p in peer.named_parameters()}, shapes)
    gradients = to_ours(rules(c), {key: p.grad.numpy() for key, p in peer.named_parameters()}, shapes)
    return {
        "config": np.array(json.dumps(KINDS[name])),
        **{f"batch/{key}": a for key, a in (("image", images), ("text", text), ("lengths", lengths))},
        **{f"weights/{key}": a.astype(np.float16) for key, a in weights.items()},
        **{f"out/{key}": a.detach().numpy() for key, a in out.items()},
        **{f"gradients/{key}": a.astype(np.float32) for key, a in gradients.items()},
    }


if __name__ == "__main__":
    install()
    for name in KINDS:
        np.savez_compressed(HERE / f"{name}.npz", **results(name))
        print(f"wrote {HERE / name}.npz, {(HERE / f'{name}.npz').stat().st_size} bytes")
