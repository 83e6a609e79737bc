"""What minivl costs on a GPU, beside PyTorch: python tests/bench/gpu.py [--quick] [--only NAME] [--out FOLDER]

On a GPU one run measures every shipped kernel, through its op, against PyTorch eager and torch.compile, attention
against each backend of PyTorch's, and a training step of CoCa base in bfloat16. The engines take turns on one GPU;
shares are of the copy bandwidth and the matrix products that the same run measured; results are checked to be equal
before they are timed. Without a GPU every kernel runs on the CPU: is it right, and what does it ask of memory?
"""

import argparse
import gc
import importlib.util
import os
import platform
import statistics
import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import gpu_cases  # noqa: E402
import numpy as np  # noqa: E402
from cpu import number, processor, table  # noqa: E402
from engines import installed, spread  # noqa: E402

import minivl  # noqa: E402
from minivl import kernels  # noqa: E402
from minivl.array import gpu_at_hand, to_device  # noqa: E402

TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}  # of the difference of two results, beside the size of one
BYTES = {"float32": 4, "bfloat16": 2}


# ---- without a GPU ---------------------------------------------------------------------------------------------------


def on_cpu(cases):
    """Each op by its kernels in check mode, against its definition in NumPy: small arrays, forward and backward.

    Sectors (32 bytes of global memory) that the kernels ask for, and how many times the least that is; passes over the
    banks of shared memory, and how many times the ideal.
    """
    rows = []
    for name, case in cases.items():
        for dtype in dtypes_here(case.dtypes):
            worst, sectors, passes, ideal = counted(name, case, dtype)
            least = sum(case.moved(BYTES[dtype], **case.cpu)) / 32
            banks = f"{passes / ideal:.2f}" if ideal else "none"
            rows.append([f"{name}, {dtype}", f"{worst:.0e}", number(sectors), f"{sectors / least:.2f}", banks])
    return table(["op", "error", "sectors", "× least", "passes × ideal"], rows)


def dtypes_here(dtypes):
    """NumPy knows bfloat16 where ml_dtypes is installed; else float32 stands in for it."""
    if importlib.util.find_spec("ml_dtypes"):
        return dtypes
    return [dtype for dtype in dtypes if dtype != "bfloat16"] or ["float32"]


def cast(a, dtype):
    """Floating point numbers in `dtype`, others as they are."""
    if a.dtype.kind != "f" or dtype == "float32":
        return a
    import ml_dtypes  # what NumPy and CuPy know bfloat16 by

    return a.astype(ml_dtypes.bfloat16)


def counted(name, case, dtype):
    """(error beside the definition, sectors, passes, ideal passes) of one case on the CPU runner."""
    arrays = [cast(a, dtype) for a in case.make(np.random.default_rng(0), **case.cpu)]
    expected = results(gpu_cases.prepared(name, [a.astype("f") if gpu_cases.floating(a) else a for a in arrays]))
    with kernels.on_cpu(mode="check"), kernels.counting() as counts:
        forward, both = gpu_cases.prepared(name, arrays)
        counts.clear()  # preparing has run it once
        found = forward() if both is None else both()
    if not counts:
        raise RuntimeError(f"{name}: its op launched no kernel")
    shared = [count for count in counts if count.space == "shared"]
    return (
        difference(name, found, expected, dtype),
        sum(count.transactions for count in counts if count.space == "global"),
        sum(count.transactions for count in shared),
        sum(count.ideal for count in shared),
    )


def results(prepared):
    forward, both = prepared
    return [np.array(to_device(a, "cpu")) for a in (forward() if both is None else both())]


def difference(name, found, expected, dtype):
    """The largest |a - b| / |b| of two lists of arrays, as vectors; raises RuntimeError where that is no rounding."""
    errors = [0.0]
    for a, b in zip(found, expected, strict=True):
        if a.shape != b.shape:
            raise RuntimeError(f"{name}: results have shapes {a.shape} and {b.shape}")
        if a.dtype.kind in "iu":
            errors.append(float((a != b).mean()) if dtype == "float32" else 0.0)  # bfloat16 makes near ties
        else:
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            errors.append(float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)))
    if not all(error <= TOLERANCE[dtype] for error in errors):  # nor is what is no number
        raise RuntimeError(f"{name}, {dtype}: results differ by {max(errors):.1e}; a comparison would mean nothing")
    return max(errors)


# ---- on a GPU --------------------------------------------------------------------------------------------------------


