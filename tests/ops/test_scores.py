"""Exponentials of scores: no search for the largest where none is needed, and no row notices another."""

import numpy as np
import pytest

from minivl.ops.scores import exponentials, total


def shares(x, out=False):
    room = np.empty_like(x) if out else None
    e, sums, top = exponentials(lambda: x if out else x.copy(), room)
    assert not out or e is room
    with np.errstate(divide="ignore"):
        log_sum = np.log(sums) + top
    return e / np.maximum(sums, np.finfo(x.dtype).tiny), log_sum


def exact(x):
    x = x.astype(np.longdouble)
    top = x.max(-1, keepdims=True)
    e = np.exp(x - np.where(np.isfinite(top), top, 0))
    with np.errstate(divide="ignore"):
        return e / np.maximum(e.sum(-1, keepdims=True), 1e-300), np.log(e.sum(-1, keepdims=True)) + top


@pytest.mark.parametrize("out", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shift", [0, 40, 50, 200, 1e4, -40, -50, -200, -1e4])
def test_any_scores(random, shift, dtype, out):
    x = (3 * random.standard_normal((4, 3, 7)) + shift).astype(dtype)
    with np.errstate(all="raise", under="ignore"):
        p, log_sum = shares(x, out)
    expected_p, expected_log = exact(x)
    tolerance = 10 * np.finfo(dtype).eps
    np.testing.assert_allclose(p, expected_p.astype(dtype), rtol=tolerance * max(1, abs(shift) ** 0.5))
    np.testing.assert_allclose(log_sum, expected_log.astype(dtype), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("other", [500.0, -500.0, np.inf, -np.inf, np.nan])
def test_no_row_notices_another(random, other):
    x = random.standard_normal((5, 9)).astype(np.float32)
    before, _ = shares(x)
    x[2] = other
    with np.errstate(invalid="ignore"):
        after, _ = shares(x)
    rest = [0, 1, 3, 4]
    np.testing.assert_array_equal(after[rest], before[rest])


def test_hidden_scores_have_no_share_and_a_row_of_them_sums_to_nothing():
    x = np.array([[-np.inf, 1, 2], [-np.inf, -np.inf, -np.inf]], np.float32)
    p, log_sum = shares(x)
    assert p[0, 0] == 0 and not p[1].any() and log_sum[1] == -np.inf


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 1), (2, 5000)])
def test_rows_of_any_length(random, shape):
    x = random.standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(total(x), x.astype(float).sum(-1, keepdims=True), rtol=1e-5, atol=1e-4)
    e, sums, _ = exponentials(x.copy)
    assert e.shape == shape and sums.shape == (shape[0], 1)
    assert not np.shares_memory(e, sums)
