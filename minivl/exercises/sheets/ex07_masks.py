"""Who may attend to whom.

What tells CoCa, MaMMUT, M6 and BEiT-3 apart inside an attention layer is a table of booleans. Write five of them, then
the step that they act on: scores that a mask forbids must vanish without a trace, from the weights and from every
gradient.

    causal(3)   x . .      prefix(1, 2)   x . .      class_token_last([1, 2], 2)   x . .    x . .
                x x .                     x x .                                    x . .    x x .
                x x x                     x x x                                    x . x    x x x

You will need: comparing arrays that are broadcast. About 90 minutes. The drawings in masks.py are exact.
"""

import numpy as np

from ..sheet import check, close, equal, holds, scenario

FILES = ("minivl/masks.py", "minivl/ops/attention.py")


@scenario
def causal(T, past):
    from minivl import masks

    return masks.causal(int(T), int(past))


@scenario
def padding(lengths, T):
    from minivl import masks

    return masks.padding(lengths, int(T))


@scenario
def prefix(N, T):
    from minivl import masks

    return masks.prefix(int(N), int(T))


@scenario
def block(sizes):
    from minivl import masks

    return masks.block(*(int(n) for n in sizes))


@scenario
def class_token_last(lengths, T):
    from minivl import masks

    return masks.class_token_last(lengths, int(T))


@scenario
def attended(q, k, v, mask, bias):
    from minivl import ops

    return ops.attention(q, k, v, mask, bias).numpy()


@scenario
def attended_back(q, k, v, mask, d):
    from minivl import Tensor, ops

    q, k, v = (Tensor(a, requires_grad=True) for a in (q, k, v))
    ops.attention(q, k, v, mask).backward(d)
    return q.grad, k.grad, v.grad


def _table(shape, rule, *sizes):
    return np.array([rule(*index, *sizes) for index in np.ndindex(*shape)], bool).reshape(shape)


@check("ex07.a", "a token sees itself and what came before")
def causal_masks(run, random):
    """Above for below; a token that does not see itself; the past left out."""
    for T, past in ((1, 0), (3, 0), (4, 2), (1, 5), (2, 3)):
        equal(
            f"causal({T}, {past})",
            run(causal, T=T, past=past),
            _table((T, past + T), lambda q, k, past: k <= past + q, past),
        )


@check("ex07.b", "the first lengths[b] keys are words")
def padding_masks(run, random):
    """Queries in place of keys; a word too many."""
    for lengths, T in (([2, 3], 3), ([0, 4, 1], 4), ([5], 5)):
        wanted = _table((len(lengths), 1, 1, T), lambda b, h, q, k, n: k < n[b], lengths)
        equal(f"padding({lengths}, {T})", run(padding, np.array(lengths), T=T), wanted)


@check("ex07.c", "N see each other, then T see them and their past")
def prefix_masks(run, random):
    for N, T in ((2, 3), (0, 3), (4, 1), (3, 0)):
        equal(
            f"prefix({N}, {T})",
            run(prefix, N=N, T=T),
            _table((N + T, N + T), lambda q, k, N: k <= q or k < N and q < N, N),
        )


@check("ex07.d", "groups see their own group only")
def block_masks(run, random):
    for sizes in ((2, 1, 2), (3,), (1, 1), (2, 0, 3)):
        group = [g for g, n in enumerate(sizes) for _ in range(n)]
        equal(
            f"block{sizes}", run(block, np.array(sizes)), _table((len(group),) * 2, lambda q, k, g: g[q] == g[k], group)
        )


@check("ex07.e", "the class token sees all words, no pad, and is seen by none")
def class_token_masks(run, random):
    """open_clip's mistake, who padded at the wrong end; a class token that sees pads; pads that are seen."""
    for lengths, T in (([2, 3], 3), ([1], 4), ([4, 2, 3], 4)):
        wanted = _table(
            (len(lengths), 1, T + 1, T + 1), lambda b, h, q, k, n: k <= q and (k < n[b] or k == n[-1]), [*lengths, T]
        )
        equal(f"class_token_last({lengths}, {T})", run(class_token_last, np.array(lengths), T=T), wanted)


def _attention(q, k, v, mask, bias):
    """One query at a time, over the keys that it may see."""
    out = np.zeros((*q.shape[:3], v.shape[3]))
    for b, h, t in np.ndindex(*q.shape[:3]):
        keys = [j for j in range(k.shape[2]) if mask[b, h, t, j]]
        if keys:
            scores = np.array([q[b, h, t] @ k[b, h, j] * q.shape[3] ** -0.5 + bias[b, h, t, j] for j in keys])
            shares = np.exp(scores - scores.max())
            out[b, h, t] = sum(s * v[b, h, j] for s, j in zip(shares / shares.sum(), keys, strict=True))
    return out


def _inputs(random, B=2, H=2, Tq=4, Tk=5, D=3):
    q, k, v = (random.standard_normal((B, H, T, D)) for T in (Tq, Tk, Tk))
    mask = random.random((B, H, Tq, Tk)) < 0.6
    mask[0, 0, 0] = False  # a query that may attend to nothing
    return q, k, v, mask


@check("ex07.f", "A = softmax of the scores that the mask allows")
def forbidden_keys_do_not_exist(run, random):
    """A mask that is added as 1 and 0; softmax over the wrong axis; 0 / 0 for a query without keys."""
    for Tq, Tk in ((4, 5), (1, 1), (3, 9), (2, 0)):
        q, k, v, mask = _inputs(random, Tq=Tq, Tk=Tk)
        bias = random.standard_normal(mask.shape)
        close("output", run(attended, q, k, v, mask, bias), _attention(q, k, v, mask, bias), 1e-11)


@check("ex07.f", "softmax(s) = softmax(s - c)")
def large_scores_do_not_overflow(run, random):
    q, k, v, mask = _inputs(random)
    zero = np.zeros(mask.shape)
    close("output", run(attended, 300 * q, 300 * k, v, mask, zero), _attention(300 * q, 300 * k, v, mask, zero), 1e-9)


@check("ex07.f", "where the mask forbids, every gradient is exactly 0")
def nothing_leaks(run, random):
    """-1e9 in place of -inf: close to 0, and a leak in lower precision; a query without keys that averages them all."""
    q, k, v, mask = _inputs(random)
    mask[..., 2] = False
    dq, dk, dv = run(attended_back, q, k, v, mask, random.standard_normal(q.shape))
    for name, d in (("dk", dk), ("dv", dv)):
        holds(not d[:, :, 2].any(), f"{name} of a key that nobody may see is not 0")
    holds(not dq[0, 0, 0].any(), "dq of a query that may see nothing is not 0")
