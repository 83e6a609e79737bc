"""GELU against the error function of the C library."""

import math

import numpy as np
import pytest

from minivl import Tensor, ops

X = np.concatenate([np.linspace(-12, 12, 20_001), np.linspace(-40, 40, 801), [0.0, -0.0, 1e-30, -1e-30, 1e-8]])


def exact(x):
    """x Phi(x) and its slope, by math.erfc: it keeps its digits where Phi is tiny."""
    below = np.array([0.5 * math.erfc(-n / math.sqrt(2)) for n in x.tolist()])
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return x * below, below + x * density


def gelu_and_slope(x):
    t = Tensor(x, requires_grad=True)
    y = ops.gelu(t)
    y.backward(np.ones_like(x))
    return y.data, t.grad


def test_float64_is_exact_to_the_last_digits():
    y, slope = gelu_and_slope(X)
    expected, expected_slope = exact(X)
    assert np.abs(y - expected).max() < 2e-15 * 12
    assert (np.abs(y - expected) <= 3e-15 * np.maximum(1, np.abs(expected))).all()
    assert np.abs(slope - expected_slope).max() < 5e-15


def test_float32_is_as_good_as_its_rounding():
    x = X.astype(np.float32)
    y, slope = gelu_and_slope(x)
    expected, expected_slope = exact(x.astype(np.float64))
    assert y.dtype == slope.dtype == np.float32
    assert (np.abs(y - expected) <= 3e-7 * np.maximum(1, np.abs(expected))).all()
    assert np.abs(slope - expected_slope).max() < 5e-7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_out_it_is_the_identity_or_nothing(dtype):
    x = np.array([-1e30, -100, 100, 1e30, 0], dtype)
    with np.errstate(over="ignore"):  # the square of 1e30
        y, slope = gelu_and_slope(x)
    np.testing.assert_array_equal(y, np.array([0, 0, 100, 1e30, 0], dtype))
    np.testing.assert_allclose(slope, np.array([0, 0, 1, 1, 0.5], dtype), rtol=1e-15)


def test_the_approximations_are_as_close_as_their_papers_say():
    """tanh within 5e-4 of the exact one, quick_gelu within 0.021 (Hendrycks & Gimpel 2016, sec. 2)."""
    expected = exact(X)[0]
    assert 1e-4 < np.abs(ops.gelu(Tensor(X), approximate="tanh").data - expected).max() < 5e-4
    assert 1e-2 < np.abs(ops.quick_gelu(Tensor(X)).data - expected).max() < 2.1e-2


def test_a_single_number_has_no_axes():
    x = Tensor(np.array(1.0), requires_grad=True)
    for approximate in ("none", "tanh"):
        y = ops.gelu(x, approximate=approximate)
        assert y.shape == () and 0.84 < y.item() < 0.842
        y.backward()
