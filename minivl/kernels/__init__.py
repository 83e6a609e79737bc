"""Hand-written CUDA kernels: one text that runs on a GPU through CuPy, and elsewhere through a C++ compiler.

    k = kernels.load("layernorm", dtype="float32")            # minivl/ops/layernorm.cu
    k.layernorm_forward(blocks, (threads, teams), (x, None, weight, ...))  # grid, block, arguments: NumPy's or CuPy's

What it takes is read from its C signature, and what it is given is checked against it. Its modes on a CPU: "fast",
and "check", which looks at every access to memory and names the lines of races, reads past an end and their like.
"""

import contextlib

from ..array import on_gpu
from . import check, cpu, gpu, signature, source
from .check import Count
from .cpu import KernelError, NoCompiler, compiler
from .source import dtypes, find, shipped

__all__ = [
    "Count",
    "KernelError",
    "NoCompiler",
    "compiler",
    "counting",
    "dtypes",
    "find",
    "load",
    "on_cpu",
    "shipped",
    "wanted",
]

MODES = ("fast", "check")
_loaded = {}
_on_cpu = []  # the surrounding `with on_cpu(...)`, innermost last
_counting = []  # the lists of the surrounding `with counting()`, innermost last


def load(name, *, dtype=None, like=None, mode=None, seed=None, defines=None):
    """The kernels of a .cu file, as functions of a module.

    name       'layernorm' for minivl/ops/layernorm.cu, 'ladder/NAME', or the path of any .cu file
    dtype      what T is in it: 'float32' (the default), 'float64' or 'bfloat16'; or the dtype of the array `like`
    mode       on the CPU: 'fast' or 'check'; by default that of the surrounding on_cpu(), else 'fast'
    seed       on the CPU: the order of threads and blocks, drawn from this number; None: in order
    defines    {name: value}, for the C preprocessor
    """
    if like is not None:
        dtype = _storage(like)
    around = _on_cpu[-1] if _on_cpu else ("fast", None)
    mode, seed = mode or around[0], around[1] if seed is None else seed
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}, must be {' or '.join(map(repr, MODES))}")
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 1 << 63):
        raise ValueError(f"seed: got {seed!r}, must be a whole number of at least 0, or None")
    # A file of somebody's own may have been edited since; what minivl ships stays as it is.
    edited = find(name).stat().st_mtime_ns if str(name).endswith(".cu") else None
    key = (name, edited, dtype or "float32", mode, seed, tuple(sorted(defines.items())) if defines else ())
    if key not in _loaded:
        _loaded[key] = Module(find(name), dtype or "float32", mode, seed, key[-1])
    return _loaded[key]


def wanted(*arrays):
    """Whether an op on these arrays is to use its kernel: on a GPU always, on the CPU within `on_cpu()`.

    Numbers that are not whole must be of a dtype that kernels know.
    """
    if not (_on_cpu or all(map(on_gpu, arrays))):
        return False
    return all(x.dtype.kind in "biu" or _storage(x) in source.STORAGE for x in arrays)


@contextlib.contextmanager
def on_cpu(mode="fast", seed=None):
    """Within it, ops on NumPy arrays use their kernels too, in every thread of the process. For tests."""
    _on_cpu.append((mode, seed))
    try:
        yield
    finally:
        _on_cpu.pop()


@contextlib.contextmanager
def counting():
    """Gives a list that fills with a Count for each line of each launch within, in check mode on the CPU."""
    _counting.append([])
    try:
        yield _counting[-1]
    finally:
        _counting.pop()


def _storage(x):
    name = signature.name_of(x.dtype)
    return "bfloat16" if name == "uint16" else name


class Module:
    """The kernels of one file for one dtype. Compiled at the first launch, for the device of its arrays."""

    def __init__(self, path, dtype, mode, seed, defines):
        self.path, self.dtype, self.mode, self.seed = path, dtype, mode, seed
        self.text = source.read(path, dtype, defines)
        self.signatures = signature.signatures(self.text, dtype)
        if not self.signatures:
            raise ValueError(f'{path.name}: has no kernel, an `extern "C" __global__ void NAME(...)` written out')
        self._libraries = {}

    def __getattr__(self, name):
        if name.startswith("_") or name not in self.signatures:
            raise AttributeError(f"{self.path.name} has no kernel {name!r}; it has {', '.join(self.signatures)}")
        kernel = Kernel(self, self.signatures[name])
        setattr(self, name, kernel)
        return kernel

    def __repr__(self):
        return f"<kernels of {self.path.name} for {self.dtype}: {', '.join(self.signatures)}>"

    def compile(self):
        """Compiles it for the CPU now, rather than at the first launch."""
        self._library(False)

    def _library(self, on_gpu):
        if on_gpu not in self._libraries:
            if on_gpu:
                library = gpu.Library(self.text)
            else:
                kind = check.Library if self.mode == "check" else cpu.Library
                library = kind(self.path.stem, self.text, self.signatures, self.seed)
            self._libraries[on_gpu] = library
        return self._libraries[on_gpu]


class Kernel:
    """One kernel: called with grid, block and its arguments."""

    def __init__(self, module, signature):
        self.module, self.signature = module, signature

    def __call__(self, grid, block, arguments, shared_mem=0, stream=None):
        """Launches it with `grid` blocks of `block` threads, numbers or up to three of them each.

        shared_mem    bytes of dynamic shared memory of a block
        stream        a CuPy stream, by default the current one
        """
        on_gpu, values = self.signature.values(arguments)
        grid, block = self._three("grid", grid, _MOST_BLOCKS), self._three("block", block, _MOST_THREADS)
        if block[0] * block[1] * block[2] > 1024:
            raise ValueError(f"{self.signature.name}: block {block} is of more than 1024 threads")
        if not 0 <= shared_mem <= _MOST_SHARED:
            raise ValueError(f"{self.signature.name}: shared_mem is {shared_mem} bytes, must be 0 to {_MOST_SHARED}")
        library = self.module._library(on_gpu)
        if _counting and not on_gpu and self.module.mode == "check":
            _counting[-1] += library.launch(self.signature, grid, block, values, shared_mem, counting=True)
        else:
            library.launch(self.signature, grid, block, values, shared_mem, stream)

    def _three(self, what, given, most):
        if type(given) is int and 1 <= given <= most[0]:
            return given, 1, 1
        sizes = tuple(given) if isinstance(given, tuple | list) else (given,)
        whole = all(hasattr(size, "__index__") for size in sizes)
        if not whole or not 1 <= len(sizes) <= 3 or any(not 1 <= n <= m for n, m in zip(sizes, most, strict=False)):
            raise ValueError(
                f"{self.signature.name}: {what} is {given}, must be one to three numbers within 1 and {most}"
            )
        return tuple(int(size) for size in sizes) + (1,) * (3 - len(sizes))


_MOST_BLOCKS = ((1 << 31) - 1, 65535, 65535)
_MOST_THREADS = (1024, 1024, 64)
_MOST_SHARED = 227 << 10  # of a block on sm_90
