"""Kernels for teaching. A ladder begins with the simplest kernel that is right, adds one idea a rung, and ends with the
one that minivl ships. `NAME.py` is the table of a ladder, `NAME_1_idea.cu` a rung, whose first line tells the idea.

    minivl ladder softmax                   what each rung gains: time on a GPU, elsewhere transactions of memory
    minivl ladder report softmax_1_naive    what each line of a kernel asks of memory
"""

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .. import kernels

FOLDER = Path(__file__).parent
TOLERANCE = {"float32": 1e-4, "float64": 1e-10, "bfloat16": 2e-2}


@dataclasses.dataclass(frozen=True)
class Rung:
    """One kernel of a ladder.

    name      'ladder/NAME' for a file of this folder, 'NAME' for a kernel of minivl/ops
    launch    launch(k, **arrays) runs it: k holds the kernels of the file, arrays are those that `make` made
    dtype     what T is in it
    """

    name: str
    launch: Callable
    dtype: str = "float32"

    @property
    def idea(self):
        """The first line of the file, without its slashes."""
        with open(kernels.find(self.name), encoding="utf-8") as file:
            return file.readline().strip().removeprefix("//").strip().removeprefix("RUNG:").strip()


@dataclasses.dataclass(frozen=True)
class Ladder:
    """Several kernels for one thing, and what they are compared with.

    make         make(random, cast, **size) -> {name: array}, inputs and outputs; cast(x) gives x the dtype of the rung
    reference    reference(**arrays) -> {name: what that output must be}; arrays in float32 or float64
    cpu, gpu     the sizes to run with
    bytes        bytes(**size, itemsize): the least that must be moved; what GB/s is worked out from
    flops        flops(**size), where arithmetic is the bound rather than memory
    peers        {name: function(xp, **arrays)}: 'CuPy' (xp is cupy) and 'PyTorch' (xp is torch)
    """

    make: Callable
    reference: Callable
    rungs: list
    cpu: dict
    gpu: dict
    bytes: Callable
    flops: Callable | None = None
    peers: dict = dataclasses.field(default_factory=dict)


def names():
    """All ladders."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if hasattr(_table(path.stem), "LADDER"))


def ladder(name):
    """The Ladder of `NAME.py`."""
    if name not in names():
        raise ValueError(f"there is no ladder {name!r}, there are: {', '.join(names())}")
    return _table(name).LADDER


def _table(name):
    return importlib.import_module(f"{__name__}.{name}") if name != "__init__" else None


# ---- numbers ---------------------------------------------------------------------------------------------------------


def caster(dtype):
    """A function that gives arrays the dtype of a rung; bfloat16 as its bits."""
    return bfloat16_bits if dtype == "bfloat16" else lambda x: np.asarray(x, dtype)


def bfloat16_bits(x):
    """The bits of the nearest bfloat16, of two the even one."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widened(x):
    """An array with the numbers that bits of bfloat16 stand for; any other array as it is."""
    return (x.astype(np.uint32) << 16).view(np.float32) if x.dtype == np.uint16 else x


def error(ladder, rung, arrays, mode="fast", seed=None):
    """Runs a rung on `arrays` and gives its largest error, relative where the numbers are larger than 1."""
    wanted = ladder.reference(**{name: widened(_numpy(x)) for name, x in arrays.items()})
    rung.launch(kernels.load(rung.name, dtype=rung.dtype, mode=mode, seed=seed), **arrays)
    worst = 0.0
    for name, expected in wanted.items():
        got = widened(_numpy(arrays[name])).astype(np.float64)
        difference = np.abs(got - expected) / np.maximum(1, np.abs(expected))
        worst = max(worst, float("inf") if np.isnan(difference).any() else float(difference.max(initial=0)))
    return worst


def _numpy(x):
    return x.get() if hasattr(x, "get") else x
