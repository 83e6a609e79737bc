"""Metrics beside pycocotools, pycocoevalcap and VQA's own evaluation code, on thousands of random cases."""

import metric_cases as cases
import numpy as np
import pytest

from minivl.data import rle
from minivl.metrics import box_iou, caption_scores, detection_scores, mask_iou
from minivl.metrics.caption_words import words
from minivl.metrics.vqa import answer_accuracy, normalised

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def coco_mask():
    return pytest.importorskip("pycocotools.mask", reason="needs the peers extra")


def test_masks_have_the_codes_of_pycocotools(coco_mask, random):
    for turn in range(3000):
        shape = random.integers(0, 40, 2)
        mask = random.random(shape) < random.random()
        mask = np.repeat(np.repeat(mask, 3, 0), 4, 1) if turn % 3 == 0 else mask
        theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        ours = rle.encode(np.asfortranarray(mask) if turn % 2 else mask)
        assert ours == {"size": theirs["size"], "counts": theirs["counts"].decode()}
        np.testing.assert_array_equal(rle.decode(theirs), coco_mask.decode(theirs))
        assert rle.area(ours) == coco_mask.area(theirs)
        assert rle.box(ours) == coco_mask.toBbox(theirs).tolist()


def test_outlines_become_the_masks_of_pycocotools(coco_mask, random):
    for _ in range(3000):
        H, W = random.integers(1, 60, 2).tolist()
        parts = cases.polygons(random, max(H, W))
        theirs = coco_mask.merge(coco_mask.frPyObjects(parts, H, W))
        assert rle.from_polygons(parts, (H, W))["counts"] == theirs["counts"].decode(), (H, W, parts)


def test_overlaps_are_those_of_pycocotools(coco_mask, random):
    for _ in range(1000):
        H, W, D, G = random.integers(1, 30, 2).tolist() + random.integers(1, 6, 2).tolist()
        found, truth = (rle.encode(random.random((n, H, W)) < random.random()) for n in (D, G))
        crowd = random.random(G) < 0.3
        np.testing.assert_array_equal(mask_iou(found, truth, crowd), coco_mask.iou(found, truth, crowd.tolist()))
        boxes = random.random((D, 4)) * 20, np.round(random.random((G, 4)) * 20)
        np.testing.assert_array_equal(box_iou(*boxes, crowd), coco_mask.iou(*boxes, crowd.tolist()))


def test_overlaps_of_larger_masks_are_those_of_pycocotools(coco_mask, random):
    """Blobs, noise, stripes and empty masks of every size in one list."""
    for _ in range(150):
        H, W, D, G = random.integers(1, 150, 2).tolist() + random.integers(1, 9, 2).tolist()
        y, x = np.mgrid[:H, :W]
        found, truth = [], []
        for made, count in ((found, D), (truth, G)):
            for _ in range(count):
                side, place = random.random(2) * max(H, W), random.random(2) * (H, W)
                disc = np.hypot(y - place[0], x - place[1]) < side[0]
                noise = random.random((H, W)) < random.random()
                rings = np.hypot(y - place[1], x - place[0]) % (2 + side[1]) < 1 + side[1] / 2
                made.append(rle.encode([disc, noise, disc & rings, disc & noise, disc & ~disc][random.integers(5)]))
        crowd = random.random(G) < 0.3
        np.testing.assert_array_equal(mask_iou(found, truth, crowd), coco_mask.iou(found, truth, crowd.tolist()))


def test_average_precision_is_that_of_pycocotools():
    pytest.importorskip("pycocotools", reason="needs the peers extra")
    for kind, truth, found in cases.small_worlds(seed=1, count=1500):
        theirs, ours = cases.coco_scores(truth, found, kind), detection_scores(truth, found, kind)
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-12)


def test_groups_by_frequency_are_means_of_pycocotools_categories():
    pytest.importorskip("pycocotools", reason="needs the peers extra")
    random = np.random.default_rng(2)
    truth, found = cases.detection_world(random, 30, 9, 8, 8, 200, "bbox", 0.03)
    evaluation = cases.coco_api(truth, found, "bbox")()
    frequency = {category: "rcf"[category % 3] for category in range(1, 10)}
    ours = detection_scores(truth, found, frequency=frequency)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    for group in "rcf":
        chosen = precision[:, :, [k for k, c in enumerate(evaluation.params.catIds) if frequency[c] == group]]
        assert ours[f"AP_{group}"] == pytest.approx(chosen[chosen > -1].mean())


def test_caption_scores_are_those_of_pycocoevalcap():
    pytest.importorskip("pycocoevalcap.cider.cider", reason="needs the peers extra")
    for references, captions in cases.caption_worlds(seed=1, count=3000):
        theirs, ours = (
            cases.caption_peer_scores(references, captions),
            caption_scores(references, captions, tokenize=str.split),
        )
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12), (references, captions)


def test_words_are_those_of_the_java_program():
    pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer", reason="needs the peers extra")
    theirs = cases.java_words(cases.written_captions(seed=1, count=5000))
    if theirs is None:
        pytest.skip("needs java")
    different = [caption for caption, expected in theirs.items() if " ".join(words(caption)) != expected]
    assert len(different) <= 0.01 * len(theirs), different[:5]


def test_answers_are_scored_as_by_the_official_code():
    if cases.vqa_official() is None:
        pytest.skip("needs salesforce-lavis, installed with --no-deps")
    some = list(cases.answer_worlds(seed=1, count=5000))
    theirs = cases.vqa_evaluation(some)
    for k, (answers, answer) in enumerate(some):
        assert 100 * answer_accuracy(answer, answers) == pytest.approx(theirs.evalQA[k], abs=1e-9)
        spaced = answer.replace("\n", " ").replace("\t", " ").strip()
        assert normalised(answer) == theirs.processDigitArticle(theirs.processPunctuation(spaced))
