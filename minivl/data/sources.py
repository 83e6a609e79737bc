"""Where examples come from: drawn scenes, or shards of pictures with text.

A source gives its examples in an order that is a pure function of (seed, epoch), so that a run can be resumed in the
middle of an epoch and sees what it would have seen. Nothing is decoded here: an example carries its picture as the
bytes of a file.

    source.examples()          one pass in the stored order, for evaluation
    source.examples(epoch)     one pass, shuffled for that epoch
    source.stream(start)       epoch after epoch, without end, from example number `start` on
    source.windows(step, ...)  the same in batches, from batch number `step` on
"""

import functools
import io
import itertools
import json
from collections import deque

import numpy as np

from minivl.data import moving
from minivl.data.questions import questions
from minivl.data.scenes import candidates, captions, draw, scene
from minivl.data.shards import DataError, Example, Problems, count_kinds, read_shards, shard_paths

_ORDER = 1  # keeps this generator's numbers apart from those of other uses of the same seed
_KEEP = 50_000  # drawn scenes that stay in memory: about 100 MB
_KEEP_BYTES = 64 << 20  # of shards' examples that stay in memory, so that a small set is read once
_SCENES = {"train": 20_000, "val": 1_000, "held-out": 1_000}
_CLIPS = {"train": 5_000, "val": 500}


def open_source(
    data,
    split="train",
    seed=0,
    *,
    strict=False,
    keep=None,
    shuffle_buffer=2048,
    need_caption=True,
    kind=None,
    distinct=False,
):
    """The source that `data` names: "scenes", "moving", "turning" (moving scenes of one object), each with ":500" for
    that many, or what `shard_paths` takes.

    split      for scenes "train", "val" or "held-out", for moving scenes "train" or "val"; for shards the examples of
               that split, and those that name none; None: "train", or all
    seed       of scenes and of every order
    strict     the first bad example is a `DataError` rather than counted in `source.problems`
    distinct   scenes: no two that one caption could describe, for retrieval
    keep, shuffle_buffer, need_caption, kind   see `ShardSource`
    """
    if is_drawn(data):
        name, colon, number = data.partition(":")
        if colon and not (number.isascii() and number.isdigit() and int(number) > 0):
            raise DataError(f"data: {data!r} must be {name} or {name}:COUNT, COUNT a whole number of at least 1")
        drawn = {
            "scenes": ScenesSource,
            "moving": MovingSource,
            "turning": functools.partial(MovingSource, turning=True),
        }
        return drawn[name](seed, split or "train", int(number) if colon else None, distinct=distinct)
    paths = shard_paths(data)
    options = {"shuffle_buffer": shuffle_buffer, "need_caption": need_caption, "kind": kind}
    return ShardSource(paths, seed, split=split, keep=keep, strict=strict, **options)


def is_drawn(data):
    """Whether `data` names what is drawn here: "scenes", "moving" or "turning", with a ":COUNT" if one likes."""
    return isinstance(data, str) and data.partition(":")[0] in ("scenes", "moving", "turning")


class Source:
    """What the sources share. `problems` counts what was skipped; with `strict` nothing is."""

    def __init__(self, seed, strict):
        self.seed, self.strict, self.problems = seed, strict, Problems()

    def stream(self, start=0):
        """Yields (epoch, Example) without end.   DataError: there is not one example."""
        epoch, start = divmod(start, max(1, self.length())) if start else (0, 0)
        while True:
            empty = start == 0
            for example in itertools.islice(self.examples(epoch), start, None):
                empty = False
                yield epoch, example
            if empty:
                raise DataError(f"{self}: no example to read; {self.problems}", "empty")
            epoch, start = epoch + 1, 0

    def windows(self, step, size, spares):
        """The examples of batch number `step`, of the next, ...: lists of (epoch, Example), without end.

        Each has `size` of them, and behind them the `spares` that come next and may stand in for broken ones.
        """
        stream = self.stream(step * size)
        window = deque(itertools.islice(stream, size + spares))
        while True:
            yield list(window)
            for _ in range(size):
                window.popleft()
                window.append(next(stream))

    def kinds(self):
        """{kind: how many examples}; see `minivl.data.shards.kind_of`"""
        return {self.kind: self.length()}

    def of_kind(self, kind):
        """The examples of one kind, as a source."""
        if kind not in self.kinds():
            raise ValueError(f"kind: {self} has no {kind!r}; it has {', '.join(self.kinds()) or 'nothing'}")
        return self

    def share_problems(self, problems):
        """What is skipped is counted in `problems`, which several sources may share."""
        self.problems = problems

    def _random(self, epoch):
        return np.random.default_rng([self.seed, epoch, 0, _ORDER])


class ScenesSource(Source):
    """`count` scenes of a split (see `minivl.data.scenes`), drawn when they are first asked for."""

    kind = "image-text"

    def __init__(self, seed=0, split="train", count=None, *, distinct=False, size=32):
        super().__init__(seed, strict=True)  # nothing to forgive: every scene is good
        self.split, self.size = split, size
        self.count = _SCENES.get(split, 1) if count is None else count
        if self.count < 1:
            raise ValueError(f"count: {self.count} scenes; there must be at least 1")
        scene(seed, split, 0)  # an unknown split is an error here, not in a thread later
        self.scenes = candidates(seed, split, self.count) if distinct else None  # else they are made as they are met
        self._drawn = {}

    def __str__(self):
        return f"scenes ({self.split})"

    def length(self):
        return self.count

    def examples(self, epoch=None):
        order = range(self.count) if epoch is None else self._random(epoch).permutation(self.count)
        for i in order:
            yield self._example(int(i))

    def _example(self, i):
        if i in self._drawn:
            return self._drawn[i]
        s = self.scenes[i] if self.scenes else scene(self.seed, self.split, i)
        file = io.BytesIO()
        draw(s, self.size).save(file, "PNG", compress_level=1)
        info = {"labels": s.labels, "split": self.split, "questions": questions(s)}
        example = Example(s.key, file.getvalue(), captions(s), info)
        if len(self._drawn) < _KEEP:
            self._drawn[i] = example
        return example


