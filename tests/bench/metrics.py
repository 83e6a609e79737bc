"""What metrics cost beside pycocotools, pycocoevalcap and VQA's own code: python tests/bench/metrics.py [--quick]

Both do the same work in one process, in turns; the results are checked to be equal first. A number is the median of the
rounds, the ratio is theirs over ours: above 1, ours is faster. Needs the peers extra.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "peers"), str(HERE.parents[1])]

import metric_cases as cases  # noqa: E402
import numpy as np  # noqa: E402

from minivl.data import rle  # noqa: E402
from minivl.metrics import caption_scores, detection_scores, mask_iou, vqa_scores  # noqa: E402


def captions(pictures):
    def made(quick):
        references, written = cases.large_caption_world(min(pictures, 200) if quick else pictures)
        return (
            f"caption scores of {len(written):,} captions with 5 references, words given",
            lambda: caption_scores(references, written, tokenize=str.split),
            lambda: cases.caption_peer_scores(references, written),
            lambda ours, theirs: np.allclose(list(ours.values()), [theirs[name] for name in ours], rtol=1e-9),
        )

    return made


def answers(count):
    def made(quick):
        some = list(cases.answer_worlds(seed=0, count=min(count, 200) if quick else count))
        truth, found = ({k: pair[part] for k, pair in enumerate(some)} for part in (0, 1))
        return (
            f"VQA accuracy of {len(some):,} answers",
            lambda: vqa_scores(truth, found)["accuracy"],
            lambda: cases.vqa_evaluation(some),
            lambda ours, theirs: np.isclose(100 * ours, theirs.accuracy["overall"], atol=1e-9),
        )

    return made


def detection(kind, images, objects, strays, side, categories=20):
    """AP of so many pictures, each of at most so many objects and so many detections of nothing."""

    def made(quick):
        few, size = (min(10, images), min(100, side)) if quick else (images, side)
        world = np.random.default_rng(0)
        truth, found = cases.detection_world(world, few, categories, objects, strays, size, kind, 0.03)
        detections = sum(map(len, found.values()))
        return (
            f"{'box' if kind == 'bbox' else 'mask'} AP, {few} pictures of {size} x {size}, {detections:,} detections",
            lambda: detection_scores(truth, found, kind),
            cases.coco_api(truth, found, kind),
            lambda ours, theirs: np.allclose([ours[n] for n in cases.COCO_NAMES], theirs.stats, atol=1e-12),
        )

    return made


def masks(what, N, side, noise=False):
    """encode, decode or IoU of N masks of side x side pixels, which are blobs as objects are, or noise."""

    def made(quick):
        from pycocotools import mask as coco

        random, size = np.random.default_rng(0), min(side, 64) if quick else side
        y, x = np.mgrid[:size, :size]
        disc = lambda: np.hypot(*(v - size * random.random() for v in (x, y))) < size * (0.05 + 0.2 * random.random())  # noqa: E731
        pixels = random.random((N, size, size)) < 0.5 if noise else np.stack([disc() | disc() for _ in range(N)])
        by_column = np.asfortranarray(pixels.transpose(1, 2, 0).astype(np.uint8))  # how each of the two likes them best
        ours, theirs = rle.encode(pixels), coco.encode(by_column)
        pixels = np.ascontiguousarray(pixels.transpose(0, 2, 1)).transpose(0, 2, 1)
        return (
            f"{what} {N} masks of {size} x {size}" + ", noise" * noise,
            {
                "encode": lambda: rle.encode(pixels),
                "decode": lambda: rle.decode(ours),
                "IoU of": lambda: mask_iou(ours, ours),
            }[what],
            {
                "encode": lambda: coco.encode(by_column),
                "decode": lambda: coco.decode(theirs),
                "IoU of": lambda: coco.iou(theirs, theirs, [0] * N),
            }[what],
            {
                "encode": lambda a, b: [m["counts"] for m in a] == [m["counts"].decode() for m in b],
                "decode": lambda a, b: np.array_equal(a, b.transpose(2, 0, 1)),
                "IoU of": np.array_equal,
            }[what],
        )

    return made


CASES = [captions(5000), captions(10), answers(5000), answers(10)]
CASES += [detection("bbox", 500, 12, 60, 640)]
CASES += [
    detection("segm", *world)
    for world in ((60, 12, 60, 480), (30, 60, 60, 480, 5), (500, 2, 2, 480, 80), (2, 3, 3, 64, 2))
]
CASES += [masks(what, N, side) for what in ("encode", "decode", "IoU of") for N, side in ((20, 480), (20, 64), (1, 64))]
CASES += [masks("IoU of", 100, 480), masks("IoU of", 300, 480), masks("IoU of", 20, 120, noise=True)]


def compare(case, quick):
    """A row: what, ours and theirs in ms, their ratio, and how far the rounds' ratios spread."""
    name, ours, theirs, equal = case(quick)
    if not equal(ours(), theirs()):
        raise RuntimeError(f"{name}: the results differ")
    begin = time.perf_counter()
    theirs()
    repeats = max(1, int(0.05 / (time.perf_counter() - begin)))
    times = [[timed(ours, repeats), timed(theirs, repeats)] for _ in range(1 if quick else 7)]
    mine, other = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    ratios = [b / a for a, b in times]
    spread = f"{min(ratios):.2g} to {max(ratios):.2g}"
    return f"| {name} | {mine:.3g} | {other:.3g} | {statistics.median(ratios):.2g} | {spread} |"


def timed(function, repeats):
    begin = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - begin) / repeats


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="small cases, one round: to see that it runs")
    quick = parser.parse_args(arguments).quick
    print("| what | minivl, ms | theirs, ms | theirs / ours | spread |\n|---|---|---|---|---|")
    for case in CASES:
        print(compare(case, quick), flush=True)


if __name__ == "__main__":
    main()
