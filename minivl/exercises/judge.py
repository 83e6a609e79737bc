"""Judging one submission: its functions in a copy of minivl, that copy in a process of its own, the checks in this one.

The judge knows what is wanted and holds the score; the worker (worker.py) runs the student's code and knows neither.
A part counts when all its checks hold. Every random number comes from the seed, so that the same seed gives the same
result; none comes from the student.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from . import worker
from .cut import SubmissionError, parts_of, transplant
from .sheet import Wrong, sheet_of

PACKAGE = Path(__file__).resolve().parents[1]
SECONDS = 60  # on the clock, for one part


@dataclass
class Verdict:
    """Of one part. status: right, wrong, not attempted, refused, failed, crashed, timeout"""

    id: str
    title: str
    points: int
    status: str = "not attempted"
    said: list = field(default_factory=list)

    @property
    def score(self):
        return self.points if self.status == "right" else 0


@dataclass
class Result:
    """Of a submission: `verdicts` by part, `note` where it could not be judged at all."""

    exercise: str
    seed: int
    verdicts: list
    note: str = ""

    @property
    def score(self):
        return sum(v.score for v in self.verdicts)

    @property
    def points(self):
        return sum(v.points for v in self.verdicts)

    def as_dict(self):
        parts = [{**asdict(v), "score": v.score} for v in self.verdicts]
        about = {"exercise": self.exercise, "seed": self.seed, "score": self.score, "points": self.points}
        return {**about, "note": self.note, "parts": parts}


def marked_parts(sheet):
    """{file: its Parts of this exercise}, files named from the folder that minivl lies in."""
    found = {}
    for file in sheet.files:
        text = (PACKAGE.parent / file).read_text(encoding="utf-8")
        found[file] = [part for part in parts_of(text, file) if part.exercise == sheet.id]
    return found


def judge(exercise, files, seed=0, *, lenient=False, seconds=SECONDS):
    """Judges the answers to an exercise.

    files     {file: text}, as `Sheet.files` names them
    seed      of all random numbers
    lenient   judge also what `cut.objections` objects to, and only report the objections
    ->        Result
    """
    sheet = sheet_of(exercise)
    parts = sorted((p for found in marked_parts(sheet).values() for p in found), key=lambda p: p.id)
    verdicts = {p.id: Verdict(p.id, p.title, p.points) for p in parts}
    result = Result(sheet.id, seed, list(verdicts.values()))
    tree = Path(tempfile.mkdtemp(prefix="minivl-judge-"))
    try:
        objections = _plant(tree, sheet, files)
        _apply(verdicts, objections, lenient)
        with _Runner(tree, sheet.id, seconds) as run:
            for check in sheet.checks:
                verdict = verdicts[check.part]
                if verdict.status in ("not attempted", "right") and not (verdict.status != "right" and verdict.said):
                    _judge_one(check, run, verdict, seed)
    except SubmissionError as error:
        result.note = str(error)
        for verdict in verdicts.values():
            verdict.status, verdict.said = "refused", [str(error)]
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    return result


def _plant(tree, sheet, files):
    """Writes the copy of minivl with the student's functions. -> {part id: objections}"""
    shutil.copytree(PACKAGE, tree / "minivl", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    objections = {}
    for file in sheet.files:
        if file not in files:
            raise SubmissionError(f"{file} is missing")
        reference = (PACKAGE.parent / file).read_text(encoding="utf-8")
        text, found = transplant(reference, files[file], sheet.id, file)
        (tree / file).write_text(text, encoding="utf-8")
        objections |= found
    return objections


def _apply(verdicts, objections, lenient):
    for id, said in objections.items():
        if said is None:
            verdicts[id].said = ["nothing was written"]
        elif said and not lenient:
            verdicts[id].status, verdicts[id].said = "refused", said


def _judge_one(check, run, verdict, seed):
    random = np.random.default_rng([seed, zlib.crc32(check.name.encode())])
    try:
        check(run, random)
        verdict.status = "right"
    except Wrong as wrong:
        verdict.status, verdict.said = "wrong", [str(wrong)]
    except Outcome as outcome:
        verdict.status = outcome.status
        verdict.said = [str(outcome)] if outcome.status != "not attempted" else ["nothing was written"]
    except (ValueError, TypeError, IndexError) as error:  # an answer that is not even shaped like one
        verdict.status, verdict.said = (
            "wrong",
            [f"{check.part}, {check.formula}: what came back cannot be used: {error}"],
        )


class Outcome(Exception):
    """The student's code gave no answer. status: not attempted, failed, crashed, timeout"""

    def __init__(self, status, said):
        super().__init__(said)
        self.status = status


class _Runner:
    """run(scenario, *arrays, **options) in a worker, which is started anew after it crashed or was too slow."""

    def __init__(self, tree, exercise, seconds):
        self.tree, self.exercise, self.seconds, self.process = tree, exercise, seconds, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        environment = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        environment |= {"MINIVL_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MINIVL_CACHE": str(self.tree / "cache")}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(worker.__file__)), str(self.tree), self.exercise, *_site()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.tree,
            env=environment,
        )
        self._within(lambda: worker.receive(self.process.stdout))

    def __call__(self, scenario, *arrays, **options):
        if self.process is None:
            self.start()
        arrays = [np.asarray(a) for a in arrays]

        def ask():
            worker.send(self.process.stdin, {"call": scenario.__name__, "options": options}, arrays)
            return worker.receive(self.process.stdout)

        header, results = self._within(ask)
        if "error" in header:
            status = header["error"] if header["error"] in ("not attempted", "failed") else "failed"
            raise Outcome(status, str(header.get("text"))[:600])
        if not results:
            raise Outcome("failed", "no array came back")
        return results[0] if header.get("single") else tuple(results)

    def _within(self, talk):
        """talk(), unless it takes too long or the process ends."""
        late = threading.Event()

        def end():
            late.set()
            self.process.kill()

        clock = threading.Timer(self.seconds, end)
        clock.start()
        try:
            answer = talk()
        except (ValueError, OSError, EOFError, MemoryError, UnicodeDecodeError) as error:
            answer = None
            said = f"it broke off: {error}"
        else:
            said = "the process ended"
        finally:
            clock.cancel()
        if answer is None or not isinstance(answer[0], dict):
            self.stop()
            if late.is_set():
                raise Outcome("timeout", f"no answer within {self.seconds:g} s")
            raise Outcome("crashed", said)
        return answer

    def stop(self):
        if self.process is not None:
            self.process.kill()
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                with contextlib.suppress(OSError):
                    pipe.close()
            self.process.wait()
            self.process = None


def _site():
    """The folders in which the worker finds what minivl needs."""
    found = [importlib.util.find_spec(name) for name in ("numpy", "PIL", "regex", "tqdm")]
    return sorted({str(Path(spec.origin).parents[1]) for spec in found if spec is not None})
