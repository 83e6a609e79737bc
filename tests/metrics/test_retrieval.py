"""Retrieval scores against naive loops, by hand, and against models that know nothing."""

import numpy as np
import pytest

from minivl.metrics import nearest_neighbour, retrieval, retrieval_scores


def loop_rank(cosine, right):
    """The definition, one query at a time: wrong candidates at least as close as the best right one, and one."""
    best = max(c for c, r in zip(cosine, right, strict=True) if r)
    return 1 + sum(c >= best - retrieval.TIE for c, r in zip(cosine, right, strict=True) if not r)


def loop_scores(query, candidates, query_owner, candidate_owner, ks):
    unit = [[v / np.linalg.norm(v) for v in rows] for rows in (query, candidates)]
    ranks, chances = [], []
    for q, owner in zip(unit[0], query_owner, strict=True):
        right = [owner == o for o in candidate_owner]
        ranks.append(loop_rank([float(q @ c) for c in unit[1]], right))
        chances.append(sum(right) / len(right))
    scores = {f"R@{k}": sum(r <= k for r in ranks) / len(ranks) for k in ks}
    return {**scores, "median_rank": np.median(ranks), "chance": np.mean(chances), "candidates": len(candidates)}


@pytest.mark.parametrize("seed", range(3))
def test_one_caption_each_equals_the_loop(seed):
    random = np.random.default_rng(seed)
    image = random.standard_normal((23, 6)).astype(np.float32)
    text = image + random.standard_normal((23, 6)) * 0.8
    own = np.arange(23)
    scores = retrieval_scores(image, text, ks=(1, 3, 10))
    assert 0 < scores["image_to_text"]["R@1"] < 1
    assert scores["image_to_text"] == pytest.approx(loop_scores(image, text, own, own, (1, 3, 10)))
    assert scores["text_to_image"] == pytest.approx(loop_scores(text, image, own, own, (1, 3, 10)))


@pytest.mark.parametrize("seed", range(3))
def test_several_captions_equal_the_loop(seed, monkeypatch):
    random = np.random.default_rng(seed)
    owner = random.permutation(np.concatenate([np.arange(9), random.integers(0, 9, 21)]))
    image = random.standard_normal((9, 5))
    text = image[owner] + random.standard_normal((30, 5))
    monkeypatch.setattr(retrieval, "_ROWS", 4)  # several blocks, the last not full
    scores = retrieval_scores(image, text, owner=owner)
    assert scores["image_to_text"] == pytest.approx(loop_scores(image, text, np.arange(9), owner, (1, 5)))
    assert scores["text_to_image"] == pytest.approx(loop_scores(text, image, owner, np.arange(9), (1, 5)))


def test_by_hand():
    image = np.eye(3)
    text = np.array([[1, 0, 0], [0, 0.5, 0.6], [0, 0, 9.0]])  # text 1 is nearer to picture 2; lengths do not matter
    scores = retrieval_scores(image, text, ks=(1, 2))
    assert scores["text_to_image"] == {"R@1": 2 / 3, "R@2": 1, "median_rank": 1, "chance": 1 / 3, "candidates": 3}
    assert scores["image_to_text"]["R@1"] == 1


def test_the_best_own_caption_counts_and_the_others_do_not_count_against():
    image, text = np.eye(2), np.array([[1, 0], [0.9, 0.1], [-1, 0.1], [0, 1]])
    scores = retrieval_scores(image, text, owner=[0, 0, 0, 1])["image_to_text"]
    assert scores["R@1"] == 1 and scores["chance"] == pytest.approx((3 / 4 + 1 / 4) / 2)


@pytest.mark.parametrize("width", [1, 7, 33, 512])
@pytest.mark.parametrize("value", [1.0, 0.1, -3.7, 0.0])
def test_a_constant_embedding_scores_nothing(width, value):
    constant = np.full((101, width), value, np.float32)
    noise = np.random.default_rng(0).standard_normal((101, width)).astype(np.float32)
    for image, text in ((constant, constant), (constant, noise), (noise, constant)):
        scores = retrieval_scores(image, text)
        for direction in scores.values():
            assert direction["R@1"] <= 0.02  # one query in 101 at most: that nearest to the constant


