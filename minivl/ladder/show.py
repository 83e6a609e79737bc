"""What `minivl ladder` prints: the rungs of a ladder on the CPU or on a GPU, and the report of one kernel."""

import functools
import importlib
import sys

import numpy as np

from .. import kernels
from ..array import gpu_at_hand, to_device
from . import TOLERANCE, caster, error, ladder, names
from .shipped import EXAMPLES

ITEMSIZE = {"float32": 4, "float64": 8, "bfloat16": 2}


def climb(name, device=None):
    """Checks every rung of a ladder, then yields lines: what was counted on the CPU, or what was timed on a GPU."""
    table = ladder(name)
    device = device or ("cuda" if gpu_at_hand() else "cpu")
    sizes = table.cpu if device == "cpu" else table.gpu
    yield f"{name}: {', '.join(f'{axis} {n}' for axis, n in sizes.items())}"
    rungs = [(rung, _arrays(table, rung.dtype, table.cpu)) for rung in table.rungs]
    for rung, arrays in rungs:
        worst = error(table, rung, {key: to_device(x, device) for key, x in arrays.items()})
        if not worst <= TOLERANCE[rung.dtype]:
            raise ValueError(
                f"{rung.name} is wrong: its largest error is {worst:.2g}, must be {TOLERANCE[rung.dtype]:.0e}"
            )
    yield from _counted(table) if device == "cpu" else _timed(table)


def _arrays(table, dtype, size):
    return table.make(np.random.default_rng(0), caster(dtype), **size)


# ---- on the CPU ------------------------------------------------------------------------------------------------------


def _counted(table):
    """Sectors of global memory against the least, passes over the banks of shared memory against the least."""
    yield f"{'rung':<34}{'dtype':<10}{'error':>8}{'sectors':>10}{'x least':>9}{'passes':>9}{'x ideal':>9}"
    for rung in table.rungs:
        arrays = _arrays(table, rung.dtype, table.cpu)
        with kernels.counting() as counts:
            worst = error(table, rung, arrays, mode="check")
        sectors, _ = _sums(counts, "global")
        passes, ideal = _sums(counts, "shared")
        least = table.bytes(**table.cpu, itemsize=ITEMSIZE[rung.dtype]) / 32
        conflicts = f"{passes / ideal:9.2f}" if ideal else f"{'-':>9}"
        name = rung.name.removeprefix("ladder/")
        yield f"{name:<34}{rung.dtype:<10}{worst:8.0e}{sectors:10}{sectors / least:9.2f}{passes:9}{conflicts}"
    yield ""
    for name, idea in {rung.name: rung.idea for rung in table.rungs}.items():
        yield f"{name.removeprefix('ladder/')}: {idea}"


def _sums(counts, space):
    those = [count for count in counts if count.space == space]
    return sum(count.transactions for count in those), sum(count.ideal for count in those)


# ---- on a GPU --------------------------------------------------------------------------------------------------------


def _timed(table):
    cupy = sys.modules["cupy"]  # array.to_device has imported it
    bound = "TFLOP/s" if table.flops else "GB/s"
    yield f"{'rung':<34}{'dtype':<10}{'ms':>9}{bound:>10}{'of peak':>9}"
    for rung in table.rungs:
        arrays = {key: cupy.asarray(x) for key, x in _arrays(table, rung.dtype, table.gpu).items()}
        k = kernels.load(rung.name, dtype=rung.dtype)
        yield _row(table, cupy, rung.name, rung.dtype, functools.partial(rung.launch, k, **arrays))
    for dtype in dict.fromkeys(rung.dtype for rung in table.rungs):
        arrays = {key: cupy.asarray(x) for key, x in _arrays(table, dtype, table.gpu).items()}
        for name, call in _peers(table, cupy, arrays, dtype):
            yield _row(table, cupy, name, dtype, call)


def _row(table, cupy, name, dtype, call):
    seconds = _seconds(cupy, call)
    if table.flops:
        rate, peak = table.flops(**table.gpu) / seconds / 1e12, _product_rate(cupy, dtype) / 1e12
    else:
        rate, peak = table.bytes(**table.gpu, itemsize=ITEMSIZE[dtype]) / seconds / 1e9, _copy_rate(cupy) / 1e9
    return f"{name.removeprefix('ladder/'):<34}{dtype:<10}{seconds * 1e3:9.3f}{rate:10.1f}{rate / peak:8.0%}"


