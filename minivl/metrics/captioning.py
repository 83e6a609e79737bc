"""How like people's captions is a caption? BLEU-1 to BLEU-4, ROUGE-L and CIDEr-D, as COCO's evaluation counts them.

An n-gram is n words in a row; c a caption, S the captions that people gave to the same picture, h(g, c) how often the
n-gram g stands in c, I the number of pictures.

BLEU-N (Papineni et al. 2002), of the whole set:
    p_n    = sum over captions, g of min(h(g, c), max over s in S of h(g, s))  /  n-grams of all captions
    BLEU-N = (p_1 p_2 ... p_N)^(1/N) · exp(min(0, 1 - r / l))
    l all words of the captions; r those of the references that are closest to them in length

ROUGE-L (Lin 2004), a mean over pictures:
    F      = (1 + β²) P R / (R + β² P),   β = 1.2
    P, R the longest common subsequence of c and s over the words of c, and over those of s; each the best that S has

CIDEr-D (Vedantam, Zitnick & Parikh 2015, arXiv 1411.5726, sec. 3 and eq. (9)), a mean over pictures:
    w(g, c)   = h(g, c) · (ln I - ln max(1, pictures with g in a reference))
    m(c, s)   = sum over n-grams g of min(w(g, c), w(g, s)) · w(g, s) / (‖w(c)‖ ‖w(s)‖)
    CIDEr-D_n = 10 / |S| · sum over s of exp(-(l(c) - l(s))² / 2σ²) · m(c, s),   σ = 6
    CIDEr     = mean over n = 1 ... 4

Equal to pycocoevalcap, and that includes what is peculiar: the length l of CIDEr-D is counted in word pairs; a set of
one picture has CIDEr 0, because ln 1 = 0; a perfect caption of three words has 7.5, because it has no 4-grams.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from minivl.metrics.caption_words import words

N = 4  # the longest n-grams
_BETA, _SIGMA = 1.2, 6.0
_SMALL, _TINY = 1e-9, 1e-15  # pycocoevalcap's: no division by 0, and no match at all is almost 0


def caption_scores(references, captions, *, tokenize=words):
    """{"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"} of captions by what people wrote.

    references   {id: [what people wrote, at least one]}
    captions     {id: the caption to judge}, the same ids
    tokenize     caption -> list of words; str.split takes text as it is
    """
    _check(references, captions)
    said = [tokenize(captions[i]) for i in references]
    wrote = [[tokenize(reference) for reference in references[i]] for i in references]
    text = _Text(said, wrote)
    bleu = {f"BLEU-{n}": score for n, score in enumerate(_bleu(text), 1)}
    rouge = [_rouge(one, some) for one, some in zip(said, wrote, strict=True)]
    return {**bleu, "ROUGE-L": float(np.mean(rouge)), "CIDEr": float(np.mean(_cider(text)))}


def _check(references, captions):
    if not isinstance(references, Mapping) or not isinstance(captions, Mapping) or not references:
        raise ValueError("references, captions: must be dicts {id: ...} with at least one id")
    if strangers := references.keys() ^ captions.keys():
        raise ValueError(f"captions: id {min(map(str, strangers))} is in only one of references and captions")
    for i, some in references.items():
        if isinstance(some, str) or not all(isinstance(text, str) for text in [*some, captions[i]]) or not some:
            raise ValueError(f"references of {i!r}: {str(some)[:60]}; they must be a list of texts, the caption a text")


class _Grams(NamedTuple):
    """The n-grams of one n in all sentences, counted: first those of the captions, then those of the references."""

    sentence: np.ndarray  # (G,) in which each stands; captions are the sentences 0 ... pictures - 1
    gram: np.ndarray  # (G,) which it is
    count: np.ndarray  # (G,) how often it stands there
    captions: int  # how many of the G are of captions
    same: np.ndarray  # of those of references: where in the G the picture's caption has the same one, or -1


class _Text:
    """All sentences as numbers: the captions, one for each picture, and behind them the references."""

    def __init__(self, said, wrote):
        sentences = [*said, *(reference for some in wrote for reference in some)]
        self.length = np.array([len(sentence) for sentence in sentences])
        self.pictures, self.references = len(said), np.array([len(some) for some in wrote])
        self.owner = np.repeat(np.arange(self.pictures), self.references)  # the picture of each reference
        numbers = {}
        words = np.array([numbers.setdefault(w, len(numbers)) for sentence in sentences for w in sentence], np.int64)
        self.grams = list(self._grams(words, len(numbers)))

    def _grams(self, words, vocabulary):
        sentence = np.repeat(np.arange(len(self.length)), self.length)
        end = np.repeat(np.cumsum(self.length), self.length)
        place = np.arange(len(words))
        gram = words
        for n in range(N):
            if n:  # the word n places further on makes it longer; where the sentence ends before, it is left out
                longer = gram * vocabulary + words[np.minimum(place + n, len(words) - 1)]
                _, gram = np.unique(longer, return_inverse=True)
            whole = place + n < end
            yield self._count(sentence[whole], gram[whole])

    def _count(self, sentence, gram):
        kinds = 1 + gram.max(initial=0)
        keys, count = np.unique(sentence * kinds + gram, return_counts=True)
        sentence, gram = np.divmod(keys, kinds)
        captions = np.searchsorted(sentence, self.pictures)
        wanted = self.owner[sentence[captions:] - self.pictures] * kinds + gram[captions:]
        at = np.searchsorted(keys[:captions], wanted)
        there = np.append(keys[:captions], -1)[at] == wanted
        return _Grams(sentence, gram, count, captions, np.where(there, at, -1))


def _bleu(text):
    """[BLEU-1, ..., BLEU-N]"""
    said, wrote = text.length[: text.pictures], text.length[text.pictures :]
    far, some = np.abs(wrote - said[text.owner]), 1 + wrote.max()
    closest = (
        np.minimum.reduceat(far * some + wrote, np.cumsum(text.references) - text.references) % some
    )  # or the shorter
    ratio = (said.sum() + _TINY) / (closest.sum() + _SMALL)
    product, scores = 1.0, []
    for n, grams in enumerate(text.grams):
        shared = grams.same >= 0
        most = np.zeros(grams.captions, np.int64)  # that any one reference has of a caption's gram
        np.maximum.at(most, grams.same[shared], grams.count[grams.captions :][shared])
        right, possible = np.minimum(grams.count[: grams.captions], most).sum(), np.maximum(said - n, 0).sum()
        product *= (right + _TINY) / (possible + _SMALL)
        scores.append(float(product ** (1 / (n + 1)) * (np.exp(1 - 1 / ratio) if ratio < 1 else 1)))
    return scores


def _cider(text):
    """(I,): CIDEr-D of each caption"""
    likeness = np.zeros(len(text.owner))
    for grams in text.grams:
        reference, shared = grams.sentence[grams.captions :] - text.pictures, grams.same >= 0
        kinds = 1 + grams.gram.max(initial=0)
        in_pictures = np.unique(text.owner[reference] * kinds + grams.gram[grams.captions :]) % kinds
        frequency = np.bincount(in_pictures, minlength=kinds)
        rarity = np.log(float(text.pictures)) - np.log(np.maximum(1.0, frequency))
        weight = grams.count * rarity[grams.gram]
        norm = np.sqrt(np.bincount(grams.sentence, weight**2, len(text.length)))
        mine, theirs = weight[grams.same[shared]], weight[grams.captions :][shared]
        product = np.bincount(reference[shared], np.minimum(mine, theirs) * theirs, len(text.owner))
        norms = norm[text.owner] * norm[text.pictures :]
        likeness += product / np.where(norms == 0, 1, norms)
    pairs = np.maximum(text.length - 1, 0)
    likeness *= np.exp(-((pairs[text.owner] - pairs[text.pictures :]) ** 2) / (2 * _SIGMA**2))
    return 10 / N * np.bincount(text.owner, likeness, text.pictures) / text.references


def _rouge(said, wrote):
    said, precision, recall = said or [""], 0.0, 0.0  # pycocoevalcap: no word is one empty word
    places = {}
    for k, word in enumerate(said):
        places[word] = places.get(word, 0) | 1 << k
    for reference in wrote:
        reference = reference or [""]
        common = _common_subsequence(places, len(said), reference)
        precision, recall = max(precision, common / len(said)), max(recall, common / len(reference))
    below = recall + _BETA**2 * precision
    return (1 + _BETA**2) * precision * recall / below if below else 0.0


def _common_subsequence(places, length, reference):
    """Length of the longest common subsequence, with a row of the usual table in the bits of a number (Hyyrö 2004).

    A zero in bit k says: the best subsequence gains one word between the first k and the first k + 1 words.
    """
    row = (1 << length) - 1
    for word in reference:
        match = row & places.get(word, 0)
        row = (row + match) | (row - match)
    return length - (row & (1 << length) - 1).bit_count()
