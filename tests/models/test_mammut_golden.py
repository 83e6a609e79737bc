"""MaMMUT beside what open_clip's blocks gave in two passes, kept in tests/golden: no PyTorch is needed.

The files are made by tests/golden/make_mammut.py.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from minivl.models.mammut import Config, MaMMUT

GOLDEN = Path(__file__).parent.parent / "golden"
TOLERANCES = {"float64": 1e-6, "float32": 1e-4}  # of the largest number in a tensor; gradients are kept in float32


def part(kept, name):
    return {key.removeprefix(name + "/"): kept[key] for key in kept.files if key.startswith(name + "/")}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind", ["mammut_focal", "mammut_softmax"])
def test_it_gives_what_open_clips_blocks_gave(kind, dtype):
    kept = np.load(GOLDEN / f"{kind}.npz", allow_pickle=False)
    model = MaMMUT(Config(**json.loads(kept["config"].item())), np.random.default_rng(0)).to(dtype)
    model.load_state_dict(part(kept, "weights"))
    batch = part(kept, "batch")
    out = model({**batch, "image": batch["image"].astype(dtype)})
    out["loss"].backward()
    for name, expected in part(kept, "out").items():
        assert out[name].shape == expected.shape
        assert np.abs(out[name].data - expected).max() <= TOLERANCES[dtype] * np.abs(expected).max(), name
    gradients, expected = {name: p.grad for name, p in model.named_parameters()}, part(kept, "gradients")
    assert set(gradients) == set(expected)
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for name, gradient in expected.items():
        scale = max(np.abs(gradient).max(), 1e-3 * largest)  # a key's bias has a gradient of 0, but for rounding
        assert np.abs(gradients[name] - gradient).max() <= TOLERANCES[dtype] * scale, name
