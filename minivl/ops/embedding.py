"""Embedding: a token's number becomes a vector, by looking it up in a table."""

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
        dtable = xp.zeros_like(table)
        xp.add.at(dtable, ids.reshape(-1), d.reshape(ids.size, table.shape[1]))
        return dtable

    return table[ids], derivative
