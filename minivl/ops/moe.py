"""Mixture of experts: each token is sent to the few experts that its router likes best, and gets back a mix of answers.

    logits (G, T, E)  --top_k-->  experts (G, T, K)  --expert_slots-->  Routing
    x (G, T, C)  --dispatch-->  (E, G, S, C)  --the experts-->  (E, G, S, D)  --combine, with gates-->  (G, T, D)

Tokens come in G groups of T. An expert takes S of each group, its capacity; what comes later is dropped and gets 0, so
that only the residual stream carries it on. Nothing is left to chance: of equal logits the lower expert wins, of tokens
that want the same expert the earlier, and all first choices queue before all second ones. Kernels: moe.cu.

Shazeer et al. 2017, arXiv 1701.06538; Lepikhin et al. 2021 (GShard), arXiv 2006.16668; Fedus et al. 2022 (Switch),
arXiv 2101.03961; Riquelme et al. 2021 (V-MoE), arXiv 2106.05974.
"""

import math
from typing import NamedTuple

import numpy as np

from .. import kernels
from ..array import array_module
from ..tensor import Tensor, op
from .matmul import _rows


class Routing(NamedTuple):
    """Where every choice goes. Choice (group * T + token) * K + k, slot (expert * G + group) * S + place.

    slots     (G, T, K) int32: the slot of each choice, -1 where it was dropped
    choices   (E, G, S) int32: the choice that fills each slot, -1 where none does: the same list read backwards
    """

    slots: np.ndarray
    choices: np.ndarray


def top_k(scores, k):
    """Where the k largest stand, largest first, of equal ones the lower, NaN last.   (..., E) -> int32 (..., k)"""
    scores = scores.data if isinstance(scores, Tensor) else scores
    if scores.ndim < 1 or not 1 <= k <= scores.shape[-1]:
        raise ValueError(f"top_k: k is {k}, must be from 1 to the {scores.shape[-1:]} scores of a row")
    xp = array_module(scores)
    if kernels.wanted(scores):
        return _launch_top_k(xp, scores, k)
    downwards = xp.where(scores == scores, -scores, xp.inf)
    return xp.argsort(downwards, axis=-1, kind="stable")[..., :k].astype(np.int32)


def expert_slots(experts, E, capacity, order=None, wanted=None):
    """Gives every choice its place in the queue of its expert, and drops those beyond the capacity.

    experts    (G, T, K) integers below E, each token's first choice first. Not looked at on a GPU, which would have to
               be waited for: there, others are dropped
    capacity   S: how many choices one expert takes of one group
    order      (G, T): the numbers of the tokens in the order in which they queue; None: as they stand. Batch
               prioritised routing (V-MoE) has the most certain first: top_k(gates.max(-1), T)
    wanted     (G, T, K) booleans: choices that are False take no place; None: all do
    ->         Routing
    """
    xp, (G, T, K) = array_module(experts), _check_experts(experts, E, capacity)
    if kernels.wanted(experts):
        return _launch_slots(xp, experts, E, capacity, order, wanted)
    if experts.size and not (int(experts.min()) >= 0 and int(experts.max()) < E):
        raise IndexError(
            f"expert_slots: experts from {int(experts.min())} to {int(experts.max())}, must be in 0 to {E - 1}"
        )
    order = xp.broadcast_to(xp.arange(T), (G, T)) if order is None else order
    queue = xp.take_along_axis(experts, order[..., None], axis=1)
    queue = queue.swapaxes(1, 2).reshape(G, K * T, 1)  # all first choices, then all second ones
    mine = queue == xp.arange(E)  # (G, K T, E)
    if wanted is not None:
        mine &= xp.take_along_axis(wanted, order[..., None], axis=1).swapaxes(1, 2).reshape(G, K * T, 1)
    place = (mine.cumsum(1) * mine).sum(-1) - 1  # how many of the queue before want the same; -1 for the unwanted
    slot = (queue[..., 0] * G + xp.arange(G)[:, None]) * capacity + place
    slot = xp.where((place >= 0) & (place < capacity), slot, -1).reshape(G, K, T).swapaxes(1, 2)

    slots = xp.empty((G, T, K), np.int32)
    xp.put_along_axis(slots, xp.broadcast_to(order[..., None], slots.shape), slot.astype(np.int32), axis=1)
    choices = xp.full(E * G * capacity, -1, np.int32)
    kept = slots.reshape(-1) >= 0
    choices[slots.reshape(-1)[kept]] = xp.flatnonzero(kept)
    return Routing(slots, choices.reshape(E, G, capacity))


