"""What a kernel takes: its C signature, parsed once, and the arguments of a launch checked against it.

CUDA itself checks nothing. A double where a float is meant, a transposed view, an array of another dtype: all give
wrong numbers in silence. Here each is an error that names kernel and argument, on the CPU and on the GPU alike.
"""

import dataclasses
import functools
import re

import numpy as np

from ..array import on_gpu
from .source import ACCUMULATORS, STORAGE, without_comments

# C's word for a type, and NumPy's. A vector is an array of its scalar, `lanes` at a time.
_SCALARS = {
    "float": "float32",
    "double": "float64",
    "__nv_bfloat16": "bfloat16",
    "bool": "bool",
    "char": "int8",
    "signed char": "int8",
    "unsigned char": "uint8",
    "short": "int16",
    "unsigned short": "uint16",
    "int": "int32",
    "unsigned": "uint32",
    "unsigned int": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
    **{f"{sign}int{bits}_t": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "size_t": "uint64",
}
_VECTORS = {"float": "float", "double": "double", "int": "int", "uint": "unsigned", "__nv_bfloat16": "__nv_bfloat16"}
_KERNEL = re.compile(r'\bextern\s+"C"((?:\s|\bvoid\b|\b__\w+__\b(?:\s*\([^()]*\))?)*)\b(\w+)\s*\(([^{;]*?)\)\s*\{')
_WHOLE = {  # what makes one of a Python number, and between which limits
    name: (np.dtype(name).type, int(np.iinfo(name).min), int(np.iinfo(name).max))
    for name in (f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
}
_LARGEST = float(np.finfo(np.float32).max)
_NOT_OF_TYPE = re.compile(r"\b(?:__restrict__|__restrict|__grid_constant__)\b")


@functools.cache
def name_of(dtype):
    """dtype.name, which takes NumPy longer to put together than a kernel to launch."""
    return dtype.name


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel."""

    name: str
    declared: str  # its type in C, as written
    dtype: str  # of the array's or the scalar's numbers
    pointers: int = 0  # 0 a scalar, 1 an array, 2 a list of arrays
    const: bool = False  # what it points to is not written to
    optional: bool = False  # None may be given
    lanes: int = 1  # numbers that one element of the C type holds

    def value(self, kernel, given, gpu):
        """`given` as it is to be passed: the array itself, or a NumPy scalar of the right type."""
        if self.pointers == 0:
            return self._scalar(kernel, given)
        if self.pointers == 2:
            if not isinstance(given, list | tuple) or not given:
                raise TypeError(f"{kernel}: {self.name} is {_kind(given)}, must be a list of arrays of {self.dtype}")
            return [self._array(kernel, f"{self.name}[{i}]", one, gpu) for i, one in enumerate(given)]
        if given is None and self.optional:
            return None
        return self._array(kernel, self.name, given, gpu)

    def _array(self, kernel, name, x, gpu):
        dtype = getattr(x, "dtype", None)
        if dtype is None or not hasattr(x, "flags"):
            may = ", or None" if self.optional else ""
            raise TypeError(f"{kernel}: {name} is {_kind(x)}, must be an array of {self.dtype}{may}")
        if name_of(dtype) != self.dtype and not (self.dtype == "bfloat16" and name_of(dtype) == "uint16"):
            raise TypeError(f"{kernel}: {name} is an array of {dtype}, must be of {self.dtype}")
        if on_gpu(x) != gpu:
            raise ValueError(
                f"{kernel}: {name} is a {_module(x)} array, must be {'CuPy' if gpu else 'NumPy'} like the others"
            )
        flags = x.flags
        if not flags.c_contiguous:
            raise ValueError(f"{kernel}: {name} of shape {x.shape} has strides {x.strides}, must be C-contiguous")
        if not gpu and not (flags.aligned and (self.const or flags.writeable)):
            why = "writeable (the kernel does not declare it const)" if flags.aligned else "aligned to its numbers"
            raise ValueError(f"{kernel}: {name} is not {why}, must be")
        if self.lanes > 1 and x.size % self.lanes:
            raise ValueError(
                f"{kernel}: {name} has {x.size} numbers, must be a multiple of {self.lanes}: {self.declared}"
            )
        return x

    def _scalar(self, kernel, x):
        if not isinstance(x, int | float | np.generic) or isinstance(x, str | bytes):
            raise TypeError(f"{kernel}: {self.name} is {_kind(x)}, must be a number: {self.declared}")
        if self.dtype == "bool":
            if x not in (0, 1):
                raise ValueError(f"{kernel}: {self.name} is {x}, must be True or False")
            return np.bool_(x)
        if self.dtype in _WHOLE:
            if not isinstance(x, int | np.integer | np.bool_):
                raise TypeError(f"{kernel}: {self.name} is {_kind(x)}, must be a whole number: {self.declared}")
            make, least, most = _WHOLE[self.dtype]
            if not least <= int(x) <= most:
                raise ValueError(f"{kernel}: {self.name} is {x}, must be within {least} and {most}: {self.declared}")
            return make(x)
        x = float(x)
        if self.dtype == "float64":
            return np.float64(x)
        if _LARGEST < abs(x) < np.inf:
            raise ValueError(f"{kernel}: {self.name} is {x}, must be within the range of float32: {self.declared}")
        return np.float32(x) if self.dtype == "float32" else _bfloat16_bits(x)


@dataclasses.dataclass(frozen=True)
class Signature:
    """One kernel: its name and what it takes."""

    name: str
    parameters: tuple

    def values(self, arguments):
        """(whether the arrays are CuPy's, the arguments as they are to be passed)."""
        if len(arguments) != len(self.parameters):
            wanted = ", ".join(p.name for p in self.parameters)
            raise TypeError(f"{self.name}: got {len(arguments)} arguments, must be {len(self.parameters)}: {wanted}")
        gpu = any(on_gpu(x[0] if isinstance(x, list | tuple) and x else x) for x in arguments)
        pairs = zip(self.parameters, arguments, strict=True)
        return gpu, [parameter.value(self.name, given, gpu) for parameter, given in pairs]


def signatures(text, dtype):
    """{name: Signature} of all kernels in a .cu file's text, T and A taken for `dtype`."""
    marked = re.sub(r"/\*\s*or null\s*\*/", " __or_null ", text)
    found = {}
    for before, name, parameters in _KERNEL.findall(without_comments(marked)):
        if "__global__" not in before:
            continue
        parts = [part for part in parameters.split(",") if part.strip()]
        found[name] = Signature(name, tuple(_parameter(name, part, dtype) for part in parts))
    return found


def _parameter(kernel, text, dtype):
    """`const T* __restrict__ x` -> Parameter."""
    optional, text = "__or_null" in text, text.replace("__or_null", " ")
    match = re.fullmatch(r"\s*(.*?[\s*])(\w+)\s*", text, re.DOTALL)
    if not match:
        raise ValueError(f"{kernel}: cannot read its parameter {' '.join(text.split())!r}")
    declared, name = " ".join(_NOT_OF_TYPE.sub(" ", match[1]).split()), match[2]
    first, pointers = declared.partition("*")[0], declared.count("*")
    const = re.search(r"\bconst\b", first) is not None
    base = " ".join(re.sub(r"\b(?:const|volatile)\b", " ", first).split())
    base, lanes = {"T": STORAGE[dtype], "A": ACCUMULATORS[dtype]}.get(base, base), 1
    vector = re.fullmatch(r"(\w+?)([24])", base)
    if vector and vector[1] in _VECTORS and pointers:
        base, lanes = _VECTORS[vector[1]], int(vector[2])
    if base not in _SCALARS or pointers > 2:
        raise ValueError(f"{kernel}: {name} is {declared!r}, which no array or number can be given for")
    return Parameter(name, declared, _SCALARS[base], pointers, const, optional, lanes)


def _kind(x):
    return "None" if x is None else f"{x!r:.40}" if isinstance(x, int | float | str) else f"a {type(x).__name__}"


def _module(x):
    return "CuPy" if on_gpu(x) else "NumPy"


def _bfloat16_bits(x):
    bits = int(np.float32(x).view(np.uint32))
    return np.uint16(0x7FFF if x != x else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
