"""Scenes: what is drawn is what is said, and nothing else."""

import itertools
import time

import numpy as np
import pytest

from minivl.data import scenes
from minivl.data.scenes import (
    COLOURS,
    HELD_OUT_PAIRS,
    SHAPES,
    SPLITS,
    candidates,
    captions,
    describes,
    draw,
    parse,
    redraw,
    scene,
)

ANY_COUNT = (0.2, 0.5, 0.3)


def some(n, split="train", seed=0, counts=ANY_COUNT):
    return [scene(seed, split, i, counts=counts) for i in range(n)]


def pairs(s):
    return [(item.colour, item.shape) for item in s.items]


def alone(shape):
    """One black object on white."""
    item = scenes.Item("black", shape, "large", 0.5, 0.5, 0.2, (0, 0, 0))
    return scenes.Scene("one", (item,), True, ((255,) * 3, (255,) * 3))


def swapped(text, a, b):
    return text.replace(a, "\0").replace(b, a).replace("\0", b)


# ---- captions and their truth


@pytest.mark.parametrize("sizes", [False, True])
@pytest.mark.parametrize("both_orders", [False, True])
def test_every_caption_of_a_scene_describes_it_and_no_two_are_equal(sizes, both_orders):
    for s in some(300):
        said = captions(s, sizes=sizes, both_orders=both_orders)
        n = len(s.items)
        assert len(set(said)) == len(said) == {1: 3, 2: 5, 3: 2}[n] * (2 if both_orders and n > 1 else 1)
        assert all(describes(c, s) for c in said), said


def test_the_examples_of_the_documentation():
    place = {"size": "small", "y": 0.5, "radius": 0.14, "rgb": (0, 0, 0)}
    items = (scenes.Item("red", "circle", x=0.3, **place), scenes.Item("blue", "square", x=0.7, **place))
    s = scenes.Scene("one", items, True, ((255,) * 3,) * 2)
    assert captions(s) == [
        "a red circle left of a blue square",
        "a red circle on the left and a blue square on the right",
        "on the right a blue square, on the left a red circle",
        "to the right of a red circle is a blue square",
        "there is a red circle; on its right, a blue square",
    ]
    assert set(captions(s, both_orders=True)) - set(captions(s)) == {
        "a blue square right of a red circle",
        "a blue square on the right and a red circle on the left",
        "on the left a red circle, on the right a blue square",
        "to the left of a blue square is a red circle",
        "there is a blue square; on its left, a red circle",
    }


def test_captions_with_a_swapped_colour_shape_or_relation_are_wrong():
    for s in some(200, counts=(0, 1, 0)):
        (c1, s1), (c2, s2) = pairs(s)
        for caption in captions(s, both_orders=True):
            wrong = [swapped(caption, *p) for p in (("left", "right"), ("above", "below"), ("top", "bottom"))]
            wrong += [swapped(caption, c1, c2)] if c1 != c2 else []
            wrong += [swapped(caption, s1, s2)] if s1 != s2 else []
            assert not any(describes(w, s) for w in wrong if w != caption)


def test_changing_any_one_word_that_carries_meaning_makes_a_caption_wrong():
    for s in some(40):
        for caption in captions(s, both_orders=True):
            words = caption.split()
            for k, word in enumerate(words):
                for others in (COLOURS, SHAPES):
                    for other in (o for o in others if word.rstrip(",;") in others and o != word.rstrip(",;")):
                        changed = " ".join([*words[:k], other, *words[k + 1 :]])
                        assert not describes(changed, s)


def test_a_caption_of_another_scene_is_wrong_unless_it_means_the_same():
    drawn = some(60)
    for a, b in itertools.permutations(drawn, 2):
        same = pairs(a) == pairs(b) and (len(a.items) == 1 or a.across == b.across)
        assert all(describes(c, b) == same for c in captions(a, both_orders=True))


def test_a_size_may_be_left_out_but_not_be_wrong():
    s = next(s for s in some(50, counts=(0, 1, 0)) if s.items[0].size != s.items[1].size)
    for caption in captions(s, sizes=True, both_orders=True):
        assert describes(caption, s) and not describes(swapped(caption, "small", "large"), s)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a red",
        "red circle left of blue square",
        "a red circle left of",
        "a red circle left of a blue square and",
        "a red circle left of a blue square left of a green star",
        "a red circle next to a blue square",
        "a red hexagon left of a blue square",
        "an red circle",
        "a red circle on the left and a blue square on the left",
        "a red circle on the left and a blue square at the bottom",
        "a circle red",
        "two red circles",
        "a red circle\nleft of a blue square; a",
        "a red circle above of a blue square",
        "there is a red circle; above, a blue square",
    ],
)
def test_text_outside_the_grammar_says_nothing_and_describes_nothing(text):
    assert parse(text) is None
    assert not any(describes(text, s) for s in some(20))


def test_what_a_tokenizer_does_to_spaces_and_capitals_does_not_count():
    plain = parse("there is a red circle; on its right, a blue square")
    assert plain == (True, ((None, "red", "circle"), (None, "blue", "square")))
    assert parse("  There is a red circle ; on its right , a blue  square . ") == plain
    said = parse("a large red circle at the bottom and a blue square at the top")
    assert said == (False, ((None, "blue", "square"), ("large", "red", "circle")))
    assert parse("a purple ring") == (None, ((None, "purple", "ring"),))


# ---- splits


