"""The steps that no comment of a model names: what comes before it, its masks, the ends of the way back, the rest."""

import inspect

import numpy as np

from .. import ops
from ..data.image import Preprocess
from ..pages.named_steps import named_steps
from ..pages.tex import mathml
from ..train import Training
from . import captions
from .ablation import ablate
from .example import columns_of, frames_of, sheet
from .excerpt import derivative_of, excerpt


class Unnamed:
    """Describes these steps for the page of `book`."""

    def __init__(self, book):
        self.book, self.record, self.model = book, book.last, book.model

    def before(self):
        """The beginning, the picture and the text."""
        picture = self._named("picture", Preprocess.__call__)
        text = self._named("text", type(self.model.tokenizer).__call__)
        c = self.model.config
        S = c.image_size
        F = frames_of(self.book.found.batch["image"])
        frames = [["F", F]] if F > 1 else []
        if frames:
            picture["lead"] = captions.lead("clip", F=F, S=S)
        picture["variants"] = [{"layer": "", "axes": [["3", 3], *frames, ["S", S], ["S", S]], "three": self._pixels()}]
        ids = self.book.found.batch["text"]
        text["variants"] = [{"layer": "", "axes": [["B", ids.shape[0]], ["T", ids.shape[1]]], "three": self._ids()}]
        part = {"part": "before"}
        return [self._generated("overview", "", None) | part, picture | part, text | part]

    def _pixels(self):
        """Three of the picture's numbers: one of each colour, at its middle; of a clip, at that of its middle frame."""
        c, image = self.model.config, sheet(self.book.found.batch["image"][0])
        F = frames_of(self.book.found.batch["image"])
        y, x = (n * c.image_size + c.image_size // 2 for n in divmod(F // 2, columns_of(F)))
        raw = np.asarray(self.book.found.pictures[0])
        return [
            {"at": {"pixel": [y, x, ("red", "green", "blue")[k]]}, "form": "pixel", "p": int(raw[y, x, k]),
             "mean": float(c.image_mean[k]), "std": float(c.image_std[k]), "value": float(image[k, y, x])}
            for k in range(3)
        ]  # fmt: skip

    def _ids(self):
        ids, length = self.book.found.batch["text"][0], int(self.book.found.batch["lengths"][0])
        return [
            {"at": {"word": t}, "form": "copy", "value": int(ids[t]),
             "from": f"piece {int(ids[t])} of {self.model.config.vocabulary}"}
            for t in (0, 1, length - 1)
        ]  # fmt: skip

    def with_masks(self, forward):
        """The steps of the walk, each mask put before the first step that uses it."""
        for number, mask in enumerate(self.book.attentions.masks):
            home = next(s.key for s in self.book.forward.steps for v in s.variants if min(mask.calls) in v.calls)
            place = next(i for i, step in enumerate(forward) if step["key"] == home)
            parts = [part for part in mask.parts if part.whole][-1:] or mask.parts
            names = " and ".join(part.name.replace("_", " ") for part in parts)
            told = self._generated("mask", r"S \to S + M,\ M_{ij} \in \{0, -\infty\}", None)
            told |= {"key": f"mask-{number + 1}", "mask": number, "title": f"{captions.TITLES['mask']}: {names}"}
            if mask.file:
                told["code"] = excerpt(mask.file, mask.line, mask.line)
            forward = [*forward[:place], told, *forward[place:]]
        return forward

    def after(self):
        """The ends of the way back, the heads, the training."""
        found, kept = [], self.record
        if kept.pictures.number in kept.grads:
            made = next(c for c in kept.calls if any(a is kept.pictures for a in c.arguments))
            found.append(
                self._back("pixels", r"\frac{\partial L}{\partial p}", made.op, kept.grads[kept.pictures.number])
            )
        words = next((c for c in kept.calls if c.op == "embedding" and c.out.number in kept.grads), None)
        if words is not None:
            grad = kept.grads[words.out.number]
            found.append(self._back("word-gradients", r"\frac{\partial L}{\partial E_{y_t}}", "embedding", grad))
        heads = [site.looks[0].q.shape[0] * len(site.looks) for site in self.book.sites]
        if heads and self.book.changes is not None:
            after = self._named("heads", ablate, count=sum(heads))
            found.append(after | {"title": captions.TITLES["heads"], "part": "after"})
        if len(self.book.times) > 1:
            lines, start = inspect.getsourcelines(Training.step)
            code = excerpt(inspect.getsourcefile(Training), start, min(start + len(lines), start + 8))
            training = self._generated("training", r"L(\theta_0), L(\theta_1), \ldots, L(\theta_{end})", code)
            found.append(training | {"part": "after"})
        return found

    def _back(self, kind, tex, op, grad):
        told = self._generated(kind, tex, excerpt(*derivative_of(getattr(ops, op))))
        letters = "3FSS" if grad.ndim == 5 else "3SS"
        axes = [[letter, n] for letter, n in zip(letters, grad.shape[1:], strict=True)] if kind == "pixels" else None
        axes = axes or [["B", grad.shape[0]], ["T", grad.shape[1]], ["C", grad.shape[2]]]
        return told | {"part": "backward", "variants": [{"layer": "", "axes": axes, "three": []}], "op": op}

    def _generated(self, kind, tex, code, **facts):
        config = self.model.config
        facts = {"model": type(self.model).__name__, "S": self.book.found.pictures[0].width, "V": config.vocabulary,
                 "B": self.record.tokens.B, "shown": "clip" if self.record.tokens.boxes else "picture",
                 **facts}  # fmt: skip
        return {
            "key": kind, "kind": kind, "title": captions.TITLES[kind], "depth": 0, "parent": None, "part": "forward",
            "math": mathml(tex, block=True) if tex else "", "code": code, "lead": captions.lead(kind, **facts),
            "sees": [], "variants": [{"layer": "", "axes": [], "three": []}],
        }  # fmt: skip

    def _named(self, kind, function, **facts):
        """A step from the comment that a function carries."""
        step = named_within(function)
        code = excerpt(step.file, step.first, step.last)
        return self._generated(kind, step.tex, code, **facts) | {"title": step.title[0].upper() + step.title[1:]}


def named_within(function):
    """The first step that a function or method names in its own lines."""
    file = inspect.getsourcefile(function)
    lines, start = inspect.getsourcelines(function)
    return next(step for step in named_steps(file) if start <= step.line < start + len(lines))


def versus_step():
    """The step that shows two models side by side."""
    return {"key": "versus", "kind": "versus", "title": captions.TITLES["versus"], "depth": 0, "parent": None,
            "part": "after", "math": "", "code": None, "lead": captions.lead("versus"), "sees": [],
            "variants": [{"layer": "", "axes": [], "three": []}]}  # fmt: skip
