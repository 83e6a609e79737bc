"""Why a pair is forbidden: the masks of a pass, each with the functions of masks.py that it was put together from."""

import inspect
from dataclasses import dataclass, field

import numpy as np

from .. import masks
from ..pages.named_steps import short


@dataclass
class Part:
    """One function that a mask is made of: it forbids what its own drawing forbids, and the mask forbids that too."""

    name: str
    told: str  # as it was called: padding([10, 9, ...], 10)
    says: str  # the first sentence of its docstring
    allowed: np.ndarray  # (Tq, Tk)
    whole: bool  # whether it is all that the mask is


@dataclass
class Mask:
    """Who may look at whom: (Tq, Tk), of the example alone; `file` and `line` say where it was made."""

    allowed: np.ndarray
    queries: np.ndarray  # ids of tokens
    keys: np.ndarray
    file: str | None = None
    line: int | None = None
    parts: list = field(default_factory=list)
    calls: list = field(default_factory=list)  # of attention that used it


def masks_of(record, sites):
    """The different Masks of a pass, in the order of their first use."""
    found = []
    for site in sites:
        for look in site.looks:
            if look.mask is None:
                continue
            known = next((m for m in found if _same(m, look)), None)
            if known is None:
                known = Mask(look.mask, look.queries, look.keys)
                found.append(known)
                _explain(known, record)
            known.calls.append(look.call)
    return sorted(found, key=lambda mask: min(mask.calls))


def _same(mask, look):
    pairs = ((mask.allowed, look.mask), (mask.queries, look.queries), (mask.keys, look.keys))
    return all(np.array_equal(a, b) for a, b in pairs)


def _explain(mask, record):
    """Finds the calls of masks.py whose drawing the mask never goes beyond, where together they are all of it."""
    candidates = []
    for call in record.masks:
        shape = (max(1, len(call.result) if call.result.ndim > 2 else 1), *mask.allowed.shape)
        try:
            allowed = np.broadcast_to(call.result.reshape(-1, *call.result.shape[-2:])[:1], (1, *shape[1:]))[0]
        except ValueError:
            continue
        if not (mask.allowed & ~allowed).any():
            candidates.append((call, allowed))
    by_place = {}
    for call, allowed in candidates:
        by_place.setdefault((call.file, call.line), []).append((call, allowed))
    for (file, line), some in by_place.items():
        together = np.logical_and.reduce([allowed for _, allowed in some])
        if np.array_equal(together, mask.allowed):
            mask.file, mask.line, seen = file, line, set()
            for call, allowed in some:
                if call.function not in seen and not allowed.all():
                    seen.add(call.function)
                    whole = np.array_equal(allowed, mask.allowed)
                    mask.parts.append(Part(call.function, _told(call), _says(call.function), allowed, whole))
            return


def _told(call):
    arguments = [np.array2string(a, separator=", ", threshold=4, edgeitems=2) if isinstance(a, np.ndarray) else repr(a)
                 for a in call.arguments]  # fmt: skip
    return f"{call.function}({', '.join(' '.join(a.split()) for a in arguments)})"


def _says(name):
    """The first sentence of a mask's docstring."""
    text = inspect.getdoc(getattr(masks, name)) or ""
    return text.split("\n\n")[0].replace("\n", " ").split(" (")[0].rstrip(":. ") + "."


def place_of(name):
    """(file, line) of a function of masks.py, as people write it."""
    function = inspect.unwrap(getattr(masks, name))
    return short(inspect.getsourcefile(function)), inspect.getsourcelines(function)[1]
