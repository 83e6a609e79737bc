"""Softmax over the last axis, y = exp(x - max x) / sum. Memory is the bound: x has to be read and y written once."""

import numpy as np

from ..ops import rows
from . import Ladder, Rung


def make(random, cast, rows, C):
    x = cast(random.standard_normal((rows, C)))
    return {"x": x, "y": np.empty_like(x)}


def reference(x, y):
    e = np.exp(x - x.max(-1, keepdims=True))
    return {"y": e / e.sum(-1, keepdims=True)}


def blocks(rows_each, threads):
    """A launch with a block of `threads` for so many rows."""

    def launch(k, x, y):
        k.softmax(-(-len(x) // rows_each), threads, (x, y, *x.shape))

    return launch


def shipped(k, x, y):
    rows.run(k.softmax_forward, x, (x, None, y), (1, 1, 0, 0, 0, 0))  # no mask, and so no strides of one


LADDER = Ladder(
    make=make,
    reference=reference,
    rungs=[
        Rung("ladder/softmax_1_naive", blocks(128, 128)),
        Rung("ladder/softmax_2_block", blocks(1, 256)),
        Rung("ladder/softmax_3_warp", blocks(4, 128)),
        Rung("ladder/softmax_4_online", blocks(4, 128)),
        Rung("ladder/softmax_5_vectors", blocks(4, 128)),
        Rung("softmax", shipped),
        Rung("softmax", shipped, dtype="bfloat16"),
    ],
    cpu={"rows": 96, "C": 160},
    gpu={"rows": 32768, "C": 4096},
    bytes=lambda rows, C, itemsize: 2 * rows * C * itemsize,
    peers={
        "CuPy": lambda xp, x, y: _cupy(xp, x),
        "PyTorch": lambda xp, x, y: xp.softmax(x, -1),
    },
)


def _cupy(xp, x):
    e = xp.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
