"""Frozen-feature evaluation: how much do the pictures' features tell, if nothing below them may learn?

Where `model.frozen_features` gives one vector a picture, a linear probe names the class (CLIP, sec. 3.2); where it
gives tokens, a new pooler of one query and a linear map (CoCa, sec. 3.3). The pictures that these learn from and those
that they are judged by are kept apart.
"""

import zlib

import numpy as np

from . import ops, optim
from .array import to_device
from .evaluate import device_of_model, labels_of
from .linear_probe import choose_strength, fit_linear_probe
from .models.coca import PooledClassifier
from .tensor import no_grad


def frozen(model, examples, steps=300, batch_size=128, lr=3e-3, seed=0):
    """{"accuracy", "chance", "commonest", ...} on the examples that were not learned from.

    examples   as `evaluate.open_examples` gives them, each with exactly one label, else ValueError
    chance     1 / number of classes
    commonest  what naming the commonest class every time would reach
    """
    labels = [labels_of(info) for info in examples["info"]]
    if wrong := [key for key, own in zip(examples["key"], labels, strict=True) if len(own) != 1]:
        raise ValueError(f"frozen features are judged on examples of one label each; {wrong[0]} has another number")
    names, classes = np.unique([own[0] for own in labels], return_inverse=True)
    learned = training_rows(examples)
    if len(names) < 2 or learned.all() or not learned.any():
        raise ValueError(f"frozen features need two classes and two pictures or more; here: {', '.join(names)}")
    features = _features(model, examples["image"])
    if features.ndim == 2:
        told = _probed(features, classes, learned, examples["key"])
    else:
        classifier = _fit(model, features[learned], classes[learned], len(names), steps, batch_size, lr, seed)
        with no_grad():
            parts = [classifier(x).numpy().argmax(-1) for x in _batches(features[~learned], model, batch_size)]
        told = np.concatenate(parts)
    right = told == classes[~learned]
    commonest = np.bincount(classes[learned]).argmax()
    return {
        "accuracy": float(right.mean()),
        "chance": 1 / len(names),
        "commonest": float((classes[~learned] == commonest).mean()),
        "classes": len(names),
        "trained_on": int(learned.sum()),
        "judged_by": int((~learned).sum()),
    }


def training_rows(examples):
    """(N,) True where an example is learned from: its split is train; if all are, or none, 4 of 5 by their key."""
    rows = np.array([info.get("split") == "train" for info in examples["info"]])
    if rows.all() or not rows.any():
        rows = np.array([zlib.crc32(key.encode()) % 5 != 0 for key in examples["key"]])
    return rows


def _probed(features, classes, learned, keys):
    """What a linear probe calls the pictures that it did not learn from. A fifth of the others chooses its strength."""
    x, known = features[learned], classes[learned]
    held_out = np.array([zlib.crc32(key.encode()) % 25 // 5 == 0 for key in np.asarray(keys)[learned]])
    sure = 0 < held_out.sum() < len(held_out)
    W, b = fit_linear_probe(x, known, strength=choose_strength(x, known, held_out) if sure else 1e-3)
    return (features[~learned] @ W + b).argmax(-1)


def _fit(model, patches, classes, count, steps, batch_size, lr, seed):
    random, c = np.random.default_rng(seed), model.config
    classifier = PooledClassifier(c.width, c.heads, count, random).to(device_of_model(model))
    optimizer = optim.AdamW(optim.decay_groups(classifier.named_parameters(), 0.05), lr=lr)
    for step in range(steps):
        rows = random.integers(len(patches), size=min(batch_size, len(patches)))
        classifier.zero_grad()
        target = to_device(classes[rows], device_of_model(model))
        ops.cross_entropy(classifier(to_device(patches[rows], device_of_model(model))), target).backward()
        optimizer.lr = optim.warmup_cosine(step, lr, steps // 20, steps)
        optimizer.step()
    return classifier


def _features(model, images, batch_size=64):
    """images (N, 3, S, S) -> what the frozen encoder makes of them, (N, C) or (N, patches, C)"""
    with no_grad():
        return np.concatenate([model.frozen_features(x).numpy() for x in _batches(images, model, batch_size)])


def _batches(arrays, model, batch_size):
    for b in range(0, len(arrays), batch_size):
        yield to_device(arrays[b : b + batch_size], device_of_model(model))
