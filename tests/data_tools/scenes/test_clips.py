"""Clips: no single frame says what happens, whichever it is; and the JSON says what the frames show."""

import collections
import itertools
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from data_tools.scenes import clips
from data_tools.scenes.cutouts import SPLITS, CutOut, Sprite
from data_tools.scenes.grammar import LANGUAGES
from data_tools.scenes.record import Background, Thing
from minivl.data import rle

SIDE, FRAMES = 6, 4


def thing(name, colour):
    """Two pixels, one above the other, of one colour."""
    alpha = Image.new("L", (1, 2), 255)
    sprite = Sprite(None, alpha, np.ones((2, 1), bool), ([0, 1], [0, 0]), None)
    return Thing(1, CutOut(name, name), "red", "small", colour, sprite)


def frames_of(alone, moves, starts):
    halves = (moves, (None, None)) if alone else ((moves[0], None), (None, moves[1]))
    paths = np.stack([(s + clips.way(h, FRAMES, 1).astype(int)) % SIDE for s, h in zip(starts, halves, strict=True)])
    things = (thing("circle", (255, 0, 0)), thing("square", (0, 0, 255)))
    record = clips.Clip("k", "train", SIDE, things, alone, moves, paths, Background("flat", ((9, 9, 9),)))
    strip, _ = clips.draw(record)
    return np.asarray(strip).reshape(FRAMES, SIDE, SIDE, 3)


@pytest.mark.parametrize("alone, mover", [(True, 0), (False, 0), (False, 1)])
def test_every_single_frame_is_as_likely_whatever_happens(alone, mover):
    """Exactly: over all starts of what moves, a frame takes each picture equally often under every label."""
    starts = [np.array([[x, y], [2, 3]][:: -1 if mover else 1]) for x, y in itertools.product(range(SIDE), repeat=2)]
    if alone:
        labels = [moves for moves in itertools.product(clips.DIRECTIONS, repeat=2) if moves[0] != moves[1]]
    else:  # the other thing always goes up
        labels = [(move, "up") if mover == 0 else ("up", move) for move in clips.DIRECTIONS]
    seen = [set() for _ in range(FRAMES)]
    for moves in labels:
        shown = [frames_of(alone, moves, start) for start in starts]
        for f in range(FRAMES):
            seen[f].add(frozenset(collections.Counter(frames[f].tobytes() for frames in shown).items()))
    assert [len(kinds) for kinds in seen] == [1] * FRAMES


def test_two_frames_tell_the_direction():
    start = np.array([[1, 1], [4, 4]])
    shown = {frames_of(False, (move, "up"), start)[:2].tobytes() for move in clips.DIRECTIONS}
    assert len(shown) == 4


@pytest.mark.parametrize("move, halves", [("first", 0), ("second", 1)])
def test_each_half_has_its_own_mover(move, halves):
    way = clips.way(("left", None) if halves == 0 else (None, "left"), 8, 2)
    moved = np.diff(way[:, 0]) != 0
    assert moved[:4].all() == (halves == 0) and moved[4:].all() == (halves == 1) and not way[:, 1].any()
    assert set(np.diff(way[:, 0])) == {0, -2}


def test_clips_say_what_their_frames_show(cutouts):
    alone = 0
    for i in range(25):
        key, strip, captions, info = clips.example(cutouts, 1, "train", i, side=64, languages=LANGUAGES)
        record = clips.clip(cutouts, 1, "train", i, side=64)
        alone += record.alone
        assert strip.size == (64, 64 * info["frames"]) and info["frames"] == 8 == len(info["tracks"])
        assert set(info["translations"]) == {"de", "fr", "es", "it"} and info["moves"] == list(record.moves)
        first, second = info["labels"]
        assert captions[0].startswith(f"a {first}") and (second in captions[0]) != record.alone
        pictures = np.asarray(strip).reshape(8, 64, 64, 3).astype(int)
        for f, known in enumerate(info["tracks"]):
            assert [t["label"] for t in known] == [t.noun for t in record.things]
            masks = [rle.decode(t["segmentation"]) for t in known]
            assert not (masks[0] & masks[1]).any()
            changed = (pictures[f] != np.array(record.background.colours[0])).any(-1)
            assert (masks[0] | masks[1])[changed].mean() > 0.6
            assert ((masks[0] | masks[1]) & ~changed).sum() <= 0.1 * changed.sum()
            assert [t["area"] for t in known] == [m.sum() for m in masks]
    assert 5 < alone < 20


def test_paths_start_anywhere_and_clips_repeat(cutouts):
    records = [clips.clip(cutouts, 0, split, i, side=64) for split in SPLITS for i in range(60)]
    x = np.array([r.paths[0, f, 0] for r in records for f in (0, 3, 7)])
    assert x.min() < 3 and x.max() > 60 and abs(x.mean() - 31.5) < 6
    assert set(m for r in records for m in r.moves) == set(clips.DIRECTIONS)
    again = clips.clip(cutouts, 0, "test", 5, side=64)
    assert (again.paths == records[125].paths).all() and again.key == records[125].key
    turned = replace(again, moves=("up", "down"), alone=True)
    assert "moves up, then down" in clips.captions(turned, "en")[0]
    assert clips.captions(turned, "de")[0].endswith("bewegt sich nach oben, dann nach unten")
