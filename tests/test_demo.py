"""The demo: its first steps are those of the expected curve, and it says what it should, on a run of a few steps."""

import json

import numpy as np
import pytest
from PIL import Image

from minivl import cli, curve, demo
from minivl import train as training
from minivl.data import open_source
from minivl.run import Run


class Recipe(Exception):
    """Carries what the demo trains with."""


@pytest.fixture
def recipe(monkeypatch, tmp_path):
    """(model name, options) of the demo's call of `train`."""

    def caught(*arguments, **options):
        raise Recipe(arguments, options)

    with monkeypatch.context() as patch:
        patch.setattr(demo, "train", caught)
        with pytest.raises(Recipe) as call:
            demo.demo(tmp_path / "nothing")
    (name,), options = call.value.args
    return name, options


def test_the_first_steps_are_those_of_the_expected_curve(recipe):
    name, options = recipe
    settings, (told, expected) = options["settings"], curve.read()
    source = open_source(options["data"], seed=settings.seed)
    model = training._new_model(name, options.get("preset", "tiny"), source, settings, options.get("config") or {})
    ours = {"model": name, "data": options["data"], "config": vars(model.config), "settings": vars(settings)}
    again = "write the curve anew: minivl/curve.py says how"
    assert {k: told[k] for k in ours} == json.loads(json.dumps(ours)), f"the recipe has changed; {again}"

    run = training.Training(model, settings)
    with run.batches(source) as batches:
        for line in expected[:4]:
            got = run.step(batches)
            for loss in ("loss", "contrastive_loss", "caption_loss"):
                assert np.isclose(got[loss], line[loss], rtol=1e-3), f"{loss} of step {line['step']}; if meant, {again}"


def test_the_curve_is_whole():
    told, lines = curve.read()
    steps = [line["step"] for line in lines]
    assert steps[:10] == list(range(1, 11)) and steps == sorted(set(steps))
    assert steps[-1] == told["settings"]["steps"]
    assert lines[-1]["loss"] < lines[0]["loss"] / 3


def test_a_curve_is_written_read_and_compared(tmp_path, small_run):
    path = tmp_path / "curve.jsonl"
    curve.write(small_run, path)
    told, lines = curve.read(path)
    assert told == Run(small_run).describe() and [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert set(lines[0]) == {"step", "loss", "contrastive_loss", "caption_loss"}
    last = f"{Run(small_run).read_log()[-1]['loss']:.3f}"
    said = curve.compare(Run(small_run), path)
    assert said == f"training curve: as expected; step 6: loss {last}, expected {last}"

    lines[1]["loss"] *= 1.02
    path.write_text("".join(json.dumps(line) + "\n" for line in (told, *lines)))
    assert "NOT as expected: the first steps are 2.0 % apart" in curve.compare(Run(small_run), path)
    told["settings"]["lr"] = 5.0
    path.write_text("".join(json.dumps(line) + "\n" for line in (told, *lines)))
    assert curve.compare(Run(small_run), path) is None, "another recipe has another curve"


@pytest.mark.slow
def test_the_demo_of_a_few_steps_goes_to_the_end_and_again(tmp_path, capsys):
    out = tmp_path / "demo"
    assert cli.main(["demo", "--out", str(out), "--steps", "12"]) == 0
    told = capsys.readouterr().out
    for part in ("12 steps", "picture -> text", "text -> picture", "raw pixels", "chance", "captions exactly right"):
        assert part in told
    with Image.open(out / "demo.png") as sheet:
        assert sheet.width > 300 and len(sheet.getcolors(1 << 20)) > 20
    assert cli.main(["demo", "--out", str(out), "--steps", "12"]) == 0
    assert "holds a finished run" in capsys.readouterr().out
