"""Arrays, on either device and on every core. The only file that imports CuPy, and the only one that knows of threads.

Everything above this file is written once, for NumPy and for CuPy: `array_module(x)` gives the module that x belongs to.

How the cores are used. Large work is cut into chunks of a few rows, small enough that the temporaries of a formula stay
in a core's second-level cache; the cores take chunks until none is left. Where the cuts fall depends on the shapes alone,
never on the number of cores, and partial sums are added in the order of the chunks: the same input gives the same bits on
one core and on sixty-four. Matrix products are cut the same way, each piece a single-threaded call of BLAS.
"""

import ctypes
import importlib.util
import os
import queue
import sys
import threading

import numpy as np

CHUNK_BYTES = 1 << 17  # of one array; a formula has about five of them in use, and a second-level cache holds 1 MB
PRODUCT_FLOPS = 1 << 25  # of one piece of a matrix product: about a quarter of a millisecond on one core


# ---- devices ---------------------------------------------------------------------------------------------------------


def array_module(x):
    """numpy or cupy: the module whose functions work on `x`."""
    return sys.modules["cupy"] if type(x).__module__.partition(".")[0] == "cupy" else np


def on_gpu(x):
    return array_module(x) is not np


def device_of(x):
    """'cpu' or 'cuda'."""
    return "cuda" if on_gpu(x) else "cpu"


def to_device(x, device):
    """`x` on 'cpu' or 'cuda'; x itself where it is there already.

    Raises ModuleNotFoundError where CuPy is not installed and RuntimeError where it finds no GPU, both saying what to do.
    """
    if device == "cpu":
        return x.get() if on_gpu(x) else np.asarray(x)
    if device != "cuda":
        raise ValueError(f"device: got {device!r}, must be 'cpu' or 'cuda'")
    return _cupy().asarray(x)


def _cupy():
    try:
        import cupy
    except ImportError as error:
        raise ModuleNotFoundError(
            "device 'cuda' needs CuPy, which is not installed: pip install 'minivl[cuda]' (an NVIDIA GPU with CUDA 13)"
        ) from error
    if not cupy.cuda.is_available():
        raise RuntimeError("device 'cuda': CuPy is installed but finds no GPU; `minivl doctor` shows what it sees")
    return cupy


def cupy_installed():
    """Whether CuPy could be imported, without importing it."""
    return importlib.util.find_spec("cupy") is not None


# ---- cores -----------------------------------------------------------------------------------------------------------


def cores():
    """Threads that chunks are spread over: MINIVL_THREADS or OMP_NUM_THREADS if set, else the cores of this process."""
    for name in ("MINIVL_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").split(",")[0].strip()
        if text:
            if not text.isdigit() or int(text) < 1:
                raise ValueError(f"{name}: got {text!r}, must be a whole number of threads, at least 1")
            return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel(body, chunks):
    """Calls body(chunk) for each of `chunks`, on all cores, and returns when all are done.

    The calling thread works too, so that a machine with one core has no second thread. A call from within a chunk runs in
    its own thread. The first exception is raised here, after the others have finished.
    """
    chunks = list(chunks)
    threads = 1 if len(chunks) < 2 or getattr(_here, "inside", False) else min(cores(), len(chunks))
    job = _Job(body, chunks)
    if threads > 1:
        for _ in range(_staff(threads - 1)):
            _waiting.put(job)
    job.work()
    job.done.wait()
    if job.error is not None:
        raise job.error


class _Job:
    """Chunks that several threads take from until none is left."""

    def __init__(self, body, chunks):
        self.body, self.left, self.unfinished = body, iter(chunks), len(chunks)
        self.lock, self.done, self.error = threading.Lock(), threading.Event(), None
        if not chunks:
            self.done.set()

    def work(self):
        outer, _here.inside = getattr(_here, "inside", False), True
        with _single_threaded_blas:
            for chunk in self.left:  # a list's iterator hands each element to one thread only
                try:
                    if self.error is None:
                        self.body(chunk)
                except BaseException as error:
                    self.error = error
                with self.lock:
                    self.unfinished -= 1
                    if not self.unfinished:
                        self.done.set()
        _here.inside = outer


_here = threading.local()  # .inside: this thread is at work on a chunk
_waiting = queue.SimpleQueue()
_threads = []
_hiring = threading.Lock()


def _staff(wanted):
    """Starts threads until there are `wanted` of them; they live as long as the process, asleep when there is no work."""
    with _hiring:
        while len(_threads) < wanted:
            thread = threading.Thread(target=_serve, args=(_waiting,), name=f"minivl-{len(_threads)}", daemon=True)
            thread.start()
            _threads.append(thread)
    return wanted


def _serve(waiting):
    while True:
        waiting.get().work()


def _forget_threads():
    """A forked child has the list of threads but not the threads."""
    global _waiting, _hiring
    _threads.clear()
    _waiting, _hiring = queue.SimpleQueue(), threading.Lock()
    _single_threaded_blas.reset()


