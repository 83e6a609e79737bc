"""Detection: average precision and recall of boxes or masks, by COCO's protocol, and by how frequent a category is.

Within a picture and a category, detections are taken from the surest down. Each takes the free object that it covers
best, if their IoU is at least t. Then a category's detections in all pictures are sorted from the surest down:

    precision(n) = right among the first n / n           recall(n) = right among the first n / objects
    P(r)         = max of precision(n) over all n with recall(n) >= r          (0 where recall never gets there)
    AP           = mean of P(r) over r = 0, 0.01, ..., 1, over t = 0.50, 0.55, ..., 0.95, and over categories
    AR_k         = mean over t and categories of the recall with at most k detections in each picture

Source: Lin et al. 2014, arXiv 1405.0312, and the evaluation code of the COCO API (pycocotools), whose details these
are: a crowd, or an object outside the range of areas asked for, counts neither if it is found nor if it is not; an
object of the range is preferred to one outside; a detection that finds nothing counts only if its area is in the range.
The groups r, c, f (rare, common, frequent) are LVIS's: Gupta et al. 2019, arXiv 1908.03195.
"""

from collections.abc import Hashable, Mapping

import numpy as np

from minivl.data.rle import Runs
from minivl.metrics.overlap import _box_iou, _mask_iou, _Strips

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the IoU
RECALLS = np.linspace(0, 1, 101)
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}  # pixels


def detection_scores(truth, found, kind="bbox", *, frequency=None, max_detections=(1, 10, 100)):
    """{"AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100", "AR_small", "AR_medium",
    "AR_large", "by_category": {category: AP}}

    truth       {image: [object]}      an object has category_id, and bbox [x, y, width, height] or segmentation (a mask
                                       as `rle.encode` makes it); also area (else that of its box or mask), iscrowd
    found       {image: [detection]}   a detection has category_id, score, and bbox or segmentation
    kind        "bbox" or "segm"
    frequency   {category: "r", "c" or "f"}: adds "AP_r", "AP_c", "AP_f", the mean AP of each group's categories
    max_detections   how many count in each picture and category; AP is of the last

    -1 stands where there is nothing to be found, as in COCO's own tools.
    """
    if kind not in ("bbox", "segm"):
        raise ValueError(f'kind: {kind!r}; it must be "bbox" or "segm"')
    for name, lists in (("truth", truth), ("found", found)):
        if not isinstance(lists, Mapping) or not all(isinstance(some, (list, tuple)) for some in lists.values()):
            raise ValueError(f"{name}: {str(lists)[:80]}; it must be a dict of lists")
    if strangers := found.keys() - truth.keys():
        raise ValueError(f"found: picture {min(map(str, strangers))} is none of truth's")
    most = sorted(max_detections)
    objects, detections, categories = _table(truth, found, kind)
    detections = _sorted_and_cut(detections, most[-1])
    right, ignored = _match(objects, detections, _pairs(objects, detections, kind))
    precision, recall = _curves(objects, detections, right, ignored, len(categories), most)
    return _summary(precision, recall, categories, most, frequency)


def frequency_groups(images):
    """{category: its number of training pictures}  ->  {category: "r" (at most 10), "c" (at most 100) or "f"}"""
    return {category: "r" if n <= 10 else "c" if n <= 100 else "f" for category, n in images.items()}


# ---- to arrays -------------------------------------------------------------------------------------------------------


def _table(truth, found, kind):
    """Objects and detections as dicts of arrays with one entry each, in the order of the pictures; the categories."""
    order = {image: n for n, image in enumerate(sorted(truth, key=lambda image: (isinstance(image, str), image)))}
    lists = {"truth": truth, "found": found}
    pairs = {
        name: [(order[i], _thing(name, o)) for i in order for o in some.get(i, ())] for name, some in lists.items()
    }
    categories = list(dict.fromkeys(o["category_id"] for _, o in pairs["truth"]))
    number = {category: n for n, category in enumerate(categories)}
    tables = []
    for name, things in pairs.items():
        things = [(i, o) for i, o in things if o["category_id"] in number]
        own = [o for _, o in things]
        table = {"image": np.array([i for i, _ in things], np.int64)}
        table["category"] = np.array([number[o["category_id"]] for o in own], np.int64)
        table |= _shapes(name, own, kind)
        if name == "truth":
            given = [o.get("area", area) for o, area in zip(own, table["area"], strict=True)]
            table["area"] = _numbers(name, "area", own, given, ())
            table["crowd"] = np.array([bool(o.get("iscrowd")) for o in own], bool)
        else:
            table["score"] = _numbers(name, "score", own, [o.get("score") for o in own], ())
        tables.append(table)
    return *tables, categories


