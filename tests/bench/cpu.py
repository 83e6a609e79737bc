"""What minivl costs on a CPU, beside PyTorch: python tests/bench/cpu.py [--quick] [--only NAME] [--out FOLDER]

One run measures training, inference and generation, every coarse op alone, the encoder step beside more engines, peak
memory, the time of an import, and how time and memory grow. Each number is a median, and the engines took turns. The
first results of every case are checked to be equal before it is timed.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import cases  # noqa: E402
import engines  # noqa: E402
import numpy as np  # noqa: E402

ADVICE = "PyTorch is not installed (pip install 'minivl[peers]'): minivl's own figures alone"
LIVES, ROUNDS, TURN = 3, 4, 0.25  # processes of each engine, turns in each, seconds of a turn


class Bench:
    """One run: who takes part, how long it may take, and the report so far."""

    def __init__(self, quick, alone):
        self.quick, self.judged = quick, []
        names = ["minivl"] if alone or not engines.installed("PyTorch") else ["minivl", "PyTorch"]
        self.engines = [engines.Engine(name) for name in names]
        self.peers = (
            [] if alone else [name for name in engines.ENGINES if name not in names and engines.installed(name)]
        )

    def times(self, case, others=(), lives=LIVES):
        rounds, seconds, lives = (1, 0.01, 1) if self.quick else (ROUNDS, TURN, lives)
        return engines.time_each([*self.engines, *others], case, rounds, seconds, lives)

    def compare(self, heading, labelled):
        """Times of several cases as a table: one row for each (label, case)."""
        rows = []
        for label, case in labelled:
            times = self.times(case)
            medians, spread = [t for t, _ in times.values()], max(s for _, s in times.values())
            beside = self.beside(f"time of {heading}, {label}", medians, cases.wanted(case))
            rows.append([label, *(number(1e3 * t) for t in medians), *beside, f"{100 * spread:.0f} %"])
        return table([heading, *self.columns("ms"), "spread"], rows)

    def columns(self, unit):
        names = [e.name for e in self.engines]
        return [f"{name}, {unit}" for name in names] + (["ratio", "wanted"] if len(names) == 2 else [])

    def beside(self, label, figures, wanted):
        """The cells behind the figures of both engines: their ratio, and what it should be. None for one engine."""
        if len(figures) < 2:
            return []
        ratio = figures[0] / figures[1]
        return [f"{ratio:.2f}", self.judge(label, [ratio], [wanted] if wanted else [])]

    def judge(self, label, found, wanted):
        """Each of `found` should be at most its `wanted`. A cell for the table; the end of the report has all."""
        if not wanted:
            return ""
        met = all(round(a, 2) <= b for a, b in zip(found, wanted, strict=True))
        self.judged.append((f"{label}: {' and '.join(f'{a:.2f}' for a in found)}", met))
        return f"{' and '.join(f'{b:.2f}' for b in wanted)}, {'met' if met else 'not met'}"

    def close(self):
        for engine in self.engines:
            engine.close()


def number(x):
    """Three digits that count: 0.0123, 1.23, 12.3, 1,234"""
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def table(head, rows):
    """Markdown; all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# ---- the sections ----------------------------------------------------------------------------------------------------


def coca(bench):
    """CoCa, whole: training (forward, backward, AdamW), inference (both losses), greedy generation with a cache."""
    return model(bench, "CoCa", ("train", "infer", "generate"))


def clip(bench):
    """CLIP with a ViT, whole: training and inference."""
    return model(bench, "CLIP", ("train", "infer"))


def mammut(bench):
    """MaMMUT, whole: training by both passes, inference (both losses), greedy generation with a cache."""
    return model(bench, "MaMMUT", ("train", "infer", "generate"))


def model(bench, name, kinds):
    labelled = [
        (f"{kind}, {size}: {cases.shape_of(name, size)}", {"kind": kind, "model": name, "size": size})
        for size in (["small"] if bench.quick else ["tiny", "base"])
        for kind in kinds
    ]
    return bench.compare(name, labelled)


