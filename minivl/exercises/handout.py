"""The student's side: a folder with a hole in minivl, tests that say what is wrong, and a zip to hand in."""

import fnmatch
import json
import shutil
import zipfile
from pathlib import Path

from .. import __version__
from ..run import write_beside
from .cut import LARGEST, SubmissionError, skeleton
from .judge import PACKAGE, judge, marked_parts
from .sheet import sheet_of

_CONFTEST = '''"""Pytest here is to use the minivl of this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
'''
_TEST = '''"""What {id} must show. A failure says what is wrong; the checks stand in minivl/exercises/sheets/."""

import os

import numpy as np
import pytest

from minivl.exercises.sheet import Wrong, sheet_of

SHEET = sheet_of("{id}")
SEED = int(os.environ.get("SEED", "0"))


def run(scenario, *arrays, **options):
    __tracebackhide__ = True
    result = scenario(*(np.array(a) for a in arrays), **options)
    return tuple(np.asarray(a) for a in result) if isinstance(result, tuple) else np.asarray(result)


@pytest.mark.parametrize("check", SHEET.checks, ids=lambda check: f"{{check.part}}-{{check.name}}")
def test(check):
    __tracebackhide__ = lambda seen: not seen.errisinstance(pytest.fail.Exception)  # an error is further down
    said = None
    try:
        SHEET.prepare()
        check(run, np.random.default_rng(SEED))
    except NotImplementedError as error:
        said = f"not written yet: {{error}}"
    except Wrong as wrong:
        said = str(wrong)
    if said:
        pytest.fail(said, pytrace=False)
'''
_PYTEST = "[pytest]\ntestpaths = tests\naddopts = -p no:cacheprovider --tb=short\n"


class HandoutError(ValueError):
    """A folder that is not what the command needs."""


def get(exercise, folder):
    """Writes an exercise into a new `folder`: minivl with its parts taken out, tests, a README. -> the Sheet

    HandoutError: the folder holds something already. ValueError: there is no such exercise.
    """
    sheet, folder = sheet_of(exercise), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HandoutError(f"{folder} holds something already; name a new folder")
    beside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    left_out = getattr(sheet.module, "LEFT_OUT", ())

    def ignored(where, names):
        inside = Path(where).relative_to(PACKAGE.parent)
        return [n for n in names if n == "__pycache__" or any(fnmatch.fnmatch(str(inside / n), p) for p in left_out)]

    shutil.copytree(PACKAGE, beside / "minivl", ignore=ignored)
    for file in sorted({*sheet.files, *_marked_files(beside)}):
        path = beside / file
        path.write_text(skeleton(path.read_text(encoding="utf-8"), sheet.id), encoding="utf-8")
    (beside / "tests").mkdir()
    (beside / "tests" / f"test_{sheet.id}.py").write_text(_TEST.format(id=sheet.id), encoding="utf-8")
    (beside / "conftest.py").write_text(_CONFTEST, encoding="utf-8")
    (beside / "pytest.ini").write_text(_PYTEST, encoding="utf-8")
    (beside / "README.md").write_text(_readme(sheet), encoding="utf-8")
    about = {"exercise": sheet.id, "minivl": __version__, "files": list(sheet.files)}
    (beside / "exercise.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        folder.rmdir()
    beside.rename(folder)
    return sheet


def _marked_files(folder):
    """Files of a copy that hold the markers of whatever exercise: those go too."""
    found = []
    for path in [*folder.rglob("*.py"), *folder.rglob("*.cu")]:
        inside = path.relative_to(folder)
        if "exercises" not in inside.parts and "minivl:exercise" in path.read_text(encoding="utf-8"):
            found.append(str(inside))
    return found


def _readme(sheet):
    lines = [
        f"# {sheet.id}: {sheet.title}",
        "",
        sheet.goal,
        "",
        "| part | points | what | where |",
        "|---|---|---|---|",
    ]
    found = [(part.id, file, part) for file, parts in marked_parts(sheet).items() for part in parts]
    for id, file, part in sorted(found, key=lambda row: row[0]):
        where = f"`{file}`" + (f", `{part.function}`" if part.function else "")
        lines.append(f"| {id} | {part.points} | {part.title} | {where} |")
    lines += [
        "",
        "Write what is missing where the file says so, and run `pytest`. Other random numbers: `SEED=1 pytest`.",
        "`minivl exercise check` shows the points, `minivl exercise check --hint PART` a hint, one more each time;",
        "`minivl exercise submit` writes the file to hand in. Only the functions named above are taken from it: they",
        "may use NumPy, math, builtins and what they used before, and need no other import.",
    ]
    return "\n".join(lines) + "\n"


def _opened(folder):
    """(Sheet, {file: text}) of a student's folder."""
    path = Path(folder) / "exercise.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        sheet = sheet_of(about["exercise"])
    except (OSError, ValueError, TypeError, KeyError):
        raise HandoutError(f"{folder} holds no exercise: no exercise.json as `minivl exercise get` writes it") from None
    return sheet, {file: read_text(Path(folder) / file, file) for file in sheet.files}


def read_text(path, name):
    """A submitted file as text.   SubmissionError: it is missing, too large, a link, or not UTF-8."""
    try:
        if path.is_symlink() or not path.is_file():
            raise SubmissionError(f"{name} is missing")
        if path.stat().st_size > LARGEST:
            raise SubmissionError(f"{name} has {path.stat().st_size:,} bytes, must have at most {LARGEST:,}")
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise SubmissionError(f"{name} is not UTF-8") from None


def check(folder=".", seed=0):
    """Judges a student's folder as the grader would. -> judge.Result"""
    sheet, files = _opened(folder)
    return judge(sheet.id, files, seed)


def hint(folder, part):
    """The next hint for a part, one more each time. -> the hints so far, as "1 of 3: ..."

    ValueError: there is no such part in the folder's exercise.
    """
    sheet, _ = _opened(folder)
    parts = {p.id: p for found in marked_parts(sheet).values() for p in found}
    if part not in parts:
        raise ValueError(f"part {part!r} is unknown, must be one of: {', '.join(sorted(parts))}")
    path = Path(folder) / ".hints.json"
    try:
        seen = json.loads(path.read_text())
    except (OSError, ValueError):
        seen = {}
    seen[part] = min(seen.get(part, 0) + 1, len(parts[part].hints))
    write_beside(path, json.dumps(seen))
    hints = parts[part].hints
    return [f"{i} of {len(hints)}: {text}" for i, text in enumerate(hints[: seen[part]], 1)]


def submit(folder=".", out=None):
    """Zips what is to be handed in: the marked files and a manifest, the same bytes each time. -> its path"""
    sheet, files = _opened(folder)
    for file, text in files.items():  # a file that cannot be read is better found here than by the teacher
        if file.endswith(".py"):
            try:
                compile(text, file, "exec")
            except SyntaxError as error:
                raise SubmissionError(f"{file}, line {error.lineno}: {error.msg}") from None
    out = Path(out) if out else Path(folder) / f"{sheet.id}.zip"
    beside = out.with_name(out.name + ".partial")
    manifest = json.dumps({"exercise": sheet.id, "minivl": __version__, "files": sorted(files)}, indent=2) + "\n"
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in [("exercise.json", manifest), *sorted(files.items())]:
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)
    beside.replace(out)
    return out


def part_titles(sheet):
    """Parts of a sheet in order, for lists."""
    return [part for found in marked_parts(sheet).values() for part in found]


__all__ = ["HandoutError", "check", "get", "hint", "read_text", "submit"]
