"""Random cases for metrics, and what the packages of others make of them: for tests, golden files and the benchmark."""

import contextlib
import copy
import importlib.util
import io
import random
import shutil
from pathlib import Path

import numpy as np

from minivl.data import rle

COCO_NAMES = ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"]
COCO_NAMES += ["AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"]
SCENE_WORDS = "a red blue green cat dog apple car left of above the small big bird tree on".split()  # noqa: SIM905


# ---- detection -------------------------------------------------------------------------------------------------------


def detection_world(random, images, categories, objects, strays, side, kind, jitter, grid=0):
    """truth, found: boxes or ellipses of any size, detections near them or astray; on a grid, much of it is equal."""

    def thing(box, category):
        box = np.round(box / grid) * grid if grid else np.round(box, 2)
        made = {"category_id": category, "bbox": box.tolist()}
        if kind == "segm":
            x, y = (np.arange(side) - box[k] - box[k + 2] / 2 for k in (0, 1))
            wide, high = np.maximum(box[2:], 1) / 2
            made["segmentation"] = rle.encode((x / wide) ** 2 + (y / high)[:, None] ** 2 <= 1)
        return made

    def score():
        return round(float(random.random()), 1 if grid else 6)

    def category():
        return int(random.integers(1, categories + 1))

    truth, found = {}, {}
    for image in random.permutation(3 * images)[:images].tolist():
        truth[image], detections = [], []
        for _ in range(random.integers(0, objects + 1)):
            size = side * random.random(2) ** 2
            box = np.concatenate([random.random(2) * (side - size), size])
            one = {**thing(box, category()), "iscrowd": int(random.random() < 0.1)}
            one["area"] = rle.area(one["segmentation"]) if kind == "segm" else one["bbox"][2] * one["bbox"][3] * 0.7
            truth[image].append(one)
            for _ in range(random.integers(0, 3)):
                moved = box + random.normal(size=4) * jitter * side
                moved[2:] = abs(moved[2:])
                chosen = one["category_id"] if random.random() < 0.9 else category()
                detections.append({**thing(moved, chosen), "score": score()})
        for _ in range(random.integers(0, strays + 1)):
            size = side * random.random(2)
            box = np.concatenate([random.random(2) * (side - size), size])
            detections.append({**thing(box, category()), "score": score()})
        if detections or random.random() < 0.5:
            found[image] = detections
    return truth, found


def small_worlds(seed, count):
    """(kind, truth, found) of every sort, with at least one object."""
    random = np.random.default_rng(seed)
    made = 0
    while made < count:
        kind = ("bbox", "segm")[made % 2]
        side = int(random.choice([20, 120, 400] if kind == "bbox" else [16, 48, 120]))
        sizes = [int(random.integers(*span)) for span in ((1, 8), (1, 5), (0, 7), (0, 4))]
        jitter, grid = random.choice([0, 0.02, 0.1]), int(random.choice([0, 1, 4]))
        truth, found = detection_world(random, *sizes, side, kind, jitter, grid)
        if any(truth.values()):
            made += 1
            yield kind, truth, found


