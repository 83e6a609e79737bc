"""What a sheet of exercises is made of: scenarios, which run where the student's code is, and checks, which judge them.

    @scenario
    def softmax_there_and_back(x, dp):          arrays in, arrays out; imports what the student wrote
        ...
        return p, dx

    @check("ex03.b", "dx = p (dp - sum(dp p))")
    def by_its_jacobian(run, random):
        p, dx = run(softmax_there_and_back, x, dp)
        close("dx", dx, wanted, 1e-12)

A check never touches the student's code: `run` carries arrays over and back. Under pytest it is a plain call; for the
judge it is a message to another process.
"""

import importlib
import pkgutil
from dataclasses import dataclass

import numpy as np


class Wrong(AssertionError):
    """An answer that is not right. Its text is for the student."""


@dataclass(frozen=True)
class Check:
    """One thing that an answer must show: judge(run, random) raises Wrong where it does not."""

    part: str
    formula: str
    judge: object
    name: str

    def __call__(self, run, random):
        try:
            self.judge(run, random)
        except Wrong as wrong:
            raise Wrong(f"{self.part}, {self.formula}: {wrong}") from None


def scenario(function):
    """Marks a function of a sheet that may be run where the student's code is."""
    function.is_scenario = True
    return function


def check(part, formula):
    """Makes a Check of judge(run, random); its name is that of the function, its docstring says what it would catch."""

    def make(judge):
        return Check(part, formula, judge, judge.__name__)

    return make


@dataclass(frozen=True)
class Sheet:
    """An exercise: module, id, title, goal (what its docstring says), checks and scenarios by name."""

    module: object

    @property
    def id(self):
        return self.module.__name__.rpartition(".")[2].partition("_")[0]

    @property
    def title(self):
        return self.module.__doc__.strip().splitlines()[0].rstrip(".")

    @property
    def goal(self):
        return self.module.__doc__.strip().partition("\n")[2].strip()

    @property
    def files(self):
        """The marked files, from the folder that minivl lies in."""
        return tuple(self.module.FILES)

    @property
    def checks(self):
        return [value for value in vars(self.module).values() if isinstance(value, Check)]

    @property
    def scenarios(self):
        return {name: f for name, f in vars(self.module).items() if getattr(f, "is_scenario", False)}

    def load(self):
        """Imports the marked files: nothing of them runs but definitions."""
        for file in self.files:
            if file.endswith(".py"):
                importlib.import_module(file.removesuffix(".py").replace("/", "."))

    @property
    def allowed(self):
        """What the worker would deny this sheet's scenarios, as "ctypes." for those that run compiled code."""
        return tuple(getattr(self.module, "ALLOWED", ()))

    def prepare(self):
        """What has to be done before a student's code may run without files and processes: kernels are compiled."""
        getattr(self.module, "prepare", lambda: None)()


def all_sheets():
    """{id: Sheet} of all exercises, in their order."""
    from . import sheets as package

    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name.startswith("ex"))
    found = [Sheet(importlib.import_module(f"{package.__name__}.{name}")) for name in names]
    return {sheet.id: sheet for sheet in found}


def sheet_of(id):
    """The Sheet of an exercise, "ex03" or of a part of it, "ex03.b".   ValueError: there is no such exercise."""
    known = all_sheets()
    if id.partition(".")[0] not in known:
        raise ValueError(f"exercise {id!r} is unknown, must be one of: {', '.join(known)}")
    return known[id.partition(".")[0]]


# ---- what a check says of two arrays ---------------------------------------------------------------------------------


def close(name, got, wanted, tolerance=1e-9):
    """Wrong unless `got` is `wanted` within `tolerance` of its largest number. The message says where, and why."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    if got.shape != wanted.shape:
        raise Wrong(f"{name} has shape {got.shape}, must be {wanted.shape}")
    if got.dtype.kind not in "fiub":
        raise Wrong(f"{name} is {got.dtype}, must be numbers")
    got, wanted = got.astype(float), wanted.astype(float)
    if wanted.size == 0:
        return
    error = np.array(np.abs(got - wanted))
    error[~np.isfinite(got) & ~(got == wanted)] = np.inf
    error[got == wanted] = 0
    size = np.abs(wanted[np.isfinite(wanted)]).max(initial=0) or 1.0
    if error.max() <= tolerance * size:
        return
    index = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
    place = f"[{', '.join(map(str, index))}]" if index else ""
    said = f"{name}{place} is {got[index]:.6g}, must be {wanted[index]:.6g}"
    wrong = int((error > tolerance * size).sum())
    raise Wrong(f"{said} ({wrong} of {error.size} differ){_diagnosis(got, wanted, error.max() / size)}")


def _diagnosis(got, wanted, off):
    """A guess at what went wrong, from how the two arrays are related: where a teacher would look first."""
    if not np.isfinite(got).all():
        return ". It is not finite: a division by 0, a logarithm of 0, or exp of a large number"
    if off < 1e-4:
        return f". Off by {off:.0e} of the largest: as far as a numerical derivative, or single precision, would be"
    sure = np.abs(wanted) > 1e-6 * np.abs(wanted).max()
    if sure.any() and not got[~sure].any():
        ratios = got[sure] / wanted[sure]
        if np.allclose(ratios, -1):
            return ". Everywhere the opposite sign"
        if np.allclose(ratios, ratios[0], rtol=1e-6) and ratios[0]:
            return f". A factor {ratios[0]:.6g} everywhere"
    if got.ndim == 2 and got.shape[0] == got.shape[1] and np.allclose(got.T, wanted):
        return ". It is transposed"
    if np.allclose(np.sort(got, axis=None), np.sort(wanted, axis=None)):
        return ". The right numbers in other places"
    return ""


def equal(name, got, wanted):
    """Wrong unless two arrays of integers or booleans, or two lists, are the same."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    if got.shape != wanted.shape:
        raise Wrong(f"{name} has shape {got.shape}, must be {wanted.shape}")
    if not np.array_equal(got, wanted):
        index = tuple(int(i) for i in np.argwhere(got != wanted)[0])
        place = f"[{', '.join(map(str, index))}]" if index else ""
        count = int((got != wanted).sum())
        raise Wrong(f"{name}{place} is {got[index]}, must be {wanted[index]} ({count} of {got.size} differ)")


def holds(condition, said):
    """Wrong, with what is `said`, unless the condition holds."""
    if not condition:
        raise Wrong(said)