class _SingleThreadedBLAS:
    """While any chunk is at work, NumPy's BLAS uses one thread a call; afterwards as many as before.

    Our threads and those of BLAS would otherwise fight for the same cores, and BLAS might cut a product in another place
    on a machine with another number of cores. NumPy's own OpenBLAS is told through ctypes; any other BLAS is left alone.
    """

    def __init__(self):
        self.get = self.set = None
        self.looked = False
        self.reset()

    def reset(self):
        self.lock, self.users, self.before = threading.Lock(), 0, 1

    def __enter__(self):
        if not self.looked:
            self.looked, (self.get, self.set) = True, openblas_threads()
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


def openblas_threads():
    """The functions (get, set) of the OpenBLAS that NumPy has loaded, or (None, None)."""
    folder = os.path.join(os.path.dirname(os.path.dirname(np.__file__)), "numpy.libs")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for name in names:
        if "openblas" in name:
            library = ctypes.CDLL(os.path.join(folder, name))
            for prefix, suffix in (
                ("scipy_openblas", "64_"),
                ("openblas", "64_"),
                ("scipy_openblas", ""),
                ("openblas", ""),
            ):
                get = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
                set = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
                if get is not None and set is not None:
                    return get, set
    return None, None


_single_threaded_blas = _SingleThreadedBLAS()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


# ---- a few rows at a time --------------------------------------------------------------------------------------------


def slices(n, step):
    """range(n) in slices of `step`: where the cuts fall is a matter of n and step only."""
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def rowwise(formula, *arrays, sums=0):
    """formula(*arrays), worked out a few rows at a time on all cores.

    arrays    each (..., C) with the same leading axes and a C of its own; `formula` gets them as (rows, C)
    formula   returns one array (rows, D), or a tuple of them, of which the last `sums` are instead sums over its rows,
              in any shape
    returns   what formula returned: (..., D) with the leading axes of the input, sums added up over all rows

    A formula for rows can then be written as on paper: its temporaries are small, and never leave the cache.
    """
    leading = arrays[0].shape[:-1]
    rows = int(np.prod(leading))
    flat = [a.reshape(rows, a.shape[-1]) for a in arrays]
    row_bytes = max((a.shape[-1] * a.itemsize for a in flat), default=1)
    step = max(1, CHUNK_BYTES // max(1, row_bytes))
    if rows <= step or on_gpu(arrays[0]):
        results = formula(*flat)
        results = results if isinstance(results, tuple) else (results,)
        joined = len(results) - sums
        results = [r.reshape(leading + r.shape[1:]) for r in results[:joined]] + list(results[joined:])
        return results[0] if len(results) == 1 else tuple(results)

    whole, partial, allocating = [], {}, threading.Lock()

    def work(chunk):
        results = formula(*(a[chunk] for a in flat))
        results = results if isinstance(results, tuple) else (results,)
        joined = len(results) - sums
        with allocating:
            if not whole:  # only now is it known what the formula returns
                whole.extend(np.empty((rows, *r.shape[1:]), r.dtype) for r in results[:joined])
        for into, r in zip(whole, results, strict=False):
            into[chunk] = r
        partial[chunk.start] = results[joined:]

    parallel(work, slices(rows, step))
    totals = [
        sum(parts[1:], start=parts[0]) for parts in zip(*(partial[start] for start in sorted(partial)), strict=True)
    ]
    results = [w.reshape(leading + w.shape[1:]) for w in whole] + totals
    return results[0] if len(results) == 1 else tuple(results)


def elementwise(formula, *arrays):
    """formula(*arrays) for arrays of one shape, a chunk of elements at a time on all cores."""
    x = arrays[0]
    step = CHUNK_BYTES // x.itemsize
    if x.size <= step or on_gpu(x):
        return formula(*arrays)
    shape = x.shape
    flat = [a.reshape(-1) for a in arrays]
    parts, allocating = [], threading.Lock()

    def work(chunk):
        results = formula(*(a[chunk] for a in flat))
        results = results if isinstance(results, tuple) else (results,)
        with allocating:
            if not parts:
                parts.extend(np.empty(x.size, r.dtype) for r in results)
        for into, r in zip(parts, results, strict=True):
            into[chunk] = r

    parallel(work, slices(x.size, step))
    results = tuple(p.reshape(shape) for p in parts)
    return results[0] if len(results) == 1 else results


def matmul(a, b, bias=None):
    """a (M, K) @ b (K, N) [+ bias (N,)] -> (M, N), in pieces of fixed size on all cores."""
    (M, K), N = a.shape, b.shape[1]
    out = array_module(a).empty((M, N), np.result_type(a, b))

    def piece(rows, columns=slice(None)):
        np.matmul(a[rows], b[:, columns], out=out[rows, columns])
        if bias is not None:
            out[rows, columns] += bias[columns]

    # Cut the longer side of the product, and never so thin that packing the other factor costs more than it earns.
    width = max(128, PRODUCT_FLOPS // max(1, 2 * K * min(M, N)))
    if on_gpu(a):
        piece(slice(None))
    elif M >= N:
        parallel(piece, slices(M, width))
    else:
        parallel(lambda columns: piece(slice(None), columns), slices(N, width))
    return out


def sum_rows(x):
    """x (rows, C) -> (C,)"""
    return rowwise(lambda x: x.sum(0), x, sums=1)
