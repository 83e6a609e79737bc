"""CLIP beside what those of Hugging Face and open_clip gave, kept in tests/golden: no PyTorch is needed.

The files are made by tests/golden/make_clip.py.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from minivl.models.clip import CLIP, Config

GOLDEN = Path(__file__).parent.parent / "golden"
TOLERANCES = {"float64": 1e-6, "float32": 1e-4}  # of the largest number in a tensor; gradients are kept in float32


def part(kept, name):
    return {key.removeprefix(name + "/"): kept[key] for key in kept.files if key.startswith(name + "/")}


def agree(ours, theirs, tolerance):
    assert set(theirs) <= set(ours)
    for name, expected in theirs.items():
        assert ours[name].shape == expected.shape, name
        off = np.abs(ours[name] - expected).max()
        assert off <= tolerance * np.abs(expected).max(), f"{name} is off by {off} of {np.abs(expected).max()}"


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("peer", ["clip_huggingface", "clip_vit", "clip_resnet"])
def test_it_gives_what_the_peer_gave(peer, dtype):
    kept = np.load(GOLDEN / f"{peer}.npz", allow_pickle=False)
    model = CLIP(Config(**json.loads(kept["config"].item())), np.random.default_rng(0)).to(dtype)
    model.load_state_dict(part(kept, "weights"))
    batch = part(kept, "batch")
    out = model({**batch, "image": batch["image"].astype(dtype)})
    agree({name: t.data for name, t in out.items()}, part(kept, "out"), TOLERANCES[dtype])
    out["loss"].backward()
    gradients, expected = {name: p.grad for name, p in model.named_parameters()}, part(kept, "gradients")
    assert set(gradients) == set(expected)
    for name in [name for name in expected if name.endswith("key.bias")]:
        np.testing.assert_allclose(gradients.pop(name), 0, atol=TOLERANCES[dtype])  # softmax sees none of it
        np.testing.assert_allclose(expected.pop(name), 0, atol=1e-12)
    agree(gradients, expected, TOLERANCES[dtype])
    statistics = part(kept, "after")
    assert bool(statistics) == (peer == "clip_resnet")
    agree(model.state_dict(), statistics, TOLERANCES[dtype])
