"""What scenes are made of and where it lies: splits, places, contrast, masks."""

import collections
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from data_tools.scenes import backgrounds, compose
from data_tools.scenes.compose import draw, scene
from data_tools.scenes.cutouts import SPLITS, Pool, sprite
from data_tools.scenes.grammar import OPPOSITE
from data_tools.scenes.nouns import SHAPES
from data_tools.scenes.record import relation
from minivl.data import rle
from minivl.data.shards import DataError, ShardWriter


@pytest.fixture(scope="module")
def records(shapes, cutouts):
    return [scene(pool, 1, "train", i) for pool in (shapes, cutouts) for i in range(160)]


def test_a_scene_is_a_function_of_seed_split_and_number(cutouts):
    def told(seed, split, i):
        s = scene(cutouts, seed, split, i)
        return s.key, s.names, [t.box for t in s.things], s.background, draw(s).tobytes()

    assert told(0, "train", 3) == told(0, "train", 3)
    assert len({told(seed, split, i)[-1] for seed in (0, 1) for split in SPLITS for i in (0, 1)}) == 12


def test_things_lie_inside_and_apart(records):
    for s in records:
        taken = np.zeros((s.side, s.side), int)
        for t in s.things:
            x, y, w, h = t.box
            assert min(x, y) >= 0 and x + w <= s.side and y + h <= s.side
            taken[y : y + h, x : x + w] += 1
        assert taken.max() == 1


def test_colours_of_backgrounds_are_the_first_and_the_last_that_differ_enough(records, random):
    """Of what is drawn, of cut-outs and of both, with many colours that differ by just the limit or just not."""
    for s in records:
        near = [np.add(t.ink or t.sprite.colours[0], shift) for t in s.things for shift in (-95, -50, 49, 50)]
        colours = np.clip(random.permutation([*near, *random.integers(0, 256, (4, 3))]), 0, 255)
        good = []
        for colour in colours:
            shares = []
            for t in s.things:
                rim = [t.ink] if t.ink else t.sprite.colours
                limit = backgrounds.LEGIBLE if t.text else backgrounds.CONTRAST
                shares.append(np.mean([backgrounds.apart(np.array(point), colour) >= limit for point in rim]))
            if min(shares) >= backgrounds.OUTSTANDING:
                good.append(tuple(colour.tolist()))
        assert backgrounds._ends(s.things, colours) == ((good[0], good[-1]) if good else (None, None))


def test_pairs_and_rows_are_clearly_in_order(records):
    seen = collections.Counter()
    for s in records:
        if s.layout in ("pair", "row"):
            seen[s.layout, s.order] += 1
            for a, b in itertools.pairwise(s.things):
                assert relation(a, b) == s.order and relation(b, a) == OPPOSITE[s.order]
                (ax, ay), (bx, by) = a.middle, b.middle
                assert (bx - ax if s.order == "left" else by - ay) > 0
    assert set(seen) == set(itertools.product(("pair", "row"), ("left", "above")))


def test_nothing_is_favoured_by_place_size_or_colour(drawn_examples):
    drawn = [o for *_, info in drawn_examples for o in info["objects"] if o["label"] in SHAPES]
    x, y = np.array([(o["bbox"][0] + o["bbox"][2] / 2, o["bbox"][1] + o["bbox"][3] / 2) for o in drawn]).T / 64
    assert abs(x.mean() - 0.5) < 0.03 and abs(y.mean() - 0.5) < 0.03 and len({o["bbox"][0] for o in drawn}) > 45
    for values, least in (
        ([o["attributes"]["colour"] for o in drawn], 0.13),
        ([o["label"] for o in drawn], 0.13),
        ([o["attributes"]["size"] for o in drawn], 0.44),
    ):
        assert min(collections.Counter(values).values()) / len(drawn) > least


