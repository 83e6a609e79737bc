"""Both algorithms against the plainest version of themselves."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from minivl.tokenizers.merges import apply_merges, learn_merges, replace_pair


def apply_plainly(word, merges):
    """Find the lowest rank, replace it everywhere, look again."""
    word = list(word)
    while fitting := [pair for pair in pairwise(word) if pair in merges]:
        pair = min(fitting, key=lambda pair: merges[pair][0])
        word = replace_pair(word, pair, merges[pair][1])
    return word


def learn_plainly(words, tokens, vocab_size, min_count):
    """Count everything again before each merge."""
    words, tokens, merges = [(list(word), count) for word, count in words.items()], list(tokens), []
    while len(tokens) < vocab_size:
        counts = Counter()
        for word, count in words:
            for pair in pairwise(word):
                counts[pair] += count
        counts = {pair: n for pair, n in counts.items() if n >= min_count}
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = [(replace_pair(word, best, len(tokens)), count) for word, count in words]
        tokens.append(tokens[best[0]] + tokens[best[1]])
        merges.append(best)
    return merges, tokens


def random_words(random, letters, longest):
    words = [random.integers(0, letters, random.integers(1, longest)).tolist() for _ in range(60)]
    return {tuple(word): int(random.integers(1, 9)) for word in words}


@pytest.mark.parametrize("seed", range(8))
def test_learning_agrees_with_recounting_everything(seed):
    random = np.random.default_rng(seed)
    words, tokens = random_words(random, letters=2 + seed % 3, longest=14), list("abcd")
    for min_count in (1, 2, 5):
        assert learn_merges(words, tokens, 40, min_count) == learn_plainly(words, tokens, 40, min_count)


@pytest.mark.parametrize("seed", range(8))
def test_applying_agrees_with_replacing_everywhere(seed):
    random = np.random.default_rng(seed)
    learnt, _ = learn_merges(random_words(random, 3, 20), list("abc"), 60, 1)
    merges = {pair: (rank, 3 + rank) for rank, pair in enumerate(learnt)}
    for word in random_words(random, 3, 60):
        assert apply_merges(word, merges) == apply_plainly(word, merges)


def test_a_merge_may_make_a_pair_of_lower_rank():
    """Two ways to one token, as a published file may have them: all (0, 1) go before the pair (5, 0) that they make."""
    merges = {(5, 0): (0, 6), (0, 1): (1, 5)}
    for word in ([0, 1, 0, 1], [0, 1, 0, 0, 1], [0, 1, 1, 0, 1, 0]):
        assert apply_merges(word, merges) == apply_plainly(word, merges)
    assert apply_merges([0, 1, 0, 1], merges) == [5, 5]
    assert apply_merges([0, 1, 0], merges) == [6]


def test_overlapping_occurrences_merge_from_the_left():
    merges = {(0, 0): (0, 1), (1, 1): (1, 2)}
    assert [apply_merges([0] * n, merges) for n in range(1, 6)] == [[0], [1], [1, 0], [2], [2, 0]]


def test_ties_go_to_the_smaller_ids_whatever_the_order_of_the_words():
    words = {(2, 3): 5, (0, 1): 5, (1, 0): 5, (0, 2): 4}
    merges, tokens = learn_merges(words, list("abcd"), 6, 1)
    assert merges == [(0, 1), (1, 0)] and tokens == [*"abcd", "ab", "ba"]
    assert learn_merges(dict(reversed(words.items())), list("abcd"), 6, 1) == (merges, tokens)


@pytest.mark.parametrize("letters", [1, 2, 3])
def test_no_token_is_learnt_twice(letters):
    random = np.random.default_rng(letters)
    for words in ({(0,) * n: 1 for n in range(2, 40)}, random_words(random, letters, 30)):
        _, tokens = learn_merges(words, list("abc"[:letters]), 1000, 1)
        assert len(set(tokens)) == len(tokens) > letters + 10
