"""Average precision: against the definition in plain loops, against frozen results of pycocotools, and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from minivl.data import rle
from minivl.metrics import box_iou, detection_scores, frequency_groups, mask_iou
from minivl.metrics.detection import AREAS, RECALLS, THRESHOLDS

FROZEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text(encoding="utf-8"))["detection"]


def overlaps(truth, found, kind):
    """{(image, category): (objects, their areas, detections from the surest down, their areas, IoU)}"""
    shape, compare = ("bbox", box_iou) if kind == "bbox" else ("segmentation", mask_iou)

    def area(thing):
        return thing["bbox"][2] * thing["bbox"][3] if kind == "bbox" else rle.area(thing["segmentation"])

    made = {}
    for image in sorted(truth):
        for category in {o["category_id"] for o in truth[image] + found.get(image, [])}:
            objects = [o for o in truth[image] if o["category_id"] == category]
            those = [d for d in found.get(image, []) if d["category_id"] == category]
            those.sort(key=lambda d: -d["score"])
            crowd = [bool(o.get("iscrowd")) for o in objects]
            iou = compare([d[shape] for d in those], [o[shape] for o in objects], crowd)
            areas = [o.get("area", area(o)) for o in objects], [area(d) for d in those]
            made[image, category] = crowd, areas[0], those, areas[1], iou
    return made


def loop_curve(overlaps, category, area, threshold, most):
    """[(score, right)] of one category, and how many objects there are: COCO's protocol, one thing at a time."""
    low, high = AREAS[area]
    verdicts, objects = [], 0
    for (_, own), (crowd, areas, those, sizes, iou) in overlaps.items():
        if own != category:
            continue
        counts = [low <= a <= high and not c for a, c in zip(areas, crowd, strict=True)]
        objects += sum(counts)
        taken = set()
        for k, detection in enumerate(those[:most]):
            free = [g for g in range(len(crowd)) if iou[k, g] >= threshold and (g not in taken or crowd[g])]
            best = max(free, key=lambda g: (counts[g], iou[k, g], g), default=None)
            if best is None and low <= sizes[k] <= high:
                verdicts.append((detection["score"], False))
            elif best is not None:
                taken.add(best)
                if counts[best]:
                    verdicts.append((detection["score"], True))
    return sorted(verdicts, key=lambda v: -v[0]), objects


def loop_ap(overlaps, area="all", thresholds=THRESHOLDS, most=100):
    """AP and AR of the curves: means over categories and thresholds; -1 where no category has an object."""
    aps, recalls = [], []
    for category in {category for _, category in overlaps}:
        for threshold in thresholds:
            verdicts, objects = loop_curve(overlaps, category, area, threshold, most)
            if not objects:
                continue
            right = np.cumsum([v for _, v in verdicts])
            recalls.append(right[-1] / objects if len(right) else 0)
            precision = [r / (n + 1) for n, r in enumerate(right)]
            aps += [
                max([p for p, r in zip(precision, right, strict=True) if r / objects >= at], default=0)
                for at in RECALLS
            ]
    return (np.mean(aps), np.mean(recalls)) if recalls else (-1, -1)


def small_world(random, kind):
    """A few pictures with a few things, and detections near them; scores and boxes are often equal."""

    def thing(box, category):
        made = {"category_id": category, "bbox": box.tolist()}
        if kind == "segm":
            y, x = np.mgrid[:60, :60]
            inside = (abs(x + 0.5 - box[0] - box[2] / 2) < box[2] / 2) & (
                abs(y + 0.5 - box[1] - box[3] / 2) < box[3] / 2
            )
            made["segmentation"] = rle.encode(inside)
        return made

    truth, found = {}, {}
    for image in range(random.integers(1, 4)):
        truth[image], found[image] = [], []
        for _ in range(random.integers(0, 5)):
            box = np.round(np.append(random.random(2) * 30, 5 + random.random(2) * 45))
            category = str(random.integers(3))
            truth[image].append({**thing(box, category), "iscrowd": int(random.random() < 0.2)})
            for _ in range(random.integers(0, 4)):
                moved = np.maximum(0, box + random.integers(-3, 4, 4))
                score = round(float(random.random()), 1)
                found[image].append({**thing(moved, category if random.random() < 0.8 else "1"), "score": score})
    return truth, found


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_scores_equal_the_loops(random, kind):
    for _ in range(12):
        truth, found = small_world(random, kind)
        if not any(truth.values()):
            continue
        scores = detection_scores(truth, found, kind, max_detections=(1, 2, 100))
        loops = overlaps(truth, found, kind)
        for area in AREAS:
            ap, recall = loop_ap(loops, area)
            end = "" if area == "all" else f"_{area}"
            assert scores[f"AP{end}"] == pytest.approx(ap), area
            assert scores[f"AR{end or '100'}"] == pytest.approx(recall), area
        assert scores["AP50"] == pytest.approx(loop_ap(loops, thresholds=[0.5])[0])
        assert scores["AR2"] == pytest.approx(loop_ap(loops, most=2)[1])


