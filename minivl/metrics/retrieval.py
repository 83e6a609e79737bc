"""Retrieval: of many captions, which belongs to this picture, and of many pictures, which to this caption?

Every query ranks all candidates by cosine. Its rank is 1 + the number of wrong candidates that come before the best
right one, and

    R@k           the share of queries whose rank is at most k
    median_rank   half of the queries do as well as this, or better; 1 is perfect
    chance        R@1 of a shuffled list: the mean over queries of (right candidates) / (all candidates)

A tie counts against: a wrong candidate as close as the right one comes before it. So a model that gives every picture
the same embedding scores 0, not 1.
"""

import numpy as np

TIE = 1e-6  # cosines closer than this are equal: what is left of float32 after a few hundred additions
_ROWS = 1024  # queries compared at a time, so that memory grows with the candidates, not with their square


def retrieval_scores(image, text, ks=(1, 5), owner=None):
    """{"image_to_text": {"R@1", "R@5", "median_rank", "chance", "candidates"}, "text_to_image": {...}}

    image (N, C)   text (M, C)   embeddings of any length: they are compared by cosine
    owner (M,)     the row of `image` that each text describes, so that a picture may have several captions (COCO: 5);
                   without it, text i belongs to picture i

    From picture to text, the best of its captions counts (Karpathy & Fei-Fei 2015, arXiv 1412.2306).
    """
    image, text = _rows("image", image), _rows("text", text)
    if owner is None and len(image) != len(text):
        raise ValueError(f"text: {len(text)} rows for {len(image)} pictures; say whose they are with owner (M,)")
    pictures = np.arange(len(image))
    owner = pictures if owner is None else np.asarray(owner)
    if owner.shape != (len(text),) or owner.dtype.kind not in "iu" or not np.isin(owner, pictures).all():
        raise ValueError(f"owner: must be {len(text)} integers in 0..{len(image) - 1}, one for each text")
    if not np.isin(pictures, owner).all():
        raise ValueError(f"owner: picture {np.setdiff1d(pictures, owner)[0]} has no text")
    return {
        "image_to_text": _scores(image, text, pictures, owner, ks),
        "text_to_image": _scores(text, image, owner, pictures, ks),
    }


def nearest_neighbour(gallery, query, ks=(1, 5)):
    """How far raw pixels get: the baseline that every trained tower must beat. The same scores as one direction above.

    gallery (N, ...)   query (N, ...)   two pictures of each thing: query i must find picture i of the gallery

    Each picture is flattened, its own mean is taken out (so that a brighter print is the same picture), and pictures
    are compared by cosine.
    """
    gallery, query = (np.asarray(a, np.float64) for a in (gallery, query))
    if gallery.shape != query.shape or gallery.ndim < 2:
        raise ValueError(f"query: {query.shape} must have the shape of gallery, {gallery.shape}, and at least 2 axes")
    gallery, query = _rows("gallery", _centred(gallery)), _rows("query", _centred(query))
    each = np.arange(len(query))
    return _scores(query, gallery, each, each, ks)


def ranks(query, candidates, query_owner, candidate_owner):
    """The rank (Q,) of each query; 1 = found first.

    query (Q, C) and candidates (M, C) of length 1; a candidate is right where candidate_owner (M,) = query_owner (Q,)
    """
    found = []
    for start in range(0, len(query), _ROWS):
        cosine = query[start : start + _ROWS] @ candidates.T
        right = query_owner[start : start + _ROWS, None] == candidate_owner
        best = np.where(right, cosine, -np.inf).max(1, keepdims=True)
        found.append(1 + ((cosine >= best - TIE) & ~right).sum(1))
    return np.concatenate(found)


def _scores(query, candidates, query_owner, candidate_owner, ks):
    rank = ranks(query, candidates, query_owner, candidate_owner)
    right = np.bincount(candidate_owner)[query_owner]
    scores = {f"R@{k}": float((rank <= k).mean()) for k in ks}
    scores["median_rank"] = float(np.median(rank))
    scores["chance"] = float((right / len(candidates)).mean())
    scores["candidates"] = len(candidates)
    return scores


def _centred(pictures):
    flat = pictures.reshape(len(pictures), -1)
    blank = np.ptp(flat, 1, keepdims=True) == 0  # rounding would leave of it a direction that means nothing
    return np.where(blank, 0, flat - flat.mean(1, keepdims=True))


def _rows(name, array):
    """(N, C) float64 with rows of length 1; a row of zeros stays, and ties with everything."""
    array = np.asarray(array, np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name}: must be (N, C) with at least one row, not {array.shape}")
    if not np.isfinite(array).all():  # a NaN is before and behind nothing: its rank would be 1
        raise ValueError(f"{name}: row {np.flatnonzero(~np.isfinite(array).all(1))[0]} is not finite")
    return array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), np.finfo(np.float64).tiny)
