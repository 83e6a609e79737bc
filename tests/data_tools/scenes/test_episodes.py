"""In-context episodes: one class, one mask in each picture, and a query that is no guess."""

import numpy as np
import pytest

from data_tools.scenes import episodes
from data_tools.scenes.cutouts import SPLITS
from minivl.data import rle


@pytest.mark.parametrize("name", ["shapes", "cutouts"])
def test_every_picture_has_the_class_once_and_its_mask(name, request):
    pool = request.getfixturevalue(name)
    for split in SPLITS:
        for i in range(8):
            asked, scenes = episodes.episode(pool, 0, split, i, side=64)
            assert len(scenes) == 4 and all(scene.count(asked) == 1 for scene in scenes)
            assert all(scene.things[0].noun == asked for scene in scenes)
            assert all(1 <= len(scene.things) <= 3 for scene in scenes) and len(scenes[-1].things) > 1
            beside = {t.noun for t in scenes[-1].things[1:]}
            assert any(beside & {t.noun for t in scene.things} for scene in scenes[:-1])
            key, strip, captions, info = episodes.example(pool, 0, split, i, side=64)
            pictures = np.asarray(strip).reshape(4, 64, 64, 3)
            assert info["frames"] == 4 == len(info["episode"]["pictures"]) and info["labels"] == [asked]
            for n, known in enumerate(info["episode"]["pictures"]):
                mask = rle.decode(known["segmentation"])
                assert known["label"] == asked and rle.box(known["segmentation"]) == known["bbox"]
                assert pictures[n][mask].std() >= 0 and mask.sum() == known["area"] > 20
                assert asked in known["caption"]
            assert captions == [info["episode"]["pictures"][-1]["caption"]]


@pytest.mark.parametrize("name", ["shapes", "cutouts"])
def test_classes_that_are_tested_are_in_no_training_episode(name, request):
    pool = request.getfixturevalue(name)
    classes = {split: set(pool.classes(split)) for split in SPLITS}
    assert all(classes.values())
    assert not classes["train"] & (classes["validation"] | classes["test"])
    assert not classes["validation"] & classes["test"]
    for split in SPLITS:
        asked = {episodes.episode(pool, 0, split, i, side=64)[0] for i in range(40)}
        assert asked == classes[split] or split == "train" and asked < classes[split]


def test_examples_are_different_pictures_as_far_as_there_are(cutouts):
    for i in range(12):
        _, scenes = episodes.episode(cutouts, 0, "train", i, side=64, k=2)
        assert len({scene.things[0].cutout.key for scene in scenes}) == 3


def test_where_the_thing_beside_the_query_was_met_is_not_told_by_place(cutouts):
    """The example that shares it with the query is in any place."""
    places = []
    for i in range(60):
        _, scenes = episodes.episode(cutouts, 0, "train", i, side=64)
        beside = scenes[-1].things[1].noun
        places += [n for n, scene in enumerate(scenes[:-1]) if scene.count(beside)][:1]
    assert np.bincount(places, minlength=3).min() > 8