def test_everything_stands_out_from_what_is_behind_it(records):
    """Looked at in the picture itself: pixels on the rim against the pixels just outside."""
    worst = []
    for s in records:
        picture = np.asarray(draw(s)).astype(float)
        behind = np.asarray(backgrounds.paint(s.background, s.side)).astype(float)
        for t in s.things:
            rows, columns = t.sprite.rim
            at = rows + t.y, columns + t.x
            worst.append((np.abs(picture[at] - behind[at]).max(-1) > 25).mean())
    assert min(worst) > 0.5 and np.mean(worst) > 0.95


def test_masks_are_what_differs_from_the_background(records):
    for s in records[::5]:
        picture = np.asarray(draw(s)).astype(int)
        behind = np.asarray(backgrounds.paint(s.background, s.side)).astype(int)
        changed = (picture != behind).any(-1)
        masks = sum(rle.decode(t.sprite.segmentation(t.x, t.y, s.side)).astype(int) for t in s.things)
        assert masks.max() == 1
        assert not (changed & ~_grown(masks > 0)).any()  # smooth edges lie one pixel outside at most
        assert (masks > 0)[changed].mean() > 0.6
        for t in s.things:
            assert rle.box(t.sprite.segmentation(t.x, t.y, s.side)) == t.box


def _grown(mask):
    padded = np.pad(mask, 1)
    return sum(padded[y : y + len(mask), x : x + len(mask)] for y in range(3) for x in range(3)) > 0


# ---- splits ----------------------------------------------------------------------------------------------------------


def plain(name):
    colour, _, noun = name.partition(" ")
    return name if noun in SHAPES or colour not in ("red", "yellow", "green", "blue", "purple") else noun


def pairs(s):
    names = {plain(t.name) for t in s.things if not t.text}
    return set(itertools.combinations(sorted(names), 2))


@pytest.mark.parametrize("name", ["shapes", "cutouts"])
def test_pairs_of_validation_and_test_are_never_seen_in_training(name, request):
    pool = request.getfixturevalue(name)
    seen = {split: set() for split in SPLITS}
    for split in SPLITS:
        for i in range(240 if split == "train" else 70):
            found = pairs(s := scene(pool, i % 3, split, i))
            seen[split] |= found
            if split != "train" and found:
                assert found - seen["train"]
            assert s.split == split
    assert not any(compose.held_out(*map(compose._place, pair)) != "train" for pair in seen["train"])
    for split in ("validation", "test"):
        held = {pair for pair in seen[split] if compose.held_out(*map(compose._place, pair)) == split}
        assert held and not held & seen["train"]
    names = {split: {name for pair in seen[split] for name in pair} for split in SPLITS}
    assert names["validation"] | names["test"] <= names["train"]


def test_every_coloured_shape_loses_as_many_partners_as_any_other():
    names = [f"{colour} {shape}" for shape in SHAPES for colour in compose.COLOURS]
    for split in ("validation", "test"):
        lost = [sum(compose.held_out(compose._place(a), compose._place(b)) == split for b in names) for a in names]
        assert set(lost) == {4}


def test_a_picture_belongs_to_one_split_and_every_noun_is_trained_on(cutouts):
    keys = {split: {c.key for c in cutouts.pictures(split)} for split in SPLITS}
    assert not keys["train"] & keys["validation"] and not keys["train"] & keys["test"]
    assert not keys["validation"] & keys["test"]
    nouns = {split: set(cutouts.nouns(split)) for split in SPLITS}
    assert nouns["train"] == {"dog", "lion", "bee", "sheep", "palm tree", "backpack", "car", "camera"}
    assert nouns["validation"] <= nouns["train"] and nouns["test"] <= nouns["train"]
    used = {t.cutout.key for i in range(100) for t in scene(cutouts, 0, "test", i).things if not t.text}
    assert used <= keys["test"]


def test_copies_thin_empty_and_unnamed_pictures_are_left_out(cutouts):
    keys = {c.key for split in SPLITS for c in cutouts.pictures(split)}
    assert len(keys) == 24 and not keys & {"thin", "empty", "unnamed"}
    assert len({"again", "8-2"} & keys) == 1  # one picture under two keys