def _thing(name, thing):
    if not isinstance(thing, dict) or not isinstance(thing.get("category_id"), Hashable):
        raise ValueError(f"{name}: {str(thing)[:80]}; it must be a dict with category_id, a number or a text")
    if thing.get("category_id") is None:
        raise ValueError(f"{name}: {str(thing)[:80]}; it has no category_id")
    return thing


def _numbers(name, field, own, values, shape):
    """(N, *shape) float64, all finite."""
    for o, value in zip(own, values, strict=True):
        try:
            array = np.asarray(value, np.float64)
            good = array.shape == shape and np.isfinite(array).all()
        except (TypeError, ValueError, OverflowError):
            good = False
        if not good:
            wanted = "[x, y, width, height]" if shape else "a number"
            raise ValueError(f"{name}: {str(o)[:80]}; its {field} must be {wanted}, and finite")
    return np.array(values, np.float64).reshape(-1, *shape)


def _shapes(name, own, kind):
    """{"box" (N, 4), "area" (N,)}, and "mask" (Runs)."""
    if kind == "bbox":
        box = _numbers(name, "bbox", own, [o.get("bbox") for o in own], (4,))
        return {"box": box, "area": box[:, 2] * box[:, 3]}
    for o in own:
        if not isinstance(o.get("segmentation"), dict):
            wanted = "a mask; outlines become one by rle.from_polygons"
            raise ValueError(f"{name}: {str(o)[:80]}; its segmentation must be {wanted}")
    masks = Runs.of([o["segmentation"] for o in own])
    return {"mask": masks, "box": masks.boxes(), "area": masks.areas()}


def _sorted_and_cut(detections, most):
    """Sorted by picture and category, the surest first, and at most `most` of each; "rank" counts them from 0."""
    keys = detections["image"], detections["category"], -detections["score"]
    order = np.lexsort(keys[::-1])
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(keys[0][order]) != 0) | (np.diff(keys[1][order]) != 0)
    begin = np.flatnonzero(new)
    rank = np.arange(len(order)) - np.repeat(begin, np.diff(begin, append=len(order)))
    kept = order[rank < most]
    table = {name: values[kept] for name, values in detections.items() if name != "mask"}
    return {**table, "rank": rank[rank < most], "mask": detections.get("mask"), "number": kept}


# ---- matching --------------------------------------------------------------------------------------------------------


def _pairs(objects, detections, kind):
    """d, g, iou (P,): the detections and objects of one picture and category that cover each other by 0.5 or more.

    Sorted by detection, and within one from the least wanted to the most: by IoU, then by place in truth.
    """
    many = 1 + max((t["category"].max(initial=0) for t in (objects, detections)), default=0)
    group = [t["image"] * many + t["category"] for t in (objects, detections)]
    order = np.argsort(group[0], kind="stable")
    first, end = (np.searchsorted(group[0][order], group[1], side) for side in ("left", "right"))
    d = np.repeat(np.arange(len(group[1])), end - first)
    g = order[np.arange(len(d)) - np.repeat(np.cumsum(end - first) - end, end - first)]
    boxes = detections["box"][d], objects["box"][g]
    iou = _box_iou(*boxes, objects["crowd"][g])
    if kind == "segm":
        d, g = d[iou > 0], g[iou > 0]
        strips = _Strips(objects["mask"].behind(detections["mask"]), len(detections["mask"]))
        iou = _mask_iou(strips, detections["number"][d], g, objects["crowd"][g])
    near = iou >= THRESHOLDS[0]
    d, g, iou = d[near], g[near], iou[near]
    order = np.lexsort((g, iou, d))
    return d[order], g[order], iou[order]


