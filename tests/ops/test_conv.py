"""Convolution: any window, stride and padding, against loops; pieces of bounded size; what it is for windows of 1."""

import tracemalloc

import naive
import numpy as np
import pytest

from minivl import Tensor, array, gradcheck, ops

WINDOWS = [  # x (H, W), window, stride, padding, places
    ((4, 4), (3, 3), 1, 1, (4, 4)),
    ((5, 6), (3, 3), 2, 1, (3, 3)),
    ((4, 6), (2, 2), 2, 0, (2, 3)),
    ((5, 5), (2, 3), (2, 1), (0, 1), (2, 5)),  # rows and pads that no window needs
    ((3, 3), (1, 1), 2, 0, (2, 2)),
    ((2, 2), (4, 4), 1, 1, (1, 1)),  # larger than the picture
    ((6, 5), (1, 2), 3, 0, (2, 2)),  # gaps
    ((3, 4), (2, 2), (1, 2), (2, 3), (6, 5)),  # windows that hold nothing but pads
]
windows = pytest.mark.parametrize(("size", "window", "stride", "padding", "places"), WINDOWS)


def pair(n):
    return (n, n) if isinstance(n, int) else n


@windows
def test_definition(random, size, window, stride, padding, places):
    x, weight = random.standard_normal((2, *size, 3)), random.standard_normal((*window, 3, 4))
    bias = random.standard_normal(4)
    out = ops.conv2d(Tensor(x), weight, bias, stride=stride, padding=padding)
    assert out.shape == (2, *places, 4)
    expected = naive.conv2d(x, weight, bias, pair(stride), pair(padding))
    np.testing.assert_allclose(out.data, expected, rtol=1e-12, atol=1e-13)
    gradcheck(lambda *a: ops.conv2d(*a, stride=stride, padding=padding), x, weight, bias, seeds=(0,))


@windows
def test_in_small_pieces_it_is_the_same(random, small_chunks, monkeypatch, size, window, stride, padding, places):
    """Pieces of some rows of one example, of one example, of several: the cuts make no difference."""
    x, weight = random.standard_normal((5, *size, 2)), random.standard_normal((*window, 2, 3))
    expected = naive.conv2d(x, weight, None, pair(stride), pair(padding))
    for nbytes in (1, 500, 5000):
        monkeypatch.setattr(array, "CHUNK_BYTES", nbytes)
        out = ops.conv2d(Tensor(x), weight, stride=stride, padding=padding)
        np.testing.assert_allclose(out.data, expected, rtol=1e-12, atol=1e-13)
        gradcheck(lambda *a: ops.conv2d(*a, stride=stride, padding=padding), x, weight, seeds=(0,))


def test_a_window_of_one_is_a_linear_map(random):
    x, weight, bias = random.standard_normal((2, 3, 4, 5)), random.standard_normal((5, 6)), random.standard_normal(6)
    np.testing.assert_allclose(ops.conv2d(Tensor(x), weight[None, None], bias).data, x @ weight + bias, rtol=1e-12)


def test_windows_side_by_side_are_patches(random):
    x, weight = random.standard_normal((2, 3, 6, 4)), random.standard_normal((3, 2, 2, 5))
    patches = ops.patch_embed(Tensor(x), weight).data
    out = ops.conv2d(Tensor(x.transpose(0, 2, 3, 1)), weight.transpose(1, 2, 0, 3), stride=2)
    np.testing.assert_allclose(out.data.reshape(2, 6, 5), patches, rtol=1e-12)


def test_it_does_not_flip_the_window():
    x, weight = np.zeros((1, 3, 3, 1)), np.arange(9.0).reshape(3, 3, 1, 1)
    x[0, 0, 0] = 1
    assert ops.conv2d(Tensor(x), weight, padding=1).data[0, :2, :2, 0].tolist() == [[4, 3], [1, 0]]


def test_memory_is_bounded(random, monkeypatch):
    """Laid out at once the windows would take 9 times as much as x, in forward and in backward."""
    monkeypatch.setattr(array, "CHUNK_BYTES", 1 << 16)
    monkeypatch.setenv("MINIVL_THREADS", "2")
    x = Tensor(random.standard_normal((8, 64, 64, 8)).astype("f"), requires_grad=True)
    weight = Tensor(random.standard_normal((3, 3, 8, 8)).astype("f"), requires_grad=True)
    tracemalloc.start()
    ops.conv2d(x, weight, padding=1).sum().backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5.5 * x.data.nbytes  # output, its gradient, padded x, dx, and no windows


@pytest.mark.parametrize(
    ("x", "weight", "options", "words"),
    [
        ((1, 4, 4), (3, 3, 1, 2), {}, "x (1, 4, 4) and weight (3, 3, 1, 2): want (B, H, W, C) and (h, w, C, D)"),
        ((1, 4, 4, 3), (3, 3, 2, 2), {}, "x (1, 4, 4, 3) and weight (3, 3, 2, 2)"),
        ((1, 4, 4, 3), (3, 5, 3, 2), {}, "x (1, 4, 4, 3) with padding 0 has no whole window of (3, 5)"),
        ((1, 4, 4, 3), (3, 3, 3, 2), {"stride": 0}, "stride 0, padding 0: want at least 1, 1 and 0"),
        ((1, 4, 4, 3), (3, 3, 3, 2), {"padding": -1}, "stride 1, padding -1"),
        ((1, 4, 4, 3), (3, 3, 3, 2), {"stride": (1, 1, 1)}, "one number or a pair"),
    ],
)
def test_errors(x, weight, options, words):
    with pytest.raises(ValueError) as caught:
        ops.conv2d(Tensor(np.zeros(x)), np.zeros(weight), **options)
    assert "conv2d" in str(caught.value) and words in str(caught.value)