def test_pools_that_are_no_use(tmp_path, cutout_shards):
    with ShardWriter(tmp_path) as out:
        out.write("a", Image.new("RGB", (9, 9)), ["A dog."], {"name": "boredom"})
    with pytest.raises(DataError, match="has no cut-outs; give shapes, or shards made by data_tools.stamps"):
        Pool([tmp_path])
    with pytest.raises(DataError, match="no shards at"):
        Pool([tmp_path / "gone"])
    with ShardWriter(tmp_path / "few") as out:
        for n, noun in enumerate(("dog", "cat", "horse", "cow") * 3):
            out.write(f"{n}", Image.new("RGBA", (9, 9 + n), "red"), ["A."], {"name": noun})
    few = Pool([tmp_path / "few"], words=False)
    assert scene(few, 0, "train", 0).names
    with pytest.raises(DataError, match="things: of cat, cow, dog, horse no scene can be made for test"):
        scene(few, 0, "test", 0, layouts={"pair": 1})


# ---- sprites ---------------------------------------------------------------------------------------------------------


def test_a_sprite_is_cropped_to_its_mask_and_knows_its_runs(shapes, cutouts):
    for cutout in [*shapes.pictures("train"), *cutouts.pictures("train")[:6], *shapes.words[:6]]:
        for length in (14, 29):
            s = sprite(cutout, length)
            assert abs(max(s.size) - length) <= 2 and s.mask.shape == s.size[::-1]
            assert s.mask.any(0)[[0, -1]].all() and s.mask.any(1)[[0, -1]].all()
            for side, x, y in (
                (64, 7, 3),
                (64, 0, 0),
                (64, 64 - s.size[0], 64 - s.size[1]),
                (s.size[1], 0, 0),
                (96, 50, 9),
            ):
                whole = np.zeros((side, max(side, s.size[0])), bool)
                whole[y : y + s.size[1], x : x + s.size[0]] = s.mask
                if whole.shape == (side, side):
                    assert s.segmentation(x, y, side) == rle.encode(whole)


def test_a_tint_keeps_the_mask_and_leaves_one_colour(cutouts):
    cutout = cutouts.pictures("train")[0]
    plain, red = sprite(cutout, 30), sprite(cutout, 30, "red")
    assert red.mask is plain.mask and red.picture != plain.picture
    r, g, b = np.asarray(red.picture)[red.mask].astype(int).T
    assert (r > g + 20).all() and (r > b + 20).all() and np.std(r) > 5


# ---- backgrounds -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(3)
    for n in range(10):
        small = Image.fromarray(random.integers(0, 256, (6, 9, 3), np.uint8))
        small.resize((900, 600), Image.Resampling.BICUBIC).save(folder / f"{n}.jpg")
    return backgrounds.load(folder, folder)


def test_photographs_are_split_and_pale_where_things_would_drown(photos, cutouts):
    assert {split: len(some) for split, some in photos.items()} == {"train": 6, "validation": 2, "test": 2}
    assert len({p.digest for some in photos.values() for p in some}) == 10
    assert min(min(p.picture.size) for p in photos["train"]) == 192
    drawn = [scene(cutouts, 5, "train", i, photos=photos["train"]) for i in range(120)]
    kinds = collections.Counter(s.background.kind for s in drawn)
    assert kinds["photo"] > 12 and set(kinds) == {"photo", "flat", "gradient", "plaster"}
    blends = {s.background.photo[-1] for s in drawn if s.background.kind == "photo"}
    assert 0.0 in blends and len(blends) > 1 and blends <= {0.0, 0.4, 0.7}
    for s in drawn:
        pixels = np.asarray(backgrounds.paint(s.background, s.side, photos["train"]))
        assert backgrounds.stand_out(s.things, pixels)
        assert all(backgrounds.stand_out([t], pixels) for t in s.things)


def test_too_few_photographs(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="--backgrounds: .* has 1 pictures; there must be at least 5"):
        backgrounds.load(tmp_path, tmp_path)


def test_pictures_are_png_of_the_right_size(drawn_examples):
    for _, png, _, _ in drawn_examples[::100]:
        picture = Image.open(io.BytesIO(png))
        assert picture.format == "PNG" and picture.mode == "RGB" and picture.size == (64, 64)
