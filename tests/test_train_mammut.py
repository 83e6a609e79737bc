"""MaMMUT from the command line: on scenes, on anybody's shards, on moving scenes, and every measure of it."""

import json

import pytest

from minivl import cli

SMALL = dict(width=16, heads=2, image_heads=2, image_layers=1, layers=2, cross_layers=1, batch_size=4)
WORDS = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]


def train(out, data, *more):
    arguments = ["train", "mammut", "--data", str(data), "--steps", "3", "--out", str(out), *WORDS, *more]
    assert cli.main(arguments) == 0
    return out


def measure(run, data, task, *more):
    path = run.parent / f"{task}.json"
    arguments = ["evaluate", str(run), "--data", str(data), "--task", task, "--json", str(path), *more]
    assert cli.main(arguments) == 0
    return json.loads(path.read_text())


@pytest.mark.parametrize("preset", ["tiny", "drawings"])
def test_on_shards(tmp_path, shards, preset, capsys):
    run = train(tmp_path / "run", shards / "google", "--preset", preset)
    assert measure(run, shards / "twitter", "retrieval", "--gallery", str(shards / "google"))["nearest_neighbour"]
    assert measure(run, shards / "twitter", "caption", "--beams", "2")["pictures"] == 12
    assert measure(run, shards / "twitter", "zeroshot")["classes"] == 2
    assert 0 <= measure(run, shards / "google", "frozen")["accuracy"] <= 1
    assert cli.main(["evaluate", str(run), "--data", str(shards / "twitter"), "--task", "vqa"]) == 1
    assert "these examples have no questions" in capsys.readouterr().err


def test_on_scenes_with_questions(tmp_path):
    run = train(tmp_path / "run", "scenes:30", "--set", "questions=0.5")
    found = measure(run, "scenes", "vqa", "--limit", "5")
    assert {"colour", "shape", "place", "relation", "number", "yes or no"} <= set(found["by_kind"])
    assert found["questions"] == len(found["answers"])


def test_on_moving_scenes_from_a_run_on_pictures(tmp_path):
    """As the paper trains video: a model of pictures goes on with clips."""
    still = train(tmp_path / "still", "scenes:30")
    arguments = ["--from", str(still), "--set", "frames=16", "--set", "questions=0.5", "--set", "questions_each=3"]
    data = ["train", "mammut", "--data", "turning:30", "--steps", "2", "--out", str(tmp_path / "run"), *arguments]
    assert cli.main(data) == 0
    for task, figure in (("retrieval", "image_to_text"), ("caption", "CIDEr"), ("vqa", "by_kind")):
        assert figure in measure(tmp_path / "run", "moving", task, "--limit", "4")