def _check_experts(experts, E, capacity):
    if experts.ndim != 3 or experts.dtype.kind not in "iu":
        raise ValueError(f"expert_slots: experts must be integers (G, T, K), got {experts.dtype} {experts.shape}")
    if capacity < 1:
        raise ValueError(f"expert_slots: capacity is {capacity}, must be at least 1")
    return experts.shape


@op
def gates(logits, experts, *, renormalise=True):
    """How much of each chosen expert's answer a token gets.   logits (..., E)   experts (..., K)   ->   g (..., K)

    p = softmax(logits), g_k = p of choice k; renormalised: divided by what the token's K choices have of p together,
    the softmax of the chosen logits alone. GShard renormalises its two. Switch, with one choice, must not: the gate
    would be 1, and nothing would tell the router what its choice was worth.
    """
    xp = array_module(logits)
    if kernels.wanted(logits):
        return _launch_gates(xp, logits, experts, renormalise)
    chosen = xp.take_along_axis(logits, experts, axis=-1)
    p = _softmax(xp, chosen if renormalise else logits)
    g = p if renormalise else xp.take_along_axis(p, experts, axis=-1)

    def derivative(d):
        dg = d * g  # dg_k / dlogit_j = g_k (1[j is choice k] - p_j), p_j = 0 for what takes no part
        total = dg.sum(-1, keepdims=True)
        dlogits = xp.zeros_like(logits) if renormalise else -total * p
        dchosen = dg - total * g
        xp.put_along_axis(dlogits, experts, dchosen, axis=-1)
        return dlogits, None

    return g, derivative


def _softmax(xp, scores):
    p = xp.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return p


@op
def dispatch(x, *, routing):
    """Every slot gets the token that was sent there, empty slots 0.   x (G, T, C)   ->   (E, G, S, C)

    The derivative of sending is fetching: dx of a token is the sum of what its slots got.
    """
    _check_routing("dispatch", "x", x.shape[:2], routing.slots.shape[:2])
    return _to_slots(x, routing), lambda d: _to_tokens(d, routing)


@op
def combine(y, gates, *, routing):
    """Every token gets the sum of its slots, each times its gate.   y (E, G, S, C)   gates (G, T, K)   ->   (G, T, C)

    The derivative of fetching is sending: dy of a slot is its token's gradient times the gate, and dgate their product,
    0 for a choice that was dropped.
    """
    _check_routing("combine", "y", y.shape[:3], routing.choices.shape)
    _check_routing("combine", "gates", gates.shape, routing.slots.shape)
    xp = array_module(y)

    def derivative(d):
        if kernels.wanted(y):
            return _launch_combine_backward(xp, d, y, gates, routing)
        return _to_slots(d, routing, gates), dgates(d)

    def dgates(d):
        kept = routing.slots >= 0
        dots = (_rows(y)[routing.slots] * d[:, :, None]).sum(-1)  # slot -1 is the last: not kept
        return xp.where(kept, dots, 0)

    return _to_tokens(y, routing, gates), derivative


