"""From probabilities to texts, on languages small enough to try every text."""

import itertools
import math

import numpy as np
import pytest

from minivl.generate import choose, generate

END = 0


class Language:
    """P(next token | everything before), drawn from a seed; it remembers what it has read, as a model's cache does."""

    def __init__(self, V, B=1, seed=0, sharpness=1.5):
        self.V, self.seed, self.sharpness, self.read = V, seed, sharpness, [[b] for b in range(B)]
        self.calls = []

    def logits(self, text):
        return self.sharpness * np.random.default_rng([self.seed, *text]).standard_normal(self.V)

    def step(self, tokens):
        self.calls.append(tokens.shape)
        if len(tokens) != len(self.read):  # the first call of a beam search
            times = len(tokens) // len(self.read)
            self.read = [list(text) for text in self.read for _ in range(times)]
        for text, new in zip(self.read, tokens, strict=True):
            text.extend(int(t) for t in new)
        return np.array([self.logits(text) for text in self.read])

    def select(self, rows):
        self.read = [list(self.read[r]) for r in rows]

    def log_p(self, b, start, text):
        total = 0.0
        for i, token in enumerate(text):
            z = self.logits([b, *start, *text[:i]])
            total += z[token] - math.log(np.exp(z).sum())
        return total


def start(B, *tokens):
    return np.tile(np.array(tokens or (1,), np.int64), (B, 1))


def test_greedy_takes_the_likeliest_until_the_end():
    language = Language(V=5, B=3)
    texts = generate(language.step, start(3, 1, 2), end=END, max_tokens=8)
    assert language.calls[0] == (3, 2) and set(language.calls[1:]) <= {(3, 1)}
    for b, text in enumerate(texts):
        assert text.dtype == np.int64 and 1 <= len(text) <= 8
        for i, token in enumerate(text):
            assert token == language.logits([b, 1, 2, *text[:i]]).argmax()
        assert END not in text[:-1] and (text[-1] == END or len(text) == 8)
    assert len({len(t) for t in texts}) > 1, "the rows of this seed end at different places"


def test_it_stops_when_every_row_has_ended():
    calls = []

    def step(tokens):
        calls.append(len(tokens))
        logits = np.zeros((2, 3))
        logits[0, END], logits[1, END if len(calls) == 3 else 2] = 1, 1
        return logits

    texts = generate(step, start(2), end=END, max_tokens=50)
    assert [t.tolist() for t in texts] == [[0], [2, 2, 0]] and len(calls) == 3


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 2.0, -1.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_finds_the_likeliest_text(seed, length_penalty):
    V, longest = 3, 4
    texts = [
        text + (END,) for n in range(longest) for text in itertools.product(range(1, V), repeat=n)
    ]  # every one that comes to an end
    language = Language(V, B=2, seed=seed)
    scores = [
        {text: language.log_p(b, (1,), text) / len(text) ** length_penalty for text in texts} for b in range(2)
    ]  # a beam of 16 leaves nothing out
    found = generate(
        language.step, start(2), end=END, max_tokens=longest, beams=16, select=language.select,
        length_penalty=length_penalty,
    )  # fmt: skip
    for b in range(2):
        assert tuple(found[b]) == max(scores[b], key=scores[b].get)


def test_a_beam_looks_further_than_greed():
    """The likeliest first word leads nowhere: P(1, end) = 0.6 * 0.3, P(2, end) = 0.4 * 0.9."""
    table = {(): [0.0, 0.6, 0.4, 0], (1,): [0.3, 0.2, 0.2, 0.3], (2,): [0.9, 0.0, 0.0, 0.1]}
    read = [[], []]

    def select(rows):
        read[:] = [list(read[r]) for r in rows]

    def step(tokens):
        with np.errstate(divide="ignore"):
            return np.log([table.get(tuple(r), [0.25] * 4) for r in read])

    def remembering(tokens):
        if tokens[0, 0] != 9:
            for r, t in zip(read, tokens[:, 0], strict=True):
                r.append(int(t))
        return step(tokens)

    (text,) = generate(remembering, start(1, 9), end=END, max_tokens=5, beams=2, select=select)
    assert text.tolist() == [2, END]


