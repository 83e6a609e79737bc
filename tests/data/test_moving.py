"""Moving scenes: what is said is what is drawn, and no single frame tells what moves where, or first."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from minivl.data import moving
from minivl.data.moving import DIRECTIONS, FRAMES, candidates, captions, clip, draw, questions
from minivl.data.sources import open_source
from minivl.linear_probe import fit_linear_probe

HALF = FRAMES // 2


def some(n, objects=None):
    clips = (clip(0, "train", i) for i in range(20 * n))
    return [c for c in clips if objects is None or len(c.items) == objects][:n]


def frames(c, size=32):
    return np.asarray(draw(c, size)).reshape(FRAMES, size, size, 3)


def test_a_clip_is_a_function_of_its_numbers():
    assert frames(clip(0, "train", 5)).tobytes() == frames(clip(0, "train", 5)).tobytes()
    different = {frames(clip(*numbers)).tobytes() for numbers in ((0, "train", 5), (1, "train", 5), (0, "val", 5))}
    assert len(different) == 3
    with pytest.raises(ValueError, match="split: 'held-out' is none of 'train', 'val'"):
        clip(0, "held-out", 0)


@pytest.mark.parametrize("objects", [1, 2])
def test_objects_move_as_it_is_told(objects):
    for c in some(40, objects):
        steps = (np.diff(c.paths, axis=1) + 0.5) % 1 - 0.5
        told = {0: [c.moves[0], c.moves[1]]} if objects == 1 else {0: [c.moves[0], None], 1: [None, c.moves[1]]}
        for k, moves in told.items():
            for move, part in zip(moves, (steps[k, :HALF], steps[k, HALF:]), strict=True):
                expected = np.array(DIRECTIONS[move]) if move else np.zeros(2)
                way = part / np.maximum(np.abs(part).max(), 1e-9)
                np.testing.assert_allclose(way, np.tile(expected, (len(part), 1)), atol=1e-6)
                assert np.abs(part.sum(0)).max() < 0.5, "further, and it could have come from the other side"


def test_objects_are_drawn_where_they_are_also_across_the_border():
    for c in some(30, 1):
        c = replace(c, background=((255,) * 3, (255,) * 3))
        dark = 255.0 - frames(c).min(axis=-1)
        angles = 2 * np.pi * (np.arange(32) + 0.5) / 32
        for f in (0, HALF, FRAMES - 1):
            for axis, place in ((0, c.paths[0, f, 0]), (1, c.paths[0, f, 1])):
                middle = np.angle((dark[f].sum(axis=axis) * np.exp(1j * angles)).sum()) / (2 * np.pi)
                assert abs((middle - place + 0.5) % 1 - 0.5) < 0.05


@pytest.mark.parametrize("f", [0, HALF - 1, HALF, FRAMES - 1])
def test_every_frame_belongs_to_clips_of_every_direction_and_of_either_order(f):
    """So its distribution is the same for all of them, for starts are uniform: nothing can be read off one frame."""
    for c in some(4):
        shown, step = frames(c)[f], 0.05
        for first in DIRECTIONS:
            for second in DIRECTIONS:
                halves = [[first, second]] if len(c.items) == 1 else [[first, None], [None, second]]
                for order in (1, -1):
                    ways = np.stack([moving.way(h, FRAMES, step) for h in halves[::order]])
                    paths = (c.paths[:, f : f + 1] + ways - ways[:, f : f + 1]) % 1
                    other = replace(c, moves=(first, second), paths=paths)
                    assert np.abs(frames(other)[f].astype(int) - shown).max() == 0
                    backwards = replace(other, items=other.items[::-1], paths=paths[::-1])
                    assert (frames(backwards)[f] == shown).all(), "who lies on top does not tell either"


def test_who_lies_on_top_does_not_tell_who_moves_first():
    c = some(1, 2)[0]
    one = replace(c, paths=np.full_like(c.paths, 0.5))
    other = replace(one, items=one.items[::-1])
    assert one.labels != other.labels and (frames(one) == frames(other)).all()


def test_a_classifier_reads_motion_off_two_frames_and_not_off_one():
    clips = some(300, 1)
    classes = np.array([list(DIRECTIONS).index(c.moves[0]) for c in clips])
    angles = np.exp(2j * np.pi * (np.arange(32) + 0.5) / 32)

    drawn = np.stack([frames(c)[[1, HALF - 1]].min(axis=-1) for c in clips])

    def features(f):
        dark = 255.0 - drawn[:, f]
        return np.stack([(dark.sum(axis=axis) @ angles) for axis in (1, 2)], axis=1)

    def accuracy(x):
        x = np.concatenate([x.real, x.imag], axis=1)
        x = x / x.std(axis=0)
        W, b = fit_linear_probe(x[:200], classes[:200], strength=1e-3)
        return ((x[200:] @ W + b).argmax(1) == classes[200:]).mean()

    early, late = features(0), features(1)
    assert accuracy(early) < 0.38 and accuracy(late) < 0.38  # chance is 0.25, and its spread over 100 clips 0.043
    assert accuracy(late * early.conj()) > 0.8


def test_captions_and_questions_say_what_happens():
    seen = Counter()
    for c in some(200):
        names, (first, second) = c.labels, c.moves
        assert len(set(captions(c))) == 2
        for caption in captions(c):
            assert caption.index(first) <= caption.rindex(second) and all(name in caption for name in names)
        for q in questions(c):
            [answer] = q["answers"]
            seen[q["kind"], answer] += 1
            if q["kind"] == "direction":
                last = "last" in q["question"] or (len(names) == 2 and names[1] in q["question"])
                assert answer == (second if last else first)
            if q["kind"] == "order":
                parts = names if len(names) == 2 else c.moves
                assert (answer == "yes") == (q["question"].index(parts[0]) < q["question"].index(parts[1]))
            if q["question"].startswith("is there a "):
                assert (answer == "yes") == (q["question"].removeprefix("is there a ").removesuffix("?") in names)
    assert seen["order", "yes"] == seen["order", "no"] and seen["thing", "yes"] == seen["thing", "no"]
    assert max(seen["direction", d] for d in DIRECTIONS) < 1.4 * min(seen["direction", d] for d in DIRECTIONS)


def test_candidates_mean_different_things():
    found = candidates(1, "val", 60)
    assert len({captions(c)[0] for c in found}) == 60


def test_the_source():
    source = open_source("moving:5", "val", seed=3)
    examples = list(source.examples())
    assert len(examples) == source.length() == 5 and str(source) == "moving scenes (val)"
    again = list(source.examples(epoch=1))
    assert sorted(e.key for e in again) == sorted(e.key for e in examples)
    assert examples[0].info["frames"] == FRAMES and examples[0].info["questions"]
