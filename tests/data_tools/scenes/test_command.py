"""The command: shards of all kinds, COCO's JSON, and going on after a stop."""

import json
import subprocess
import sys

import pytest

from data_tools.scenes import __main__ as command
from data_tools.scenes import examples
from minivl.data import rle
from minivl.data.shards import read_shards

SMALL = ("--size", "64", "--scenes", "12", "--clips", "4", "--episodes", "4")


def run(*arguments):
    return command.main([str(a) for a in arguments])


def test_all_kinds_with_splits_licence_and_coco(cutout_shards, tmp_path):
    assert run("--out", tmp_path, "--things", "shapes", cutout_shards, *SMALL, "--examples", 2, "--coco") == 0
    about = json.loads((tmp_path / "dataset.json").read_text())
    assert {k: v["splits"] for k, v in about.items()} == {
        "scenes": {"test": 2, "train": 12, "validation": 2},
        "clips": {"test": 1, "train": 4, "validation": 1},
        "episodes": {"test": 1, "train": 4, "validation": 1},
    }
    assert about["scenes"]["licence"] == "toys: CC0-1.0, from drawn"
    scenes = list(read_shards(tmp_path / "scenes", strict=True))
    assert scenes[3].key == "train-0-000003" and len(scenes[3].captions) == 6
    assert all(e.info["frames"] == 3 for e in read_shards(tmp_path / "episodes", strict=True))
    assert all(e.info["frames"] == 8 for e in read_shards(tmp_path / "clips", strict=True))
    check_coco(tmp_path, scenes)


def check_coco(folder, scenes):
    for split, count in {"train": 12, "validation": 2, "test": 2}.items():
        coco = json.loads((folder / f"scenes-{split}.coco.json").read_text())
        assert set(coco) == {"info", "licenses", "images", "categories", "annotations"}
        names = {c["id"]: c["name"] for c in coco["categories"]}
        images = {i["id"]: i["file_name"] for i in coco["images"]}
        assert len(images) == count and len({a["id"] for a in coco["annotations"]}) == len(coco["annotations"])
        told = [(images[a["image_id"]], names[a["category_id"]], a["bbox"], a["area"]) for a in coco["annotations"]]
        of = [e for e in scenes if e.info["split"] == split]
        assert told == [(f"{e.key}.png", o["label"], o["bbox"], o["area"]) for e in of for o in e.info["objects"]]
        assert all(rle.area(a["segmentation"]) == a["area"] and a["iscrowd"] == 0 for a in coco["annotations"])


def test_goes_on_after_a_stop_with_the_same_bytes_and_makes_nothing_twice(tmp_path, monkeypatch, capsys):
    real, writer = examples.example, command.ShardWriter
    monkeypatch.setattr(command, "ShardWriter", lambda *a, **k: writer(*a, **k, per_shard=4))
    arguments = ("--size", "64", "--scenes", "9", "--no-words")
    assert run("--out", tmp_path / "whole", *arguments) == 0
    made = []

    def stopping(pool, seed, split, i, *rest):
        if (split, i) == ("train", 6) and "stopped" not in made:
            made.append("stopped")
            raise KeyboardInterrupt
        made.append((split, i))
        return real(pool, seed, split, i, *rest)

    monkeypatch.setattr(examples, "example", stopping)
    assert run("--out", tmp_path / "out", *arguments) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert run("--out", tmp_path / "out", *arguments) == 0
    assert made[7:] == [*(("train", i) for i in range(4, 9)), ("validation", 0), ("test", 0)]
    assert run("--out", tmp_path / "out", *arguments) == 0 and len(made) == 14
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
    assert run("--out", tmp_path / "out", *arguments, "--seed", 1) == 0 and len(made) == 25
    assert not any("words" in e.info for e in read_shards(tmp_path / "out" / "scenes"))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--size", "20"), "--size: 20; must be at least 48"),
        (("--scenes", "-1"), "--scenes: -1; must be at least 0"),
        (("--languages", "en,xx"), "--languages: 'xx' is none of en, de, fr, es, it"),
        (("--things", "nowhere"), "no shards at 'nowhere'"),
        (("--backgrounds", "nowhere"), "--backgrounds: nowhere has 0 pictures"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, words):
    assert run("--out", tmp_path / "out", *arguments) == 1
    assert words in capsys.readouterr().err and not (tmp_path / "out" / "dataset.json").exists()


def test_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "data_tools.scenes", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--episodes" in done.stdout and "--things stamps" in done.stdout