def test_a_scene_is_a_function_of_seed_split_and_number():
    assert some(20) == some(20)
    assert scene(0, "train", 3) != scene(1, "train", 3) and scene(0, "train", 3) != scene(0, "train", 4)
    assert len({s.key for split in SPLITS for seed in (0, 1) for s in some(50, split, seed)}) == 300


def test_held_out_pairs_are_shown_only_where_they_are_asked_for():
    for split in SPLITS:
        held = [sum(pair in HELD_OUT_PAIRS for pair in pairs(s)) for s in some(500, split)]
        assert set(held) == ({1} if split == "held-out" else {0})
    shown = {pair for s in some(800) for pair in pairs(s)}
    assert shown == set(itertools.product(COLOURS, SHAPES)) - set(HELD_OUT_PAIRS)
    assert {p for s in some(200, "held-out") for p in pairs(s)} >= set(HELD_OUT_PAIRS)


def test_combinations_of_val_are_never_in_train_whatever_the_seed():
    meanings = {
        split: {(s.across, *pairs(s)) for seed in (0, 7) for s in some(n, split, seed, (0, 0.9, 0.1))}
        for split, n in (("train", 3000), ("val", 300))
    }
    assert len(meanings["train"]) > 1500 and len(meanings["val"]) > 200
    assert not meanings["train"] & meanings["val"]


def test_objects_of_a_scene_differ_and_neither_order_nor_axis_is_favoured():
    drawn = some(1000, counts=(0, 1, 0))
    assert all(len(set(pairs(s))) == 2 for s in drawn)
    assert 0.45 < np.mean([s.across for s in drawn]) < 0.55
    assert 0.4 < np.mean([pairs(s)[0] < pairs(s)[1] for s in drawn]) < 0.6
    assert 0.09 < np.mean([len(scene(0, "train", i).items) == 1 for i in range(1000)]) < 0.16


def test_candidates_mean_different_things():
    for split in SPLITS:
        found = candidates(0, split, 100)
        assert len(found) == 100 == len({s.key for s in found})
        assert not any(describes(captions(a)[0], b) for a, b in itertools.permutations(found[:40], 2))
        assert len({captions(s)[0] for s in found}) == 100
    assert candidates(0, "val", 10) == candidates(0, "val", 20)[:10]
    with pytest.raises(ValueError, match="candidates: n is 50, but split 'held-out' showed only 6"):
        candidates(0, "held-out", 50, counts=(1, 0, 0))


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="split: 'test' is none of 'train', 'val', 'held-out'"):
        scene(0, "test", 0)


# ---- pictures


def test_objects_lie_inside_apart_and_clearly_in_their_relation():
    for s in some(500):
        for item in s.items:
            assert item.radius <= item.x <= 1 - item.radius and item.radius <= item.y <= 1 - item.radius
        for a, b in itertools.pairwise(s.items):
            along, aside = (b.x - a.x, b.y - a.y) if s.across else (b.y - a.y, b.x - a.x)
            assert along >= a.radius + b.radius and abs(aside) <= 0.4 * along + 1e-9


def test_every_colour_stands_out_from_every_background():
    pale = np.array(list(itertools.product((scenes._PALE, 255), repeat=3)))
    for s in some(500):
        assert min(min(colour) for colour in s.background) >= scenes._PALE
        for item in s.items:
            assert np.linalg.norm(np.clip(item.rgb, *pale[[0, -1], 0]) - item.rgb) > 80, item
    rgb = np.array(list(COLOURS.values()))
    apart = np.linalg.norm(rgb[:, None] - rgb, axis=-1) + 1000 * np.eye(len(rgb))
    assert apart.min() > 60


@pytest.mark.parametrize("size", [16, 32, 96])
def test_a_picture_shows_each_object_in_its_colour_at_its_place(size):
    for s in some(60):
        picture = draw(s, size)
        assert picture.mode == "RGB" and picture.size == (size, size)
        pixels = np.asarray(picture).astype(int)
        for item in (item for item in s.items if item.shape != "ring"):
            assert np.abs(pixels[int(item.y * size), int(item.x * size)] - item.rgb).max() <= 2
        for item in (item for item in s.items if item.shape == "ring" and size >= 32):
            assert np.abs(pixels[int(item.y * size), int(item.x * size)] - item.rgb).max() > 50


def test_shapes_look_different():
    """Each object's stencil, of one colour, at one place: no two shapes share more than nine tenths."""
    stencils = []
    for shape in SHAPES:
        stencils.append(255.0 - np.asarray(draw(alone(shape)))[..., 0])
    assert all(50 < stencil.sum() / 255 < 180 for stencil in stencils)
    for a, b in itertools.combinations(stencils, 2):
        assert np.minimum(a, b).sum() / np.maximum(a, b).sum() < 0.9


def test_edges_are_smooth_and_drawing_repeats():
    s = alone("circle")
    assert draw(s).tobytes() == draw(s).tobytes()
    grey = np.asarray(draw(s))[..., 0]
    assert ((grey > 20) & (grey < 235)).sum() > 20


def test_a_scene_drawn_anew_means_the_same_and_looks_different():
    for s in some(50):
        other = redraw(s, np.random.default_rng(0))
        assert all(describes(c, other) for c in captions(s))
        assert np.abs(np.asarray(draw(other)).astype(int) - np.asarray(draw(s))).mean() > 3


def test_throughput_is_printed(capsys):
    started = time.perf_counter()
    for i in range(300):
        s = scene(5, "train", i)
        draw(s), captions(s)
    with capsys.disabled():
        print(f"\n  scenes drawn with captions: {300 / (time.perf_counter() - started):.0f} a second")
