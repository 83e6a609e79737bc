"""Attention: each query takes an average of the values, weighted by how well their keys match it."""

from ..array import array_module, on_gpu, parallel, slices
from ..tensor import op, unbroadcast

_SCORES = 1 << 17  # held at a time: half a megabyte, so that a block of scores stays in a core's cache
_KEPT = 1 << 16  # scores a head up to which the weights are kept for backward; longer sequences compute them again


@op
def attention(q, k, v, mask=None, bias=None, scale=None):
    """softmax(scale q k^T + bias) v, where the mask allows.   Vaswani et al. 2017, arXiv 1706.03762, eq. 1.

    q       (B, H, Tq, D)
    k, v    (B, H, Tk, D); v may have another width than k
    mask    boolean, broadcastable to (B, H, Tq, Tk), True = may attend; None: all may
    bias    added to the scores, broadcastable to (B, H, Tq, Tk), with a derivative: learned relative positions
    scale   D^-1/2 unless told otherwise
    ->      (B, H, Tq, D). A query that may attend to nothing gets 0.

    Self-attention passes one sequence three times; cross-attention passes text as q, a picture as k and v; causal,
    bidirectional and prefix are masks. Scores are worked out a block at a time: the full (Tq, Tk) table of a long
    sequence is never in memory.
    """
    xp = array_module(q)
    (B, H, Tq, D), Tk = q.shape, k.shape[2]
    full = (B, H, Tq, Tk)
    if k.shape != (B, H, Tk, D) or v.shape[:3] != (B, H, Tk):
        raise ValueError(
            f"attention: q {q.shape}, k {k.shape}, v {v.shape}: want (B, H, Tq, D) and twice (B, H, Tk, D)"
        )
    scale = D**-0.5 if scale is None else scale
    if mask is not None:
        if mask.dtype != bool:
            raise TypeError(f"attention: mask is {mask.dtype}, must be boolean, True = may attend")
        mask = _stretched(xp.where(mask, 0, -xp.inf).astype(q.dtype), full, "mask")
    stretched_bias = None if bias is None else _stretched(bias, full, "bias")

    def weights(b, h, t):
        #: Scores | S = \frac{QK^\top}{\sqrt{D}}
        w = xp.matmul(q[b, h, t] * scale, k[b, h].swapaxes(-1, -2))
        if stretched_bias is not None:
            w += stretched_bias[b, h, t]
        #: Mask, then softmax over the keys | A_{ij} = \frac{\exp S_{ij}}{\sum_k \exp S_{ik}}
        if mask is not None:
            w += mask[b, h, t]
        top = w.max(-1, keepdims=True) if Tk else xp.zeros((*w.shape[:-1], 1), w.dtype)
        w -= xp.maximum(top, xp.finfo(w.dtype).min)  # a row of -inf has no largest score to take out
        xp.exp(w, out=w)
        total = w.sum(-1, keepdims=True)
        w /= xp.maximum(total, xp.finfo(w.dtype).tiny)
        return w

    groups, steps = _blocks(full) if not on_gpu(q) else ([(slice(0, B), slice(0, H))], [slice(0, Tq)])
    kept = {} if Tq * Tk <= _KEPT else None
    out = xp.empty((B, Tq, H, v.shape[3]), q.dtype).transpose(0, 2, 1, 3)  # in memory as its next user wants it

    def forward(group):
        for t in steps:
            w = weights(*group, t)
            #: The weighted average of the values | O = A V
            xp.matmul(w, v[group], out=out[(*group, t)])
            if kept is not None:
                kept[_place(*group, t)] = w

    parallel(forward, groups)

    def derivative(dout):
        dq, dk, dv = (_like_heads(a) for a in (q, k, v))
        parts = {}  # of dbias, by block

        def backward(group):
            b, h = group
            dk[group], dv[group] = 0, 0
            for t in steps:
                w = weights(b, h, t) if kept is None else kept.pop(_place(b, h, t))
                d = dout[b, h, t]
                dv[group] += xp.matmul(w.swapaxes(-1, -2), d)
                ds = xp.matmul(d, v[group].swapaxes(-1, -2))  # so far dA
                ds -= xp.einsum("bhqd,bhqd->bhq", d, out[b, h, t])[..., None]  # sum_k A dA = <dO, O>
                ds *= w
                if bias is not None:
                    parts[_place(b, h, t)] = _over_block(bias, (b, h, t), ds)
                dq[b, h, t] = xp.matmul(ds, k[group]) * scale
                dk[group] += xp.matmul(ds.swapaxes(-1, -2), q[b, h, t] * scale)

        parallel(backward, groups)
        return dq, dk, dv, None, None if bias is None else _put_together(parts, bias)

    return out, derivative


def _blocks(full):
    """How (B, H, Tq, Tk) scores are cut: groups of (examples, heads), spread over the cores, and rows of each.

    A group has whole examples, or one example and some of its heads; only if one head is too much are its rows cut.
    """
    B, H, Tq, Tk = full
    examples = max(1, _SCORES // max(1, H * Tq * Tk))
    heads = min(H, max(1, _SCORES // max(1, Tq * Tk)))
    rows = max(1, _SCORES // max(1, heads * Tk))
    groups = [(b, h) for b in slices(B, examples) for h in slices(H, heads)]
    return groups, slices(Tq, rows)


def _place(b, h, t):
    return b.start, h.start, t.start


def _stretched(a, full, name):
    try:
        return array_module(a).broadcast_to(a, full)
    except ValueError:
        raise ValueError(f"attention: {name} {a.shape} cannot be broadcast to (B, H, Tq, Tk) = {full}") from None


def _like_heads(a):
    """An empty (B, H, T, D) that lies in memory as (B, T, H, D), the way in which the projections before it lie."""
    B, H, T, D = a.shape
    return array_module(a).empty((B, T, H, D), a.dtype).transpose(0, 2, 1, 3)


def _over_block(bias, block, ds):
    """Where in dbias the gradient of one block of scores belongs, and what: summed over the axes that bias lacks."""
    shape = (1,) * (4 - bias.ndim) + bias.shape
    index = tuple(slice(None) if n == 1 else s for n, s in zip(shape, (*block, slice(None)), strict=True))
    return index, unbroadcast(ds, tuple(1 if n == 1 else m for n, m in zip(shape, ds.shape, strict=True)))


def _put_together(parts, bias):
    dbias = array_module(bias).zeros((1,) * (4 - bias.ndim) + bias.shape, bias.dtype)
    for _, (index, part) in sorted(parts.items()):  # always in the same order: the same bits
        dbias[index] += part
    return dbias.reshape(bias.shape)
