"""Losses against their equations, in loops and float64."""

import math

import numpy as np
import pytest

from minivl import Tensor, gradcheck
from minivl.losses import captioning_loss, contrastive_loss, focal_loss, next_tokens, sigmoid_loss


def unit(random, B, C):
    x = random.standard_normal((B, C))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def info_nce(image, text, sigma, same=None):
    """Eq. 4 of van den Oord et al., once for the pictures and once for the texts, and the mean of both."""
    B = len(image)
    counts = [[i == j or same is None or not same[i, j] for j in range(B)] for i in range(B)]

    def one_way(similarity, counts):
        losses = []
        for i in range(B):
            total = sum(math.exp(similarity[i][j] / sigma) for j in range(B) if counts[i][j])
            losses.append(-math.log(math.exp(similarity[i][i] / sigma) / total))
        return sum(losses) / B

    similarity = [[float(v @ w) for w in text] for v in image]
    return (one_way(similarity, counts) + one_way([*zip(*similarity)], [*zip(*counts)])) / 2  # noqa: B905


@pytest.mark.parametrize("B", [1, 2, 5])
@pytest.mark.parametrize("sigma", [0.07, 1.0])
def test_contrastive(random, B, sigma):
    v, w = unit(random, B, 4), unit(random, B, 4)
    loss, logits = contrastive_loss(Tensor(v), Tensor(w), Tensor(np.array(math.log(1 / sigma))))
    assert loss.item() == pytest.approx(info_nce(v, w, sigma), rel=1e-12, abs=1e-14)
    np.testing.assert_allclose(logits.data, v @ w.T / sigma, rtol=1e-12)
    gradcheck(lambda *a: contrastive_loss(*a)[0], v, w, np.array(math.log(1 / sigma)))


def test_contrastive_with_several_texts_of_one_thing(random):
    v, w = unit(random, 4, 3), unit(random, 4, 3)
    same = np.eye(4, dtype=bool)
    same[0, 2] = same[2, 0] = same[1, 3] = True  # 3, 1 is left as it is: the two directions are told apart
    scale = np.array(math.log(1 / 0.5))
    loss, logits = contrastive_loss(Tensor(v), Tensor(w), Tensor(scale), same)
    assert loss.item() == pytest.approx(info_nce(v, w, 0.5, same), rel=1e-12)
    assert loss.item() < contrastive_loss(Tensor(v), Tensor(w), Tensor(scale))[0].item()
    np.testing.assert_allclose(logits.data, v @ w.T / 0.5, rtol=1e-12)  # the similarities themselves stay
    gradcheck(lambda *a: contrastive_loss(*a, same)[0], v, w, scale)
    everything = np.ones((4, 4), bool)
    assert contrastive_loss(Tensor(v), Tensor(w), Tensor(scale), everything)[0].item() == pytest.approx(0, abs=1e-15)


def test_contrastive_in_single_precision(random):
    v, w = unit(random, 6, 4), unit(random, 6, 4)
    tensors = [Tensor(a.astype(np.float32), requires_grad=True) for a in (v, w, np.array(math.log(100)))]
    loss, logits = contrastive_loss(*tensors, np.eye(6, dtype=bool))
    assert loss.dtype == logits.dtype == np.float32
    assert loss.item() == pytest.approx(info_nce(v, w, 0.01), rel=1e-4)
    loss.backward()
    assert all(t.grad.dtype == np.float32 and np.isfinite(t.grad).all() for t in tensors)


def as_it_is(x):
    """Stands for the map from features to logits, where the features are the logits."""
    return x


