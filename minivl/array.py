"""Arrays, on either device and on every core. The only file that imports CuPy.

Everything above this file is written once, for NumPy and for CuPy: `array_module(x)` gives the module of x.

How the cores are used. Large work is cut into chunks of rows, at most 2 MB of an array: small beside the whole, large
enough that threads seldom wait for Python's lock; the cores take chunks until none is left. Where the cuts fall depends
on the shapes alone, never on the number of cores, and partial sums are added in the order of the chunks: the same input
gives the same bits on one core and on sixty-four. Matrix products are cut the same way, each piece a single-threaded
call of BLAS.
"""

import contextlib
import ctypes
import importlib.util
import math
import os
import queue
import sys
import threading

import numpy as np

from . import blas

CHUNK_BYTES = 1 << 21  # of one array, at most. Larger ones leave the cache; with smaller ones threads wait for Python
SPLIT_BYTES = 1 << 20  # of one array, at least, before it is cut at all
LONG_ROW = 384  # numbers; what meets rows below 8,192, NumPy first repeats in a buffer: slower, for rows beyond this
PRODUCT_FLOPS = 1 << 24  # of one piece of a matrix product, at least: what it takes to be worth waking a thread


# ---- devices ---------------------------------------------------------------------------------------------------------


def array_module(x):
    """numpy or cupy: the module whose functions work on `x`."""
    if type(x) is np.ndarray:  # asked by every op, and nearly always the answer
        return np
    return sys.modules["cupy"] if type(x).__module__.partition(".")[0] == "cupy" else np


def on_gpu(x):
    return array_module(x) is not np


def device_of(x):
    """'cpu' or 'cuda'."""
    return "cuda" if on_gpu(x) else "cpu"


def to_device(x, device):
    """`x` on 'cpu' or 'cuda'; x itself where it is there already.

    Raises ModuleNotFoundError where CuPy is not installed, RuntimeError where it finds no GPU; both say what to do.
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


def gpu_at_hand():
    """Whether 'cuda' can be computed on."""
    try:
        return cupy_installed() and _cupy() is not None
    except (ModuleNotFoundError, RuntimeError):
        return False


# ---- cores -----------------------------------------------------------------------------------------------------------


def cores():
    """Threads that chunks are spread over: MINIVL_THREADS or OMP_NUM_THREADS if set, else the cores of this process."""
    for name in ("MINIVL_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").split(",")[0].strip()
        if text:
            if not (text.isascii() and text.isdecimal()) or int(text) < 1:
                raise ValueError(f"{name}: got {text!r}, must be a whole number of threads, at least 1")
            return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel(body, chunks):
    """Calls body(chunk) for each of `chunks`, on all cores, and returns when all are done.

    The calling thread works too, so that a machine with one core has no second thread. A call from within a chunk runs
    in the thread of that chunk. The first exception is raised here, after the others have finished.
    """
    chunks = list(chunks)
    threads = 1 if len(chunks) < 2 or _here.inside else min(cores(), len(chunks))
    if threads == 1:
        _here.do(body, chunks)
        return
    job = _Job(body, chunks)
    for _ in range(_staff(threads - 1)):
        _waiting.put(job)
    job.finish()


def later(work, device="cpu"):
    """Has another core do work(), if there is one, and returns a function that waits for its result.

    For what is long and not wanted soon, the derivatives of weights: while one core walks back through the graph, which
    nobody can help it with, the others have something to do. If they fall behind, it is done at once, for what waits
    keeps its arrays. On "cuda" the GPU has a queue of its own.
    """
    if device == "cuda" or _here.inside or cores() == 1 or _waiting.qsize() >= cores():
        result = work()
        return lambda: result
    todo, results = [work], []
    del work  # what is done holds on to nothing but its result
    job = _Job(lambda _: results.append(todo.pop()()), [None])
    _staff(cores() - 1)
    _waiting.put(job)

    def wait():
        job.work()
        while job.done.locked() and not _waiting.empty():  # another has it: do something else that waits
            with contextlib.suppress(queue.Empty):
                _waiting.get_nowait().work()
        job.finish()
        return results[0]

    return wait


class _Job:
    """Chunks that several threads take from until none is left."""

    def __init__(self, body, chunks):
        self.body, self.left, self.unfinished = body, iter(chunks), len(chunks)
        self.lock, self.done, self.error = threading.Lock(), threading.Lock(), None
        self.done.acquire()  # a lock that is held until all is done: to wait for it takes less than for an Event

    def work(self):
        _here.do(self._do, self.left)  # a list's iterator hands each element to one thread only

    def finish(self):
        """Takes part until no chunk is left, and waits for those that others have taken."""
        self.work()
        with self.done:
            pass
        if self.error is not None:
            raise self.error

    def _do(self, chunk):
        try:
            if self.error is None:
                self.body(chunk)
        except BaseException as error:
            self.error = self.error or error
        finally:
            with self.lock:
                self.unfinished -= 1
                if not self.unfinished:
                    self.body = None  # who still finds this job in the queue is not to keep its arrays
                    self.done.release()


class _Here(threading.local):
    inside = False  # this thread is at work on a chunk

    def do(self, body, chunks):
        outer, self.inside = self.inside, True
        try:
            with _single_threaded_blas:
                for chunk in chunks:
                    body(chunk)
        finally:
            self.inside = outer


_here = _Here()
_waiting = queue.SimpleQueue()
_threads = []
_hiring = threading.Lock()


def _staff(wanted):
    """Starts threads until there are `wanted` of them; they live as long as the process, asleep between jobs."""
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


_single_threaded_blas = blas.SingleThreaded()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def keep_freed_memory():
    """Has the C library (glibc) keep freed memory for the next step instead of giving it back to the system, for good.

    A training step allocates what the step before has freed. Fresh pages from the system cost as much as a layer.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return
    mallopt(-4, 0)  # M_MMAP_MAX: no allocation gets pages of its own
    mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD: give back only what is beyond a gigabyte
    mallopt(-2, 1 << 26)  # M_TOP_PAD: ask for more at a time
    mallopt(-8, 1)  # M_ARENA_MAX: all threads from one heap, for what one frees another can use


