"""The two algorithms of byte-pair encoding: learning merges from counted words, and applying them to a word.

A word is a list of ids. A merge replaces two neighbours by one new id; its rank is its place in the list of merges.
"""

from collections import Counter, defaultdict
from heapq import heapify, heappop, heappush
from itertools import pairwise


def learn_merges(words, tokens, vocab_size, min_count):
    """Joins the most frequent pair of neighbours, again and again.   Sennrich et al. 2016, algorithm 1.

    words {tuple of ids: how often}   tokens: names of the ids so far, whose joins name the new ids
    ->  the merges [(left id, right id)] in order, and the tokens with one more name for each merge

    Of equally frequent pairs the one with the smaller left id, then right id, goes first: the outcome depends on the
    counts alone, not on the order of the texts. It stops at `vocab_size` tokens, or when no pair occurs `min_count`
    times. No join is learnt twice, as "ab" + "c" after "a" + "bc" would be: between two edges that no merge has crossed
    the merges went as if those letters stood alone, so equal letters there are cut equally.
    """
    tokens, merges = list(tokens), []
    words = [(list(word), count) for word, count in words.items()]
    counts, places = Counter(), defaultdict(set)
    for place, (word, count) in enumerate(words):
        for pair in pairwise(word):
            counts[pair] += count
            places[pair].add(place)

    # minivl:exercise ex06.b points=4 "learning the merges"
    # minivl:hint again and again the most frequent pair, of equal ones the smallest, down to min_count
    # minivl:hint `_merge_in_words(pair, new, words, counts, places)` replaces it and keeps `counts` true
    # minivl:hint without a heap: min over counts of (-count, pair); slow only for large texts
    queue = [(-count, pair) for pair, count in counts.items()]
    heapify(queue)
    while queue and len(tokens) < vocab_size:
        negative, pair = heappop(queue)
        if -negative != counts[pair]:  # other merges took some of its occurrences since it was queued
            heappush(queue, (-counts[pair], pair))
            continue
        if counts[pair] < min_count:
            break
        new = len(tokens)
        tokens.append(tokens[pair[0]] + tokens[pair[1]])
        merges.append(pair)
        for fresh in _merge_in_words(pair, new, words, counts, places):
            heappush(queue, (-counts[fresh], fresh))
    return merges, tokens
    # minivl:end


def _merge_in_words(pair, new, words, counts, places):
    """Merges `pair` in the words that hold it, keeps the counts true, and gives the pairs that `new` is now part of."""
    fresh = set()
    for place in places.pop(pair):
        word, count = words[place]
        for old in pairwise(word):
            counts[old] -= count
        word[:] = replace_pair(word, pair, new)
        for now in pairwise(word):
            counts[now] += count
            if new in now:
                places[now].add(place)
                fresh.add(now)
    return fresh


def replace_pair(word, pair, new):
    """`word` with `new` for each occurrence of `pair`, from left to right: (a, a) in a a a gives new a."""
    # minivl:exercise ex06.a points=2 "one merge"
    # minivl:hint from left to right, without overlap: (a, a) in a a a gives new a
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            out.append(new)
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out
    # minivl:end


def apply_merges(word, merges):
    """`word` after all merges that fit, the lowest rank first.   merges {(left id, right id): (rank, new id)}

    The plain way, "find the lowest rank, replace it everywhere, look again", takes n² steps for a word of n bytes.
    Here a heap holds the places where a merge fits, so it is n log n. The word is a linked list: a merge writes the new
    id on the left place, and takes the right one out. Nothing is ever deleted from the heap; a place whose pair has
    changed meanwhile is recognised when it comes up. All places of one rank go before the pairs that they make.
    """
    # minivl:exercise ex06.c points=3 "applying the merges"
    # minivl:hint the lowest rank among all neighbours, everywhere it stands, then look again
    # minivl:hint `merges[pair]` is (rank, new id); the plain loop takes n^2 steps, and is allowed
    ids, n = list(word), len(word)
    before, after = list(range(-1, n - 1)), list(range(1, n + 1))
    heap = [(merges[pair][0], i) for i, pair in enumerate(pairwise(ids)) if pair in merges]
    heapify(heap)
    while heap:
        rank, touched = heap[0][0], []
        while heap and heap[0][0] == rank:
            left = heappop(heap)[1]
            right = after[left]
            found = merges.get((ids[left], ids[right])) if right < n else None
            if found is None or found[0] != rank:
                continue
            ids[left], ids[right] = found[1], None
            after[left] = after[right]
            if after[left] < n:
                before[after[left]] = left
            touched += (before[left], left)
        for left in touched:
            right = after[left] if left >= 0 else n
            found = merges.get((ids[left], ids[right])) if right < n else None
            if found is not None:
                heappush(heap, (found[0], left))
    return [i for i in ids if i is not None]
    # minivl:end
