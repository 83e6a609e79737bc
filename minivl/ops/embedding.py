"""Embedding: a token's number becomes a vector, by looking it up in a table. Kernels: embedding.cu."""

import numpy as np

from .. import kernels
from ..array import array_module, on_gpu
from ..tensor import op
from . import rows

CHUNK = 32  # sorted places that one team of threads sums; embedding.cu has it too


@op
def embedding(table, ids):
    """table (V, C), ids (...) of integers in 0 .. V-1   ->   (..., C)

    The derivative adds up the gradients of all the places where a token stands. A number that the table has not is an
    error; on a GPU, which nobody waits for, it gives a vector of NaN instead.
    """
    xp = array_module(table)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids must be integers, got {ids.dtype}")
    by_kernel = rows.wanted(table) and ids.size
    if by_kernel and on_gpu(table):
        return _by_kernel(table, ids)
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= len(table)):
        raise IndexError(
            f"embedding: ids from {int(ids.min())} to {int(ids.max())}, the table has rows 0 to {len(table) - 1}"
        )
    if by_kernel:
        return _by_kernel(table, ids)

    def derivative(d):
        dtable = xp.zeros(table.shape, table.dtype)
        # Number by number, not row by row: NumPy then adds four to ten times as fast.
        places = ids.reshape(-1, 1).astype(np.intp) * table.shape[1] + xp.arange(table.shape[1])
        xp.add.at(dtable.reshape(-1), places.reshape(-1), d.reshape(-1))
        return dtable

    return table[ids], derivative


def _by_kernel(table, ids):
    k, xp, t = kernels.load("embedding", like=table), array_module(table), rows.aligned(table)
    (V, C), n, flat = t.shape, ids.size, xp.ascontiguousarray(ids, dtype=np.int64).reshape(-1)
    units = C // rows.width(t)
    threads, teams = rows.in_warps(min(32, units), 128)
    out = xp.empty((n, C), t.dtype)
    k.embedding_forward(-(-n // teams), (threads, teams), (t, flat, out, n, C, V))

    def derivative(d):
        order, chunks = xp.argsort(flat, kind="stable"), -(-n // CHUNK)
        dtable, pieces, ordered = xp.zeros(t.shape, t.dtype), rows.sums_like(t, chunks, 2, C), flat[order]
        grid = -(-chunks // teams), -(-units // threads)
        k.embedding_chunks(grid, (threads, teams), (rows.matrix(d), ordered, order, dtable, pieces, n, C, V))
        if chunks > 1:
            k.embedding_joins((chunks - 1, -(-C // 32)), (32, 8), (ordered, pieces, dtable, n, C, V))
        return dtable

    return out.reshape(*ids.shape, C), derivative