@pytest.mark.parametrize("case", range(len(FROZEN)))
def test_scores_equal_what_pycocotools_gave(case):
    frozen = FROZEN[case]
    truth, found = ({int(i): some for i, some in frozen[name].items()} for name in ("truth", "found"))
    scores = detection_scores(truth, found, frozen["kind"])
    for name, expected in frozen["scores"].items():
        assert scores[name] == pytest.approx(expected, abs=1e-12), name


def objects(*boxes, **more):
    return [{"category_id": 1, "bbox": list(box), **more} for box in boxes]


def test_by_hand():
    truth = {0: objects((0, 0, 10, 10), (20, 0, 10, 10))}
    found = {
        0: [
            {**o, "score": s}
            for o, s in zip(objects((0, 0, 10, 10), (50, 50, 9, 9), (20, 0, 10, 10)), (3, 2, 1), strict=True)
        ]
    }
    scores = detection_scores(truth, found)
    # right, wrong, right: precision 1 up to recall 1/2 (51 of the 101 places), then 2/3
    assert scores["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101) == scores["by_category"][1]
    assert scores["AR1"] == 0.5 and scores["AR100"] == 1 and scores["AP_large"] == -1


def test_perfect_detections_score_1_and_none_score_0():
    truth = {k: objects((0, 0, 10 * k + 1, 40), (100, 0, 200, 200)) for k in range(3)}
    perfect = {k: [{**o, "score": 0.5} for o in some] for k, some in truth.items()}
    assert detection_scores(truth, perfect)["AP"] == pytest.approx(1)
    assert detection_scores(truth, {})["AP"] == 0 and detection_scores(truth, {})["AR100"] == 0
    assert detection_scores({0: []}, {0: perfect[0]})["AP"] == -1  # there is nothing to find


def test_a_part_of_a_crowd_counts_neither_way():
    truth = {0: objects((0, 0, 50, 50)) + objects((100, 100, 80, 80), iscrowd=1)}
    found = {0: [{**o, "score": s} for o, s in zip(objects((110, 110, 9, 9), (0, 0, 50, 50)), (2, 1), strict=True)]}
    assert detection_scores(truth, found)["AP"] == pytest.approx(1)
    truth[0][1]["iscrowd"] = 0
    assert detection_scores(truth, found)["AP"] < 0.5


def test_groups_by_frequency():
    groups = frequency_groups({"cat": 5000, "abacus": 10, "kettle": 11, "owl": 100, "fig": 101})
    assert groups == {"cat": "f", "abacus": "r", "kettle": "c", "owl": "c", "fig": "f"}
    truth = {0: [{"category_id": name, "bbox": [0, 0, 10, 10]} for name in ("cat", "abacus", "fig")]}
    found = {0: [{"category_id": name, "bbox": [0, 0, 10, 10], "score": 1} for name in ("cat", "abacus")]}
    scores = detection_scores(truth, found, frequency=groups)
    assert scores["AP_r"] == pytest.approx(1) and scores["AP_f"] == pytest.approx(0.5) and scores["AP_c"] == -1
    with pytest.raises(ValueError, match="frequency: says nothing of category fig"):
        detection_scores(truth, found, frequency={"cat": "f", "abacus": "r"})


@pytest.mark.parametrize(
    "truth, found, kind, words",
    [
        ({0: []}, {1: []}, "bbox", "picture 1 is none"),
        ({0: objects((0, 0, 1, 1))}, {}, "keypoints", "kind"),
        ({0: objects((0, 0, 1, 1))}, {}, "segm", "segmentation must be a mask"),
        ({0: objects((0, 0, 1, 1))}, {0: [{"category_id": 1, "score": 1}]}, "bbox", "found: .* bbox must be"),
        ({0: [{"bbox": [0, 0, 1, 1]}]}, {}, "bbox", "truth: .* category_id"),
        ({0: ["object"]}, {}, "bbox", "truth: object; it must be a dict"),
        ({0: [{"category_id": [1], "bbox": [0, 0, 1, 1]}]}, {}, "bbox", "category_id"),
        ({0: objects((0, 0, 1, 1), area="large")}, {}, "bbox", "area must be a number"),
        ({0: objects((0, 0, np.nan, 1))}, {}, "bbox", "bbox must be .* finite"),
        (
            {0: objects((0, 0, 1, 1))},
            {0: [{**objects((0, 0, 1, 1))[0], "score": np.nan}]},
            "bbox",
            "score must be .* finite",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(truth, found, kind, words):
    with pytest.raises(ValueError, match=words):
        detection_scores(truth, found, kind)
