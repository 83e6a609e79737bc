"""Several sources as one: which of them the next example is from, or the next batch.

    sources  -->  mix  -->  batches

    Mix([a, b])                                each example from a or b, as often as their sizes say
    Mix([a, b], "sqrt")                        ... as the roots of their sizes say: a small set is met more often
    Mix([a, b], [3, 1])                        ... three of four from a
    Mix([a, b], "even", batch_of="one")        each batch whole from a or from b, drawn: one task a batch
    Mix([a, b], "even", batch_of="turns")      a batch from a, one from b, one from a, ...
    Mix(by_kind(a).values(), batch_of="one")   batches of one kind each: of pictures with text, of text alone, ...

What is drawn is a pure function of the seed and of the place in the row. So a mix can begin anywhere: how much was
taken from each source before is counted, and each source goes on from there. No source waits for another to end: each
goes through its own epochs, and the memory is that of the sources' own buffers.
"""

import itertools

import numpy as np

from minivl.data.sources import Source, open_source

WEIGHTS = ("size", "sqrt", "even")
BATCHES = ("all", "one", "turns")
_MIX = 5  # keeps this generator's numbers apart from those of other uses of the same seed
_BLOCK = 1024  # places that are drawn at a time
_SHUFFLE = 2048  # examples that all sources together hold, to be shuffled


class Mix(Source):
    """Several sources as one.   ValueError: weights or batch_of that cannot be

    weights    "size", "sqrt" (its root), "even", or a positive number for each source: how often it is met
    batch_of   "all": each example is drawn anew; "one": each batch is of one source, drawn; "turns": each batch is of
               one source, in turns as even as the weights allow
    """

    def __init__(self, sources, weights="size", batch_of="all", seed=0):
        self.sources = list(sources)
        super().__init__(seed, strict=all(source.strict for source in self.sources))
        if not self.sources:
            raise ValueError("sources: none; there must be at least one")
        if batch_of not in BATCHES:
            raise ValueError(f"batch_of: {batch_of!r}; it must be one of {', '.join(BATCHES)}")
        self.shares, self.batch_of = self._shares(weights), batch_of
        self.share_problems(self.problems)

    def __str__(self):
        return " + ".join(map(str, self.sources))

    def _shares(self, weights):
        """(K,): the share of each source; they sum to 1."""
        if isinstance(weights, str):
            if weights not in WEIGHTS:
                raise ValueError(f"weights: {weights!r}; they must be {', '.join(WEIGHTS)}, or numbers")
            power = {"size": 1, "sqrt": 0.5, "even": 0}[weights]
            weights = [max(1, source.length()) ** power if power else 1 for source in self.sources]
        shares = np.array(weights, np.float64)
        if shares.shape != (len(self.sources),) or not (np.isfinite(shares) & (shares > 0)).all():
            raise ValueError(
                f"weights: {weights}; they must be {len(self.sources)} positive numbers, one for each source"
            )
        return shares / shares.sum()

    def share_problems(self, problems):
        self.problems = problems
        for source in self.sources:
            source.share_problems(problems)

    def length(self):
        return sum(source.length() for source in self.sources)

    def examples(self, epoch=None):
        """One pass over all sources, which take turns until each is at its end."""
        passes = [source.examples(epoch) for source in self.sources]
        while passes:
            alive = []
            for one in passes:
                for example in itertools.islice(one, 1):
                    alive.append(one)
                    yield example
            passes = alive

    def stream(self, start=0):
        taken, choices = self._choices(start)
        streams = [source.stream(int(n)) for source, n in zip(self.sources, taken, strict=True)]
        for k in choices:
            yield next(streams[k])

    def windows(self, step, size, spares):
        if self.batch_of == "all":
            yield from super().windows(step, size, spares)
        taken, choices = self._choices(step)
        windows = [source.windows(int(n), size, spares) for source, n in zip(self.sources, taken, strict=True)]
        for k in choices:
            yield next(windows[k])

    # ---- which source is next ----

    def _choices(self, start):
        """How often each source was chosen before place `start`, and the choices from there on, without end."""
        return self._in_turns(start) if self.batch_of == "turns" else self._drawn(start)

    def _drawn(self, start):
        begun, inside = divmod(start, _BLOCK)
        before = itertools.chain(map(self._block, range(begun)), [self._block(begun)[:inside]])
        taken = sum(np.bincount(block, minlength=len(self.sources)) for block in before)
        later = itertools.chain.from_iterable(self._block(b).tolist() for b in itertools.count(begun))
        return taken, itertools.islice(later, inside, None)

    def _block(self, number):
        return np.random.default_rng([self.seed, number, 0, _MIX]).choice(len(self.sources), _BLOCK, p=self.shares)

    def _in_turns(self, start):
        """Always the source that is furthest behind its share."""
        taken = np.zeros(len(self.sources), np.int64)

        def choose():
            for place in itertools.count(1):
                k = int(np.argmax(self.shares * place - taken))
                taken[k] += 1
                yield k

        choices = choose()
        for _ in range(start):
            next(choices)
        return taken.copy(), choices


def open_mix(data, split="train", seed=0, *, weights="size", batch_of="all", shuffle_buffer=_SHUFFLE, **options):
    """What `data`, a list, names as one source; the single one where there is one.   options: those of `open_source`

    weights: as `Mix` takes them, or a text of numbers, "3,1"
    """
    buffer = max(1, shuffle_buffer // max(1, len(data)))
    sources = [open_source(one, split, seed, shuffle_buffer=buffer, **options) for one in data]
    if len(sources) == 1:
        return sources[0]
    if isinstance(weights, str) and weights not in WEIGHTS:
        try:
            weights = [float(word) for word in weights.split(",")]
        except ValueError:
            raise ValueError(f"weights: {weights!r}; they must be {', '.join(WEIGHTS)}, or numbers as 3,1") from None
    return Mix(sources, weights, batch_of, seed)


def by_kind(source):
    """{kind: the examples of that kind, as a source of their own}, for each kind that the source has."""
    return {kind: source.of_kind(kind) for kind in source.kinds()}