def _match(objects, detections, pairs):
    """right, ignored (A, T, D): whether a detection found an object, and whether it counts neither way.

    What a detection may take depends only on surer ones of its picture and category. So the surest of all pictures and
    categories choose at once, then all the second, and so on, each for every area and threshold.
    """
    d, g, iou = pairs
    not_counted = _outside(objects) | objects["crowd"]  # (A, objects)
    shape = len(AREAS), len(THRESHOLDS)
    free = np.ones((*shape, len(objects["area"])), bool)
    right = np.zeros((*shape, len(detections["rank"])), bool)
    ignored = np.repeat(_outside(detections)[:, None], len(THRESHOLDS), 1)
    enough = iou >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]  # (T, P)
    preferred = np.arange(1, len(d) + 1) + ~not_counted[:, g] * len(d)  # (A, P)

    turn = detections["rank"][d]
    for rank in np.unique(turn):
        p = np.flatnonzero(turn == rank)
        allowed = enough[:, p] & (free[..., g[p]] | objects["crowd"][g[p]])
        begin = np.flatnonzero(np.diff(d[p], prepend=-1))
        best = np.maximum.reduceat(allowed * preferred[:, None, p], begin, axis=2)  # 0: none
        area, threshold, chooser = np.nonzero(best)
        chosen = (best[area, threshold, chooser] - 1) % max(1, len(d))
        free[area, threshold, g[chosen]] = False
        right[area, threshold, d[chosen]] = True
        ignored[area, threshold, d[chosen]] = not_counted[area, g[chosen]]
    return right, ignored


def _outside(things):
    """(A, N): whose area is not in each of the ranges."""
    low, high = np.array(list(AREAS.values())).T[:, :, None]
    return (things["area"] < low) | (things["area"] > high)


# ---- precision and recall --------------------------------------------------------------------------------------------


def _curves(objects, detections, right, ignored, categories, most):
    """precision (T, R, K, A) at RECALLS, recall (T, K, A, M) with at most so many detections; -1: nothing to find"""
    A, T, _ = right.shape
    precision = np.full((T, len(RECALLS), categories, A), -1.0)
    recall = np.full((T, categories, A, len(most)), -1.0)
    order = np.lexsort((-detections["score"], detections["category"]))
    first = np.searchsorted(detections["category"][order], np.arange(categories + 1))
    counted = ~(_outside(objects) | objects["crowd"])
    wanted = np.stack(
        [np.bincount(objects["category"], weights=row, minlength=categories) for row in counted]
    )  # (A, K)
    for k in range(categories):
        own = order[first[k] : first[k + 1]]
        hit, counts = right[:, :, own] & ~ignored[:, :, own], ~ignored[:, :, own]
        for a in np.flatnonzero(wanted[:, k]):
            objects_k = int(wanted[a, k])
            precision[:, :, k, a] = _at_recalls(hit[a], counts[a], objects_k)
            within = detections["rank"][own] < np.array(most)[:, None]
            recall[:, k, a] = (hit[a][:, None] & within).sum(2) / objects_k
    return precision, recall


def _at_recalls(hit, counts, objects):
    """P(r) at all RECALLS.   hit, counts (T, n): which detections are right, and which count   ->   (T, R)"""
    T, n = hit.shape
    hits = np.cumsum(hit, 1)
    precision = hits / (np.cumsum(counts, 1) + np.spacing(1))
    best_after = np.maximum.accumulate(np.where(hit, precision, 0)[:, ::-1], 1)[:, ::-1]
    needed = np.searchsorted(np.arange(objects + 1) / objects, RECALLS)  # so many hits make this recall
    row, column = np.nonzero(hit)
    begin = np.searchsorted(row, np.arange(T + 1))
    at = begin[:-1, None] + np.maximum(needed, 1) - 1
    reached = at < begin[1:, None]
    place = column[np.where(reached, at, 0)] if len(column) else np.zeros(at.shape, np.int64)
    return np.where(reached, best_after[np.arange(T)[:, None], place] if n else 0.0, 0.0)


def _summary(precision, recall, categories, most, frequency):
    def mean(values):
        there = values[values > -1]
        return float(there.mean()) if len(there) else -1.0

    def at(threshold):
        return precision[np.isclose(THRESHOLDS, threshold), ..., 0]

    scores = {"AP": mean(precision[..., 0]), "AP50": mean(at(0.5)), "AP75": mean(at(0.75))}
    sizes = list(enumerate(AREAS))[1:]
    scores |= {f"AP_{name}": mean(precision[..., a]) for a, name in sizes}
    scores |= {f"AR{k}": mean(recall[:, :, 0, m]) for m, k in enumerate(most)}
    scores |= {f"AR_{name}": mean(recall[:, :, a, -1]) for a, name in sizes}
    if frequency is not None:
        if missing := set(categories) - frequency.keys():
            raise ValueError(f"frequency: says nothing of category {min(map(str, missing))}")
        groups = np.array([frequency[category] for category in categories])
        scores |= {f"AP_{group}": mean(precision[:, :, groups == group, 0]) for group in "rcf"}
    scores["by_category"] = {category: mean(precision[:, :, k, 0]) for k, category in enumerate(categories)}
    return scores
