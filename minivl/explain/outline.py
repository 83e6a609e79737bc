"""What ran, told in the steps that the source names, the comments `#: Title | TeX`, in the order of meeting them.

A step is one comment as one caller met it. Layers of one stack are one step with several variants, since they run the
same lines; the same lines called from another place (MaMMUT's two passes) are another step. The comments of models and
towers are the walk; those of layers, losses and ops lie inside it, and are seen by looking closer.
"""

import inspect
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .. import ops
from ..pages.named_steps import NamedStep, named_steps, short, step_at

_INSIDE = ("minivl/nn/transformer.py", "minivl/nn/attention.py", "minivl/losses.py", "minivl/ops/")


@dataclass
class Variant:
    """A step as one layer took it. `calls`, numbers in Record.calls, are all that ran within; `own` its own lines."""

    module: str | None
    calls: list = field(default_factory=list)
    own: list = field(default_factory=list)

    @property
    def layer(self):
        """ "2" of decoder.blocks.2.attend; "" where there are no layers."""
        return ".".join(re.findall(r"(?<=\.)\d+", self.module or ""))


@dataclass
class Step:
    """A step of the walk. `part` is 0, 1, 2 ... of an op that names steps itself, otherwise None."""

    named: NamedStep
    parent: "Step | None"
    stage: int | None = None
    variants: list = field(default_factory=list)
    children: list = field(default_factory=list)

    @property
    def inside(self):
        """Whether it is seen only by looking closer."""
        return short(self.named.file).startswith(_INSIDE)

    key: str = ""  # a name that stays the same from run to run, for links


def outline(record):
    """The outermost Steps of a Record, in the order in which they came to their end; each with what lies inside."""
    roots, nodes = [], {}
    for number, call in enumerate(record.calls):
        step, chain = None, ()
        for place in call.stack:
            named = step_at(place.file, place.line) if Path(place.file).is_file() else None
            if named is None or _within_a_line(place, chain, named):
                continue
            chain = (*chain, (named, place.call))
            if chain not in nodes:
                nodes[chain] = _variant(step[0] if step else None, roots, named, None, place.module)
            step = nodes[chain]
            step[1].calls.append(number)
        if step:
            step[1].own.append(number)
        for stage, named in enumerate(_named_by_op(call.op)):
            parent = step[0] if step else None
            module = call.stack[-1].module if call.stack else None
            _, variant = _variant(parent, roots, named, stage, module)
            variant.calls, variant.own = [number], [number]
    roots.sort(key=lambda step: step.variants[0].calls[-1])
    roots = _with_towers(roots)
    _name(roots)
    return roots


def _within_a_line(place, chain, named):
    """Whether it is a comprehension, which some versions of Python run as a function, in the step's own lines."""
    return bool(chain) and chain[-1][0] == named and place.function in ("<listcomp>", "<genexpr>")


def _variant(parent, roots, named, stage, module):
    """(Step, Variant) for a comment met anew: a further layer of a step that is there already, or a new step."""
    siblings = parent.children if parent else roots
    for step in siblings:
        same = step.named == named and step.stage == stage
        if same and all(_one_stack(variant.module, module) for variant in step.variants):
            break
    else:
        step = Step(named, parent, stage)
        siblings.append(step)
    variant = Variant(module)
    step.variants.append(variant)
    return step, variant


def _one_stack(one, other):
    """Whether two modules are layers of one stack: their names differ in numbers only."""
    if one is None or other is None or one == other:
        return False
    return re.sub(r"\d+", "*", one) == re.sub(r"\d+", "*", other)


def _named_by_op(name):
    """The steps that an op names in its own text."""
    function = getattr(ops, name, None)
    if not getattr(function, "is_op", False):
        return ()
    lines, start = inspect.getsourcelines(function.__wrapped__)
    steps = named_steps(inspect.getsourcefile(function.__wrapped__))
    return [step for step in steps if start <= step.line < start + len(lines)]


def _with_towers(steps):
    """Steps of a tower that a model's own step calls come before it: they end before it does."""
    found = []
    for step in steps:
        outer = [child for child in step.children if not child.inside]
        if outer:
            step.children = [child for child in step.children if child.inside]
            for child in outer:
                child.parent = None
            found += _with_towers(outer)
        found.append(step)
    return found


def _name(steps):
    """Gives each step its key: the first words of its title, behind the key of the step that it lies in."""
    used = Counter()
    for step in steps:
        own = "-".join(re.sub(r"[^a-z0-9]+", "-", step.named.title.lower()).strip("-").split("-")[:5])
        used[own] += 1
        own += f"-{used[own]}" if used[own] > 1 else ""
        step.key = f"{step.parent.key}.{own}" if step.parent else own
        _name(step.children)


def walk(steps, depth=0):
    """(depth, step) of all steps, each before what lies inside it."""
    for step in steps:
        yield depth, step
        yield from walk(step.children, depth + 1)