def coco_api(truth, found, kind):
    """pycocotools' objects for the same: a function that evaluates them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    shape = "bbox" if kind == "bbox" else "segmentation"
    objects = [{**o, "image_id": image} for image, some in truth.items() for o in some]
    objects = [{**o, "id": n + 1} for n, o in enumerate(objects)]  # an id of 0 would count as no match
    side = objects[0]["segmentation"]["size"][0] if kind == "segm" else 0
    names = ("category_id", "score", shape)
    detections = [{"image_id": image} | {n: d[n] for n in names} for image, some in found.items() for d in some]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image, "height": side, "width": side} for image in truth],
            "categories": [{"id": c} for c in sorted({o["category_id"] for o in objects})],
            "annotations": copy.deepcopy(objects),
        }
        coco.createIndex()

    def evaluate():
        with contextlib.redirect_stdout(io.StringIO()):
            if detections:
                results = coco.loadRes(copy.deepcopy(detections))
            else:  # loadRes cannot take none
                results = COCO()
                results.dataset = {**coco.dataset, "annotations": []}
                results.createIndex()
            evaluation = COCOeval(coco, results, kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return evaluation

    return evaluate


def coco_scores(truth, found, kind):
    return dict(zip(COCO_NAMES, map(float, coco_api(truth, found, kind)().stats), strict=True))


def polygons(random, side):
    """Outlines of one object: with corners outside the picture, on its border, on halves of pixels, and knots."""
    parts = []
    for _ in range(random.integers(1, 4)):
        corners = random.integers(3, 12)
        spread = [
            random.random((corners, 2)) * 1.2 * side - 0.1 * side,
            random.integers(-2, side + 2, (corners, 2)).astype(float),
            random.integers(0, 4 * side, (corners, 2)) / 4,
        ]
        parts.append(spread[random.integers(3)].ravel().tolist())
    return parts


# ---- captions --------------------------------------------------------------------------------------------------------


def caption_worlds(seed, count):
    """(references, captions) of few words, so that much is shared; some of one picture, some empty or short."""
    draw = random.Random(seed)
    for k in range(count):
        vocabulary = SCENE_WORDS[: draw.randint(1, len(SCENE_WORDS))]
        least = 0 if k % 3 == 0 else 1

        def sentence(longest, vocabulary=vocabulary, least=least):
            return " ".join(draw.choices(vocabulary, k=draw.randint(least, longest)))

        pictures = range(draw.randint(1, 12) if k % 10 else 1)
        references = {i: [sentence(draw.choice([2, 5, 12])) for _ in range(draw.randint(1, 6))] for i in pictures}
        captions = {i: draw.choice(references[i]) if draw.random() < 0.4 else sentence(12) for i in pictures}
        if any(text for some in references.values() for text in some):  # pycocoevalcap fails where there is no word
            yield references, captions


def large_caption_world(pictures=5000):
    draw = random.Random(0)
    sentence = lambda: " ".join(draw.choices(SCENE_WORDS, k=draw.randint(4, 14)))  # noqa: E731
    references = {i: [sentence() for _ in range(5)] for i in range(pictures)}
    return references, {i: sentence() for i in references}


def caption_peer_scores(references, captions):
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    listed = {i: [caption] for i, caption in captions.items()}
    bleu = Bleu(4).compute_score(references, listed, verbose=0)[0]
    rouge, cider = Rouge().compute_score(references, listed)[0], Cider().compute_score(references, listed)[0]
    return {**{f"BLEU-{n}": score for n, score in enumerate(bleu, 1)}, "ROUGE-L": float(rouge), "CIDEr": float(cider)}


WRITTEN = """a the man woman dog's cat is isn't doesn't sitting on table, red and white black-and-white t-shirt with two
    3 10 hot-dogs near it's they're street. people men's bus. train; umbrella (left) "stop" sign that says o'clock 1st
    50% can't building, trees - grass of St. Mr. playing frisbee! zebra? U.S. 5 p.m. cannot A/C w/o i'm couldn't 1950's
    we've 3,000 1/2 R&B 7:30 etc. 20-year-old ‘quoted’ “text” naïve café"""


def written_captions(seed, count):
    """Captions with what people put into them: contractions, numbers, abbreviations, brackets, quotation marks."""
    draw, parts = random.Random(seed), WRITTEN.split()
    for _ in range(count):
        yield " ".join(draw.choices(parts, k=draw.randint(3, 13))).capitalize() + draw.choice(
            [".", "", " .", "!", "..."]
        )


def java_words(captions):
    """{caption: words of PTBTokenizer, joined by spaces}; None where there is no Java."""
    if shutil.which("java") is None:
        return None
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    captions = list(captions)
    found = PTBTokenizer().tokenize({k: [{"caption": caption}] for k, caption in enumerate(captions)})
    return {caption: found[k][0] for k, caption in enumerate(captions)}


# ---- answers ---------------------------------------------------------------------------------------------------------

ANSWERS = (
    """yes no 2 two Ten a the An dog dogs 1,000 3.5 .5 ... U.S. it's its don't dont red, / blue-green - ( ? ! ; [x]
    @home somebody'd Im none 10:30 it's. a.b 5. white cat's couldnt've wheelchair """
    + '"'
)


def answer_worlds(seed, count):
    """(what ten people answered, an answer) of odd parts."""
    draw, parts = random.Random(seed), ANSWERS.split()

    def answer():
        return draw.choice([" ", "", "\n", "  "]).join(draw.choice(parts) for _ in range(draw.randint(0, 4)))

    for _ in range(count):
        pool = [answer() for _ in range(draw.randint(1, 3))]
        answers = [draw.choice(pool) for _ in range(10)]
        yield answers, draw.choice(answers) if draw.random() < 0.7 else answer()


class _Questions:
    def __init__(self, answers):
        self.qa = answers

    def getQuesIds(self):
        return list(self.qa)


def vqa_official():
    """The class of VQA's own evaluation code, as the package salesforce-lavis has it; None where it is not there."""
    found = importlib.util.find_spec("lavis")
    if found is None:
        return None
    path = Path(found.origin).parent / "common" / "vqa_tools" / "vqa_eval.py"  # by path: the package wants much else
    spec = importlib.util.spec_from_file_location("vqa_eval", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.VQAEval


def vqa_evaluation(cases):
    """VQA's own evaluation of [(answers, answer)]; its evalQA[k] is in per cent."""
    people = {
        k: {
            "answers": [{"answer": a, "answer_id": n} for n, a in enumerate(answers)],
            "question_type": "",
            "answer_type": "",
        }
        for k, (answers, _) in enumerate(cases)
    }
    evaluation = vqa_official()(
        _Questions(people), _Questions({k: {"answer": a} for k, (_, a) in enumerate(cases)}), n=12
    )
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
    return evaluation
