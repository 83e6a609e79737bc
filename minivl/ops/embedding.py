"""Embedding: a token's number becomes a vector, by looking it up in a table."""

import numpy as np

from ..array import array_module
from ..tensor import op


@op
def embedding(table, ids):
    """table (V, C), ids (...) of integers in 0 .. V-1   ->   (..., C)

    The derivative adds up the gradients of all the places where a token stands.
    """
    xp = array_module(table)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids must be integers, got {ids.dtype}")
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= len(table)):
        raise IndexError(
            f"embedding: ids from {int(ids.min())} to {int(ids.max())}, the table has rows 0 to {len(table) - 1}"
        )

    def derivative(d):
        dtable = xp.zeros(table.shape, table.dtype)
        # Number by number, not row by row: NumPy then adds four to ten times as fast.
        places = ids.reshape(-1, 1).astype(np.intp) * table.shape[1] + xp.arange(table.shape[1])
        xp.add.at(dtable.reshape(-1), places.reshape(-1), d.reshape(-1))
        return dtable

    return table[ids], derivative
