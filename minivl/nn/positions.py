"""Where a token stands: fixed waves in time, height and width, and learned positions read between their places."""

import numpy as np

from ..array import device_of, to_device
from ..tensor import Tensor


def sin_cos(centres, C):
    """Fixed places: centres (N, axes), in frames and pixels -> (N, C), equal parts sines and cosines of each axis.

    Vaswani et al. 2017, arXiv 1706.03762, sec. 3.5; on the three axes of clips as in TubeViT, arXiv 2212.03229. What is
    left of C is 0.
    """
    axes = centres.shape[1]
    n = C // (2 * axes)
    angles = centres[:, :, None] * 10000.0 ** (-np.arange(n) / max(1, n))
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(centres), 2 * axes * n)
    return np.pad(waves, ((0, 0), (0, C - 2 * axes * n)))


def hats(places, side):
    """Linear interpolation as a matrix: places (..., n), in cells -> (..., n, side); outside, what the edge has."""
    return np.maximum(0, 1 - np.abs(np.clip(places, 0, side - 1)[..., None] - np.arange(side)))


def reading(side, places):
    """Bilinear: places (n, 2), rows and columns, in cells of a square grid -> (n, side * side)"""
    rows, columns = hats(places[:, 0], side), hats(places[:, 1], side)
    return (rows[:, :, None] * columns[:, None, :]).reshape(len(places), side * side)


def cropped_positions(position, B, random, fine=64):
    """position (N, C), of a whole picture's patches -> (B, N, C): for each picture those of a random part of it.

    The picture is treated as if it were cut out of a larger one, of `fine` x `fine` patches, as a region to be detected
    is. The part: 0.1 to 1 of the area, its width 1/2 to 2 of its height.   Kim, Angelova, Kuo 2023 (RO-ViT).
    """
    side = int(len(position) ** 0.5)
    area, aspect = random.uniform(0.1, 1, B), 2 ** random.uniform(-1, 1, B)
    extents = np.minimum(1, np.stack([np.sqrt(area / aspect), np.sqrt(area * aspect)]))  # rows, columns
    starts = random.random((2, B)) * (1 - extents)
    middles = (np.arange(side) + 0.5) / side
    finer = hats((np.arange(fine) + 0.5) * side / fine - 0.5, side)  # (fine, side)
    places = (starts[..., None] + middles * extents[..., None]) * fine - 0.5  # (2, B, side)
    rows, columns = hats(places, fine) @ finer  # (B, side, side)
    weights = (rows[:, :, None, :, None] * columns[:, None, :, None, :]).reshape(B, side * side, side * side)
    return Tensor(to_device(weights.astype(position.dtype), device_of(position.data))) @ position
