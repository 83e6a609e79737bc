"""CLIP through the same training and the same commands as CoCa; and what only a model with running statistics needs."""

import json

import numpy as np
import pytest

import minivl
from minivl import cli
from minivl.evaluate import captioning, open_examples, retrieval, zeroshot
from minivl.frozen import frozen
from minivl.models.clip import LARGEST_SCALE
from minivl.run import Run
from minivl.train import Settings, Training, train

CONFIGS = {
    "tiny": dict(image_width=16, image_heads=2, image_layers=1, text_width=16, text_heads=2, text_layers=1),
    "tiny_resnet": dict(image_width=4, image_heads=2, image_blocks=(1, 2, 1), text_width=16, text_heads=2),
}


def go(preset, out, data, steps=6, resume=False, config=None, **settings):
    settings = Settings(steps=steps, **{"batch_size": 4, "checkpoint_every": 3, **settings})
    config = CONFIGS[preset] | (config or {})
    return train("clip", data=data, out=out, preset=preset, settings=settings, config=config, resume=resume, quiet=True)


@pytest.fixture(scope="module", params=CONFIGS)
def run(request, shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("clip") / request.param
    go(request.param, out, shards / "google", average=0.5, augment=0.3)
    return out


def test_a_run_that_broke_off_goes_on_with_the_same_bits(run, shards, tmp_path, monkeypatch):
    """Running statistics, and their average over time, are part of what a checkpoint holds."""
    step, stopped = Training.step, []

    def stop_once(self, batches):
        if self.done == 4 and not stopped:
            stopped.append(self.done)
            raise KeyboardInterrupt
        return step(self, batches)

    monkeypatch.setattr(Training, "step", stop_once)
    options = dict(average=0.5, augment=0.3)
    with pytest.raises(KeyboardInterrupt):
        go(run.name, tmp_path / "run", shards / "google", **options)
    assert list(Run(tmp_path / "run").checkpoints()) == [3]
    go(run.name, tmp_path / "run", shards / "google", resume=True, **options)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_what_is_saved(run):
    weights = Run(run).weights()
    buffers = [name for name in weights if "running" in name]
    assert bool(buffers) == (run.name == "tiny_resnet")
    for name in buffers:
        assert (weights[name] != (1 if name.endswith("var") else 0)).any(), name
    assert np.array_equal(weights["log_scale"], minivl.load(run).log_scale.data)


def test_a_loaded_model_is_in_use_and_one_in_training_is_not(run, shards, tmp_path):
    model = minivl.load(run)
    assert not any(m.training for m in model.modules())
    Training(model, Settings())
    assert all(m.training for m in model.modules())
    assert not go(run.name, tmp_path / "run", shards / "google", steps=1).training


def test_the_temperature_never_leaves_its_bounds(shards, tmp_path):
    model = go("tiny", tmp_path / "run", shards / "google", steps=3, optimizer="sgd", lr=1e5, warmup=0, clip=0)
    lines = [line["loss"] for line in Run(tmp_path / "run").read_log()]
    assert len(lines) == 3 and np.isfinite(lines).all() and model.log_scale.item() <= LARGEST_SCALE + 1e-6


def test_every_task(run, shards):
    model = minivl.load(run)
    examples = open_examples(model, shards / "twitter")
    scores = retrieval(model, examples)
    assert 0 <= scores["image_to_text"]["R@1"] <= 1
    assert zeroshot(model, examples)["classes"] == 2
    assert set(frozen(model, examples)) >= {"accuracy", "chance", "commonest"}
    with pytest.raises(ValueError, match="CLIP writes no captions, it only compares pictures with texts"):
        captioning(model, examples)


def test_a_probe_tells_apart_what_is_easy(run):
    random, n = np.random.default_rng(0), 60
    colour = random.integers(2, size=n)
    image = random.normal(0, 0.1, (n, 3, 32, 32)).astype(np.float32)
    image[np.arange(n), colour] += 1
    info = [{"label": ("red", "green")[c], "split": ("train", "val")[i % 3 == 0]} for i, c in enumerate(colour)]
    found = frozen(minivl.load(run), {"image": image, "info": info, "key": [str(i) for i in range(n)]})
    assert found["accuracy"] > 0.9 and (found["trained_on"], found["judged_by"]) == (40, 20)


def test_commands(shards, tmp_path, capsys):
    out, told = tmp_path / "run", tmp_path / "told.json"
    small = [f"--set={name}={value}" for name, value in CONFIGS["tiny_resnet"].items() if name != "image_blocks"]
    begin = ["train", "clip", "--data", str(shards / "google"), "--preset", "tiny_resnet", "--steps", "2"]
    assert cli.main([*begin, *small, "--set=image_blocks=1,2,1", "--set=batch_size=4", "--out", str(out)]) == 0
    assert Run(out).describe()["config"]["image_blocks"] == [1, 2, 1]
    for task in ("retrieval", "zeroshot", "frozen"):
        command = ["evaluate", str(out), "--data", str(shards / "twitter"), "--task", task, "--json", str(told)]
        assert cli.main(command) == 0
        assert json.loads(told.read_text())["task"] == task
    capsys.readouterr()
    assert cli.main(["evaluate", str(out), "--data", str(shards / "twitter"), "--task", "caption"]) == 1
    assert cli.main(["caption", str(out), "some.png"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["minivl: CLIP writes no captions, it only compares pictures with texts"] * 2
    assert cli.main([*begin, "--set=image_blocks=1,2", "--out", str(tmp_path / "no")]) == 2
    assert "image_blocks=1,2: must be 3 numbers, as 1,1,1" in capsys.readouterr().err
