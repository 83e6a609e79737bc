"""Positions: fixed waves, and learned ones read between their places."""

import numpy as np
import pytest

from minivl import Tensor, gradcheck
from minivl.nn import cropped_positions, reading, sin_cos


@pytest.mark.parametrize("C", [6, 12, 16, 17])
def test_sin_cos_on_three_axes(C):
    centres = np.array([[0.0, 0.0, 0.0], [1.5, 3.5, 11.5], [7.5, 0.5, 2.0]])
    found, n = sin_cos(centres, C), C // 6
    assert found.shape == (3, C)
    for place, row in zip(centres, found, strict=True):
        expected = []
        for x in place:
            angles = [x / 10000 ** (k / n) for k in range(n)]
            expected += [np.sin(a) for a in angles] + [np.cos(a) for a in angles]
        np.testing.assert_allclose(row, expected + [0.0] * (C - 6 * n), atol=1e-15)


def test_a_grid_is_read_where_it_stands_and_linearly_between():
    grid = np.arange(9.0).reshape(9, 1)  # row * 3 + column
    places = np.array([[0, 0], [1, 2], [0.5, 0.25], [-4, 1], [9, 9]])
    np.testing.assert_allclose((reading(3, places) @ grid)[:, 0], [0, 5, 1.75, 1, 8])


class Whole:
    """Draws the whole picture, or its lower right quarter, and nothing by chance."""

    def __init__(self, area, start):
        self.drawn, self.start = iter([area, 0.0]), start

    def uniform(self, low, high, size):
        return np.full(size, next(self.drawn))

    def random(self, size):
        return np.full(size, self.start)


def test_positions_of_the_whole_picture_and_of_a_quarter():
    """Positions that grow evenly: what is read of the middle is exactly where it lies."""
    side = 8
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    position = Tensor(np.stack([rows, columns], axis=-1).reshape(-1, 2).astype(np.float64))
    whole = cropped_positions(position, 2, Whole(1.0, 0.0), fine=64).data
    np.testing.assert_allclose(whole[1], position.data, atol=0.04)  # its border stands on the finer grid's own border
    inside = (position.data > 0).all(axis=1) & (position.data < side - 1).all(axis=1)
    np.testing.assert_allclose(whole[0][inside], position.data[inside], atol=1e-12)
    quarter = cropped_positions(position, 1, Whole(0.25, 1.0), fine=64).data.reshape(side, side, 2)
    np.testing.assert_allclose(
        quarter[:7, 0, 0], 3.75 + 0.5 * np.arange(7), atol=1e-12
    )  # half as far from each to each


def test_cropped_positions_lie_within_the_grid_and_pass_gradients_on(random):
    position = random.standard_normal((16, 3))
    found = cropped_positions(Tensor(position), 50, np.random.default_rng(0))
    assert found.shape == (50, 16, 3) and (np.abs(found.data) <= np.abs(position).max(axis=0) + 1e-12).all()
    assert len({row.tobytes() for row in found.data}) == 50, "each picture has its own part"
    gradcheck(lambda p: cropped_positions(p, 2, np.random.default_rng(1)), position)
    assert cropped_positions(Tensor(position.astype(np.float32)), 1, random).dtype == np.float32
