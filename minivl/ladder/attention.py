"""Attention of a sequence to itself: q, k, v, out (B, T, H, D). Arithmetic is the bound, once no table of scores is.

Rungs 1 to 3 and `attention` compute in float32 on the ordinary cores, `attention_bf16` on tensor cores. What these two
add to rung 3 is the tile: keys and values are fetched once for 64 or 128 queries, not for one.
"""

import numpy as np

from ..array import array_module
from . import Ladder, Rung


def make(random, cast, B, T, H, D):
    q, k, v = (cast(random.standard_normal((B, T, H, D))) for _ in range(3))
    return {"q": q, "k": k, "v": v, "out": np.empty_like(q)}


def reference(q, k, v, out):
    q, k, v = (a.transpose(0, 2, 1, 3) for a in (q, k, v))
    p = np.exp(q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5)  # scores of normal numbers are small
    return {"out": (p @ v / p.sum(-1, keepdims=True)).transpose(0, 2, 1, 3)}


def naive(run, q, k, v, out):
    (B, T, H, D), table = q.shape, array_module(q).empty((q.shape[0], q.shape[2], q.shape[1], q.shape[1]), q.dtype)
    run.attention_scores((-(-T // 128), T, B * H), 128, (q, k, table, H, T, D, D**-0.5))
    run.attention_softmax(-(-B * H * T // 128), 128, (table, B * H * T, T))
    run.attention_average((T, B * H), D, (table, v, out, H, T, D))


def fused(run, q, k, v, out):
    B, T, H, D = q.shape
    run.attention((T, H, B), 128, (q, k, v, out, H, T, D, D**-0.5), shared_mem=4 * T)


def online(run, q, k, v, out):
    B, T, H, D = q.shape
    run.attention((-(-T // 4), H, B), 128, (q, k, v, out, H, T, D, D**-0.5))


def shipped(queries, threads, shared_mem):
    """The forward kernel of minivl/ops, for heads 64 wide; a block takes so many queries."""

    def launch(run, q, k, v, out):
        B, T, H, D = q.shape
        log_sum = array_module(q).empty((B, H, -(-T // 64) * 64), "float32")
        no_mask, no_bias = (0, 0, 0), (0, 0, 0, 0)
        made = q, k, v, None, None, None, out, log_sum, H, T, T, D**-0.5, 0, *no_mask, *no_bias
        run.attention_forward((-(-T // queries), H, B), threads, made, shared_mem=shared_mem)

    return launch


LADDER = Ladder(
    make=make,
    reference=reference,
    rungs=[
        Rung("ladder/attention_1_naive", naive),
        Rung("ladder/attention_2_fused", fused),
        Rung("ladder/attention_3_online", online),
        Rung("attention", shipped(64, 256, 4 * 64 * 65 * 4)),
        Rung("attention_bf16", shipped(128, 128, 4 * 64 * 64 * 2), dtype="bfloat16"),
    ],
    cpu={"B": 1, "T": 70, "H": 1, "D": 64},
    gpu={"B": 1, "T": 4096, "H": 16, "D": 64},
    bytes=lambda B, T, H, D, itemsize: 4 * B * T * H * D * itemsize,
    flops=lambda B, T, H, D: 4 * B * H * T * T * D,
    peers={
        "CuPy": lambda xp, q, k, v, out: _cupy(xp, *(a.transpose(0, 2, 1, 3) for a in (q, k, v))),
        "PyTorch": lambda xp, q, k, v, out: xp.nn.functional.scaled_dot_product_attention(
            *(a.transpose(1, 2) for a in (q, k, v))
        ),
    },
)


def _cupy(xp, q, k, v):
    s = xp.matmul(q, k.swapaxes(-1, -2)) * q.shape[-1] ** -0.5
    s = xp.exp(s - s.max(-1, keepdims=True))
    return xp.matmul(s / s.sum(-1, keepdims=True), v)
