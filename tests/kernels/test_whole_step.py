"""A whole step of CoCa, every op that has a kernel run by it: the same losses, gradients and weights as NumPy's."""

import numpy as np
import pytest

from minivl import kernels
from minivl.array import gpu_at_hand, to_device
from minivl.models.coca import CoCa, Config
from minivl.optim import AdamW, decay_groups

SIZES = dict(
    image_size=16, patch=8, vocabulary=40, context=9, width=64, heads=2, image_layers=1, image_hidden=40,
    unimodal_layers=1, multimodal_layers=1, text_hidden=40, caption_queries=3, label_smoothing=0.1,
)  # fmt: skip


def step(dtype, device="cpu"):
    """Losses, gradients and new weights of one step, by name."""
    random = np.random.default_rng(0)
    model = CoCa(Config(**SIZES), random).to(dtype).to(device)
    text = random.integers(3, 40, (4, 9))
    lengths = np.array([9, 4, 2, 6])
    text[np.arange(9) >= lengths[:, None]] = 0
    batch = {"image": random.standard_normal((4, 3, 16, 16)).astype(dtype), "text": text, "lengths": lengths}
    batch = {name: to_device(a, device) for name, a in batch.items()}
    optimizer = AdamW(decay_groups(model.named_parameters(), weight_decay=0.1), lr=1e-2)
    out = model(batch)
    out["loss"].backward()
    optimizer.step()
    found = {name: out[name].data for name in ("loss", "contrastive_loss", "caption_loss")}
    for name, p in model.named_parameters():
        found |= {f"gradient of {name}": p.grad, f"new {name}": p.data}
    return {name: to_device(a, "cpu") for name, a in found.items()}


def same(found, expected, dtype):
    assert found.keys() == expected.keys()
    tolerance = 3e-4 if dtype == np.float32 else 1e-9
    for name, value in expected.items():
        assert found[name].dtype == dtype
        allowed = tolerance * max(1e-3, float(np.abs(value).max()))
        # A weight whose gradient is nearly 0 moves by a whole step in either direction: AdamW looks at the sign.
        sure = np.abs(expected[name.replace("new ", "gradient of ")]) > allowed if name.startswith("new ") else True
        np.testing.assert_allclose(
            np.where(sure, found[name], value), value, rtol=tolerance, atol=allowed, err_msg=name
        )


@pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_with_all_kernels_on_the_cpu(dtype, monkeypatch):
    used, load = set(), kernels.load
    monkeypatch.setattr(kernels, "load", lambda name, **options: used.add(name) or load(name, **options))
    with kernels.on_cpu(seed=1):
        found = step(dtype)
        again = step(dtype)
    assert used >= {"layernorm", "gelu", "cross_entropy", "embedding", "adamw", "patch_embed", "attention"}
    assert all(found[name].tobytes() == again[name].tobytes() for name in found)
    same(found, step(dtype), dtype)


@pytest.mark.gpu
@pytest.mark.skipif(not gpu_at_hand(), reason="there is no GPU here")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_with_all_kernels_on_a_gpu(dtype):
    found = step(dtype, "cuda")
    again = step(dtype, "cuda")
    assert all(found[name].tobytes() == again[name].tobytes() for name in found)
    same(found, step(dtype), dtype)