# ---- a few rows at a time --------------------------------------------------------------------------------------------


def slices(n, step):
    """range(n) in slices of `step`: where the cuts fall is a matter of n and step only."""
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def evenly(n, pieces):
    """range(n) in about so many slices of nearly one length; rather an even number, as most machines have of cores."""
    pieces = max(1, min(n, pieces + pieces % 2 if pieces > 1 else pieces))
    return slices(n, max(1, -(-n // pieces)))


def rowwise(formula, *arrays, sums=0):
    """formula(*arrays), worked out a few rows at a time on all cores.

    arrays    each (..., C) with the same leading axes and a C of its own; `formula` gets them as (rows, C)
    formula   returns one array (rows, D), or a tuple of them, of which the last `sums` are instead sums over its rows,
              in any shape
    returns   what formula returned: (..., D) with the leading axes of the input, sums added up over all rows

    Among `arrays` may be contiguous ones that formula fills instead of returning something new; it then returns ().

    A formula for rows can then be written as on paper: its temporaries are no larger than a chunk.
    """
    leading = arrays[0].shape[:-1]
    rows = math.prod(leading)
    flat = [a.reshape(rows, a.shape[-1]) for a in arrays]
    chunks = _chunks(rows, max(a.nbytes for a in flat))
    if len(chunks) < 2 or on_gpu(arrays[0]):
        with contextlib.nullcontext() if on_gpu(arrays[0]) else _single_threaded_blas:
            results = _by_row(formula, flat)
        results = results if isinstance(results, tuple) else (results,)
        joined = len(results) - sums
        results = [r.reshape(leading + r.shape[1:]) for r in results[:joined]] + list(results[joined:])
        return results[0] if len(results) == 1 else tuple(results)

    whole, partial, allocating = [], {}, threading.Lock()

    def work(chunk):
        results = _by_row(formula, [a[chunk] for a in flat])
        results = results if isinstance(results, tuple) else (results,)
        joined = len(results) - sums
        with allocating:
            if not whole:  # only now is it known what the formula returns
                whole.extend(np.empty((rows, *r.shape[1:]), r.dtype) for r in results[:joined])
        for into, r in zip(whole, results, strict=False):
            into[chunk] = r
        partial[chunk.start] = results[joined:]

    parallel(work, chunks)
    totals = [
        sum(parts[1:], start=parts[0]) for parts in zip(*(partial[start] for start in sorted(partial)), strict=True)
    ]
    results = [w.reshape(leading + w.shape[1:]) for w in whole] + totals
    return results[0] if len(results) == 1 else tuple(results)


def _by_row(formula, arrays):
    """formula(*arrays), where it broadcasts a number or a vector along each row of the first of them."""
    if arrays[0].shape[-1] < LONG_ROW or on_gpu(arrays[0]):
        return formula(*arrays)
    before = np.setbufsize(LONG_ROW)
    try:
        return formula(*arrays)
    finally:
        np.setbufsize(before)


def _chunks(n, nbytes):
    """How n rows, or numbers, of `nbytes` in all are cut: not at all below SPLIT_BYTES, else at least in two."""
    return [slice(0, n)] if nbytes < SPLIT_BYTES else evenly(n, max(2, -(-nbytes // CHUNK_BYTES)))


def elementwise(formula, *arrays):
    """formula(*arrays) for arrays of one shape, a chunk of elements at a time on all cores.

    Here too it may fill some of them and return ().
    """
    x = arrays[0]
    shape = x.shape
    chunks = _chunks(x.size, x.nbytes)
    if shape and (len(chunks) < 2 or on_gpu(x)):
        return formula(*arrays)
    flat = [a.reshape(-1) for a in arrays]  # a number without axes too: what NumPy makes of two such is no array
    if isinstance(formula, np.ufunc):  # which can put its result where it belongs
        out = array_module(x).empty(x.size, np.result_type(*(a.dtype for a in arrays)))
        parallel(lambda chunk: formula(*(a[chunk] for a in flat), out=out[chunk]), chunks)
        return out.reshape(shape)
    parts, allocating = [], threading.Lock()

    def work(chunk):
        results = formula(*(a[chunk] for a in flat))
        results = results if isinstance(results, tuple) else (results,)
        with allocating:
            if not parts:
                parts.extend(array_module(x).empty(x.size, r.dtype) for r in results)
        for into, r in zip(parts, results, strict=True):
            into[chunk] = r

    parallel(work, chunks)
    results = tuple(p.reshape(shape) for p in parts)
    return results[0] if len(results) == 1 else results


def matmul(a, b, bias=None):
    """a (M, K) @ b (K, N) [+ bias (N,)] -> (M, N), on all cores, in pieces that depend on the shapes alone."""
    (M, K), N = a.shape, b.shape[1]
    flops, longer = 2 * M * N * K, max(M, N)
    if flops < 2 * PRODUCT_FLOPS and not on_gpu(a):  # too small for two: a word at a time, in generation
        with _single_threaded_blas:
            out = a @ b
        if bias is not None:
            out += bias
        return out
    out = array_module(a).empty((M, N), np.result_type(a, b))

    def piece(rows, columns=slice(None)):
        np.matmul(a[rows], b[:, columns], out=out[rows, columns])
        if bias is not None:
            out[rows, columns] += bias[columns]

    # Cut the longer side of the product, and never so thin that packing the other factor costs more than it earns.
    most = max(longer // 128, min(2, longer // 64))
    chunks = evenly(longer, max(1, min(most, flops // min(max(flops // 8, PRODUCT_FLOPS), 8 * PRODUCT_FLOPS))))
    if on_gpu(a):
        piece(slice(None))
    elif M >= N:
        parallel(piece, chunks)
    else:
        parallel(lambda columns: piece(slice(None), columns), chunks)
    return out


def sum_rows(x):
    """x (rows, C) -> (C,), on all cores"""
    return rowwise(column_sums, x, sums=1)


def column_sums(x):
    """x (rows, C) -> (C,): on a CPU as a product, which takes a third of the time of x.sum(0)"""
    return x.sum(0) if on_gpu(x) else np.ones(len(x), x.dtype) @ x
