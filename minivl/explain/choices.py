"""What was chosen, and what was true: the rows of a loss, each with its term."""

from dataclasses import dataclass

import numpy as np

from ..tensor import Tensor
from .tokens import Token


@dataclass
class Choices:
    """Rows of logits with their truth, as one cross-entropy saw them: words of the vocabulary, or examples of a batch.

    logits   (n, V)    target (n,)    rows, columns: ids of tokens (columns None: the vocabulary)
    own      which of the rows are of the example       loss: their mean, as the op gave it
    """

    call: int
    logits: np.ndarray
    target: np.ndarray
    rows: np.ndarray
    columns: np.ndarray | None
    own: np.ndarray
    loss: float

    @property
    def log_p(self):
        """log softmax of the logits."""
        x = self.logits.astype(np.float64)
        x = x - x.max(-1, keepdims=True)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    @property
    def terms(self):
        """-log p of each row's truth."""
        return -self.log_p[np.arange(len(self.target)), self.target]


def choices_of(record, number):
    """The Choices of call `number`, a cross_entropy; rows that it ignored are left out."""
    call, tokens = record.calls[number], record.tokens
    logits, target = call.arguments[0], np.asarray(_array(call.arguments[1]))
    counted = target != call.options.get("ignore_index", -100)
    columns = None
    if isinstance(logits, Tensor) and logits.ndim == 2:
        across = tokens.along(logits, 1)
        columns = across if (across != across[0]).any() else None
    rows = tokens.along(logits, 0) if logits.ndim == 2 else tokens.of(logits)[..., 0][counted]
    rows = rows[counted] if logits.ndim == 2 else rows
    own = np.flatnonzero(rows % (tokens.B + 1) == 1)
    return Choices(number, _array(logits)[counted], target[counted], rows, columns, own, float(call.out.item()))


def _array(a):
    return a.data if isinstance(a, Tensor) else a


def pairs_of(record, numbers):
    """(logits (B, B), rows, columns, how) of the pictures with the texts among some calls; None where there are none.

    how: "softmax" where each row and column is a choice among all, "sigmoid" where each pair is judged by itself
    """
    tokens, ops = record.tokens, [record.calls[n].op for n in numbers]
    if "contrastive" in ops:
        return _of_contrastive(record, record.calls[numbers[ops.index("contrastive")]])
    for number in numbers:
        out = record.calls[number].out
        if out.ndim != 2 or out.shape != (tokens.B, tokens.B):
            continue
        rows, columns = tokens.along(out, 0), tokens.along(out, 1)
        if {tokens.token(rows[0])[0].kind, tokens.token(columns[0])[0].kind} == {"picture", "text"}:
            named = next((v for v in record.result.values() if isinstance(v, Tensor) and v.shape == out.shape), out)
            return named.data, rows, columns, "softmax" if "cross_entropy" in ops else "sigmoid"
    return None


def _of_contrastive(record, call):
    """The similarities that the op works out and does not give away."""
    image, text, log_scale = (_array(a) for a in call.arguments[:3])
    sides = [
        np.array([record.tokens.id(Token(kind), row) for row in range(record.tokens.B)])
        for argument in call.arguments[:2]
        for kind in record.tokens.sees[argument.number]
    ]
    return image @ (text * np.exp(log_scale)).T, *sides, "softmax"
