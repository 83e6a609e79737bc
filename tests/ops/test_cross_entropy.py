"""Cross-entropy against its definition in float64."""

import naive
import numpy as np
import pytest

from minivl import Tensor, gradcheck, ops

TARGET = np.array([[2, -100, 0, 4], [-100, 4, 1, 3]])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("ignored", [-100, 4, 0])
def test_definition(random, smoothing, ignored):
    logits = 3 * random.standard_normal((2, 4, 5))
    target = np.where(TARGET == -100, ignored, TARGET)
    options = dict(ignore_index=ignored, label_smoothing=smoothing)
    expected = naive.cross_entropy(logits, target, **options)
    assert ops.cross_entropy(Tensor(logits), target, **options).item() == pytest.approx(expected, rel=1e-13)
    single = ops.cross_entropy(Tensor(logits.astype(np.float32)), target, **options)
    assert single.dtype == np.float32 and single.item() == pytest.approx(expected, rel=1e-6)
    gradcheck(lambda x: ops.cross_entropy(x, target, **options), logits)


def test_the_gradient_is_share_minus_truth(random):
    logits = Tensor(random.standard_normal((3, 4)), requires_grad=True)
    ops.cross_entropy(logits, np.array([1, -100, 3])).backward()
    expected = (ops.softmax(logits).data - np.eye(4)[[1, 0, 3]]) / 2
    expected[1] = 0
    np.testing.assert_allclose(logits.grad, expected, atol=1e-15)
    assert not logits.grad[1].any()


@pytest.mark.parametrize("shape", [(2, 3, 5), (0, 5), (5,)])
def test_no_row_counts(random, shape):
    logits = Tensor(random.standard_normal(shape), requires_grad=True)
    loss = ops.cross_entropy(logits, np.full(shape[:-1], -100), label_smoothing=0.1)
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == shape and not logits.grad.any()


def test_large_logits():
    logits = Tensor(np.array([[1e4, 0, -1e4], [0, 1e4, 0]], np.float32), requires_grad=True)
    loss = ops.cross_entropy(logits, np.array([0, 0]))
    loss.backward()
    assert loss.item() == 5e3
    np.testing.assert_allclose(logits.grad, [[0, 0, 0], [-0.5, 0.5, 0]])


def test_an_infinite_loss_is_infinite():
    logits = Tensor(np.array([[-np.inf, 0.0], [1.0, 2.0]]))
    assert ops.cross_entropy(logits, np.array([0, 1])).item() == np.inf
    assert ops.cross_entropy(logits, np.array([1, 1])).item() == pytest.approx(np.log(1 + np.exp(-1.0)) / 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_stands_in_a_row_that_does_not_count_makes_no_difference(random, value):
    logits = random.standard_normal((3, 4))
    expected = ops.cross_entropy(Tensor(logits), np.array([1, -100, 2])).item()
    logits[1] = value
    t = Tensor(logits, requires_grad=True)
    with np.errstate(invalid="ignore"):
        loss = ops.cross_entropy(t, np.array([1, -100, 2]))
        loss.backward()
    assert loss.item() == expected, "a row whose target is ignore_index must not reach the loss"
    assert not t.grad[1].any()


def test_many_rows_give_the_same_bits_on_any_number_of_threads(random, small_chunks, monkeypatch):
    logits, target = random.standard_normal((97, 5)).astype(np.float32), random.integers(0, 5, 97)
    seen = set()
    for threads in (1, 2, 4):
        monkeypatch.setenv("MINIVL_THREADS", str(threads))
        t = Tensor(logits, requires_grad=True)
        loss = ops.cross_entropy(t, target, label_smoothing=0.1)
        loss.backward()
        seen.add((loss.item(), t.grad.tobytes()))
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("logits", "target", "options", "error", "words"),
    [
        ((2, 3), np.array([0.0, 1.0]), {}, ValueError, "integer targets (2,), got float64 (2,)"),
        ((2, 3), np.array([0]), {}, ValueError, "logits (2, 3) need integer targets (2,), got int64 (1,)"),
        ((2, 3), np.array([0, 3]), {}, IndexError, "targets from 0 to 3, must be in 0 to 2"),
        ((2, 3), np.array([0, -1]), {}, IndexError, "targets from -1 to 0, must be in 0 to 2"),
        ((2, 3), np.array([0, 1]), {"label_smoothing": 1.0}, ValueError, "label_smoothing is 1.0"),
        ((2, 3), np.array([0, 1]), {"label_smoothing": -0.1}, ValueError, "label_smoothing is -0.1"),
    ],
)
def test_errors(logits, target, options, error, words):
    with pytest.raises(error) as caught:
        ops.cross_entropy(Tensor(np.zeros(logits)), target, **options)
    assert "cross_entropy" in str(caught.value) and words in str(caught.value)
