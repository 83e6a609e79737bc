"""The path that leads to a GPU, walked without one: stand_in_cupy.py takes CuPy's place, and lets no NumPy array in."""

import importlib.util

import numpy as np
import pytest
from stand_in_cupy import instead_of_cupy

from minivl import kernels, load
from minivl.array import device_of, to_device
from minivl.models import clip, coca, mammut
from minivl.optim import AdamW, clip_grad_norm
from minivl.run import Run
from minivl.train import Settings, train

pytestmark = pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
TOWER = dict(image_layers=1, vocabulary=40, context=12)
COCA = dict(TOWER, width=32, heads=1, unimodal_layers=1, multimodal_layers=1, caption_queries=4)
CLIP = dict(TOWER, image_width=32, image_heads=1, text_width=32, text_heads=1, text_layers=1)
MAMMUT = dict(TOWER, width=32, heads=1, image_heads=1, layers=2)
MODELS = {
    "coca": lambda random: coca.CoCa(coca.Config.tiny(**COCA), random),
    "coca, checkpointed": lambda random: coca.CoCa(coca.Config.tiny(checkpointed=True, **COCA), random),
    "clip": lambda random: clip.CLIP(clip.Config.tiny(**CLIP), random),
    "clip, sigmoid loss": lambda random: clip.CLIP(clip.Config.tiny(loss="sigmoid", **CLIP), random),
    "clip, resnet": lambda random: clip.CLIP(
        clip.Config.tiny_resnet(**{**CLIP, "image_width": 8, "image_blocks": (1, 1)}), random
    ),
    "mammut": lambda random: mammut.MaMMUT(mammut.Config.tiny(**MAMMUT), random),
    "mammut, clips": lambda random: mammut.MaMMUT(mammut.Config.moving(**MAMMUT), random),
}


def batch_for(model, random, B=4):
    c = model.config
    lengths = random.integers(2, c.context + 1, B)
    frames = (c.frames,) if getattr(c, "frames", 1) > 1 else ()
    image = random.standard_normal((B, 3, *frames, c.image_size, c.image_size)).astype("f")
    same = np.eye(B, dtype=bool)
    same[0, 1] = same[1, 0] = True
    return {"image": image, "text": random.integers(0, c.vocabulary, (B, c.context)), "lengths": lengths, "same": same}


def step(model, batch):
    """Loss, length of the gradient, and the loss after one update."""
    optimizer = AdamW(model.parameters(), lr=1e-3)
    loss = model(batch)["loss"]
    loss.backward()
    norm = clip_grad_norm(model.named_parameters(), 1.0)
    optimizer.step()
    return loss.item(), norm, model(batch)["loss"].item()


@pytest.mark.parametrize("name", MODELS)
def test_a_training_step(name):
    model = MODELS[name](np.random.default_rng(0))
    batch = batch_for(model, np.random.default_rng(1))
    expected = step(model, batch)
    with instead_of_cupy() as cupy:
        model = MODELS[name](np.random.default_rng(0)).to("cuda")
        found = step(model, batch | {key: to_device(batch[key], "cuda") for key in ("image", "text")})
        assert {device_of(p.grad) for p in model.parameters()} == {"cuda"}
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert_cupy_has(cupy.used)


def test_a_training_step_in_bfloat16():
    """All numbers in bfloat16, as the benchmark has them: every op that is not a kernel has to know it."""
    dtype = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    model = MODELS["coca"](np.random.default_rng(0))
    batch = batch_for(model, np.random.default_rng(1))
    expected = step(model, batch)
    with instead_of_cupy() as cupy:
        model = MODELS["coca"](np.random.default_rng(0)).to("cuda").to(dtype)
        here = {key: to_device(batch[key], "cuda") for key in ("image", "text")}
        found = step(model, batch | here | {"image": here["image"].astype(dtype)})
        assert {p.grad.dtype for p in model.parameters()} == {dtype}
    np.testing.assert_allclose(found, expected, rtol=0.03)
    assert_cupy_has(cupy.used)


def assert_cupy_has(names):
    """Where CuPy is installed, it need not find a GPU to be asked what it has."""
    if importlib.util.find_spec("cupy") is not None:
        import cupy

        assert not [name for name in names if not hasattr(cupy, name)]


def test_the_stand_in_lets_no_numpy_array_in():
    with instead_of_cupy() as cupy:
        x, a = cupy.asarray(np.arange(3.0)), np.ones(3)
        for mistake in (
            lambda: x + a,
            lambda: a + x,
            lambda: np.add(x, a),
            lambda: np.asarray(x),
            lambda: cupy.where(a > 0, x, 0),
            lambda: np.concatenate([x, a]),
        ):
            with pytest.raises(TypeError):
                mistake()
        assert (x + 1).get().tolist() == [1, 2, 3] and (~(x > 1)).get().tolist() == [True, True, False]
        assert device_of(x.sum()) == device_of(np.sqrt(x)) == "cuda"
        x += cupy.asarray(a)
        assert x.get().tolist() == [1, 2, 3]


def test_a_run_that_is_resumed_and_used(shards, tmp_path, monkeypatch):
    """Training with all that is drawn at random, stopped and resumed, then captions: the same on both paths."""
    config = {**COCA, "context": 16, "dropout": 0.1}
    del config["vocabulary"]
    settings = Settings(steps=3, batch_size=4, checkpoint_every=1, average=0.9, augment=0.5)

    class Stopped(Exception):
        pass

    def stop_at_the_last_step(model, progress):
        if progress > 0.5:
            raise Stopped

    def run(device):
        out = tmp_path / device
        options = dict(data=shards / "google", out=out, settings=settings, config=config, device=device, quiet=True)
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(coca.CoCa, "before_step", stop_at_the_last_step)
            train("coca", **options)
        train("coca", resume=True, **options)
        losses = [line["loss"] for line in Run(out).read_log()]
        model = load(out).to(device)
        pictures = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype("f")
        return losses, model.generate(pictures), model.generate(pictures, beams=2)

    expected = run("cpu")
    with instead_of_cupy() as cupy:
        found = run("cuda")
    assert len(expected[0]) == 3
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    assert found[1:] == expected[1:]
    assert_cupy_has(cupy.used)
