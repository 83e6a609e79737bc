"""From a source to batches: pictures decoded, augmented and normalised in threads, one caption of each chosen.

    source.windows  -->  examples  -->  [ threads: decode, stack, augment, normalise, tokenize ]  -->  next(batches)

Batch number n is a pure function of the source, the seed and n. Threads only decide when it is made, not what it is,
and a run that starts at step n sees what an uninterrupted one sees there: every random choice comes from a generator
of (seed, n), and the examples from their place in the stream. A picture that turns out to be broken must not move that
place: the next good one of the examples that follow stands in for it, and still comes in its own turn.
"""

import itertools
import threading
import zlib

import numpy as np

from minivl.data.image import CLIP_MEAN, CLIP_STD, normalise, resize_and_crop
from minivl.data.shards import DataError, decode_image, kind_of

_CAPTION, _AUGMENT, _ASK = 2, 3, 4  # each use of a seed has its own generator
_SPARES = 64  # examples after a batch that may stand in for broken ones


def random_caption(example, random):
    """One of the example's captions, all equally likely."""
    return example.captions[random.integers(len(example.captions))]


class Batches:
    """An endless iterator of batches; a context manager, for its threads end with `close`.

        with Batches(source, tokenizer, 64, context_length=32, image_size=32) as batches:
            batch = next(batches)

    "image" (B, 3, S, S) float32, normalised   "text" (B, T) int64, T the longest of them   "lengths" (B,) int64
        clips are (B, 3, F, S, S)
    "same" (B, B) bool, whose caption is whose, so that twins are not told apart
    "key", "caption" lists of strings   "info" list of dicts   "epoch", "kind" (`shards.kind_of`) of the first example
        a batch of text alone has no "image"; one of pictures alone no "text", "lengths", "same", "caption"
    "question", "answer" lists of strings, "given" (B,) int64: only in a batch of questions, whose "text" is a question
        and its answer; so many tokens of it come before the answer
    "asked_of" (R,) int64: only where several questions are asked of a picture; there are then R texts, the r-th of
        them about picture asked_of[r]

    tokenizer     tokenizer(texts, context_length) -> ids (B, T), lengths (B,)
    augment       augment(images, random, step) -> images, on (B, 3, S, S) float32 in 0..1, before normalising
    caption       caption(example, random) -> the text to learn from
    workers       threads that make batches; the batches are the same whatever their number
    start_step    next() gives this batch first; nothing before it is decoded
    frames        of clips, evenly spaced; 1: of a clip its middle frame, as a picture
    questions     share of the batches that are of questions (info["questions"]) in place of captions
    questions_each   so many of each picture in such a batch, or as many as it has
    cache_bytes   memory for decoded pictures (uint8), so that later epochs of a small set decode nothing

    Errors in a thread come out of next(). DataError: no good picture in reach; with source.strict, the first bad one.
    """

    def __init__(
        self,
        source,
        tokenizer,
        batch_size,
        context_length,
        image_size,
        mean=CLIP_MEAN,
        std=CLIP_STD,
        seed=0,
        augment=None,
        workers=1,
        start_step=0,
        *,
        caption=random_caption,
        frames=1,
        questions=0.0,
        questions_each=1,
        cache_bytes=256 << 20,
    ):
        if min(batch_size, workers, questions_each) < 1 or start_step < 0:
            given = f"batch_size {batch_size}, workers {workers}, questions_each {questions_each}"
            raise ValueError(f"Batches: {given}, start_step {start_step}; must be at least 1, start_step at least 0")
        self.source, self.batch_size, self.seed = source, batch_size, seed
        self.tokenizer, self.context_length, self.caption = tokenizer, context_length, caption
        self.augment, self.mean, self.std = augment, mean, std
        self.questions, self.questions_each = questions, questions_each
        self.step = start_step  # of the batch that next() gives
        self._pictures = Pictures(source, image_size, cache_bytes, frames)
        windows = enumerate(source.windows(start_step, batch_size, _SPARES), start_step)
        self._prefetch = Prefetch(windows, self._make, workers)

    def __iter__(self):
        return self

    def __next__(self):
        batch = next(self._prefetch)
        self.step += 1
        return batch

    def close(self):
        """Ends the threads. Closing twice is fine; next() afterwards is an error."""
        self._prefetch.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _make(self, step_and_window):
        step, window = step_and_window
        examples, pictures = self._good(step, [example for _, example in window])
        batch = {**self._shown(step, pictures), **self._told(step, examples)}
        return {**batch, **about(examples), "kind": kind_of(examples[0]), "epoch": window[0][0]}

    def _shown(self, step, pictures):
        """What a batch holds of its pictures; of text alone nothing."""
        if not pictures:
            return {}
        images = to_images(pictures)
        if self.augment is not None:
            if images.ndim == 5:
                raise ValueError("augment: the random changes are those of pictures, not of clips; set it to 0")
            images = self.augment(images, np.random.default_rng([self.seed, step, 0, _AUGMENT]), step)
        return {"image": normalise(images, self.mean, self.std)}

    def _told(self, step, examples):
        """What a batch holds of words: captions, or questions with their answers; of pictures alone nothing."""
        random = np.random.default_rng([self.seed, step, 0, _CAPTION])
        if self.questions and np.random.default_rng([self.seed, step, 0, _ASK]).random() < self.questions:
            asked = ask(examples, random, self.tokenizer, self.questions_each)
            captions = [f"{q} {a}" for q, a in zip(asked["question"], asked["answer"], strict=True)]
        elif self.caption is random_caption and not any(example.captions for example in examples):
            return {}
        else:
            asked, captions = {}, [self.caption(example, random) for example in examples]
        words = tokenized(captions, self.tokenizer, self.context_length)
        longest = max(words["lengths"])  # pads beyond it would only cost time
        words["text"] = np.ascontiguousarray(words["text"][:, :longest])
        _, text = np.unique(captions, return_inverse=True)
        return {**words, **asked, "same": text[:, None] == text[None, :]}

    def _good(self, step, window):
        """The batch's examples and their pictures; spares stand in for those whose picture is broken."""
        batch, spares = window[: self.batch_size], iter(window[self.batch_size :])
        if kinds := self._not_together(batch):
            how = "do not make one batch; take them a kind at a time (minivl.data.mix.by_kind, batch_of one or turns)"
            raise DataError(f"batch {step}: {' and '.join(kinds)} {how}", "mixed kinds")
        pictures = []
        for slot, example in enumerate(batch):
            if example.image is None:
                continue
            picture = self._pictures(example)
            while picture is None:
                example = next(spares, None)
                if example is None:
                    why = f"none of {len(window)} examples in a row" if not pictures else "too few of the examples"
                    raise DataError(f"batch {step}: {why} could be decoded; {self.source.problems}")
                picture = self._pictures(example)
            batch[slot] = example
            pictures.append(picture)
        return batch, pictures

    def _not_together(self, examples):
        """The kinds of examples that do not make one batch; [] if they do."""

        def form(example):
            shown = "text" if example.image is None else "frames" if self._pictures.is_clip(example) else "picture"
            return shown, bool(example.captions) or self.caption is not random_caption

        return sorted(set(map(kind_of, examples))) if len(set(map(form, examples))) > 1 else []


