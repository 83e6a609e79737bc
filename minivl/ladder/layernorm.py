"""The derivative of layer normalisation: dx, and dweight and dbias, which are sums over all rows.

Memory is the bound: x and dy have to be read and dx written once. What makes it a lesson is the sums: every row adds to
the same numbers. `backward` of the first rungs is given room for dweight and dbias, that of the later ones for the
partial sums of its blocks.
"""

import numpy as np

from ..array import array_module
from ..ops import rows
from . import Ladder, Rung


def make(random, cast, rows, C):
    x, dy, weight = (cast(random.standard_normal(shape)) for shape in ((rows, C), (rows, C), (C,)))
    wide = np.float64 if x.dtype == np.float64 else np.float32
    return {
        "x": x,
        "dy": dy,
        "weight": weight,
        "mean": (0.1 * random.standard_normal(rows)).astype(wide),  # any will do: the formula holds for each
        "rstd": (1 + 0.1 * random.random(rows)).astype(wide),
        **{name: np.empty_like(like) for name, like in (("dx", x), ("dweight", weight), ("dbias", weight))},
    }


def reference(x, dy, weight, mean, rstd, dx, dweight, dbias):
    n = (x - mean[:, None]) * rstd[:, None]
    dn = dy * weight
    dn_mean, along_n = dn.mean(-1, keepdims=True), (dn * n).mean(-1, keepdims=True)
    return {"dx": (dn - dn_mean - n * along_n) * rstd[:, None], "dweight": (dy * n).sum(0), "dbias": dy.sum(0)}


def by_atomics(rows_each):
    """A launch with a block of 128 threads for so many rows."""

    def launch(k, x, dy, weight, mean, rstd, dx, dweight, dbias):
        dweight[...], dbias[...] = 0, 0
        arguments = (x, dy, weight, mean, rstd, dx, dweight, dbias, *x.shape)
        k.backward(-(-len(x) // rows_each), 128, arguments)

    return launch


def in_two_stages(threads_for, blocks, shared_for=lambda C: 0):
    """A launch of at most so many blocks, each of which writes partial sums, and one that adds them up."""

    def launch(k, x, dy, weight, mean, rstd, dx, dweight, dbias):
        n, C = x.shape
        partial = array_module(x).empty((2, min(blocks, -(-n // 8)), C), mean.dtype)
        arguments = (x, dy, weight, mean, rstd, dx, partial, n, C)
        k.backward(partial.shape[1], threads_for(C), arguments, shared_mem=shared_for(C))
        dweight[...], dbias[...] = rows.column_sums(k.column_sums, partial, x)

    return launch


def shipped(k, x, dy, weight, mean, rstd, dx, dweight, dbias):
    arguments = x, dy, weight, mean, rstd, dx
    dweight[...], dbias[...] = rows.run_summing(k.layernorm_backward, k.column_sums, x, arguments, tables=2)


LADDER = Ladder(
    make=make,
    reference=reference,
    rungs=[
        Rung("ladder/layernorm_1_naive", by_atomics(128)),
        Rung("ladder/layernorm_2_warp", by_atomics(4)),
        Rung("ladder/layernorm_3_two_stages", in_two_stages(lambda C: 256, 792, lambda C: 8 * C)),
        Rung("ladder/layernorm_4_registers", in_two_stages(lambda C: -(-C // 128) * 32, 792)),
        Rung("layernorm", shipped),
        Rung("layernorm", shipped, dtype="bfloat16"),
    ],
    cpu={"rows": 250, "C": 96},
    gpu={"rows": 131072, "C": 1024},
    bytes=lambda rows, C, itemsize: 3 * rows * C * itemsize,
    peers={"PyTorch": lambda xp, **arrays: _pytorch(xp, **arrays)},
)


def _pytorch(torch, x, dy, weight, mean, rstd, **_):
    shape, mask = x.shape[-1:], [True, True, True]
    mean, rstd = mean[:, None], rstd[:, None]
    return torch.ops.aten.native_layer_norm_backward(dy, x, shape, mean, rstd, weight, weight, mask)