class MovingSource(Source):
    """`count` clips of a split (see `minivl.data.moving`), drawn when they are first asked for."""

    kind = "clip-text"

    def __init__(self, seed=0, split="train", count=None, *, distinct=False, size=32, turning=False):
        super().__init__(seed, strict=True)
        moving.clip(seed, split, 0)  # an unknown split is an error here
        self.split, self.size = split, size
        self.count = _CLIPS[split] if count is None else count
        self.turning = turning
        self.clips = moving.candidates(seed, split, self.count, turning) if distinct else None
        self._drawn = {}

    def __str__(self):
        return f"moving scenes ({self.split})"

    def length(self):
        return self.count

    def examples(self, epoch=None):
        order = range(self.count) if epoch is None else self._random(epoch).permutation(self.count)
        for i in order:
            yield self._example(int(i))

    def _example(self, i):
        if i in self._drawn:
            return self._drawn[i]
        c = self.clips[i] if self.clips else moving.clip(self.seed, self.split, i, turning=self.turning)
        file = io.BytesIO()
        moving.draw(c, self.size).save(file, "PNG", compress_level=1)
        about = {"labels": c.labels, "split": self.split, "frames": moving.FRAMES, "questions": moving.questions(c)}
        example = Example(c.key, file.getvalue(), moving.captions(c), about)
        if len(self._drawn) < _KEEP:
            self._drawn[i] = example
        return example


class ShardSource(Source):
    """Examples of WebDataset shards, streamed: an epoch permutes the shards, then shuffles within a buffer.

    paths            as `shard_paths` gives them
    split, keep      only examples whose info names this split (or none at all), only those for which keep(info) is true
    shuffle_buffer   examples held in memory; 1 keeps the order within a shard
    need_caption     False lets pictures with a label alone through
    kind             only examples of this kind, among them pictures without text, or text alone
    """

    def __init__(
        self,
        paths,
        seed=0,
        *,
        split=None,
        keep=None,
        strict=False,
        shuffle_buffer=2048,
        need_caption=True,
        kind=None,
    ):
        super().__init__(seed, strict)
        if shuffle_buffer < 1:
            raise ValueError(f"shuffle_buffer: {shuffle_buffer}; it must be at least 1")
        self.paths, self.split, self.keep = list(paths), split, keep
        self.shuffle_buffer, self.need_caption, self.kind = shuffle_buffer, need_caption, kind
        self._length, self._kept, self._room, self._read = None, {}, _KEEP_BYTES, set()

    def __str__(self):
        return f"{len(self.paths)} shard(s){f', split {self.split!r}' if self.split else ''}"

    def length(self):
        """How many examples a pass has, found by stepping through the tars once without reading a picture."""
        if self._length is None:
            options = {"need_caption": self.need_caption, "kind": self.kind}
            self._length = sum(count_kinds(self.paths, keep=self._wanted, **options).values())
        return self._length

    def kinds(self):
        kinds = count_kinds(self.paths, keep=self._wanted, kind=self.kind, need_caption=False, need_picture=False)
        return dict(sorted(kinds.items()))

    def of_kind(self, kind):
        options = {"split": self.split, "keep": self.keep, "strict": self.strict, "shuffle_buffer": self.shuffle_buffer}
        return ShardSource(self.paths, self.seed, kind=kind, **options)

    def examples(self, epoch=None):
        if epoch is None:
            yield from self._pass(self.paths)
            return
        random = self._random(epoch)
        paths = [self.paths[k] for k in random.permutation(len(self.paths))]
        buffer = []
        for example in self._pass(paths):
            if len(buffer) < self.shuffle_buffer:
                buffer.append(example)
                continue
            k = int(random.integers(len(buffer)))
            buffer[k], example = example, buffer[k]
            yield example
        for k in random.permutation(len(buffer)):
            yield buffer[k]

    def _pass(self, paths):
        return itertools.chain.from_iterable(map(self._shard, paths))

    def _shard(self, path):
        if path in self._kept:
            yield from self._kept[path]
            return
        # What is wrong with a shard is wrong in every epoch: it is counted once.
        problems = Problems() if path in self._read else self.problems
        options = {"keep": self._wanted, "need_caption": self.need_caption, "kind": self.kind}
        kept, room = [], self._room
        for example in read_shards([path], strict=self.strict, problems=problems, **options):
            if room >= 0:
                room -= _bytes(example)
                kept.append(example)
                if room < 0:
                    kept.clear()
            yield example
        self._read.add(path)
        if room >= 0:
            self._kept[path], self._room = kept, room

    def _wanted(self, info):
        if self.split is not None and info.get("split", self.split) != self.split:
            return False
        return self.keep is None or bool(self.keep(info))


def _bytes(example):
    """Roughly the memory that an example takes."""
    words = sum(map(len, example.captions)) + len(json.dumps(example.info))
    return 1000 + len(example.image or b"") + 4 * words