class Clock:
    """Times calls that take turns on the GPU, by its own events."""

    def __init__(self, quick=False):
        import cupy

        self.cupy = cupy
        self.rounds, self.turn, self.side = (1, 0.0, 256) if quick else (9, 10.0, 8192)

    def times(self, calls):
        """{name: (median ms, share that the middle half spreads)}: each round gives every call one turn of 10 ms."""
        repeats, times = {}, {name: [] for name in calls}
        for name, call in calls.items():
            call()  # to get warm: compiles, and fills the pools of memory
            once = min(self.lasts(call, 1) for _ in range(3))
            repeats[name] = max(1, int(self.turn / max(once, 1e-3)))
        for _ in range(self.rounds):
            for name, call in calls.items():
                times[name].append(self.lasts(call, repeats[name]))
        return {name: (statistics.median(t), spread(t)) for name, t in times.items()}

    def lasts(self, call, repeats):
        """Milliseconds of a call. The events stand in the same stream as the work: nothing has to wait in between."""
        begin, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        self.cupy.cuda.runtime.deviceSynchronize()
        begin.record()
        for _ in range(repeats):
            call()
        end.record()
        end.synchronize()
        return self.cupy.cuda.get_elapsed_time(begin, end) / repeats

    def peaks(self, dtypes):
        """What the GPU gives, measured here: bytes a second of a "copy", operations a second of products in a dtype."""
        x = self.cupy.zeros(8 * self.side**2, "float32")
        y = self.cupy.empty_like(x)
        peaks = {"copy": 2 * x.nbytes / self.times({"copy": lambda: self.cupy.copyto(y, x)})["copy"][0] * 1e3}
        for dtype in dtypes:
            a = on_gpu(gpu_cases.normal(np.random.default_rng(0), self.side, self.side), dtype)
            milliseconds = self.times({"product": lambda a=a: a @ a})["product"][0]
            peaks[dtype] = 2 * self.side**3 / milliseconds * 1e3
        return peaks


def on_gpu(a, dtype):
    return cast(to_device(a, "cuda"), dtype)


def peers(name, compiled=True):
    """{heading: how PyTorch is to do it} of what a case is compared with."""
    if name in gpu_cases.ATTENTION:
        import gpu_torch

        return {backend: dict(backend=backend) for backend in gpu_torch.BACKENDS}
    return {"eager": {}, **({"compiled": dict(compiled=True)} if compiled else {})}


def measured(clock, name, case, dtype, headings, notes):
    """{"forward", "forward and backward": {engine: (ms, spread)}} of a case; who cannot do it is told in `notes`."""
    arrays = case.make(np.random.default_rng(0), **case.gpu)
    prepared = {"minivl": gpu_cases.prepared(name, [on_gpu(a, dtype) for a in arrays])}
    expected = [np.asarray(a, None if a.dtype.kind in "iu" else np.float32) for a in results(prepared["minivl"])]
    for heading, options in headings.items():
        import gpu_torch

        try:
            theirs = gpu_torch.prepare(name, case, arrays, dtype, **options)
            difference(f"{name}, PyTorch {heading}", expected, gpu_torch.results(theirs), dtype)
        except Exception as error:  # not there for this shape, out of memory, no compiler: the others go on
            leave_out(notes, f"PyTorch {heading}", f"{name}, {dtype}", error)
            continue
        prepared[heading] = theirs
    times = {"forward": clock.times({engine: forward for engine, (forward, _) in prepared.items()})}
    if case.derivative:
        times["forward and backward"] = clock.times({engine: both for engine, (_, both) in prepared.items()})
    return times


def give_back(clock):
    """The memory that the last case held, in the pools of either engine: the other may need it."""
    gc.collect()
    clock.cupy.get_default_memory_pool().free_all_blocks()
    if installed("PyTorch"):
        import torch

        torch.cuda.empty_cache()


def leave_out(notes, who, name, error):
    """Remembers that an engine could not do a case, and why: names by (who, why)."""
    notes.setdefault((who, " ".join(str(error).split())[:160]), []).append(name)


def rows_of(clock, cases, peaks, headings, notes):
    """A row for each case, dtype and direction: minivl's time, its share of what the GPU gives, the others beside."""
    for name, dtype in [(name, dtype) for name, case in cases.items() for dtype in case.dtypes]:
        case = cases[name]
        try:
            found = measured(clock, name, case, dtype, headings, notes)
        except Exception as error:
            leave_out(notes, "minivl", f"{name}, {dtype}", error)
            found = {}
        give_back(clock)
        for direction, times in found.items():
            ours = times["minivl"][0]
            share = least(case, dtype, direction, peaks) / ours
            others = []
            for heading in headings:
                theirs = times.get(heading, (None,))[0]
                others += [number(theirs), f"{ours / theirs:.2f}"] if theirs else ["–", "–"]
            worst = max(s for _, s in times.values())
            yield [f"{name}, {dtype}, {direction}", number(ours), f"{share:.0%}", *others, f"{worst:.0%}"]


