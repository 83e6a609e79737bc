"""Engines side by side: each in a process of its own, taking turns. `python engines.py NAME` is such a process.

Why not in one process: PyTorch's threads spin for a while after their work and would take the core of whoever is next,
each has its own ways with memory, and a peak of memory belongs to a whole process.
"""

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ENGINES = {  # name -> module, and what must be installed
    "minivl": ("with_minivl", ()),
    "PyTorch": ("with_torch", ("torch",)),
    "JAX": ("with_jax", ("jax",)),
    "HIPS autograd": ("with_autograd", ("autograd", "scipy")),
    "tinygrad": ("with_tinygrad", ("tinygrad",)),
}


def installed(name):
    return all(importlib.util.find_spec(package) for package in ENGINES[name][1])


def environment():
    """That of this process, with minivl on Python's path."""
    path = [str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


class Engine:
    """A process that computes the cases with one engine, at its own pace, when asked."""

    def __init__(self, name):
        self.name = name
        self.start()
        self.about = self.ask()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "engines.py"), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def renew(self):
        """A new process in place of this one."""
        self.close()
        self.start()

    def ask(self, **request):
        """The answer to one request, see `serve`. Raises RuntimeError with what went wrong over there."""
        if self.process.poll() is None:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process ended"}
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def time_each(engines, case, rounds, seconds, lives=1):
    """Times `case` with every engine in turn: {engine's name: (median seconds, share that the middle half spreads)}.

    lives     processes that each engine has, this one and then new ones; the best one's median counts. Where a process
              has its memory can make it half again as slow as the next, for as long as it lives: that is no engine's
              own.
    rounds    that each engine has a turn in, in each life; two, and one life, for whoever takes over three seconds
    seconds   that a turn lasts, at least one step
    raises    RuntimeError where an engine's first two results differ from the first engine's by more than 1e-4
    """
    found = {e.name: [] for e in engines}  # the times of each life

    def slow(e):
        return any(statistics.median(times) > 3 for times in found[e.name] if len(times) > 1)

    for life in range(lives):
        at_work = [e for e in engines if not slow(e)]
        for e in at_work if life else []:
            e.renew()
        results = {e.name: e.ask(prepare=case)["results"] for e in at_work}
        for name, result in results.items():
            check_equal(case, at_work[0].name, results[at_work[0].name], name, result)
            found[name].append([])
        for _ in range(rounds):
            for e in at_work:
                if not slow(e):
                    found[e.name][-1] += e.ask(seconds=seconds)["times"]
    best = {name: min(of_lives, key=statistics.median) for name, of_lives in found.items()}
    return {name: (statistics.median(times), spread(times)) for name, times in best.items()}


def check_equal(case, name, result, other_name, other):
    for a, b in zip(result, other, strict=True):
        if not np.allclose(a, b, rtol=1e-4, atol=1e-7):
            raise RuntimeError(f"{case}: {other_name} computes {b}, {name} {a}; a comparison would mean nothing")


def spread(times):
    """The distance between the quartiles, as a share of the median."""
    if len(times) < 4:
        return 0.0
    low, middle, high = statistics.quantiles(times, n=4)
    return (high - low) / middle


def peak_memory(name, case):
    """Bytes at the peak of two steps, in a new process: (of the whole process, beyond what its imports took)."""
    engine = Engine(name)
    try:
        engine.ask(prepare=case)
        memory = engine.ask(memory=True)
    finally:
        engine.close()
    return memory["peak"], memory["peak"] - memory["imports"]


# ---- over there ------------------------------------------------------------------------------------------------------


def serve(name):
    """Answers requests, a line of JSON each, until there are no more.

    {}                   who this is
    {"prepare": case}    the results of the first two steps: the mean of |x| for every array, integers one by one
    {"seconds": s}       the times of the steps done meanwhile, without the first, which gets warm, if there are three
    {"memory": true}     the peak of the process, and its peak before the first case
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever an engine prints is no answer
    engine, step = importlib.import_module(ENGINES[name][0]), None
    imports = peak()
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if "prepare" in request:
                step = None  # frees what the case before held
                step = engine.prepare(request["prepare"])
                answer = {"results": [numbers(step()) for _ in range(2)]}
                answer["results"] = answer["results"][0] + answer["results"][1]
            elif "seconds" in request:
                answer = {"times": turn(step, request["seconds"])}
            elif "memory" in request:
                answer = {"peak": peak(), "imports": imports}
            else:
                answer = {"about": engine.about(), "threads": engine.threads()}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def turn(step, seconds):
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    time.sleep(0.05)  # until this engine's threads are asleep
    return times[1:] if len(times) > 2 else times


def numbers(arrays):
    return [
        np.asarray(a).tolist() if np.asarray(a).dtype.kind in "iu" else float(np.abs(np.asarray(a, np.float64)).mean())
        for a in arrays
    ]


def peak():
    """The most memory that this process has held so far, in bytes."""
    try:  # Linux's ru_maxrss begins with what the parent had at the time of the fork
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
    except (OSError, StopIteration):
        import resource  # not on Windows

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == "darwin" else 1024 * used


if __name__ == "__main__":
    serve(sys.argv[1])
