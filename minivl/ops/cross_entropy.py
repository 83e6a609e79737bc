"""Cross-entropy: how surprised the model is by the truth. Kernels: cross_entropy.cu."""

import numpy as np

from .. import kernels
from ..array import array_module, elementwise, on_gpu, rowwise
from ..tensor import op, recording
from . import rows as row_by_row
from .scores import exponentials


@op
def cross_entropy(logits, target, *, ignore_index=-100, label_smoothing=0.0):
    """The mean of -sum_v q_v log softmax(logits)_v over the rows whose target is not `ignore_index`.

    logits (..., V)   target (...) of integers in 0 .. V-1, or ignore_index   ->   one number; 0 if no row counts

    q is 1 at the target and 0 elsewhere; with label smoothing s (Szegedy et al. 2016, arXiv 1512.00567, sec. 7) it is
    1 - s + s/V there and s/V elsewhere. dlogits = (softmax(logits) - q) / rows: worked out with the loss in one pass
    over the logits, whose softmax is wanted for both.

    A target that is no column is an error; on a GPU, which nobody waits for, it makes NaN of the loss instead.
    """
    xp, V, s = array_module(logits), logits.shape[-1], label_smoothing
    if target.shape != logits.shape[:-1] or target.dtype.kind not in "iu":
        raise ValueError(
            f"cross_entropy: logits {logits.shape} need integer targets {logits.shape[:-1]}, "
            f"got {target.dtype} {target.shape}"
        )
    if s < 0 or s >= 1:
        raise ValueError(f"cross_entropy: label_smoothing is {s}, must be at least 0 and below 1")
    by_kernel = row_by_row.wanted(logits) and target.size
    if by_kernel and on_gpu(logits):
        return _by_kernel(logits, target, ignore_index, s)
    chosen = target[target != ignore_index]
    if chosen.size and (int(chosen.min()) < 0 or int(chosen.max()) >= V):
        raise IndexError(
            f"cross_entropy: targets from {int(chosen.min())} to {int(chosen.max())}, must be in 0 to {V - 1}"
        )
    if by_kernel:
        return _by_kernel(logits, target, ignore_index, s)
    rows, dlogits = max(1, chosen.size), xp.empty(logits.shape, logits.dtype)

    def forward(logits, target, p):
        """Fills p with (p - q) / rows; returns what these rows add to the mean."""
        counted = target != ignore_index
        # minivl:exercise ex03.c points=4 "cross-entropy and its derivative, in one pass"
        # minivl:hint log p = (x - max) - log sum exp(x - max): never take the logarithm of a share
        # minivl:hint p[:] = (p - q) / rows; return the sum of the losses over `rows`; both are 0 at ignore_index
        target, row = xp.where(counted, target, 0), xp.arange(len(target))[:, None]
        p, total, top = exponentials(lambda: logits, p)
        total = xp.maximum(total, xp.finfo(p.dtype).tiny)  # of a row of -inf
        loss = xp.log(total) + top - (1 - s) * logits[row, target]
        if s:
            loss -= s * logits.mean(-1, keepdims=True)
        p *= 1 / (total * rows)
        if s:
            p -= s / (V * rows)
        p[row, target] -= (1 - s) / rows
        p[~counted[:, 0]] = 0  # whatever stood there, a NaN too
        loss[~counted] = 0
        return loss.sum(0) / rows
        # minivl:end

    loss = rowwise(forward, logits, target[..., None], dlogits, sums=1)

    def derivative(d):
        def scale(p):
            p *= d
            return ()

        elementwise(scale, dlogits)  # in place, for a graph is walked once and nobody else holds it
        return dlogits

    return loss.reshape(()), derivative


def _by_kernel(logits, target, ignore_index, smoothing):
    k, xp, x = kernels.load("cross_entropy", like=logits), array_module(logits), row_by_row.matrix(logits)
    target, counted = xp.ascontiguousarray(target, dtype=np.int64).reshape(-1), xp.zeros(1, np.int32)
    dlogits = xp.empty_like(x) if recording() else None  # without a derivative nothing is written but the losses
    losses, loss = row_by_row.sums_like(x, len(x)), xp.empty((), x.dtype)
    k.cross_entropy_count(min(512, -(-len(x) // 256)), 256, (target, counted, len(x), ignore_index))
    row_by_row.run(k.cross_entropy_rows, x, (x, target, counted, dlogits, losses), (ignore_index, smoothing))
    k.cross_entropy_mean(1, 1024, (losses, counted, loss, len(x)))

    def derivative(d):
        k.cross_entropy_scale(min(4096, -(-x.size // 1024)), 256, (dlogits, xp.ascontiguousarray(d), x.size))
        return dlogits.reshape(logits.shape)

    return loss, derivative
