"""A stand-in for CuPy on a machine without a GPU: arrays of its own kind, which NumPy's arrays may not meet.

What goes wrong on a GPU before any kernel runs is mostly this: a NumPy array met a CuPy array, a function is not
there, a number was an array. With this in place of CuPy, minivl's GPU path runs to its end on a laptop:
`cupy.RawModule` hands the kernels, as they would be compiled for a GPU, to the CPU runner. It says nothing about speed,
and little about numbers.
"""

import contextlib
import importlib.machinery
import sys
import time
import types

import numpy as np

from minivl.kernels import cpu, signature


class ndarray:
    """Memory that only `cupy` reaches; `get()` copies it out."""

    def __init__(self, array):
        self._array = array

    def get(self):
        return self._array.copy()

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return _called(getattr(ufunc, method), inputs, options)

    def __array_function__(self, function, _, arguments, options):
        module = function.__module__.removeprefix("numpy")
        if module not in ("", ".linalg"):
            raise TypeError(f"cupy has no {function.__module__}.{function.__name__}")
        return _called(function, arguments, options)

    def __getattr__(self, name):
        if name.startswith("__"):  # NumPy asks for several ways into an array's memory: there is none
            raise AttributeError(name)
        value = getattr(self._array, name)
        return _wrapped(value) if not callable(value) else lambda *a, **o: _called(value, a, o)

    def __setattr__(self, name, value):
        if name != "_array":
            return setattr(self._array, name, value)
        object.__setattr__(self, name, value)

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._array.ctypes.data)

    def __getitem__(self, index):
        return _wrapped(self._array[_index(index)])

    def __setitem__(self, index, value):
        self._array[_index(index)] = _plain(value)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return f"cupy.{self._array!r}"

    __hash__ = None


def _operator(name, in_place=False):
    def operator(self, *others):
        if any(isinstance(other, np.ndarray) for other in others):
            raise TypeError(f"Unsupported type <class 'numpy.ndarray'> in {name}")
        result = getattr(self._array, name)(*(_plain(other) for other in others))
        return result if result is NotImplemented else self if in_place else _wrapped(result)

    return operator


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")
for _name in _BINARY:
    for _kind in ("", "r", "i"):
        setattr(ndarray, f"__{_kind}{_name}__", _operator(f"__{_kind}{_name}__", _kind == "i"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "abs", "invert"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _name in ("__len__", "__bool__", "__int__", "__float__", "__index__"):
    setattr(ndarray, _name, lambda self, _name=_name: getattr(self._array, _name)())
ndarray.__module__ = "cupy"


def _plain(value, deep=True):
    """The NumPy array behind one of ours; a NumPy array of the caller's is a mistake."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>: a NumPy array met a CuPy array")
    if isinstance(value, (list, tuple)) and deep:
        return type(value)(_plain(part) for part in value)
    return value


def _index(index):
    """CuPy takes NumPy's arrays as an index."""
    parts = index if isinstance(index, tuple) else (index,)
    parts = tuple(part._array if isinstance(part, ndarray) else part for part in parts)
    return parts if isinstance(index, tuple) else parts[0]


def _wrapped(value):
    """What is an array, or a number that NumPy made of one, becomes one of ours: CuPy has no numbers of its own."""
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if isinstance(value, (list, tuple)) and any(isinstance(part, np.ndarray) for part in value):
        return type(value)(_wrapped(part) for part in value)
    return value


def _called(function, arguments, options):
    return _wrapped(function(*(_plain(a) for a in arguments), **{name: _plain(o) for name, o in options.items()}))


# ---- the module ------------------------------------------------------------------------------------------------------


class _Module(types.ModuleType):
    ndarray = ndarray

    def __init__(self):
        super().__init__("cupy")
        self.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
        self.used = set()  # names of functions that were asked for
        self.cuda = types.SimpleNamespace(
            is_available=lambda: True, Event=_Event, runtime=_Runtime, Device=_Device,
            get_elapsed_time=lambda begin, end: 1e3 * (end.time - begin.time),
            Stream=_Stream,
        )  # fmt: skip
        self.__version__ = "none: a stand-in on the CPU"
        strided = types.SimpleNamespace(as_strided=lambda *a, **o: _called(np.lib.stride_tricks.as_strided, a, o))
        self.lib = types.SimpleNamespace(stride_tricks=strided)
        self.random = types.SimpleNamespace(default_rng=None)

    def asarray(self, a, dtype=None):
        return a if isinstance(a, ndarray) and dtype in (None, a.dtype) else self.array(a, dtype)

    def array(self, a, dtype=None):
        return ndarray(np.array(a._array if isinstance(a, ndarray) else a, dtype))

    def get_default_memory_pool(self):
        return types.SimpleNamespace(free_all_blocks=lambda: None, total_bytes=lambda: 0)

    def __getattr__(self, name):
        self.used.add(name)
        function = getattr(np, name)
        if not callable(function) or isinstance(function, type):
            return function

        def called(*arguments, **options):
            return _called(function, arguments, options)

        if hasattr(function, "at"):
            called.at = lambda *a: _called(function.at, a, {})
        return called

    class RawModule:
        """The kernels of a text for NVRTC, compiled for the CPU runner instead."""

        def __init__(self, code, options=()):
            word = code.partition("#define MINIVL_T ")[2].split()[0]
            dtype = {"float": "float32", "double": "float64"}.get(word, "bfloat16")
            self.signatures = signature.signatures(code, dtype)
            self.library = cpu.Library("stand_in", code, self.signatures)

        def get_function(self, name):
            def launch(grid, block, arguments, shared_mem=0):
                values = [a._array if isinstance(a, ndarray) else a for a in arguments]
                self.library.launch(self.signatures[name], grid, block, values, shared_mem)

            launch.max_dynamic_shared_size_bytes = 1 << 20
            return launch


class _Event:
    def record(self, stream=None):
        self.time = time.perf_counter()

    def synchronize(self):
        pass


class _Stream(contextlib.nullcontext):
    def __init__(self, non_blocking=False):
        super().__init__(self)

    def synchronize(self):
        pass


class _Device:
    id = 0

    def synchronize(self):
        pass


class _Runtime:
    deviceSynchronize = staticmethod(lambda: None)
    driverGetVersion = runtimeGetVersion = staticmethod(lambda: 13000)
    getDeviceProperties = staticmethod(lambda device: {"name": b"no GPU"})


@contextlib.contextmanager
def instead_of_cupy():
    """Within it, `import cupy` gives the stand-in."""
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "cupy"}
    for name in kept:
        del sys.modules[name]
    sys.modules["cupy"] = module = _Module()
    try:
        yield module
    finally:
        del sys.modules["cupy"]
        sys.modules.update(kept)
