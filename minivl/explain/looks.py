"""Attention as it was: who asked, who was asked, the scores, the weights, and what was brought home.

A site is an attention layer as one caller used it: `vit.transformer.blocks.*.attend`, with a Look for each layer.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from ..tensor import Tensor


@dataclass
class Look:
    """One call of attention, of the example alone. All arrays begin with the heads."""

    call: int  # its number in Record.calls
    q: np.ndarray  # (H, Tq, D)
    k: np.ndarray  # (H, Tk, D)
    v: np.ndarray
    scores: np.ndarray  # (H, Tq, Tk), before the mask
    weights: np.ndarray  # (H, Tq, Tk), after it
    mixed: np.ndarray  # (H, Tq, D)
    scale: float
    mask: np.ndarray | None  # (Tq, Tk)
    queries: np.ndarray  # ids of tokens, see tokens.py
    keys: np.ndarray
    dmixed: np.ndarray | None  # the gradient of `mixed`

    @property
    def dweights(self):
        """The gradient of the weights: dA = dO V^T. None where there was no way back."""
        return None if self.dmixed is None else np.matmul(self.dmixed, self.v.swapaxes(-1, -2))


@dataclass
class Site:
    """`name` has * for the layer. through: (number of a site, its layer) whose answers are looked at here."""

    name: str
    looks: list = field(default_factory=list)
    through: tuple | None = None


def sites(record):
    """The Sites of a pass, in the order in which they were first used."""
    found, used, answers = {}, {}, {}
    for number, call in enumerate(record.calls):
        if call.op != "attention":
            continue
        module = call.stack[-1].module if call.stack else None
        module = f"attention {number}" if module is None else module
        used[module] = used.get(module, 0) + 1
        site = found.setdefault((re.sub(r"\d+", "*", module), used[module]), Site(re.sub(r"\d+", "*", module)))
        look = look_of(record, number)
        site.looks.append(look)
        place = list(found.values()).index(site), len(site.looks) - 1
        site.through = answers.get(tuple(_bases(record, look.keys)))
        if _is_pooler(record, look):
            answers[tuple(_bases(record, look.queries))] = place
    return list(found.values())


def _bases(record, ids):
    return (ids // (record.tokens.B + 1)).tolist()


def _is_pooler(record, look):
    """Whether learned questions ask others than themselves: what they bring home is all that is known of them."""
    kinds = {record.tokens.token(id)[0].kind for id in look.queries}
    return kinds == {"learned"} and not set(_bases(record, look.queries)) & set(_bases(record, look.keys))


def look_of(record, number):
    """The Look of call `number`; what the op did not keep is worked out again, by its own equations."""
    call = record.calls[number]
    q, k, v, mask, bias, scale = (*call.arguments, None, None, None)[:6]
    row = record.tokens.example(q)
    row = 0 if row is None else int(np.min(row))
    rows = [_of_example(a, row, len(q.data)) for a in (q, k, v)]
    scale = rows[0].shape[-1] ** -0.5 if scale is None else scale
    scores = np.matmul(rows[0] * np.asarray(scale, rows[0].dtype), rows[1].swapaxes(-1, -2))
    if bias is not None:
        scores = scores + np.broadcast_to(_of_example(bias, row, len(q.data)), scores.shape)
    allowed = None
    if call.options.get("causal"):
        past = np.tri(*scores.shape[1:], scores.shape[2] - scores.shape[1], dtype=bool)
        mask = past if mask is None else _array(mask) & past
    if mask is not None:
        whole = np.broadcast_to(_array(mask), (len(q.data), *scores.shape))[row]
        allowed = whole.any(axis=0)
    grad = record.grads.get(call.out.number)
    tokens = record.tokens
    return Look(
        number, *rows, scores, _softmax(scores, None if mask is None else whole), _array(call.out)[row], float(scale),
        allowed, tokens.of(q)[row, 0, :, 0], tokens.of(k)[row, 0, :, 0], None if grad is None else grad[row],
    )  # fmt: skip


def _array(a):
    return a.data if isinstance(a, Tensor) else np.asarray(a)


def _of_example(a, row, B):
    a = _array(a)
    return a[row] if a.ndim == 4 and len(a) == B else a[0] if a.ndim == 4 else a


def _softmax(scores, mask):
    scores = scores if mask is None else np.where(mask, scores, -np.inf)
    top = np.maximum(scores.max(-1, keepdims=True), np.finfo(scores.dtype).min)
    e = np.exp(scores - top)
    return e / np.maximum(e.sum(-1, keepdims=True), np.finfo(e.dtype).tiny)