def test_a_beam_goes_on_while_it_may_still_win():
    """Two texts end early with little likelihood; a third ends later with more."""
    table = {
        (): [0.2, 0.8, 0.0], (1,): [0.15, 0.85, 0.0], (1, 1): [0.1, 0.9, 0.0], (1, 1, 1): [1.0, 0.0, 0.0],
    }  # fmt: skip
    read = [[], []]

    def step(tokens):
        if tokens[0, 0] != 9:
            for r, t in zip(read, tokens[:, 0], strict=True):
                r.append(int(t))
        with np.errstate(divide="ignore"):
            return np.log([table.get(tuple(r), [1 / 3] * 3) for r in read])

    def select(rows):
        read[:] = [list(read[r]) for r in rows]

    (text,) = generate(step, start(1, 9), end=END, max_tokens=6, beams=2, select=select)
    assert text.tolist() == [1, 1, 1, END]


def test_beams_that_never_end_give_their_beginning():
    def step(tokens):
        return np.log(np.tile([1e-9, 0.7, 0.3], (len(tokens), 1)))

    (text,) = generate(step, start(1), end=END, max_tokens=4, beams=2)
    assert text.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_each_row_is_searched_by_itself(beams):
    together = Language(4, B=3, seed=2)
    texts = generate(together.step, start(3), end=END, max_tokens=6, beams=beams, select=together.select)
    for b in range(3):
        alone = Language(4, seed=2)
        alone.read = [[b]]
        (text,) = generate(alone.step, start(1), end=END, max_tokens=6, beams=beams, select=alone.select)
        np.testing.assert_array_equal(text, texts[b])


# ---- sampling --------------------------------------------------------------------------------------------------------

P = np.array([0.1, 0.4, 0.2, 0.3])


def frequencies(random, **options):
    logits = np.tile(np.log(P) + 3, (20_000, 1)).astype(np.float32)
    return np.bincount(choose(logits, random=random, **options), minlength=4) / 20_000


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(temperature=1.0), P),
        (dict(temperature=0.5), P**2 / (P**2).sum()),
        (dict(temperature=2.0), P**0.5 / (P**0.5).sum()),
        (dict(temperature=1.0, top_k=2), [0, 4 / 7, 0, 3 / 7]),
        (dict(temperature=1.0, top_k=1), [0, 1, 0, 0]),
        (dict(temperature=1.0, top_k=9), P),
        (dict(temperature=1.0, top_p=0.39), [0, 1, 0, 0]),
        (dict(temperature=1.0, top_p=0.41), [0, 4 / 7, 0, 3 / 7]),
        (dict(temperature=1.0, top_p=0.75), [0, 4 / 9, 2 / 9, 3 / 9]),
        (dict(temperature=1.0, top_p=1.0), P),
        (dict(temperature=1.0, top_p=1e-9), [0, 1, 0, 0]),
        (dict(temperature=1.0, top_p=0.95, top_k=2), [0, 4 / 7, 0, 3 / 7]),
        (dict(temperature=1e-3), [0, 1, 0, 0]),
    ],
)
def test_sampling(random, options, expected):
    np.testing.assert_allclose(frequencies(random, **options), expected, atol=0.015)


def test_sampling_is_repeatable_and_sees_each_row_by_itself():
    def sample(seed):
        language = Language(6, B=4)
        return [
            t.tolist()
            for t in generate(
                language.step, start(4), end=END, max_tokens=6, temperature=1.0, random=np.random.default_rng(seed)
            )
        ]

    assert sample(1) == sample(1) != sample(2)
    logits = np.full((3, 5), -np.inf)
    logits[[0, 1, 2], [4, 0, 2]] = 0
    assert choose(logits, 1.0, random=np.random.default_rng(0)).tolist() == [4, 0, 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(max_tokens=0), "max_tokens is 0, must be at least 1"),
        (dict(beams=0), "beams is 0"),
        (dict(beams=2, temperature=0.5), "beams is 2 with temperature 0.5; beam search needs temperature 0"),
        (dict(temperature=-1), "temperature is -1: must not be negative"),
        (dict(temperature=1.0), "sampling needs random"),
        (dict(temperature=1.0, random=np.random.default_rng(0), top_k=0), "top_k is 0, must be at least 1"),
        (dict(temperature=1.0, random=np.random.default_rng(0), top_p=0.0), "top_p is 0.0, must be above 0"),
        (dict(temperature=1.0, random=np.random.default_rng(0), top_p=1.5), "top_p is 1.5"),
    ],
)
def test_errors(options, words):
    with pytest.raises(ValueError) as caught:
        generate(Language(3).step, start(1), end=END, **({"max_tokens": 3} | options))
    assert "generate: " in str(caught.value) and words in str(caught.value)