def _peers(table, cupy, arrays, dtype):
    """(name, call) of what the kernels are compared with, as far as it is installed."""
    if "CuPy" in table.peers and dtype != "bfloat16":
        yield "CuPy", lambda: table.peers["CuPy"](cupy, **arrays)
    try:  # nothing in minivl needs PyTorch: it is asked for only here, and by name
        torch = importlib.import_module("torch")
    except ImportError:
        return
    if "PyTorch" in table.peers:
        tensors = {key: torch.as_tensor(x, device="cuda") for key, x in arrays.items()}
        if dtype == "bfloat16":
            tensors = {
                key: x.view(torch.bfloat16) if arrays[key].dtype == np.uint16 else x for key, x in tensors.items()
            }
        yield "PyTorch", lambda: table.peers["PyTorch"](torch, **tensors)


def _seconds(cupy, call, rounds=20):
    """The median time of a call on the GPU."""
    for _ in range(3):
        call()
    times = []
    for _ in range(rounds):
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(begin, end) / 1e3)
    return float(np.median(times))


@functools.cache
def _copy_rate(cupy):
    """Bytes a second of a large copy, reading and writing: what memory gives here."""
    x = cupy.zeros(1 << 28, cupy.float32)
    y = cupy.empty_like(x)
    return 2 * x.nbytes / _seconds(cupy, lambda: cupy.copyto(y, x))


@functools.cache
def _product_rate(cupy, dtype):
    """Operations a second of a large matrix product of the library; 16-bit numbers on tensor cores."""
    n = 8192 if dtype == "bfloat16" else 4096
    x = cupy.random.standard_normal((n, n)).astype("float16" if dtype == "bfloat16" else dtype)
    return 2 * n**3 / _seconds(cupy, lambda: x @ x)


# ---- one kernel, line by line ----------------------------------------------------------------------------------------


def report(name):
    """Lines on what each line of a kernel asks of memory, from a run on the CPU."""
    with kernels.counting() as counts, kernels.on_cpu(mode="check"):
        _run(name)
    if not counts:
        raise ValueError(f"{name} launched no kernel")
    yield f"{'line':<26}{'':<14}{'requests':>9}{'per request':>13}{'efficiency':>12}   source"
    for count in _merged(counts):
        share = count.ideal / count.transactions
        unit = "sectors" if count.space == "global" else "passes"
        each = f"{count.transactions / count.requests:.1f} {unit}"
        place, _, header = count.place.partition(" ")
        what = f"{count.space} {count.kind}"
        yield f"{place:<26}{what:<14}{count.requests:>9}{each:>13}{share:>11.0%}   {_source(place)} {header}".rstrip()


def _merged(counts):
    """Lines that several launches went through, once each."""
    found = {}
    for one in counts:
        key = one.file, one.line, one.place, one.space, one.kind
        found[key] = np.add(found.get(key, 0), [one.accesses, one.requests, one.transactions, one.ideal])
    return [kernels.Count(*key[2:], *map(int, numbers)) for key, numbers in sorted(found.items())]


def _run(name):
    """Launches the kernels of a rung, or of an op."""
    for table_name in names():
        table = ladder(table_name)
        for rung in table.rungs:
            if rung.name.removeprefix("ladder/") == name.removeprefix("ladder/") and rung.name.startswith("ladder/"):
                return rung.launch(kernels.load(rung.name, dtype=rung.dtype), **_arrays(table, rung.dtype, table.cpu))
    if name in EXAMPLES:
        return EXAMPLES[name](np.random.default_rng(0))
    known = ", ".join([*EXAMPLES, *(one.removeprefix("ladder/") for one in kernels.shipped() if "ladder/" in one)])
    raise ValueError(f"there is no kernel {name!r} to report on, there are: {known}")


def _source(place):
    """The text of a line of one of our files."""
    file, _, line = place.rpartition(":")
    for folder in (kernels.source.PACKAGE / "ops", kernels.source.PACKAGE / "ladder", kernels.source.INCLUDE):
        if (folder / file).is_file() and line.isdecimal():
            return (folder / file).read_text(encoding="utf-8").splitlines()[int(line) - 1].strip()
    return ""
