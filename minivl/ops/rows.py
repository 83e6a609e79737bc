"""How kernels that go row by row are launched: the threads that share a row, the rows of a block. See rows.cuh."""

import numpy as np

from .. import kernels
from ..array import array_module

SHARED = 96 << 10  # bytes of shared memory that a block may use: two such blocks fit on an H100, one on a gaming card
THREADS = 132 * 512  # in a launch whose blocks take row after row: they keep an H100 busy, and are as many on any GPU
SUMMING = 384  # threads at most of a team that sums over rows: more would not have registers enough
_OWN = {2: 16, 4: 16, 8: 8}  # columns that a thread sums over rows, by bytes of a number; 4 where they come one by one


# ---- arrays ----------------------------------------------------------------------------------------------------------


def wanted(*arrays):
    """Whether an op of these arrays, all of one dtype, is to use its kernel. Empty ones are left to NumPy's text."""
    return kernels.wanted(*arrays) and all(x.size for x in arrays) and all(x.dtype == arrays[0].dtype for x in arrays)


def aligned(x):
    """x in C order, beginning at a multiple of 16 bytes: itself, or a copy."""
    x = array_module(x).ascontiguousarray(x)
    return x if address(x) % 16 == 0 else x.copy()


def address(x):
    return x.ctypes.data if isinstance(x, np.ndarray) else x.data.ptr


def matrix(x):
    """(..., C) -> (rows, C), aligned."""
    return aligned(x.reshape(-1, x.shape[-1]))


def sums_like(x, *shape):
    """An empty array of the numbers in which kernels sum those of x: double for double, else float."""
    return array_module(x).empty(shape, np.float64 if x.dtype == np.float64 else np.float32)


def width(x):
    """Neighbouring numbers of x (rows, C) that a thread takes at a time: 16 bytes, or 1 where rows begin anywhere."""
    n = 16 // x.itemsize
    return 1 if x.shape[-1] % n else n


# ---- launches --------------------------------------------------------------------------------------------------------


def teams(units):
    """(threads, teams): so many threads for a row of so many loads, so many such teams in a block.

    A thread has a few loads, so that several are under way. Up to 32 threads are a power of two: teams of one warp.
    """
    threads = -(-units // 4)
    if threads > 32:
        threads = max(32, _up(-(-units // 8), 32))
    return (min(512, threads), 1) if threads > 32 else in_warps(threads, 128)


def run(kernel, like, arguments, more=(), slots=1):
    """kernel(*arguments, rows, C, room, *more), a team for each row of `like` (rows, C).

    slots    how many rows a team keeps in shared memory at a time
    """
    rows, C = like.shape
    n = 16 // like.itemsize
    threads, together = teams(C // width(like))
    slot = slots * together * like.itemsize  # bytes that each column takes
    room = min(_up(C, n), SHARED // slot // n * n)
    kernel(-(-rows // together), (threads, together), (*arguments, rows, C, room, *more), shared_mem=slot * room)


def run_summing(kernel, sums, like, arguments, tables, slots=4):
    """kernel(*arguments, partial, rows, C, room), each team taking many rows; returns sums over all rows, (tables, C).

    sums     the kernel column_sums of the same file
    slots    how many rows a team keeps in shared memory at a time
    """
    rows, C = like.shape
    n = 16 // like.itemsize
    own = 4 if width(like) == 1 else _OWN[like.itemsize]
    threads = -(-C // own)
    threads, together = (min(SUMMING, _up(threads, 32)), 1) if threads > 32 else in_warps(threads, 32)
    blocks = max(1, min(-(-rows // (4 * together)), THREADS // (threads * together)))
    room = _up(min(C, own * threads), n)
    partial = sums_like(like, tables, blocks, C)
    kernel(
        (blocks, -(-C // (own * threads))),
        (threads, together),
        (*arguments, partial, rows, C, room),
        shared_mem=slots * together * room * like.itemsize,
    )
    return column_sums(sums, partial, like)


def column_sums(kernel, partial, like):
    """partial (tables, rows, C) -> (tables, C), of the dtype of `like`."""
    tables, rows, C = partial.shape
    out = array_module(partial).empty((tables, C), like.dtype)
    kernel((-(-C // 8), tables), (8, 64), (partial, out, rows, C))
    return out


def in_warps(threads, block):
    """A team of at most 32 threads, and how many of them make `block` threads."""
    threads = 1 << (threads - 1).bit_length()
    return threads, block // threads


def _up(n, step):
    """The least multiple of `step` that is at least n."""
    return -(-n // step) * step
