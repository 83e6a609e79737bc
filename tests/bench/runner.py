"""What the CPU runner of kernels costs: python tests/bench/runner.py

Seconds to compile each shipped kernel from nothing, microseconds of a launch, nanoseconds of a thread, a barrier, a
shuffle and a product on an emulated tensor core, in fast mode and in check mode. All is time of one core, so that other
work on the machine counts for little; each time but those of compiling is the median of nine rounds.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1])]

from minivl import kernels  # noqa: E402
from minivl.kernels import cpu, source  # noqa: E402


def seconds(call, rounds=9):
    """The median time of a call, after one to warm up."""
    call()
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def _of_compilers():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compile_times(mode):
    """{file: seconds} of every shipped kernel in its first dtype, the runtime compiled before."""
    with tempfile.TemporaryDirectory() as cache:
        before, os.environ["MINIVL_CACHE"] = os.environ.get("MINIVL_CACHE"), cache
        try:
            cpu._runtime(check=mode == "check")
            found = {}
            for name in kernels.shipped():
                path = kernels.find(name)
                k = kernels.load(name, dtype=source.dtypes(path)[0], mode=mode, defines=source.variants(path)[0])
                begin = _of_compilers()
                k.compile()
                found[path.name] = _of_compilers() - begin
            return found
        finally:
            os.environ.pop("MINIVL_CACHE")
            if before is not None:
                os.environ["MINIVL_CACHE"] = before


def costs(mode, threads=8192, times=40, rounds=9):
    """[(what, number, unit)]; each operation is done `times` times by so many threads, in blocks of 128."""
    k = kernels.load(HERE / "micro.cu", mode=mode)
    a, y = np.ones(threads, np.float32), np.zeros(threads, np.float32)

    def launch(kernel, *arguments, block=128):
        """Seconds for each thread."""
        return seconds(lambda: getattr(k, kernel)(threads // block, block, arguments), rounds) / threads

    alone = seconds(lambda: k.nothing(1, 1, (y,)), 10 * rounds)
    idle = launch("nothing", y)
    barrier, shuffle, product = (launch(kernel, y, times) - idle for kernel in ("barriers", "shuffles", "products"))
    return [
        ("a launch", alone * 1e6, "us"),
        ("a thread of y = a + b", (launch("add", a, a, y, threads) - alone / threads) * 1e9, "ns"),
        ("a barrier, for each thread", barrier / times * 1e9, "ns"),
        ("a shuffle, for each lane", shuffle / times * 1e9, "ns"),
        ("a product of 16 x 16 by 16 x 8, for each warp", product / times * 32e9, "ns"),
    ]


def main():
    print("| what | fast | check |\n|---|---:|---:|")
    for (what, fast, unit), (_, check, _) in zip(costs("fast"), costs("check"), strict=True):
        print(f"| {what} | {fast:.1f} {unit} | {check:.1f} {unit} |")
    fast, check = compile_times("fast"), compile_times("check")
    for name in fast:
        print(f"| compiling {name} | {fast[name]:.2f} s | {check[name]:.2f} s |")


if __name__ == "__main__":
    main()