def test_what_float32_cannot_tell_apart_is_a_tie():
    image = np.ones((10, 64), np.float32)
    text = (image + np.random.default_rng(0).standard_normal((10, 64)) * 1e-7).astype(np.float32)
    assert retrieval_scores(image, text)["image_to_text"]["R@5"] == 0


def test_equal_captions_of_different_pictures_count_against():
    text = np.eye(3)[[0, 1, 1]]
    scores = retrieval_scores(np.eye(3), text)["image_to_text"]
    assert scores["R@1"] == 1 / 3 and scores["candidates"] == 3


def test_chance_is_what_random_embeddings_get():
    random = np.random.default_rng(0)
    image, text = random.standard_normal((2, 400, 64))
    scores = retrieval_scores(image, text, ks=(1, 40))["image_to_text"]
    assert (
        scores["chance"] == pytest.approx(1 / 400)
        and abs(scores["R@40"] - 0.1) < 0.05
        and abs(scores["median_rank"] - 200) < 40
    )


@pytest.mark.parametrize(
    "image, text, owner, message",
    [
        (np.eye(3), np.eye(2, 3), None, r"text: 2 rows for 3 pictures"),
        (np.eye(3)[0], np.eye(3), None, r"image: must be \(N, C\)"),
        (np.eye(3), np.zeros((0, 3)), None, r"text: must be \(N, C\) with at least one row"),
        (np.eye(3), np.diag([1, np.nan, 1]), None, r"text: row 1 is not finite"),
        (np.diag([1, 1, np.inf]), np.eye(3), None, r"image: row 2 is not finite"),
        (np.eye(3), np.eye(3), [0, 1, 3], r"owner: must be 3 integers in 0..2"),
        (np.eye(3), np.eye(3), [0, 1, 1], r"owner: picture 2 has no text"),
        (np.eye(3), np.eye(3), [0.0, 1.0, 2.0], r"owner: must be 3 integers"),
        (np.eye(3), np.eye(3), [0, 1], r"owner: must be 3 integers"),
    ],
)
def test_bad_input_is_named(image, text, owner, message):
    with pytest.raises(ValueError, match=message):
        retrieval_scores(image, text, owner=owner)


def test_nearest_neighbour_equals_the_loop_and_ignores_brightness():
    random = np.random.default_rng(1)
    gallery = random.random((12, 4, 4, 3))
    query = gallery + random.standard_normal(gallery.shape) * 0.7
    flat = [a.reshape(12, -1) - a.reshape(12, -1).mean(1, keepdims=True) for a in (query, gallery)]
    want = loop_scores(*flat, np.arange(12), np.arange(12), (1, 5))
    assert 0 < want["R@1"] < 1
    assert nearest_neighbour(gallery, query) == pytest.approx(want)
    assert nearest_neighbour(gallery, query * 0.5 + 0.25) == pytest.approx(want)
    bytes_ = (np.clip(gallery, 0, 1) * 255).astype(np.uint8)
    assert nearest_neighbour(bytes_, bytes_)["R@1"] == 1


def test_nearest_neighbour_of_blank_pictures_finds_nothing():
    blank = np.ones((9, 8, 8, 3)) * np.linspace(0.1, 0.9, 9)[:, None, None, None]
    for gallery in (blank, np.full_like(blank, 0.3)):
        scores = nearest_neighbour(gallery, np.random.default_rng(0).random(blank.shape))
        assert scores["R@1"] == scores["R@5"] == 0


def test_nearest_neighbour_wants_pairs():
    with pytest.raises(ValueError, match=r"query: \(3, 4\) must have the shape of gallery, \(2, 4\)"):
        nearest_neighbour(np.ones((2, 4)), np.ones((3, 4)))
