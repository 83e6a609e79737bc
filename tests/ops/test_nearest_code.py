"""The nearest code, against every distance worked out in loops."""

import naive
import numpy as np
import pytest

from minivl import Tensor, ops


@pytest.mark.parametrize("N, K, C", [(1, 1, 1), (33, 31, 3), (7, 65, 16), (0, 4, 2), (130, 5, 4)])
def test_definition(random, small_chunks, N, K, C):
    x, codes = random.standard_normal((N, C)), random.standard_normal((K, C))
    indices, distances = ops.nearest_code(x, codes)
    expected, least = naive.nearest_code(x, codes)
    assert indices.dtype == np.int64 and distances.dtype == x.dtype
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(distances, least, rtol=1e-12)


def test_leading_axes_and_tensors(random):
    x, codes = random.standard_normal((2, 3, 5, 4)).astype("f"), random.standard_normal((9, 4)).astype("f")
    indices, distances = ops.nearest_code(Tensor(x, requires_grad=True), Tensor(codes, requires_grad=True))
    assert indices.shape == distances.shape == (2, 3, 5) and distances.dtype == np.float32
    flat, _ = ops.nearest_code(x.reshape(-1, 4), codes)
    np.testing.assert_array_equal(indices.ravel(), flat)


def test_of_equal_codes_the_first(random):
    code = random.standard_normal(6)
    assert ops.nearest_code(code[None], np.stack([code + 1, code, code, code]))[0].tolist() == [1]


def test_the_distance_to_a_code_that_is_hit_exactly_is_0(random):
    """|x|^2 - 2 x.c + |c|^2 would leave some rounding of 1e8 here."""
    codes = (random.standard_normal((20, 8)) + 1e4).astype("f")
    indices, distances = ops.nearest_code(codes, codes)
    assert not distances[indices == np.arange(20)].any()


@pytest.mark.parametrize("x, codes", [((3, 2), (4, 3)), ((), (4, 3)), ((3, 2), (0, 2)), ((3, 2), (2,))])
def test_errors(x, codes):
    with pytest.raises(ValueError, match="nearest_code: x"):
        ops.nearest_code(np.zeros(x), np.zeros(codes))
