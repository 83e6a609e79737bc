"""Batch normalisation: what it gives, what it cannot see, and numbers far from 0."""

import numpy as np
import pytest

from minivl import Tensor, ops


def test_in_training_every_feature_has_mean_0_and_variance_1(random):
    x = (3 * random.standard_normal((4, 5, 6, 3)) + 2).astype("f")
    y = ops.batch_norm(x, np.ones(3, "f"), np.zeros(3, "f"), *ops.batch_moments(x), training=True).data
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1, rtol=1e-4)


def test_in_training_a_shift_and_a_stretch_of_x_change_nothing(random):
    """So that the gradient has no part along either: it sums to 0, also against x."""
    x = Tensor(random.standard_normal((7, 3)), requires_grad=True)
    ops.batch_norm(x, np.ones(3), np.zeros(3), *ops.batch_moments(x), training=True, eps=0.0).backward(
        random.standard_normal((7, 3))
    )
    np.testing.assert_allclose(x.grad.sum(0), 0, atol=1e-12)
    np.testing.assert_allclose((x.grad * x.data).sum(0), 0, atol=1e-12)


def test_moments_far_from_zero(random):
    x = (random.standard_normal((4096, 2)) + 1e4).astype("f")
    mean, var = ops.batch_moments(x)
    assert mean.dtype == var.dtype == np.float32
    np.testing.assert_allclose(mean, x.astype("d").mean(0), rtol=1e-6)
    np.testing.assert_allclose(var, x.astype("d").var(0), rtol=1e-2)


def test_moments_of_a_tensor_have_no_history(random):
    x = Tensor(random.standard_normal((4, 2)), requires_grad=True)
    for moment, expected in zip(ops.batch_moments(x), (x.data.mean(0), x.data.var(0)), strict=True):
        assert isinstance(moment, np.ndarray)
        np.testing.assert_allclose(moment, expected, rtol=1e-12)


def test_errors():
    one, two = np.ones(1), np.ones(2)
    with pytest.raises(ValueError, match=r"batch_norm: x \(3, 2\) needs weight, bias, mean and var \(2,\), got \(2,\)"):
        ops.batch_norm(Tensor(np.ones((3, 2))), two, two, one, two)