def test_next_tokens():
    text = np.array([[1, 5, 6, 2, 0], [1, 7, 2, 0, 0], [1, 5, 6, 7, 2], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    got = next_tokens(text, np.array([4, 3, 5, 1, 0]), ignore_index=-1)
    assert got.tolist() == [
        [5, 6, 2, -1, -1],
        [7, 2, -1, -1, -1],
        [5, 6, 7, 2, -1],
        [-1, -1, -1, -1, -1],
        [-1, -1, -1, -1, -1],
    ]
    assert next_tokens(text, [4, 3, 5, 1, 0])[0, -1] == -100


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_captioning(random, smoothing):
    """The mean over words, not over sentences: a long caption counts for more."""
    text, lengths, V = np.array([[1, 5, 6, 2], [1, 2, 0, 0]]), np.array([4, 2]), 8
    logits = random.standard_normal((2, 4, V))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    surprises = []
    for b, n in enumerate(lengths):
        for t in range(n - 1):
            truth = -log_p[b, t, text[b, t + 1]]
            surprises.append((1 - smoothing) * truth + smoothing * -log_p[b, t].mean())
    loss = captioning_loss(Tensor(logits), as_it_is, text, lengths, smoothing)[0]
    assert len(surprises) == 4 and loss.item() == pytest.approx(np.mean(surprises), rel=1e-12)
    gradcheck(lambda x: captioning_loss(x, as_it_is, text, lengths, smoothing)[0], logits)


def test_captioning_does_not_count_pads_and_ends(random):
    logits = Tensor(random.standard_normal((2, 3, 5)), requires_grad=True)
    loss, counted = captioning_loss(logits, as_it_is, np.array([[1, 3, 2], [1, 2, 0]]), np.array([3, 2]))
    loss.backward()
    np.testing.assert_array_equal(counted.data, logits.data[[0, 0, 1], [0, 1, 0]])
    assert (logits.grad != 0).all(-1).tolist() == [[True, True, False], [True, False, False]]
    nothing, _ = captioning_loss(logits, as_it_is, np.array([[1, 0, 0]] * 2), np.array([1, 0]))
    assert nothing.item() == 0


# ---- sigmoid ---------------------------------------------------------------------------------------------------------


def test_sigmoid_loss_is_its_definition(random):
    image, text = random.standard_normal((4, 3)), random.standard_normal((4, 3))
    loss, logits = sigmoid_loss(Tensor(image), Tensor(text), Tensor(np.array(0.5)), Tensor(np.array(-2.0)))
    total = 0.0
    for i in range(4):
        for j in range(4):
            s = math.exp(0.5) * image[i] @ text[j] - 2.0
            assert logits.data[i, j] == pytest.approx(s, rel=1e-12)
            total -= math.log(1 / (1 + math.exp(-s if i == j else s)))
    assert loss.item() == pytest.approx(total / 4, rel=1e-12)


def test_sigmoid_loss_leaves_twins_out(random):
    tensors = [Tensor(random.standard_normal((3, 2))), Tensor(random.standard_normal((3, 2)))]
    tensors += [Tensor(np.array(0.5)), Tensor(np.array(-1.0))]
    same = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], bool)
    plain, logits = sigmoid_loss(*tensors)
    twins = np.log1p(np.exp(logits.data[[0, 1], [1, 0]])).sum() / 3
    assert sigmoid_loss(*tensors, same)[0].item() == pytest.approx(plain.item() - twins, rel=1e-12)
    assert sigmoid_loss(*tensors, np.eye(3, dtype=bool))[0].item() == plain.item()
    for t in tensors:
        t.requires_grad = True
    assert gradcheck(lambda *a: sigmoid_loss(*a, same)[0], *tensors)


def test_sigmoid_loss_far_away(random):
    image = Tensor(np.eye(2, dtype=np.float32) * 1e3, requires_grad=True)
    loss, _ = sigmoid_loss(image, Tensor(np.eye(2, dtype=np.float32)), Tensor(np.float32(1)), Tensor(np.float32(-1)))
    loss.backward()
    assert loss.dtype == np.float32 and np.isfinite(loss.item()) and np.isfinite(image.grad).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("same", [False, True])
def test_focal_pair_by_pair(random, gamma, same):
    v, w, B, scale = unit(random, 4, 5), unit(random, 4, 5), 4, 3.0
    twins = np.eye(B, dtype=bool)
    twins[0, 2] = twins[2, 0] = True
    total = 0.0
    for i in range(B):
        for j in range(B):
            if i == j or not (same and twins[i, j]):
                s = 1 / (1 + math.exp(-float(v[i] @ w[j]) * scale))
                p = s if i == j else 1 - s
                total -= (1 - p) ** gamma * math.log(p)
    arguments = Tensor(v), Tensor(w), Tensor(np.array(math.log(scale)))
    loss, logits = focal_loss(*arguments, twins if same else None, gamma)
    assert loss.item() == pytest.approx(2 * total / B, rel=1e-12)
    np.testing.assert_allclose(logits.data, scale * v @ w.T, rtol=1e-12)
    gradcheck(lambda *a: focal_loss(*a, twins if same else None, gamma)[0], v, w, np.array(math.log(scale)))


def test_focal_does_not_overflow():
    v = np.eye(3, dtype=np.float32)
    for sign in (1, -1):
        loss, _ = focal_loss(Tensor(v), Tensor(sign * v), Tensor(np.float32(7.0)), gamma=2.0)
        assert np.isfinite(loss.item())


def test_what_is_given_is_not_predicted():
    text, lengths = np.array([[1, 5, 6, 7, 2], [1, 8, 2, 0, 0]]), np.array([5, 3])
    assert next_tokens(text, lengths, -1).tolist() == [[5, 6, 7, 2, -1], [8, 2, -1, -1, -1]]
    assert next_tokens(text, lengths, -1, np.array([3, 2])).tolist() == [[-1, -1, 7, 2, -1], [-1, 2, -1, -1, -1]]
