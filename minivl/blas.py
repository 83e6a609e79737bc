"""The BLAS behind NumPy's matrix products: how many threads it uses, and which processor's kernels.

NumPy's wheels carry OpenBLAS. Both things are asked of it through ctypes; any other BLAS is left as it is.
"""

import ctypes
import threading
from pathlib import Path


class SingleThreaded:
    """A context manager: while any thread is inside, a call of BLAS uses one thread; afterwards as many as before.

    Our threads and those of BLAS would otherwise fight for the same cores, and BLAS might cut a product in another
    place on a machine with another number of cores.
    """

    def __init__(self):
        self.get = self.set = None
        self.looked = False
        self.reset()

    def reset(self):
        self.lock, self.users, self.before = threading.Lock(), 0, 1

    def _look(self):
        if not self.looked:
            self.get, self.set = threads()
            self.looked = True

    def __enter__(self):
        self._look()
        if self.set is not None:
            with self.lock:
                if self.users == 0:
                    self.before = self.get()
                    self.set(1)
                self.users += 1

    def __exit__(self, *exception):
        if self.set is not None:
            with self.lock:
                self.users -= 1
                if self.users == 0:
                    self.set(self.before)


def threads():
    """The functions (get, set) for OpenBLAS's number of threads, or (None, None) where NumPy has another BLAS."""
    library = _openblas()
    for prefix, suffix in (("scipy_openblas", "64_"), ("openblas", "64_"), ("scipy_openblas", ""), ("openblas", "")):
        get = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
        set = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
        if get is not None and set is not None:
            return get, set
    return None, None


def kernels():
    """Which processor's kernels OpenBLAS uses, "Haswell" for example; None where NumPy has another BLAS."""
    library = _openblas()
    for name in ("scipy_openblas_get_corename64_", "openblas_get_corename64_", "openblas_get_corename"):
        get = getattr(library, name, None)
        if get is not None:
            get.restype = ctypes.c_char_p
            return get().decode()
    return None


def _openblas():
    """The OpenBLAS that NumPy's wheel carries, as a ctypes library, or None."""
    import numpy

    folder = Path(numpy.__file__).parent.parent / "numpy.libs"
    path = next(iter(sorted(folder.glob("*openblas*"))), None)
    return None if path is None else ctypes.CDLL(str(path))
