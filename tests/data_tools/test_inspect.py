"""What the table says of a set whose contents are known, and what the sheet shows of it."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_tools import inspect, sheet
from minivl.data import rle
from minivl.data.shards import Example, ShardWriter, read_shards


def disc(size=24, at=(6, 8), radius=4):
    y, x = np.mgrid[:size, :size]
    return (x - at[0]) ** 2 + (y - at[1]) ** 2 <= radius**2


def thing(mask):
    return {"id": 1, "label": "disc", "bbox": rle.box(rle.encode(mask)), "segmentation": rle.encode(mask)}


@pytest.fixture
def data(tmp_path):
    """Twelve pictures, one of them stored twice, in two splits."""
    with ShardWriter(tmp_path / "set", per_shard=5, about={"licence": "CC0", "source": "drawn"}) as out:
        for n in range(12):
            picture = Image.new("RGB", (24, 24 if n else 30), (n % 11 * 20, 0, 0))
            info = {"split": "train" if n < 10 else "test", "label": f"kind {n % 3}"}
            info |= {"translations": {"de": ["eine Scheibe"]}} if n % 2 else {}
            info |= {"objects": [thing(disc())], "questions": [{"question": "?", "answers": ["no"], "kind": "exists"}]}
            out.write(f"n{n}", picture, [f"disc number {n}", "a disc" + " indeed" * n], info)
    return tmp_path / "set"


def table(text):
    found = {}
    for line in text.splitlines():
        found.setdefault(line[:10].strip(), []).append(line[11:])
    return found


def test_the_table_says_what_is_there(data, tmp_path, capsys):
    assert (
        inspect.main([str(data), "--sheet", str(tmp_path / "a.png"), "--n", "5", "--columns", "3", "--tile", "64"]) == 0
    )
    said = table(capsys.readouterr().out)
    assert said["licence"] == ["shard: CC0, from drawn"]
    assert said["examples"][0].startswith("12, ")
    assert said["splits"] == ["train 10  test 2"]
    assert said["pictures"] == ["PNG; 2 sizes, 24 x 24 to 24 x 30, the middle one 24 x 24"]
    assert said["captions"] == ["2.0 an example, 24 different; 5.2 words, 13 at most"]
    assert said["longest"][0] == "n11: a disc" + " indeed" * 11 and len(said["longest"]) == 3
    assert said["languages"] == ["2: as stored 12  de 6"]
    assert said["labels"] == ["3: kind 0 4  kind 1 4  kind 2 4"]
    assert said["objects"] == ["1 in 12"] and said["questions"] == ["exists 12"]
    assert said["fields"] == ["label  objects  questions  split  translations (6)"]
    assert said["copies"] == ["0 pictures"]  # number 0 and number 11 have one colour, but not one size
    assert said["leaks"] == ["0 pictures in more than one split"] and said["problems"] == ["nothing skipped"]
    assert Image.open(tmp_path / "a.png").size == (12 + 3 * 76, Image.open(tmp_path / "a.png").height)


def test_copies_leaks_and_broken_pictures_are_named(tmp_path):
    found = inspect.Survey()
    same = {"split": "train"}, {"split": "test"}, {"split": "train"}
    with ShardWriter(tmp_path) as out:
        for n, info in enumerate(same):
            out.write(f"n{n}", Image.new("RGB", (9, 9), "red" if n < 2 else "blue"), ["red"], info)
        out.write("bad", b"\x89PNG no more", ["bad"])
    for example in read_shards(tmp_path):
        found.add(example)
    said = dict(found.rows())
    assert said["examples"].startswith("3, ")
    assert said["copies"] == "1 pictures (first: n0 = n1)"
    assert said["leaks"] == "1 pictures in more than one split (first: n0 = n1)"
    assert said["problems"].startswith("skipped 1: 1 x broken picture (first: bad: ")


def test_the_examples_of_the_sheet_are_a_fair_and_repeatable_choice(data):
    examples = list(read_shards(data))
    counts = np.zeros(12)
    for seed in range(300):
        found = inspect.Survey(4, seed)
        for example in examples:
            found.add(example)
        keys = [example.key for example in found.chosen()]
        counts[[int(key[1:]) for key in keys]] += 1
        assert len(set(keys)) == 4 and keys == sorted(keys, key=lambda key: int(key[1:]))
    assert counts.sum() == 1200 and counts.min() > 60 and counts.max() < 145
    assert [e.key for e in found.chosen()] == keys


def pictured(array, info):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return Example("k", out.getvalue(), ["a disc"], info)


def test_masks_and_boxes_are_drawn_where_they_are():
    mask = disc()
    example = pictured(np.full((24, 24, 3), 255, np.uint8), {"objects": [thing(mask)]})
    tile = np.asarray(sheet.tile(example, 96)).astype(int)
    large = np.kron(mask, np.ones((4, 4), bool))
    x, y, width, height = (4 * v for v in example.info["objects"][0]["bbox"])
    assert (tile[:y] == 255).all() and (tile[y + height :] == 255).all() and (tile[:, x + width :] == 255).all()
    assert (tile[y, x : x + width] == sheet.COLOURS[0]).all() and (tile[y : y + height, x] == sheet.COLOURS[0]).all()
    inside = tile[y + height // 2, x + width // 2]
    assert (inside != 255).any() and large[y + height // 2, x + width // 2]
    assert (tile[y + 2, x + 2] == 255).all() and not large[y + 2, x + 2]  # a corner of the box, outside the mask
    assert (np.asarray(sheet.tile(example, 96, annotated=False)) == 255).all()


def test_a_clip_is_shown_frame_by_frame_and_an_episode_with_its_masks():
    strip = np.repeat(np.arange(4, dtype=np.uint8) * 60, 24)[:, None, None] * np.ones((1, 24, 3), np.uint8)
    tile = np.asarray(sheet.tile(pictured(strip, {"frames": 4}), 100))
    assert [tile[y, x, 0] for y in (20, 70) for x in (20, 70)] == [0, 60, 120, 180]
    known = [thing(disc()) for _ in range(4)]
    drawn = np.asarray(sheet.tile(pictured(strip, {"frames": 4, "episode": {"pictures": known}}), 100))
    for y in (0, 50):
        for x in (0, 50):
            assert (drawn[y : y + 50, x : x + 50] != tile[y : y + 50, x : x + 50]).any()


@pytest.mark.parametrize(
    "info",
    [
        {"frames": 7},
        {"frames": "4"},
        {"frames": 0},
        {"frames": 4, "episode": 3, "tracks": "x"},
        {"frames": 4, "episode": {"pictures": [1, 2, 3, 4]}},
        {"objects": 5},
        {"objects": [1, None, {"bbox": [1, 2]}, {"bbox": "abcd"}, {"bbox": [0, 0, -4, 2]}, {"segmentation": 4}]},
        {"objects": [{"bbox": [1e9, -5, 10, 10], "segmentation": {"size": [9, 9], "counts": "!"}}]},
        {"questions": 7, "labels": 7, "translations": 7, "split": ["a"]},
    ],
)
def test_json_that_means_something_else_does_no_harm(info):
    example = pictured(np.zeros((24, 24, 3), np.uint8), info)
    assert max(sheet.tile(example, 64).size) <= 64
    found = inspect.Survey()
    found.add(example)
    assert dict(found.rows())["examples"].startswith("1, ")
    assert sheet.title(example, "de") == "a disc"


def test_titles_in_letters_that_the_font_has():
    example = Example("k", b"", ["Löwe “groß” – été"], {"translations": {"ja": ["犬"]}})
    assert sheet.title(example, plain=True) == 'Lowe "gross" - ete'
    assert sheet.title(example) == "Löwe “groß” – été" and sheet.title(example, "ja") == "犬"
    assert sheet.title(Example("k", b"", [], {"label": 3})) == "3"


def test_drawn_scenes_too(tmp_path, capsys):
    assert inspect.main(["scenes:20", "--split", "val", "--sheet", str(tmp_path / "a.png")]) == 0
    assert table(capsys.readouterr().out)["splits"] == ["val 20"]


def test_mistakes_are_one_line(tmp_path, capsys, data):
    for arguments, words in {
        (str(tmp_path / "gone"),): "no shards at",
        (str(data), "--split", "night"): "no example to show",
        (str(data), "--n", "0"): "--n: 0; must be at least 1",
        (str(data), "--font", str(tmp_path / "gone.ttf")): "cannot open resource",
    }.items():
        assert inspect.main([*arguments, "--sheet", str(tmp_path / "x.png")]) == 1
        error = capsys.readouterr().err
        assert "inspect: " in error and words in error and "Traceback" not in error
    assert not (tmp_path / "x.png").exists()


def test_runs_as_a_module(tmp_path):
    done = subprocess.run([sys.executable, "-m", "data_tools.inspect", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--sheet" in done.stdout