def least(case, dtype, direction, peaks):
    """Milliseconds of a case at the rate that copies have here, or products where arithmetic is the bound."""
    work = case.flops(**case.gpu) if case.flops else case.moved(BYTES[dtype], **case.gpu)
    return sum(work[: 1 if direction == "forward" else 2]) / peaks[dtype if case.flops else "copy"] * 1e3


def compared(clock, cases, peaks, headings, notes):
    head = [part for heading in headings for part in (f"{heading}, ms", "ratio")]
    rows = list(rows_of(clock, cases, peaks, headings, notes))
    return table(["op", "minivl, ms", "of the peak", *head, "spread"], rows)


def about(peaks):
    """What the figures are of."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    driver, runtime = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    lines = [
        f"{properties['name'].decode()}, driver for CUDA {driver // 1000}.{driver % 1000 // 10}, CUDA runtime "
        f"{runtime // 1000}.{runtime % 1000 // 10}; {processor()}, {os.cpu_count()} cores",
        f"Python {platform.python_version()}, NumPy {np.__version__}, CuPy {cupy.__version__}, "
        f"minivl {minivl.__version__}",
        f"measured here: copy {peaks['copy'] / 1e12:.2f} TB/s; products, TFLOP/s: "
        + ", ".join(f"{peaks[dtype] / 1e12:.0f} in {dtype}" for dtype in BYTES if dtype in peaks),
    ]
    if installed("PyTorch"):
        import gpu_torch

        lines.append(gpu_torch.about())
    return "\n".join(f"- {line}" for line in lines)


# ---- the report ------------------------------------------------------------------------------------------------------


def cases_of(options):
    """Those that the command line asks for."""
    chosen = {name: case for name, case in gpu_cases.CASES.items() if not options.only or options.only in name}
    if not chosen and options.only != "step":
        raise SystemExit(f"--only: got {options.only!r}, must be in one of: {', '.join(gpu_cases.CASES)}, step")
    if options.quick:
        chosen = {name: replace(case, gpu=case.cpu) for name, case in chosen.items()}
    if options.dtype:
        chosen = {name: replace(case, dtypes=(options.dtype,)) for name, case in chosen.items()}
    return chosen


def gpu_report(options):
    import gpu_step

    clock, notes = Clock(options.quick), {}
    peaks = clock.peaks([options.dtype] if options.dtype else list(BYTES))
    yield "# What minivl costs on a GPU"
    yield (
        "Written by `python tests/bench/gpu.py`. Medians; ratio: minivl's time over the other's, below 1 is faster; of "
        "the peak: the least bytes over the time, as a share of the copy bandwidth measured here; for products and "
        "attention, of the measured rate of products; spread: between the quartiles, the widest. PyTorch's AdamW: "
        "eager is its default, compiled its fused one."
    )
    yield about(peaks)
    chosen = cases_of(options)
    attention = {name: chosen[name] for name in chosen if name in gpu_cases.ATTENTION}
    others = {name: case for name, case in chosen.items() if name not in attention}
    if others:
        headings = peers("", not options.eager) if installed("PyTorch") else {}
        yield "## Kernels\n\n" + compared(clock, others, peaks, headings, notes)
    if attention:
        headings = peers(next(iter(attention))) if installed("PyTorch") else {}
        yield "## Attention\n\n" + compared(clock, attention, peaks, headings, notes)
    if options.only in (None, "step"):
        yield "## A training step of CoCa\n\n" + gpu_step.section(clock, options, notes)
    if notes:
        yield "Left out:\n\n" + "\n".join(f"- {who}: {why} ({'; '.join(names)})" for (who, why), names in notes.items())


def cpu_report(options):
    chosen = cases_of(options)
    yield "# minivl's kernels without a GPU"
    yield "No GPU is at hand: nothing is timed. " + " ".join(on_cpu.__doc__.split())
    yield on_cpu(
        {name: case for name, case in chosen.items() if "16k" not in name}
    )  # their small sizes are the 4k ones


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: does it run?")
    parser.add_argument("--only", metavar="NAME", help="cases whose name has this in it; step: the training step")
    parser.add_argument("--eager", action="store_true", help="without torch.compile, which takes most of the time")
    parser.add_argument("--dtype", choices=BYTES, help="only this one")
    parser.add_argument("--out", type=Path, help="folder of the report; a whole run on a GPU: tests/bench/results")
    options = parser.parse_args(arguments)
    on_a_gpu = gpu_at_hand()
    parts = []
    for part in gpu_report(options) if on_a_gpu else cpu_report(options):
        parts.append(part)
        print(part, end="\n\n", flush=True)
    whole = on_a_gpu and not (options.quick or options.only or options.dtype or options.eager) and installed("PyTorch")
    if options.out or whole:
        write((options.out or HERE / "results") / ("gpu.md" if on_a_gpu else "gpu-kernels-on-cpu.md"), parts)


def write(path, parts):
    """Written beside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    beside.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    os.replace(beside, path)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