def encoder(bench):
    """Forward and backward of a plain pre-norm transformer encoder, beside whatever else is installed."""
    sizes = cases.SMALL_ENCODER if bench.quick else cases.ENCODER
    others, absent = able(bench.peers)
    try:
        times = bench.times(cases.case_of("encoder", sizes), others=others)
    finally:
        for engine in others:
            engine.close()
    baseline = times["PyTorch"][0] if "PyTorch" in times else None
    rows = []
    for e in [*bench.engines, *others]:
        seconds, spread = times[e.name]
        ratio = [f"{seconds / baseline:.2f}"] if baseline else []
        rows.append([e.about["about"], number(1e3 * seconds), *ratio, f"{100 * spread:.0f} %"])
    shape = ", ".join(f"{name} {n}" for name, n in sizes.items())
    return "\n\n".join([table([shape, "ms", *(["× PyTorch"] if baseline else []), "spread"], rows), *absent])


def able(names):
    """Engines that can do a small step, and what the others said: tinygrad for example needs a compiler."""
    able, absent = [], []
    for name in names:
        engine = engines.Engine(name)
        try:
            engine.ask(prepare=cases.case_of("encoder", cases.SMALL_ENCODER))
            able.append(engine)
        except RuntimeError as error:
            absent.append(f"Left out: {error}")
            engine.close()
    return able, absent


def ops(bench):
    """Each coarse op alone, forward and backward: on the encoder's arrays (tiny), and on those of base width."""
    return bench.compare(
        "op",
        [
            (f"{name}, {size}", cases.case_of(name, cases.SIZES[size]))
            for size in (["small"] if bench.quick else ["tiny", "base"])
            for name in cases.OPS
        ],
    )


def memory(bench):
    """The peak of two steps, in new processes: beyond what the imports took, and of the whole process."""
    labelled = [("encoder", cases.case_of("encoder", cases.SMALL_ENCODER if bench.quick else cases.ENCODER))]
    labelled += [
        (f"{model}, {kind}, {size}", {"kind": kind, "model": model, "size": size})
        for size in (["small"] if bench.quick else ["tiny", "base"])
        for model in cases.MODELS
        for kind in ("train", "infer")
    ]
    rows = []
    for label, case in labelled:
        whole, beyond = zip(*(engines.peak_memory(e.name, case) for e in bench.engines), strict=True)
        beside = bench.beside(f"memory of {label}", beyond, cases.WANTED_MEMORY)
        rows.append([label, *(number(b / 1e6) for b in beyond), *beside, *(number(b / 1e6) for b in whole)])
    return table(["peak of", *bench.columns("MB"), *(f"{e.name}, whole process, MB" for e in bench.engines)], rows)


def imports(bench):
    """The time of `import`, beyond that of starting Python."""
    modules = ["minivl", "numpy"] + (["torch"] if len(bench.engines) > 1 else [])
    times = {name: [] for name in ["sys", *modules]}
    for _ in range(2 if bench.quick else 9):
        for name in times:
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {name}"], check=True, env=engines.environment())
            times[name].append(time.perf_counter() - begin)
    start = statistics.median(times["sys"])
    return table(["import", "ms"], [[name, number(1e3 * (statistics.median(times[name]) - start))] for name in modules])


def growth(bench):
    """How time and memory grow: exponents p of n^p, fitted to two layers of the encoder, and to attention alone."""
    rows = []
    for heading, (name, sizes) in (cases.SMALL_GROWING if bench.quick else cases.GROWING).items():
        n = [s[heading.partition(",")[0]] for s in sizes]
        line = [cases.case_of(name, s) for s in sizes]
        times = [bench.times(case, lives=1) for case in line]
        for e in bench.engines:
            seconds = [t[e.name][0] for t in times]
            peaks = [engines.peak_memory(e.name, case)[1] for case in line]
            exponents = [exponent(n, y) for y in (seconds, peaks)]
            wanted = cases.WANTED_GROWTH.get(heading, ()) if e.name == "minivl" else ()
            verdict = bench.judge(f"exponents of {heading}", exponents, wanted)
            measured = [", ".join(number(y * scale) for y in ys) for ys, scale in ((seconds, 1e3), (peaks, 1e-6))]
            label = f"{heading} {', '.join(map(str, n))}"
            rows.append([label, e.name, *(f"{p:.2f}" for p in exponents), verdict, *measured])
    return table(["growing", "engine", "time ∝ n^", "memory ∝ n^", "wanted", "ms", "MB"], rows)


