"""The steps of a pass as the page shows them: what kind each is, its words, its source, its numbers, its arrays."""

from collections import Counter

import numpy as np

from ..pages.named_steps import short
from ..pages.tex import mathml
from . import captions
from .arithmetic import three
from .choices import choices_of, pairs_of
from .excerpt import excerpt
from .outline import walk

_NUMBERS = 8192  # of an array of vectors, at most; a wider one is shown by its first features
MOVERS = {"reshape", "transpose", "getitem", "cat", "expand", "cast"}
_BENT = {"gelu", "quick_gelu", "relu"}  # what stands between the linear maps of an MLP
_TOP = 5  # words of the vocabulary that are shown for each choice


class Forward:
    """Describes the steps of an outline for the page, and puts their arrays into `book` (see book.py)."""

    def __init__(self, book, steps):
        self.book, self.record, self.steps = book, book.records[-1], steps
        self.asked = {}  # number of a tensor that is q, k or v -> number of the call of attention
        for site in book.sites:
            for look in site.looks:
                for a in self.record.calls[look.call].arguments[:3]:
                    self.asked[a.number] = look.call
        self.home = {}  # number of a call -> key of the outermost step that it belongs to
        for step in steps:
            for variant in step.variants:
                for number in variant.calls:
                    self.home.setdefault(number, step.key)

    def describe_all(self):
        """Descriptions of all named steps, outermost and inner, in the order of the walk."""
        return [self.describe(depth, step) for depth, step in walk(self.steps)]

    def describe(self, depth, step):
        """One step, as the page holds it."""
        kind, named, out = self.kind(step), step.named, self.out(step.variants[-1])
        title = named.title.removeprefix("...").strip()
        sites = self.sites(step)
        told = {
            "key": step.key, "kind": kind, "title": title[0].upper() + title[1:], "depth": depth,
            "parent": step.parent.key if step.parent else None, "part": "loss" if out.ndim == 0 else "forward",
            "math": mathml(named.tex, block=True), "code": excerpt(named.file, named.first, named.last),
            "comment": f"{short(named.file)}:{named.line}", "lead": captions.lead(kind, **self.facts(step)),
            "sees": self.sees(step), "ops": self.ops(step),
            "variants": [self.variant(step, i, variant) for i, variant in enumerate(step.variants)],
        }  # fmt: skip
        if kind == "logits":  # a column is a piece: those of the sums get their names
            for sum in (one for variant in told["variants"] for one in variant["three"]):
                self.book.piece(sum["at"]["feature"])
        return told | ({"sites": sites} if sites else {}) | self.losses(step, kind)

    def kind(self, step):
        """What kind of step it is, told by the ops that ran."""
        variant = step.variants[-1]
        out, own, below = self.out(variant), self.op_names(variant.own), self.op_names(variant.calls)
        looks = self.looks(variant)
        if step.stage is not None and looks:
            return ("scores", "weights", "mixed")[min(step.stage, 2)]
        if any(self.record.calls[n].out.number in self.asked for n in variant.own):
            return "asks"
        if out.ndim == 0:
            if "cross_entropy" in own and step.parent:
                return "terms"  # the step around it shows what was chosen
            paired = self.pairs(variant) is not None
            return "pairs" if paired else "choices" if "cross_entropy" in below else "scalar"
        if out.ndim == 2 and out.number in self.record.tokens.columns:
            return "table"
        if any(call.op == "cross_entropy" and call.arguments[0] is out for call in self.record.calls):
            return "logits"
        if "patch_embed" in own:
            return "tubes" if self.record.tokens.boxes else "patches"
        if looks:
            asking = {self.record.tokens.token(id)[0].kind for id in looks[-1].queries}
            return "pooler" if asking == {"learned"} else "attention"
        if "embedding" in below:
            return "words"
        if "conv2d" in below:
            return "map"
        if short(step.named.file) == "minivl/nn/attention.py":
            return "side"
        if below & _BENT:
            return "mlp"
        return "vector" if out.ndim == 2 and "normalize" in own else "stream"

    def op_names(self, numbers):
        return {self.record.calls[n].op for n in numbers}

    def end(self, variant):
        """The number of the call that a variant is there for: the last one that the loss sends anything back to."""
        calls, grads = self.record.calls, self.record.grads
        return next((n for n in reversed(variant.calls) if calls[n].out.number in grads), variant.calls[-1])

    def out(self, variant):
        """The tensor that a variant is there for."""
        return self.record.calls[self.end(variant)].out

    def looks(self, variant):
        """What attention saw within a variant."""
        calls = set(variant.calls)
        return [look for site in self.book.sites for look in site.looks if look.call in calls]

    def pairs(self, variant, record=None):
        return pairs_of(record or self.record, variant.calls)

    def sees(self, step):
        """Whether pictures, texts or both went into what a step made."""
        calls = (self.record.calls[n] for variant in step.variants for n in variant.calls)
        return sorted(frozenset().union(*(self.record.tokens.sees[call.out.number] for call in calls)))

    def sites(self, step):
        """[{site, layers}] that a step looks through: for each variant the numbers of the layers."""
        looked = [self.asking(v) or {look.call for look in self.looks(v)} for v in step.variants]
        found = []
        for number, site in enumerate(self.book.sites):
            layers = [[i for i, look in enumerate(site.looks) if look.call in calls] for calls in looked]
            if any(layers):
                found.append({"site": number, "layers": layers})
        return found

    def asking(self, variant):
        """The calls of attention whose queries, keys or values a variant makes itself."""
        return {self.asked.get(self.record.calls[n].out.number) for n in variant.own} - {None}

    def facts(self, step):
        """The figures of its sentence."""
        variant, V = step.variants[-1], self.record.model.config.vocabulary
        out, calls = self.out(variant), [self.record.calls[n] for n in variant.calls]
        found = {"C": out.shape[-1] if out.ndim else 0, "B": self.record.tokens.B, "V": V, "logv": f"{np.log(V):.1f}"}
        found |= {"N": len(self.book.patches), "what": " and ".join(self.sees(step))}
        asks = self.asking(variant) | {look.call for look in self.looks(variant)}
        for number in asks:
            _, H, _, D = self.record.calls[number].out.shape
            found |= {"H": H, "D": D}
        return found | {"hidden": max((call.out.shape[-1] for call in calls if call.op in _BENT), default=0)}

    def ops(self, step):
        """[op, how often] of what ran in its last variant."""
        return list(map(list, Counter(self.record.calls[n].op for n in step.variants[-1].calls).items()))

    # ---- the numbers of a variant ------------------------------------------------------------------------------------

    def variant(self, step, i, variant):
        """A step as one layer took it: shape, rows, arithmetic, and names of its arrays."""
        end, out, name = self.end(variant), self.out(variant), f"{step.key}/{i}"
        told = {"layer": variant.layer, "axes": self.record.tokens.axes(out, self.book.letters)}
        if step.stage is not None and self.looks(
            variant
        ):  # scores and weights have a number for each key, in place of D
            keys = [self.keys_axis(self.looks(variant)[-1])]
            return told | {"axes": [*told["axes"][:-1], *keys] if step.stage < 2 else told["axes"]}
        made = [n for n in variant.calls if n <= end and self.record.calls[n].op not in MOVERS] or [end]
        told |= {"three": three(self.record, made[-1])}
        if out.ndim == 0:
            return told | {"value": [float(r.calls[end].out.item()) for r in self.book.records]}
        rows, array = self.vectors(out, out.data)
        told |= {"rows": rows.tolist(), "features": int(array.shape[-1]), "name": name}
        for time, record in enumerate(self.book.records):
            if record is self.record or step.parent is None:
                self.keep(f"out/{name}", self.vectors(out, record.calls[end].out.data)[1], time)
        grad = self.record.grads.get(out.number)
        if grad is None:
            return told
        grad = self.vectors(out, grad)[1]
        self.keep(f"grad/{name}", grad)
        return told | {"gradient": float(np.linalg.norm(grad))}

    def keys_axis(self, look):
        """[letter, size] of the keys that a look has weights for."""
        keys = self.record.calls[look.call].arguments[1]
        return self.record.tokens.axes(keys, self.book.letters)[2]

    def vectors(self, tensor, data):
        """(ids of tokens, (rows, features)) of the example in `data`, an array shaped like `tensor`."""
        tokens = self.record.tokens
        shadow, row = tokens.of(tensor), tokens.example(tensor)
        if tensor.ndim == 1:
            data, shadow = data[None], shadow[None]
        elif row is not None:
            data, shadow = data[row], shadow[row]
        if data.ndim == 3 and shadow.shape[0] != 1 and (shadow[:, :1] == shadow[:1, :1]).all():  # (H, T, D)
            data, shadow = data.swapaxes(0, 1), shadow.swapaxes(0, 1)
            return shadow[:, 0, 0], data.reshape(len(data), -1)
        if data.ndim == 1:
            data, shadow = data[None], shadow[None]
        return shadow[..., 0].reshape(-1), data.reshape(-1, data.shape[-1])

    def keep(self, name, array, time=None):
        """Keeps vectors in the book: all of them, of wide ones the first features."""
        self.book.put(name, array[:, : max(8, _NUMBERS // max(1, len(array)))], "i1", time)

    # ---- losses ------------------------------------------------------------------------------------------------------

    def losses(self, step, kind):
        """What is shown of a loss: the pairs, or the choices, of every model in time."""
        variant = step.variants[-1]
        if kind == "pairs":
            for t, record in enumerate(self.book.records):
                logits, rows, columns, how = self.pairs(variant, record)
                self.book.put(f"pairs/{step.key}", logits, "f4", t)
            return {"pairs": {"rows": rows.tolist(), "columns": columns.tolist(), "how": how}}
        if kind in ("choices", "terms"):
            number = next(n for n in reversed(variant.calls) if self.record.calls[n].op == "cross_entropy")
            told = self.choices if kind == "choices" else self.terms
            return {kind: [told(choices_of(record, number)) for record in self.book.records]}
        return {}

    def choices(self, some):
        """The example's rows of a cross-entropy: the truth, what was likelier, and the term of each."""
        terms, p, piece = some.terms, np.exp(some.log_p), self.book.piece
        rows = []
        for r in some.own:
            true = p[r, some.target[r]]
            rows.append({"row": int(some.rows[r]), "truth": piece(some.target[r]), "p": _short(true)})
            rows[-1] |= {"rank": int((p[r] > true).sum()) + 1, "term": _short(terms[r])}
            rows[-1]["top"] = [[piece(v), _short(p[r, v])] for v in np.argsort(-p[r])[:_TOP]]
        others = np.delete(terms, some.own)
        return {"rows": rows, "others": [len(others), _short(others.sum())], "loss": some.loss, "n": len(terms)}

    def terms(self, some):
        """The example's terms of a cross-entropy, each with the score of the truth: the rest is a difference."""
        rows = [
            {"row": int(some.rows[r]), "truth": self.book.piece(some.target[r]),
             "score": _short(some.logits[r, some.target[r]]), "term": _short(some.terms[r])}
            for r in some.own
        ]  # fmt: skip
        others = np.delete(some.terms, some.own)
        return {"rows": rows, "others": [len(others), _short(others.sum())], "n": len(some.terms)}


def _short(number):
    """Seven digits, as many as a single-precision number has."""
    return float(f"{number:.7g}")