def eval_batches(
    source, tokenizer, batch_size, context_length, image_size, mean=CLIP_MEAN, std=CLIP_STD, *, limit=None, frames=1
):
    """Yields one ordered pass over the source; the last batch may be short.

    The batches are like those of `Batches`, without "epoch": "text" is each example's first caption ("" if it has
    none), and "captions" has all of them, a list of lists.   limit: at most so many examples.
    Broken pictures are skipped and counted.   DataError: not one good example; with source.strict, the first bad one.
    """
    pictures = Pictures(source, image_size, limit=0, frames=frames)
    pairs = ((example, pictures(example)) for example in source.examples())
    good = itertools.islice(((example, picture) for example, picture in pairs if picture is not None), limit)
    seen = False
    while batch := list(itertools.islice(good, batch_size)):
        seen = True
        examples = [example for example, _ in batch]
        images = normalise(to_images([picture for _, picture in batch]), mean, std)
        first = [example.captions[0] if example.captions else "" for example in examples]
        yield {
            "image": images,
            **tokenized(first, tokenizer, context_length),
            **about(examples),
            "captions": [example.captions for example in examples],
        }
    if not seen:
        raise DataError(f"{source}: no example to read; {source.problems}", "empty")


def ask(examples, random, tokenizer, each=1):
    """What a batch of questions holds more: of each example one question, all equally likely, with one of its answers.

    each   so many different ones of each, or all that it has
    """
    chosen, asked_of = [], []
    for i, example in enumerate(examples):
        known = example.info.get("questions")
        if not known:
            raise DataError(f"{example.key}: it has no questions; leave the setting `questions` at 0", "no questions")
        n = len(known)
        rows = [random.integers(n)] if each == 1 else random.choice(n, min(each, n), replace=False)
        chosen += [known[row] for row in rows]
        asked_of += [i] * len(rows)
    questions = [one["question"] for one in chosen]
    answers = [one["answers"][random.integers(len(one["answers"]))] for one in chosen]
    given = np.array([1 + len(tokenizer.encode(question)) for question in questions])  # with the start token
    asked = {"question": questions, "answer": answers, "given": given}
    return asked if each == 1 else {**asked, "asked_of": np.array(asked_of)}