def exponent(n, y):
    """The slope of log y over log n."""
    return float(np.polyfit(np.log(n), np.log(y), 1)[0])


SECTIONS = {section.__name__: section for section in (coca, clip, mammut, encoder, ops, memory, imports, growth)}


# ---- the report ------------------------------------------------------------------------------------------------------


def machine(bench):
    """What the figures are of: processor, cores, threads, versions, and the variables that change them."""
    variables = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith(("OPENBLAS_", "OMP_", "MKL_", "MINIVL_THREADS"))
    ]
    return "\n".join(
        [
            f"- {processor()}, {os.cpu_count()} cores; {platform.system()} {platform.machine()}; "
            f"Python {platform.python_version()}",
            *(f"- {e.name}: {e.about['about']}; {e.about['threads']} threads" for e in bench.engines),
            f"- OPENBLAS_CORETYPE is {os.environ.get('OPENBLAS_CORETYPE') or 'not set'}"
            + (f"; set in the environment: {', '.join(variables)}" if variables else ""),
        ]
    )


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def load():
    """How many others wanted a core in the last minute: figures of a busy machine are not to be trusted."""
    if not hasattr(os, "getloadavg"):
        return "Load of the machine before it began: unknown."
    busy = os.getloadavg()[0]
    verdict = "busy: not to be trusted, least of all PyTorch's" if busy > 0.5 * os.cpu_count() else "quiet"
    return f"Load of the machine before it began: {busy:.1f} on {os.cpu_count()} cores, {verdict}."


def report(bench, sections):
    """The whole report as Markdown; each part is printed as soon as it stands."""
    parts = []

    def add(text):
        parts.append(text)
        print(text, end="\n\n", flush=True)

    add("# What minivl costs on a CPU")
    add(
        "Written by `python tests/bench/cpu.py`. Medians, of models and ops in the best of three processes of each "
        "engine; ratio: minivl's time or memory over PyTorch's (eager, its default AdamW), below 1 is less; wanted: "
        "the most that it should be; spread: between the quartiles. float32, the same weights, results checked equal "
        "to 1e-4 first."
    )
    add(machine(bench) + f"\n- {load()}")
    for name in sections:
        add(f"## {name}\n\n{SECTIONS[name].__doc__}\n\n{SECTIONS[name](bench)}")
    if bench.judged:
        missed = [f"- {label}" for label, met in bench.judged if not met]
        met = f"{len(bench.judged) - len(missed)} of {len(bench.judged)} met."
        add(f"## targets\n\n{met}" + (" Not met:\n\n" + "\n".join(missed) if missed else ""))
    return "\n\n".join(parts) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: does it run?")
    parser.add_argument("--alone", action="store_true", help="minivl's own figures only")
    parser.add_argument("--only", choices=SECTIONS, action="append", metavar="NAME", help=", ".join(SECTIONS))
    parser.add_argument("--out", type=Path, help="folder of the report; a whole run goes to tests/bench/results")
    options = parser.parse_args(arguments)
    if not options.alone and not engines.installed("PyTorch"):
        print(ADVICE, file=sys.stderr)
    bench = Bench(options.quick, options.alone)
    try:
        text = report(bench, options.only or SECTIONS)
    finally:
        bench.close()
    whole = not (options.quick or options.only or options.alone) and len(bench.engines) > 1
    if options.out or whole:
        write(options.out or HERE / "results", text)


def write(folder, text):
    """cpu.md, or cpu-haswell.md where OPENBLAS_CORETYPE=Haswell; written beside, then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    kernels = os.environ.get("OPENBLAS_CORETYPE", "").lower()
    path = folder / (f"cpu-{kernels}.md" if kernels else "cpu.md")
    beside = path.with_name(path.name + ".partial")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
