"""Attention: each query takes an average of the values, weighted by how well their keys match it.

On a GPU the kernels of attention.cu and attention_bf16.cu do the work; they hold no scores in memory at all.
"""

from .. import kernels
from ..array import array_module, on_gpu, parallel, slices
from ..tensor import op, recording, unbroadcast
from .scores import exponentials

_SCORES = 1 << 18  # held at a time: a megabyte, that a block of scores stays in a core's cache
_ROWS = 128  # of a block, at least: dk and dv of all keys are read and written once for each block
_KEPT = 1 << 16  # scores a head up to which the weights are kept for backward; longer sequences compute them again


@op
def attention(q, k, v, mask=None, bias=None, scale=None, *, causal=False):
    """softmax(scale q k^T + bias) v, where the mask allows.   Vaswani et al. 2017, arXiv 1706.03762, eq. 1.

    q       (B, H, Tq, D)
    k, v    (B, H, Tk, D); v may have another width than k
    mask    boolean, broadcastable to (B, H, Tq, Tk), True = may attend; None: all may
    bias    added to the scores, broadcastable to (B, H, Tq, Tk), with a derivative: learned relative positions
    scale   D^-1/2 unless told otherwise
    causal  as the mask `causal(Tq, Tk - Tq)`, on top of `mask`, but never laid out whole
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
    if mask is not None and mask.dtype != bool:
        raise TypeError(f"attention: mask is {mask.dtype}, must be boolean, True = may attend")
    for name, a in ("mask", mask), ("bias", bias):
        if a is not None and not _fits(a.shape, full):
            raise ValueError(f"attention: {name} {a.shape} cannot be broadcast to (B, H, Tq, Tk) = {full}")
    if kernels.wanted(q, k, v) and _has_kernel(q, v, full, scale):
        return _by_kernels(q, k, v, mask, bias, float(scale), bool(causal))
    if mask is not None:  # where all may, as the newest word in generation, there is nothing to add
        mask = None if mask.all() else mask

    def scores(b, h, t):
        #: Scores | S = \frac{QK^\top}{\sqrt{D}}
        w = xp.matmul(q[b, h, t] * scale, k[b, h].swapaxes(-1, -2))
        if bias is not None:
            w += _of_block(bias, b, h, t)
        return w

    def barred(b, h, t):
        """What bars the way in a block of scores: 0 where one may attend, -inf where not; None where all may."""
        may = None if mask is None else _of_block(mask, b, h, t)
        if causal:
            past = xp.tri(t.stop - t.start, Tk, Tk - Tq + t.start, dtype=bool)
            may = past if may is None else may & past
        return None if may is None else xp.where(may, q.dtype.type(0), q.dtype.type(-xp.inf))

    def weights(b, h, t):
        #: Mask, then softmax over the keys | A_{ij} = \frac{\exp S_{ij}}{\sum_k \exp S_{ik}}
        # minivl:exercise ex07.f points=4 "from scores to weights"
        # minivl:hint begin with w = scores(b, h, t), and add barred(b, h, t): 0 where one may attend, -inf where not
        # minivl:hint where all may attend, barred(b, h, t) is None
        # minivl:hint softmax without overflow; a query that may attend to nothing has weights 0; Tk may be 0
        bar = barred(b, h, t)

        def masked():
            w = scores(b, h, t)
            if bar is not None:
                w += bar
            return w

        w, total, _ = exponentials(masked)
        w /= xp.maximum(total, xp.finfo(w.dtype).tiny)
        return w
        # minivl:end

    groups, steps = _blocks(full) if not on_gpu(q) else ([(slice(0, B), slice(0, H))], [slice(0, Tq)])
    kept = {} if Tq * Tk <= _KEPT and recording() else None
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
            for t in steps:
                w = weights(b, h, t) if kept is None else kept.pop(_place(b, h, t))
                d = dout[b, h, t]
                _put_product(w.swapaxes(-1, -2), d, dv[group], more=t.start > 0)
                ds = xp.matmul(d, v[group].swapaxes(-1, -2))  # so far dA
                ds -= xp.einsum("bhqd,bhqd->bhq", d, out[b, h, t])[..., None]  # sum_k A dA = <dO, O>
                ds *= w
                if bias is not None:
                    parts[_place(b, h, t)] = _over_block(bias, (b, h, t), ds)
                ds *= scale
                xp.matmul(ds, k[group], out=dq[b, h, t])
                _put_product(ds.swapaxes(-1, -2), q[b, h, t], dk[group], more=t.start > 0)

        parallel(backward, groups)
        return dq, dk, dv, None, None if bias is None else _put_together(parts, bias)

    return out, derivative


def _blocks(full):
    """How (B, H, Tq, Tk) scores are cut: groups of (examples, heads), spread over the cores, and rows of each.

    A group has whole examples, or one example and some of its heads; only if one head is too much are its rows cut.
    """
    B, H, Tq, Tk = full
    held = min(_SCORES, max(_SCORES // 4, B * H * Tq * Tk // 2))  # so that there is something for two cores
    examples = max(1, held // max(1, H * Tq * Tk))
    heads = min(H, max(1, held // max(1, Tq * Tk)))
    rows = max(_ROWS, held // max(1, heads * Tk))
    groups = [(b, h) for b in slices(B, examples) for h in slices(H, heads)]
    return groups, slices(Tq, rows) or [slice(0, 0)]  # of no rows too dk and dv are to be told that they are 0


def _put_product(a, b, into, more):
    """a @ b, put into an array or, if there is `more` to a sum than this, added to what it holds."""
    if more:
        into += array_module(a).matmul(a, b)
    else:
        array_module(a).matmul(a, b, out=into)


def _place(b, h, t):
    return b.start, h.start, t.start


def _fits(shape, full):
    """Whether what has this shape can be broadcast to `full`."""
    return len(shape) <= 4 and all(n in (1, m) for n, m in zip(shape[::-1], full[::-1], strict=False))


def _like_heads(a):
    """An empty (B, H, T, D) that lies in memory as (B, T, H, D), the way in which the projections before it lie."""
    B, H, T, D = a.shape
    return array_module(a).empty((B, T, H, D), a.dtype).transpose(0, 2, 1, 3)


def _of_block(a, b, h, t):
    """What a mask or a bias has for one block of scores; along an axis that it lacks there is nothing to be chosen."""
    a = _with_four_axes(a)
    return a[tuple(slice(None) if n == 1 else s for n, s in zip(a.shape, (b, h, t, slice(None)), strict=True))]


def _over_block(bias, block, ds):
    """Where in dbias the gradient of one block of scores belongs, and what: summed over the axes that bias lacks."""
    shape = (1,) * (4 - bias.ndim) + bias.shape
    index = tuple(slice(None) if n == 1 else s for n, s in zip(shape, (*block, slice(None)), strict=True))
    part = unbroadcast(ds, tuple(1 if n == 1 else m for n, m in zip(shape, ds.shape, strict=True)))
    return index, part.copy() if part is ds else part  # ds itself goes on to be scaled


def _put_together(parts, bias):
    dbias = array_module(bias).zeros((1,) * (4 - bias.ndim) + bias.shape, bias.dtype)
    for _, (index, part) in sorted(parts.items()):  # always in the same order: the same bits
        dbias[index] += part
    return dbias.reshape(bias.shape)


# ---- by kernels ------------------------------------------------------------------------------------------------------


def _has_kernel(q, v, full, scale):
    D, sizes = q.shape[3], (*full, *v.shape)
    return D in (32, 64, 128) and v.shape[3] == D and scale > 0 and min(sizes) > 0 and max(full[:2]) < 1 << 16


def _by_kernels(q, k, v, mask, bias, scale, causal):
    """Output and derivative of `attention`. Sequences lie in memory as (B, T, H, D), the way projections leave them."""
    xp, (B, H, Tq, D), Tk = array_module(q), q.shape, k.shape[2]
    run = kernels.load("attention_bf16" if q.dtype.itemsize == 2 else "attention", like=q, defines={"HEAD_WIDTH": D})
    tile, sums = _Tiles(q.dtype.itemsize, D), xp.float64 if q.dtype.itemsize == 8 else xp.float32
    q, k, v = (_by_token(a) for a in (q, k, v))
    bits, tiles, mask_strides = _packed(run, mask, Tk)
    bias_strides, shape = (0, 0, 0, 0), None if bias is None else bias.shape
    if bias is not None:
        bias = xp.ascontiguousarray(_with_four_axes(bias), sums)
        bias, bias_strides = bias / scale if tile.scaled_last else bias, _strides(bias)
    given = q, k, v, bits, tiles, bias
    sizes = H, Tq, Tk, scale, int(causal), *mask_strides, *bias_strides
    by_queries, by_keys = (-(-Tq // tile.queries), H, B), (-(-Tk // tile.keys), H, B)
    out, log_sum = xp.empty_like(q), xp.empty((B, H, -(-Tq // 64) * 64), sums)
    run.attention_forward(by_queries, tile.threads, (*given, out, log_sum, *sizes), shared_mem=tile.forward)

    def derivative(dout):
        dout, delta = _by_token(dout), xp.empty_like(log_sum)
        dq, dk, dv = (xp.empty_like(a) for a in (q, k, v))
        made = *given, out, dout, log_sum, delta, dq, *sizes
        run.attention_dq(by_queries, tile.threads, made, shared_mem=tile.dq)
        made = *given, dout, log_sum, delta, dk, dv, *sizes
        run.attention_dkdv(by_keys, tile.threads_dkdv, made, shared_mem=tile.dkdv)

        def dbias():
            _, _, each_query, each_key = bias_strides
            parts = (*(bias.shape[:2] if each_query and each_key else (B, H)), *bias.shape[2:])
            out = xp.empty(parts, sums)
            blocks = parts[0] * parts[1]
            blocks *= -(-Tq // tile.dbias_rows) if each_query else 1
            blocks *= -(-Tk // tile.dbias_rows) if each_key else 1
            made = *given, dout, log_sum, delta, out, B, *sizes, *parts[:2]
            run.attention_dbias(blocks, tile.threads, made, shared_mem=tile.dbias)
            return unbroadcast(out, bias.shape).reshape(shape)

        dq, dk, dv = (a.transpose(0, 2, 1, 3) for a in (dq, dk, dv))
        return dq, dk, dv, None, None if bias is None else dbias

    return out.transpose(0, 2, 1, 3), derivative


class _Tiles:
    """How the kernels for numbers of so many bytes and heads of width D cut their work: see the kernels' own text.

    queries, keys    of one block: of the forward pass and dq, and of dkdv; dbias_rows: queries and keys of one of dbias
    forward, ...     bytes of shared memory
    scaled_last      the scale is applied to q k^T + bias, not to q k^T: the bias has to be divided by it
    """

    def __init__(self, bytes, D):
        self.scaled_last = bytes == 2
        if bytes == 2:
            self.queries = self.keys = 128
            self.dbias_rows, self.threads, self.threads_dkdv = 64, 128, 256 if D == 128 else 128
            rows = 2 * D
            self.forward = (128 + 64 + 64) * rows
            self.dq = (2 * 128 + 4 * (64 if D == 32 else 32)) * rows
            self.dkdv = (2 * 128 + 4 * (32 if D == 64 else 64)) * rows
            self.dbias = max(4 * 64 * rows, 64 * 65 * 4)
        else:
            n = 64 if bytes * D <= 256 else 32
            self.queries = self.keys = self.dbias_rows = n
            self.threads = self.threads_dkdv = 256
            tile, weights = n * (D + 1) * bytes, n * (n + 1) * bytes
            self.forward = 3 * tile + weights
            self.dq = self.dkdv = self.dbias = 4 * tile + weights


def _by_token(a):
    """(B, H, T, D) -> contiguous (B, T, H, D): no copy of what a projection made."""
    return array_module(a).ascontiguousarray(a.transpose(0, 2, 1, 3))


def _with_four_axes(a):
    return a.reshape((1,) * (4 - a.ndim) + a.shape)


def _packed(run, mask, Tk):
    """The mask as the kernels read it: 32 keys in a word, what is in each tile of 64 x 64, and strides in rows."""
    if mask is None:
        return None, None, (0, 0, 0)
    xp = array_module(mask)
    mask = xp.ascontiguousarray(_with_four_axes(mask))
    B, H, Q, K = mask.shape
    bits = xp.empty((B, H, Q, -(-Tk // 32)), xp.uint32)
    tiles = xp.empty((B, H, -(-Q // 64), -(-Tk // 64)), xp.uint8)
    run.attention_pack(tiles.size, 256, (mask, bits, tiles, Q, K, Tk))
    return bits, tiles, (H * Q if B > 1 else 0, Q if H > 1 else 0, int(Q > 1))


def _strides(a):
    """Numbers from one example, head, query and key of a bias to the next; 0 along the axes that it lacks."""
    strides, size = [], 1
    for n in reversed(a.shape):
        strides.insert(0, size if n > 1 else 0)
        size *= n
    return tuple(strides)
