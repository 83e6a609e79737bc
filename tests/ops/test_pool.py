"""Means and largest numbers of windows, against loops; ties, pads, NaN."""

import naive
import numpy as np
import pytest

from minivl import Tensor, array, gradcheck, ops

WINDOWS = [
    ((4, 4), 2, None, 0),
    ((5, 7), (2, 3), None, 0),
    ((6, 5), 3, 1, 1),
    ((5, 6), 3, 2, (1, 0)),
    ((4, 5), 1, 3, 0),
]


def pair(n):
    return (n, n) if isinstance(n, int) else n


@pytest.mark.parametrize("nbytes", [1, 300, 1 << 20])
@pytest.mark.parametrize(("shape", "size", "stride", "padding"), WINDOWS)
def test_definition(random, monkeypatch, shape, size, stride, padding, nbytes):
    monkeypatch.setattr(array, "CHUNK_BYTES", nbytes)
    x, sizes = random.standard_normal((3, *shape, 2)), (pair(size), pair(size if stride is None else stride))
    largest = lambda x: ops.max_pool2d(x, size=size, stride=stride, padding=padding)  # noqa: E731
    mean = lambda x: ops.avg_pool2d(x, size=size, stride=stride)  # noqa: E731
    np.testing.assert_array_equal(largest(Tensor(x)).data, naive.pool2d(max, x, *sizes, pair(padding)))
    np.testing.assert_allclose(mean(Tensor(x)).data, naive.pool2d(naive.mean, x, *sizes), rtol=1e-12, atol=1e-13)
    for pool in (largest, mean):
        gradcheck(pool, x, seeds=(0,))


def test_of_equals_the_first_gets_the_gradient():
    x = Tensor(np.zeros((1, 2, 4, 1)), requires_grad=True)
    ops.max_pool2d(x, size=2).backward(np.array([3.0, 5.0]).reshape(1, 1, 2, 1))
    assert x.grad[0, :, :, 0].tolist() == [[3, 0, 5, 0], [0, 0, 0, 0]]


def test_pads_are_never_the_largest():
    x = Tensor(np.full((1, 2, 2, 1), -7.0))
    assert (ops.max_pool2d(x, size=3, stride=1, padding=1).data == -7).all()


def test_a_nan_is_seen():
    x = np.zeros((1, 2, 4, 1))
    x[0, 0, 1] = np.nan
    for pool in (ops.max_pool2d, ops.avg_pool2d):
        assert np.isnan(pool(Tensor(x), size=2).data).ravel().tolist() == [True, False]


@pytest.mark.parametrize(
    ("pool", "shape", "options", "words"),
    [
        (ops.avg_pool2d, (2, 4, 4), {"size": 2}, "avg_pool2d: x (2, 4, 4), must be (B, H, W, C)"),
        (ops.max_pool2d, (2, 4, 4), {"size": 2}, "max_pool2d: x (2, 4, 4), must be (B, H, W, C)"),
        (ops.avg_pool2d, (2, 4, 4, 1), {"size": 5}, "avg_pool2d: x (2, 4, 4, 1) with padding 0 has no whole window"),
        (ops.max_pool2d, (2, 4, 4, 1), {"size": 2, "stride": 0}, "max_pool2d: window (2, 2), stride 0"),
        (ops.max_pool2d, (2, 4, 4, 1), {"size": 3, "padding": 2}, "padding 2 is more than half of size 3"),
    ],
)
def test_errors(pool, shape, options, words):
    with pytest.raises(ValueError) as caught:
        pool(Tensor(np.zeros(shape)), **options)
    assert words in str(caught.value)