def _to_slots(x, routing, gates=None):
    """(G, T, C) -> (E, G, S, C): what fills each slot, times its gate."""
    xp, K = array_module(x), routing.slots.shape[-1]
    if kernels.wanted(x) and gates is None:
        return _launch_to_slots(xp, x, routing)
    filled = routing.choices >= 0
    choices = routing.choices[filled]
    out = xp.zeros((*filled.shape, x.shape[-1]), x.dtype)
    rows = _rows(x)[choices // K]
    out[filled] = rows if gates is None else rows * gates.reshape(-1, 1)[choices]
    return out


def _to_tokens(y, routing, gates=None):
    """(E, G, S, C) -> (G, T, C): the sum of each token's slots, first choice first, times its gates."""
    xp, slots = array_module(y), routing.slots
    if kernels.wanted(y):
        return _launch_to_tokens(xp, y, routing, gates)
    rows = _rows(y)
    out = xp.zeros((*slots.shape[:2], y.shape[-1]), y.dtype)
    for k in range(slots.shape[-1]):
        kept = slots[..., k] >= 0
        out[kept] += rows[slots[..., k][kept]] if gates is None else rows[slots[..., k][kept]] * gates[kept, k, None]
    return out


def _check_routing(op, name, got, wanted):
    if tuple(got) != tuple(wanted):
        raise ValueError(f"{op}: {name} is laid out as {tuple(got)}, the routing is for {tuple(wanted)}")


@op
def load_balance(logits, first):
    """E sum_e f_e P_e, the mean over groups: 1 where the router spreads tokens evenly, E where it sends all to one.

    logits (G, T, E)   first (G, T), each token's first choice, before any was dropped   ->   one number

    f_e is the share of the group's tokens whose first choice is e, which has no derivative; P_e the mean of their
    softmax(logits)_e, which has.
    """
    xp, (G, T, E) = array_module(logits), logits.shape
    if first.shape != (G, T):
        raise ValueError(f"load_balance: logits {logits.shape} need first choices {(G, T)}, got {first.shape}")
    counts = (first[..., None] == xp.arange(E)).sum(1, keepdims=True)  # (G, 1, E)
    share = (counts / max(1, T)).astype(logits.dtype)
    p = _softmax(xp, logits)
    scale = logits.dtype.type(E / max(1, G * T))
    weighted = p * share

    def derivative(d):
        return d * scale * (weighted - p * weighted.sum(-1, keepdims=True)), None

    return xp.asarray(weighted.sum() * scale), derivative


# ---- the same by kernels ---------------------------------------------------------------------------------------------


def _launch_top_k(xp, scores, k):
    rows, experts = xp.ascontiguousarray(_rows(scores)), xp.empty((*scores.shape[:-1], k), np.int32)
    if experts.size:
        kernels.load("moe", like=rows).moe_top_k(*_a_warp_each(rows), (rows, experts, *rows.shape, k))
    return experts


def _launch_slots(xp, experts, E, capacity, order, wanted):
    (G, T, K), S = experts.shape, capacity
    slots, choices = xp.empty((G, T, K), np.int32), xp.empty((E, G, S), np.int32)
    if choices.size:
        experts = xp.ascontiguousarray(experts, dtype=np.int32)
        order = None if order is None else xp.ascontiguousarray(order, dtype=np.int32)
        wanted = None if wanted is None else xp.ascontiguousarray(wanted)
        threads = min(1024, 32 * -(-max(1, K * T) // 32))
        arguments = (experts, order, wanted, slots, choices, T, K, E, S)
        kernels.load("moe").moe_slots((E, G), threads, arguments)
    return Routing(slots, choices)


def _launch_gates(xp, logits, experts, renormalise):
    k, (rows, E), K = kernels.load("moe", like=logits), _rows(logits).shape, experts.shape[-1]
    logits, experts = xp.ascontiguousarray(logits), xp.ascontiguousarray(experts, dtype=np.int32)
    g = xp.empty(experts.shape, logits.dtype)
    size = rows, E, K, renormalise
    if g.size:
        k.moe_gates_forward(*_a_warp_each(logits), (logits, experts, g, *size))

    def derivative(d):
        dlogits = xp.empty(logits.shape, logits.dtype)
        if dlogits.size:
            k.moe_gates_backward(*_a_warp_each(logits), (logits, experts, xp.ascontiguousarray(d), dlogits, *size))
        return dlogits, None

    return g, derivative


def _launch_to_slots(xp, x, routing):
    out, K = xp.empty((*routing.choices.shape, x.shape[-1]), x.dtype), routing.slots.shape[-1]
    if out.size:
        x = xp.ascontiguousarray(x)
        kernels.load("moe", like=x).moe_to_slots(*_a_block_each(out), (x, routing.choices, out, out.shape[-1], K))
    return out


def _launch_to_tokens(xp, y, routing, gates):
    out, K = xp.empty((*routing.slots.shape[:2], y.shape[-1]), y.dtype), routing.slots.shape[-1]
    if out.size:
        y, gates = xp.ascontiguousarray(y), _summed_in(xp, gates, y)
        k = kernels.load("moe", like=y)
        k.moe_to_tokens(*_a_block_each(out), (y, gates, routing.slots, out, out.shape[-1], K))
    return out


def _launch_combine_backward(xp, d, y, gates, routing):
    d, y, g = xp.ascontiguousarray(d), xp.ascontiguousarray(y), _summed_in(xp, gates, y)
    dy, dgates = xp.empty(y.shape, y.dtype), xp.zeros(g.shape, g.dtype)  # a choice that was dropped has no slot: 0
    if dy.size:
        size = y.shape[-1], routing.slots.shape[-1]
        k = kernels.load("moe", like=y)
        k.moe_combine_backward(*_a_block_each(dy), (d, y, g, routing.choices, dy, dgates, *size))
    return dy, dgates


def _a_warp_each(rows):
    """(blocks, threads): eight rows a block."""
    return -(-math.prod(rows.shape[:-1]) // 8), 256


def _a_block_each(rows):
    """(blocks, threads): 16 bytes of a row a thread, at most eight warps."""
    return math.prod(rows.shape[:-1]), min(256, 32 * -(-rows.shape[-1] * rows.itemsize // 512))


def _summed_in(xp, gates, y):
    """Gates in the dtype that kernels for y keep sums in."""
    return None if gates is None else xp.ascontiguousarray(gates, dtype=np.float64 if y.dtype == np.float64 else "f")
