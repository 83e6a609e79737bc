"""What a trained model can do, in numbers: retrieval, captions, zero-shot classes, each beside chance."""

import numpy as np

from .data import open_source
from .data.batches import eval_batches
from .data.scenes import describes, draw, redraw
from .data.sources import ScenesSource
from .metrics import nearest_neighbour, retrieval_scores
from .tensor import no_grad

TEMPLATES = (
    "{}",
    "a {}",
    "a picture of a {}",
    "a drawing of a {}",
    "a photo of the {}",
    "there is a {}",
)


def open_examples(model, data, split=None, labels=None, limit=None, batch_size=64, seed=0):
    """The examples of `data` as one dict of arrays and lists, pictures as the model takes them.

    data     "scenes" (then `limit` scenes that no caption confuses) or shards
    split    of the data; for scenes "val" if not given
    labels   only examples whose label is one of these
    """
    scenes = isinstance(data, str) and data.partition(":")[0] == "scenes"
    if scenes:
        name = data if ":" in data else f"scenes:{limit or 100}"
        source = open_source(name, split=split or "val", seed=seed, distinct=True)
    else:
        keep = None if labels is None else lambda info: info.get("label") in labels
        source = open_source(data, split=split, keep=keep)
    c = model.config
    parts = list(
        eval_batches(
            source, model.tokenizer, batch_size, c.context, c.image_size, c.image_mean, c.image_std, limit=limit
        )
    )
    source.problems.warn()
    whole = {
        name: [x for part in parts for x in part[name]] for name in parts[0] if name not in ("image", "text", "lengths")
    }
    for name in ("image", "text", "lengths"):
        whole[name] = np.concatenate([part[name] for part in parts])
    whole["scenes"] = source.scenes if isinstance(source, ScenesSource) else None
    return whole


def embed(model, examples, batch_size=64, views=1):
    """(pictures (N, C), texts (N, C)) as unit vectors.   views: average over so many shifted copies of a picture"""
    pictures, texts = [], []
    with no_grad():
        for b in range(0, len(examples["image"]), batch_size):
            rows = slice(b, b + batch_size)
            images = examples["image"][rows]
            mean = sum(model.encode_image(view).numpy() for view in _views(images, views))
            pictures.append(mean / np.linalg.norm(mean, axis=-1, keepdims=True))
            texts.append(model.encode_text(examples["text"][rows], examples["lengths"][rows]).numpy())
    return np.concatenate(pictures), np.concatenate(texts)


def _views(images, n):
    """The pictures, and n - 1 copies shifted by a pixel or mirrored: edges are repeated where a shift leaves a gap."""
    moves = [(0, 0, 1), (0, 0, -1), (1, 0, 1), (-1, 0, 1), (0, 1, 1), (0, -1, 1)]
    if not 1 <= n <= len(moves):
        raise ValueError(f"views is {n}, must be from 1 to {len(moves)}")
    for down, right, mirror in moves[:n]:
        padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
        H, W = images.shape[2:]
        yield np.ascontiguousarray(padded[:, :, 1 + down : 1 + down + H, 1 + right : 1 + right + W][..., ::mirror])


def retrieval(model, examples, gallery=None, views=1):
    """R@1, R@5, median rank and chance in both directions; with a gallery, what raw pixels find beside them.

    gallery   another picture (3, S, S) for each example: the baseline finds it by comparing pixels
    """
    scores = retrieval_scores(*embed(model, examples, views=views))
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


def captioning(model, examples, batch_size=64, **options):
    """Captions for all pictures, and the share that is exactly right.

    Of a scene, a caption is right if it says all that is there and nothing else, in any words of the grammar; of other
    pictures, if it is one of the picture's own captions, but for capitals.
    """
    captions = []
    for b in range(0, len(examples["image"]), batch_size):
        captions += model.generate(examples["image"][b : b + batch_size], **options)
    if examples["scenes"] is not None:
        right = [describes(caption, scene) for caption, scene in zip(captions, examples["scenes"], strict=True)]
    else:
        told = [{c.strip().lower() for c in some} for some in examples["captions"]]
        right = [caption.strip().lower() in some for caption, some in zip(captions, told, strict=True)]
    return {"exactly_right": float(np.mean(right)), "pictures": len(captions), "captions": captions, "right": right}


def zeroshot(model, examples, templates=TEMPLATES):
    """Which of all class names belongs to a picture, told by text alone: prompts of each name, averaged (CLIP, CoCa).

    A picture's classes are its info's `labels`, or its `label`; naming any one of them is right.
    """
    own = [set(info.get("labels") or [info.get("label")]) for info in examples["info"]]
    names = sorted({name for some in own for name in some if name})
    if len(names) < 2:
        raise ValueError(f"zero-shot classification needs examples with labels; these have {names or 'none'}")
    classifier = model.zeroshot_classifier(names, templates).numpy()
    pictures, _ = embed(model, examples)
    order = np.argsort(-(pictures @ classifier), axis=1)
    hit = np.array([[names[j] in some for j in row[:5]] for row, some in zip(order, own, strict=True)])
    chance = float(np.mean([len(some) / len(names) for some in own]))
    return {"top1": float(hit[:, 0].mean()), "top5": float(hit.any(1).mean()), "chance": chance, "classes": len(names)}
