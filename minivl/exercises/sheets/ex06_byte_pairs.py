"""Byte-pair encoding: words become tokens.

Begin with letters. Join the pair of neighbours that is most frequent, again and again, and remember the order: those
are the merges. To read a new word, apply them in that order. Every language model's text begins here, and so do many
of its oddities.

    learn    the most frequent pair, of equally frequent ones the smallest, gets the next id
    apply    of all pairs in the word that have a merge, the earliest learnt goes first, everywhere

You will need: dictionaries and lists, nothing of mathematics. About 2 hours. Sennrich et al. 2016, algorithm 1.
"""

from collections import Counter
from itertools import pairwise

import numpy as np

from ..sheet import check, equal, scenario

FILES = ("minivl/tokenizers/merges.py",)


@scenario
def replaced(word, pair, new):
    from minivl.tokenizers.merges import replace_pair

    pair = tuple(int(n) for n in pair)
    return np.array(replace_pair([int(n) for n in word], pair, int(new)), int)


@scenario
def learnt(letters, counts, tokens, size, least):
    """letters (words, length), -1 where a word is over; the merges (n, 2)"""
    from minivl.tokenizers.merges import learn_merges

    words = {tuple(int(n) for n in word if n >= 0): int(c) for word, c in zip(letters, counts, strict=True)}
    merges, names = learn_merges(words, [chr(97 + i) for i in range(int(tokens))], int(size), int(least))
    return np.array(merges, int).reshape(-1, 2), np.array(names)


@scenario
def applied(word, merges, tokens):
    from minivl.tokenizers.merges import apply_merges

    table = {tuple(int(n) for n in pair): (rank, int(tokens) + rank) for rank, pair in enumerate(merges)}
    return np.array(apply_merges([int(n) for n in word], table), int)


def _replace(word, pair, new):
    out = list(word)
    i = 0
    while i + 1 < len(out):
        if (out[i], out[i + 1]) == pair:
            out[i : i + 2] = [new]
        i += 1
    return out


def _learn(words, tokens, size, least):
    """By counting everything anew after every merge."""
    words, merges = [(list(w), c) for w, c in words.items()], []
    names = [chr(97 + i) for i in range(tokens)]
    while len(names) < size:
        counts = Counter()
        for word, count in words:
            for pair in pairwise(word):
                counts[pair] += count
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < least:
            break
        words = [(_replace(word, best, len(names)), count) for word, count in words]
        merges.append(best)
        names.append(names[best[0]] + names[best[1]])
    return merges, names


def _words(random, n, letters):
    """n words of one to eight letters, with endings that many share."""
    endings = [tuple(random.integers(0, letters, k)) for k in (1, 2, 3)]
    words = {}
    for _ in range(n):
        stem = tuple(int(i) for i in random.integers(0, letters, random.integers(1, 6)))
        words[stem + tuple(int(i) for i in endings[random.integers(3)])] = int(random.integers(1, 9))
    return words


def _table(words):
    longest = max(map(len, words))
    return np.array([[*word, *[-1] * (longest - len(word))] for word in words]), np.array(list(words.values()))


@check("ex06.a", "(a, a) in a a a gives new a")
def one_merge(run, random):
    """Overlapping pairs merged twice; only the first occurrence; the end of the word."""
    cases = [
        ([0, 0, 0], (0, 0)),
        ([0, 1, 0, 1], (0, 1)),
        ([1, 0], (0, 1)),
        ([], (0, 1)),
        ([2], (2, 2)),
        ([0] * 6, (0, 0)),
    ]
    cases += [([int(i) for i in random.integers(0, 2, 12)], (0, 1)) for _ in range(4)]
    for word, pair in cases:
        equal(f"{word} with 9 for {pair}", run(replaced, np.array(word, int), pair, new=9), _replace(word, pair, 9))


@check("ex06.b", "the most frequent pair, of equal ones the smallest")
def merges_are_learnt(run, random):
    """Words counted once however often they occur; ties broken by chance; counts that are not kept true."""
    for letters, n in ((3, 12), (5, 40), (2, 6)):
        words = _words(random, n, letters)
        merges, names = _learn(words, letters, letters + 20, 2)
        got, got_names = run(learnt, *_table(words), tokens=letters, size=letters + 20, least=2)
        equal("merges", got, np.array(merges, int).reshape(-1, 2))
        equal("names of the tokens", got_names, names)


@check("ex06.b", "it stops at vocab_size, and below min_count")
def learning_stops(run, random):
    words = {(0, 1): 3, (0, 1, 2): 2, (2, 2): 1}
    equal("merges", run(learnt, *_table(words), tokens=3, size=99, least=3)[0], [[0, 1]])
    equal("merges", run(learnt, *_table(words), tokens=3, size=3, least=1)[0], np.zeros((0, 2), int))
    equal("merges", run(learnt, *_table(words), tokens=3, size=99, least=2)[0], [[0, 1], [3, 2]])


@check("ex06.c", "the lowest rank first, everywhere")
def merges_are_applied(run, random):
    """From left to right whatever the rank; each merge once; only pairs of the first round."""
    for letters in (2, 3, 4):
        merges, _ = _learn(_words(random, 30, letters), letters, letters + 25, 1)
        for n in (0, 1, 2, 7, 30):
            word = [int(i) for i in random.integers(0, letters, n)]
            wanted = word
            for rank, pair in enumerate(merges):
                wanted = _replace(wanted, pair, letters + rank)
            got = run(applied, np.array(word, int), np.array(merges, int).reshape(-1, 2), tokens=letters)
            equal(f"{word} by {len(merges)} merges", got, wanted)
