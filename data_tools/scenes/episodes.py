"""In-context episodes: a few pictures of one class with its mask and a description, then a query picture.

    picture 1: a dog and a bus    mask of the dog    "a small dog at the top left"
    picture 2: a tree and a dog   mask of the dog    "a dog left of the tree"
    query:     a bus and a dog    mask?              "?"

What is asked for is never said: it is what the examples have in common. What is beside it in the query is beside it in
one example as well, so that being there is not enough. Episodes are split by class: the classes that validation and
testing ask for, and all of their pictures, are in no training episode; in scenes made for training they may be.
"""

import functools

from PIL import Image

from data_tools.scenes import regions
from data_tools.scenes.compose import compose, draw, generator, thing
from data_tools.scenes.cutouts import SPLITS
from data_tools.scenes.examples import thing_info
from data_tools.scenes.record import Scene


def episode(pool, seed, split, i, side=96, k=3, photos=()):
    """(class, k + 1 scenes) of episode number `i`; the first thing of each scene is of the class, and no other is."""
    random = generator(seed, SPLITS.index(split), i, 4)
    classes = _classes(pool, split)
    nouns = list(classes)
    while True:
        asked = nouns[int(random.integers(len(nouns)))]
        others = [noun for noun in (nouns if len(nouns) > 4 else _every(pool)) if noun != asked]
        others = [others[n] for n in random.permutation(len(others))[: 2 * k + 1]]
        decoy, others = others[0], others[1:]
        shown, scenes = _some(random, classes[asked], k + 1), []
        for n in range(k + 1):
            beside = [decoy] if n in (0, k) else []
            beside += [others[(2 * n + m) % len(others)] for m in range(int(random.integers(1 - len(beside), 2)))]
            cutouts = [shown[n], *(_any(random, pool, split, noun) for noun in beside)]
            chosen = [thing(random, pool, cutout, m + 1) for m, cutout in enumerate(cutouts)]
            if not (arranged := compose(random, chosen, "any", side, photos)):
                break
            things, _, background = arranged
            scenes.append(Scene(f"{split}-{seed}-{i:06d}-{n}", split, side, "any", None, things, background))
        if len(scenes) == k + 1:
            return asked, [scenes[n] for n in (*random.permutation(k).tolist(), k)]


@functools.lru_cache(maxsize=8)
def _classes(pool, split):
    return pool.classes(split)


@functools.lru_cache(maxsize=2)
def _every(pool):
    return [noun for split in SPLITS for noun in _classes(pool, split)]


def _any(random, pool, split, noun):
    """A picture of any noun: of the split's own classes, or a drawn shape."""
    found = _classes(pool, split).get(noun) or next(c[noun] for s in SPLITS if noun in (c := _classes(pool, s)))
    return found[int(random.integers(len(found)))]


def _some(random, pictures, n):
    """n pictures, different ones as far as there are."""
    order = random.permutation(len(pictures)).tolist()
    return [pictures[order[m % len(order)]] for m in range(n)]


def example(pool, seed, split, i, side=96, k=3, photos=()):
    """(key, picture, captions, info): the picture is a strip of the k + 1 pictures, the query last."""
    asked, scenes = episode(pool, seed, split, i, side, k, photos)
    random = generator(seed, SPLITS.index(split), i, 5)
    strip = Image.new("RGB", (side, side * len(scenes)))
    pictures = []
    for n, scene in enumerate(scenes):
        strip.paste(draw(scene, photos), (0, n * side))
        said = regions.description(random, scene, scene.things[0])
        pictures.append({**thing_info(scene.things[0], side), "caption": said})
    info = {
        "split": split,
        "frames": len(scenes),
        "labels": [asked],
        "episode": {"class": asked, "pictures": pictures},
    }
    return f"{split}-{seed}-{i:06d}", strip, [pictures[-1]["caption"]], info
