"""Launches of correct.cu and what must come of them, for the CPU and for a GPU."""

from pathlib import Path

import numpy as np

CORRECT = Path(__file__).parent / "cu" / "correct.cu"


def f(n):
    return np.arange(n, dtype=np.float32)


def i(n):
    return np.zeros(n, np.int32)


BYTES = np.arange(64, dtype=np.uint8)
X = np.random.default_rng(0).standard_normal(384).astype(np.float32)
TILES = X.reshape(3, 128)
SILENT = [  # kernel, grid, block, arguments, what the result must be
    ("tree", 1, 32, (f(32), f(1)), [496]),
    ("halves", 1, 32, (f(32), f(32)), np.r_[16:32, 0:16]),
    ("relay", 1, 32, (f(1),), [5]),
    ("last_block", 5, 64, (f(320), f(5), np.zeros(1, np.uint32), f(1)), [51040]),
    ("last_block_for_all", 5, 64, (f(320), f(320), i(1), f(1)), [102080]),
    ("histogram", 3, 64, (np.arange(500, dtype=np.int32) % 7, i(7), 500, 7), np.bincount(np.arange(500) % 7)),
    ("double_buffer", 1, 32, (X, f(96), 3), (TILES[:, :95:-1] + TILES[:, :32]).ravel()),
    ("bytes", 1, 64, (BYTES, BYTES.copy()), BYTES),
    ("ragged", 1, (11, 7), (f(70), f(70), 70), f(70)[::-1]),
    ("twice", 3, 32, (f(70), f(70), 70), 2 * f(70)),
    ("look_up", 1, 8, (f(8),), [9, 6, 6, 9] * 2),
]


def result_of(arguments):
    """The array that a kernel of correct.cu writes its result to: the last one."""
    return [x for x in arguments if hasattr(x, "dtype")][-1]
