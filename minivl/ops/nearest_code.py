"""Vector quantisation: which of K codes lies nearest to each vector.   van den Oord et al. 2017, arXiv 1711.00937.

Kernels: nearest_code.cu, and nearest_code_bf16.cu on tensor cores.
"""

import numpy as np

from .. import array, kernels
from ..array import array_module, evenly, on_gpu, parallel
from ..tensor import Tensor
from . import rows

_GPU_CHUNK_BYTES = 1 << 28  # of scores at a time


def nearest_code(x, codes):
    """k = argmin_k |x - c_k|^2, and that distance.

    x (..., C)   codes (K, C)   Tensors or arrays   ->   indices int64 (...), distances (...), arrays

    Of equally near codes the first. No derivative is taken here: a choice has none, and the straight-through estimate
    that stands in for it is the layer's: x + (codes[k] - x).detach().

    |x - c|^2 = |x|^2 - 2 x.c + |c|^2, whose first term is the same for every code: one matrix product scores them all.
    The distance returned is taken from the difference, for the sum of the three cancels where x lies close to c.
    """
    x, codes = (a.data if isinstance(a, Tensor) else a for a in (x, codes))
    if codes.ndim != 2 or not len(codes) or x.ndim < 1 or x.shape[-1] != codes.shape[1]:
        raise ValueError(f"nearest_code: x {x.shape} and codes {codes.shape}: want (..., C) and (K, C), K at least 1")
    leading, x = x.shape[:-1], x.reshape(-1, x.shape[-1])
    indices, distances = (_launch if kernels.wanted(x, codes) else _nearest)(x, codes)
    return indices.reshape(leading), distances.reshape(leading)


def _nearest(x, codes):
    """x (N, C) -> indices (N,), distances (N,). Some rows at a time: all scores, N x K, may not fit."""
    xp, K = array_module(x), len(codes)
    half = (codes * codes).sum(-1) / 2
    indices, distances = xp.empty(len(x), np.int64), xp.empty(len(x), x.dtype)

    def work(some):
        scores = half - xp.matmul(x[some], codes.T)
        indices[some] = scores.argmin(-1)
        difference = x[some] - codes[indices[some]]
        distances[some] = (difference * difference).sum(-1)

    most = max(1, (_GPU_CHUNK_BYTES if on_gpu(x) else array.CHUNK_BYTES) // (K * x.itemsize))
    chunks = evenly(len(x), -(-len(x) // most))
    if on_gpu(x):
        for some in chunks:
            work(some)
    else:
        parallel(work, chunks)
    return indices, distances


_BLOCKS = 4 * 132  # that keep a large GPU busy
_STAGES = 3 * 2 * 128 * 40 * 2  # bytes of shared memory that nearest_code_bf16.cu takes for its tiles


def _launch(x, codes):
    """The same by kernels. Where rows are few, shares of the codes are searched side by side, so that no core idles."""
    xp, k = array_module(x), kernels.load("nearest_code", like=x)
    x, codes = rows.aligned(x), rows.aligned(codes.astype(x.dtype, copy=False))
    (N, C), K = x.shape, len(codes)
    indices, distances = xp.empty(N, np.int64), xp.empty(N, x.dtype)
    if not N:
        return indices, distances
    tile = 64 if x.dtype == np.float64 else 128
    blocks, most = -(-N // tile), -(-K // tile)
    share = tile * -(-most // min(most, max(1, _BLOCKS // blocks)))  # codes
    shares = -(-K // share)
    half, scores = rows.sums_like(x, K), rows.sums_like(x, shares, N)
    best = xp.empty((shares, N), np.int32)
    k.nearest_code_norms(-(-K // 8), 256, (codes, half, K, C))
    on_tensor_cores = x.itemsize == 2 and C % 8 == 0 and C > 0
    search = kernels.load("nearest_code_bf16", like=x) if on_tensor_cores else k
    arguments = (x, codes, half, scores, best, N, K, C, share)
    search.nearest_code_search((blocks, shares), 256, arguments, shared_mem=_STAGES if on_tensor_cores else 0)
    k.nearest_code_finish(-(-N // 8), 256, (x, codes, scores, best, indices, distances, N, K, C, shares))
    return indices, distances