def to_images(pictures):
    """A list of (S, S, 3) or (F, S, S, 3) uint8  ->  (B, 3, S, S) or (B, 3, F, S, S) float32 in 0..1"""
    images = np.moveaxis(np.stack(pictures), -1, 1).astype(np.float32, order="C")
    images /= np.float32(255)
    return images


def tokenized(captions, tokenizer, context_length):
    ids, lengths = tokenizer(captions, context_length)
    return {"text": ids, "lengths": lengths, "caption": captions}


def about(examples):
    return {"key": [example.key for example in examples], "info": [example.info for example in examples]}


class Pictures:
    """An example's picture as (size, size, 3) uint8, or None if it is broken; kept while all fit in `limit` bytes.

    Of a clip, whose info tells its `frames`, it gives so many `frames`, evenly spaced: (frames, size, size, 3), or the
    middle one alone if that is 1.
    """

    def __init__(self, source, size, limit, frames=1):
        self.source, self.size, self.limit, self.frames = source, size, limit, frames
        self._kept, self._broken, self._counting = {}, set(), threading.Lock()

    def __call__(self, example):
        # Two shards may use one key for different pictures, so the content is part of the name.
        name = example.key, zlib.crc32(example.image)
        picture = self._kept.get(name)
        if picture is not None:
            return picture
        try:
            picture = self._frames(decode_image(example.image), example.info.get("frames", 1))
        except DataError as error:
            error = DataError(f"{example.key}: {error}", error.kind)
            if self.source.strict:
                raise error from None
            self._count(name, error)
            return None
        if (len(self._kept) + 1) * picture.nbytes <= self.limit:
            self._kept[name] = picture
        return picture

    def is_clip(self, example):
        """Whether it gives several frames."""
        return self.frames > 1 and example.info.get("frames", 1) != 1

    def _frames(self, picture, count):
        """A clip is stored as a strip, its frames one below the other."""
        if type(count) is not int or count < 1 or picture.height % count:
            raise DataError(f"frames is {count!r} of a strip {picture.height} high: must divide it", "broken clip")
        if count == 1:
            return np.asarray(resize_and_crop(picture, self.size))
        high = picture.height // count
        wanted = (np.arange(self.frames) * count + count // 2) // self.frames
        cuts = [picture.crop((0, f * high, picture.width, (f + 1) * high)) for f in wanted.tolist()]
        frames = np.stack([np.asarray(resize_and_crop(cut, self.size)) for cut in cuts])
        return frames if self.frames > 1 else frames[0]

    def _count(self, name, error):
        with self._counting:  # once, although it comes again in each epoch
            if name not in self._broken:
                self._broken.add(name)
                self.source.problems.add(error)


class Prefetch:
    """make(item) for the items of an iterator, in their order, made a few ahead by threads.

    Items are numbered. A thread takes the next one under a lock, makes it beside the others, and lays it down under its
    number, where next() waits for it. Nobody takes an item more than `ahead` places in front of next().
    """

    def __init__(self, items, make, workers=1, ahead=None):
        self._items, self._make, self._ahead = items, make, ahead or workers + 2
        self._taken = self._given = 0
        self._ready = {}  # number -> (result, error)
        self._end = None  # what ended the items: an error, StopIteration among them
        self._closed = False
        self._reading, self._changed = threading.Lock(), threading.Condition()
        new = {"target": self._work, "name": "minivl-prefetch", "daemon": True}
        self._threads = [threading.Thread(**new) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def __iter__(self):
        return self

    def __next__(self):
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._given in self._ready or self._all_given())
            if self._closed:
                raise RuntimeError("next: these batches are closed")
            if self._all_given():
                raise self._end
            result, error = self._ready.pop(self._given)
            self._given += 1
            self._changed.notify_all()
        if error is not None:
            raise error
        return result

    def close(self):
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._ready.clear()

    def _all_given(self):
        return self._end is not None and self._given == self._taken

    def _work(self):
        while (taken := self._take()) is not None:
            number, item = taken
            try:
                made = self._make(item), None
            except BaseException as error:  # whatever it is, the reader must not wait for it for ever
                made = None, error
            with self._changed:
                self._ready[number] = made
                self._changed.notify_all()

    def _take(self):
        """(number, item), or None when there is nothing left to do."""
        with self._reading:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._taken < self._given + self._ahead)
            if self._closed or self._end is not None:
                return None
            try:
                item = next(self._items)
            except BaseException as error:
                with self._changed:
                    self._end = error
                    self._changed.notify_all()
                return None
            number, self._taken = self._taken, self._taken + 1  # only its holder of `_reading` writes it
            return number, item
