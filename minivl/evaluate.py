"""What a trained model can do, in numbers: retrieval, captions, answers, zero-shot classes, each beside chance.

Pictures and clips are measured by the same functions: `--data moving` makes of retrieval video-text retrieval.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from .array import device_of, to_device
from .data import DataError, open_source
from .data.augment import Augment
from .data.batches import eval_batches
from .data.image import denormalise, normalise
from .data.scenes import describes, draw, redraw
from .data.sources import ScenesSource, is_drawn
from .metrics import caption_scores, nearest_neighbour, retrieval_scores, vqa_scores
from .tensor import no_grad

TEMPLATES = (
    "{}",
    "a {}",
    "a picture of a {}",
    "a drawing of a {}",
    "a photo of the {}",
    "there is a {}",
)

# Of all the changes that pictures are trained with, only small ones of the geometry.
_MOVED = replace(Augment().scaled(0.0), rotation=8.0, scale=0.12, aspect=0.12, shift=0.06)


def open_examples(
    model, data, split=None, labels=None, limit=None, batch_size=64, seed=1, *, strict=False, need_caption=True
):
    """The examples of `data` as one dict of arrays and lists, pictures as the model takes them.

    data           "scenes" or "moving" (then `limit` of them that no caption confuses) or shards
    split          of the data; for what is drawn here "val" if not given, for shards all
    labels         only examples that have one of these
    seed           of the scenes; not 0, which is that of training, and by which the recipes here were chosen
    strict         the first broken example is a DataError; otherwise they are skipped, and counted in a warning
    need_caption   False: pictures that have only labels count too
    """
    if is_drawn(data):
        if labels is not None:
            raise ValueError(f"labels {', '.join(labels)}: scenes are not sorted by label; choose shards")
        name = data if ":" in data else f"{data}:{limit or 100}"
        source = open_source(name, split=split or "val", seed=seed, distinct=True)
    else:
        keep = None if labels is None else lambda info: not set(labels).isdisjoint(labels_of(info))
        source = open_source(data, split=split, keep=keep, strict=strict, need_caption=need_caption)
    c = model.config
    sizes = (batch_size, c.context, c.image_size, c.image_mean, c.image_std)
    try:
        parts = list(eval_batches(source, model.tokenizer, *sizes, limit=limit, frames=getattr(c, "frames", 1)))
    except DataError as error:
        chosen = [f"{what} {value!r}" for what, value in (("split", split), ("labels", labels)) if value]
        raise DataError(f"{data}{', '.join(['', *chosen])}: {error}", error.kind) from None
    source.problems.warn()
    whole = {name: [x for part in parts for x in part[name]] for name in parts[0]}
    for name in ("image", "text", "lengths"):
        whole[name] = np.concatenate([part[name] for part in parts])
    whole["scenes"] = source.scenes[: len(whole["key"])] if isinstance(source, ScenesSource) else None
    return whole


def labels_of(info):
    """An example's labels as strings: its info's `labels`, or its one `label`; [] where it has neither."""
    labels = info.get("labels")
    labels = labels if isinstance(labels, list) else [info.get("label")]
    return [str(label) for label in labels if isinstance(label, (str, int)) and label != ""]


def embed_images(model, images, batch_size=64, views=1):
    """images (N, 3, S, S), or clips -> (N, C) of length 1.   views: average over it and slightly moved copies of it"""
    found, encode = [], model.encode_video if images.ndim == 5 else model.encode_image
    with no_grad():
        for b in range(0, len(images), batch_size):
            copies = _views(model, images[b : b + batch_size], views)
            mean = sum(encode(to_device(copy, device_of_model(model))).numpy() for copy in copies)
            found.append(mean / np.linalg.norm(mean, axis=-1, keepdims=True))
    return np.concatenate(found)


def embed_texts(model, text, lengths, batch_size=64):
    """text (N, T), lengths (N,) -> (N, C) of length 1"""
    device, found = device_of_model(model), []
    with no_grad():
        for b in range(0, len(text), batch_size):
            rows = slice(b, b + batch_size)
            found.append(model.encode_text(to_device(text[rows], device), to_device(lengths[rows], device)).numpy())
    return np.concatenate(found)


def device_of_model(model):
    return device_of(model.parameters()[0].data)


def _views(model, images, n):
    """The pictures, and n - 1 copies turned, stretched and shifted a little, the same ones at every call."""
    yield images
    random, mean, std = np.random.default_rng(0), model.config.image_mean, model.config.image_std
    for _ in range(n - 1):
        yield normalise(_MOVED(np.clip(denormalise(images, mean, std), 0, 1), random), mean, std)


def retrieval(model, examples, gallery=None, views=1):
    """R@1, R@5, median rank and chance in both directions; with a gallery, what raw pixels find beside them.

    gallery   another picture (3, S, S) for each example: the baseline finds it by comparing pixels
    """
    pictures = embed_images(model, examples["image"], views=views)
    scores = retrieval_scores(pictures, embed_texts(model, examples["text"], examples["lengths"]))
    if gallery is not None:
        scores["nearest_neighbour"] = nearest_neighbour(gallery, examples["image"])
    return scores


def gallery_of(model, examples, data=None, labels=None, seed=1):
    """For each example another picture of the same thing.

    Scenes are drawn anew, with other places, sizes, shades and background. Otherwise `data` is searched for an example
    with the same first caption; ValueError names the first that has none.
    """
    if examples["scenes"] is not None:
        random = np.random.default_rng(seed)
        size = model.config.image_size
        return np.stack([model.preprocess(draw(redraw(scene, random), size)) for scene in examples["scenes"]])
    others = open_examples(model, data, labels=labels)
    place = {captions[0]: i for i, captions in reversed(list(enumerate(others["captions"])))}
    missing = [captions[0] for captions in examples["captions"] if captions[0] not in place]
    if missing:
        raise ValueError(f"gallery {data} has no picture of {missing[0]!r} ({len(missing)} missing in all)")
    return np.stack([others["image"][place[captions[0]]] for captions in examples["captions"]])


def captioner(model):
    """Its `generate`; ValueError where it has none."""
    if not hasattr(model, "generate"):
        raise ValueError(f"{type(model).__name__} writes no captions, it only compares pictures with texts")
    return model.generate


def captioning(model, examples, batch_size=64, **options):
    """Captions for all pictures: the share that is exactly right, and CIDEr by what was written of them.

    Of a scene, a caption is right if it says all that is there and nothing else, in any words of the grammar; of other
    pictures, if it is one of the picture's own captions, but for capitals.
    """
    generate, captions = captioner(model), []
    for b in range(0, len(examples["image"]), batch_size):
        captions += generate(to_device(examples["image"][b : b + batch_size], device_of_model(model)), **options)
    if examples["scenes"] is not None:
        right = [describes(caption, scene) for caption, scene in zip(captions, examples["scenes"], strict=True)]
    else:
        told = [{c.strip().lower() for c in some} for some in examples["captions"]]
        right = [caption.strip().lower() in some for caption, some in zip(captions, told, strict=True)]
    cider = caption_scores(dict(enumerate(examples["captions"])), dict(enumerate(captions)))["CIDEr"]
    scores = {"exactly_right": float(np.mean(right)), "CIDEr": cider, "pictures": len(captions)}
    return {**scores, "captions": captions, "right": right}


def answering(model, examples, batch_size=64):
    """Answers to all the questions of all examples, written word by word: how many are right, in all and by kind.

    exact_match, accuracy   see metrics.vqa_scores; commonest: the exact match of each kind's commonest answer
    """
    if not hasattr(model, "answer"):
        raise ValueError(f"{type(model).__name__} answers no questions")
    asked = [(i, q) for i, info in enumerate(examples["info"]) for q in info.get("questions", ())]
    if not asked:
        raise ValueError("these examples have no questions; --data scenes and --data moving do")
    found, device = [], device_of_model(model)
    for b in range(0, len(asked), batch_size):
        rows, questions = zip(*asked[b : b + batch_size], strict=True)
        images = to_device(examples["image"][list(rows)], device)
        found += model.answer(images, [q["question"] for q in questions])
    truth = {n: q["answers"] for n, (_, q) in enumerate(asked)}
    kinds = {n: q.get("kind", "all") for n, (_, q) in enumerate(asked)}
    said = {
        kind: Counter(truth[n][0] for n in truth if kinds[n] == kind).most_common(1)[0][0] for kind in kinds.values()
    }
    scores = vqa_scores(truth, dict(enumerate(found)), kinds)
    blind = vqa_scores(truth, {n: said[kind] for n, kind in kinds.items()}, kinds)
    for part, guess in ((scores, blind), *((scores["by_kind"][k], blind["by_kind"][k]) for k in said)):
        part["commonest"] = guess["exact_match"]
    return {**scores, "answers": found}


def zeroshot(model, examples, templates=TEMPLATES):
    """Which of all class names belongs to a picture, told by text alone: prompts of each name, averaged (CLIP, CoCa).

    A picture may have several classes (see `labels_of`); naming any one of them is right.
    """
    own = [set(labels_of(info)) for info in examples["info"]]
    names = sorted(set().union(*own))
    if len(names) < 2 or not all(own):
        without = f", {sum(not some for some in own)} of {len(own)} have none"
        raise ValueError(f"zero-shot classification needs examples with labels; these have {names or 'none'}{without}")
    classifier = model.zeroshot_classifier(names, templates).numpy()
    order = np.argsort(-(embed_images(model, examples["image"]) @ classifier), axis=1)
    hit = np.array([[names[j] in some for j in row[:5]] for row, some in zip(order, own, strict=True)])
    chance = float(np.mean([len(some) / len(names) for some in own]))
    return {"top1": float(hit[:, 0].mean()), "top5": float(hit.any(1).mean()), "chance": chance, "classes": len(names)}
