"""The way back, as the page shows it: what came back to each step of the walk, along which ways, from which loss."""

import numpy as np

from .. import ops
from ..pages.tex import mathml
from . import captions
from .excerpt import derivative_of, excerpt
from .forward import MOVERS

_CHAIN = r"\frac{\partial L}{\partial x} = \sum_{y} \frac{\partial L}{\partial y} \frac{\partial y}{\partial x}"


class Backward:
    """Describes the way back through the steps of `forward`, which is a Forward."""

    def __init__(self, forward):
        self.forward, self.book, self.record = forward, forward.book, forward.record

    def describe_all(self):
        """The outermost steps in reverse, as far as a gradient reached them."""
        found = []
        for step in reversed(self.forward.steps):
            out = self.forward.out(step.variants[-1])
            if out.number in self.record.grads:
                found.append(self.describe(step, out))
        return found

    def describe(self, step, out):
        """One step of the way back: the gradient of what the step gave."""
        call, grad, record = self.record.made(out), self.record.grads[out.number], self.record
        variant = {"layer": "", "axes": record.tokens.axes(out, self.book.letters), "three": self.three(out)}
        if out.ndim == 0:
            number = self.forward.end(step.variants[-1])
            variant["value"] = [float(r.grads[r.calls[number].out.number]) for r in self.book.records]
        else:
            rows, array = self.forward.vectors(out, grad)
            last = len(step.variants) - 1
            variant |= {"rows": rows.tolist(), "features": int(array.shape[-1]), "name": f"{step.key}/{last}"}
            variant["gradient"] = float(np.linalg.norm(array))
        return {
            "key": f"back.{step.key}", "kind": "backward", "of": step.key, "depth": 0, "parent": None,
            "part": "backward", "title": f"Back: {_continued(step.named.title)}", "math": mathml(_CHAIN, block=True),
            "code": excerpt(*derivative_of(getattr(ops, call.op))), "lead": captions.lead("backward"),
            "ways": self.ways(out), "op": call.op, "sees": self.forward.sees(step), "losses": self.shares(step, out),
            "variants": [variant],
        }  # fmt: skip

    def ways(self, out):
        """[step that the gradient came through, length of its share], in the order in which it arrived."""
        found = {}
        for number, part in self.record.parts.get(out.number, ()):
            key = " & ".join(self.through(self.number_of(number))) or None
            row = self.record.tokens.example(out)
            part = part if out.ndim == 0 or row is None else part[row]
            found[key] = found.get(key, 0.0) + part
        return [[key, float(np.linalg.norm(part))] for key, part in found.items()]

    def shares(self, step, out):
        """[name of a loss, length of what it alone sends back to here], where there are several."""
        found = []
        for name, record in self.book.by_loss.items():
            mine = record.calls[self.forward.end(step.variants[-1])].out
            weight = self.record.grads.get(self.record.result[name].number)
            grad = record.grads.get(mine.number)
            if out.ndim and weight is not None:
                row = self.record.tokens.example(out)
                grad = 0.0 if grad is None else grad if row is None else grad[row]
                found.append([name, float(np.linalg.norm(grad * weight))])
        return found

    def user(self, tensor_number):
        """What used a tensor: the module, or the op, that made tensor `tensor_number` of it."""
        call = self.record.calls[self.number_of(tensor_number)]
        return (call.stack[-1].module if call.stack else None) or call.op

    def through(self, number):
        """The steps that used what call `number` made; what only moves numbers is looked through."""
        call = self.record.calls[number]
        if call.op not in MOVERS:
            return [self.forward.home[number]] if number in self.forward.home else []
        users = [self.number_of(n) for n, _ in self.record.parts.get(call.out.number, ())]
        return list(dict.fromkeys(key for user in users for key in self.through(user)))

    def number_of(self, tensor_number):
        return self.book.numbers[tensor_number]

    def three(self, out):
        """Three gradients, each as the sum of the shares that arrived."""
        grad, parts = self.record.grads[out.number], self.record.parts.get(out.number, ())
        if out.ndim == 0:
            places = [()]
        else:
            row = self.record.tokens.example(out)
            row = 0 if row is None else int(np.min(row))
            order = np.argsort(np.abs(grad[row]).reshape(-1))[::-1][:3]
            places = [(row, *map(int, np.unravel_index(i, grad[row].shape))) for i in order]
        found = []
        for place in places:
            shares = [[self.user(n), float(part[place])] for n, part in parts]
            at = (
                {"token": int(self.record.tokens.of(out)[place]), "feature": place[-1]}
                if place
                else {"op": "gradient", "named": "gradient"}
            )
            found.append({"at": at, "form": "parts", "a": shares or [[None, 1.0]], "value": float(grad[place])})
        return found


def _continued(title):
    """A title that goes on behind a colon: small, unless its first word is a single letter (A learned ...)."""
    return title if title[1:2] in (" ", "") else title[0].lower() + title[1:]
