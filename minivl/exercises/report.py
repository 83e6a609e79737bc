"""The teacher's side: a folder of submissions becomes scores.csv, a page for each student, and Gradescope's JSON.

The reports hold no times and no paths: the same submissions and the same seed give the same bytes.
"""

import csv
import html
import io
import json
import re
import zipfile
import zlib
from pathlib import Path

from ..run import write_beside
from .cut import LARGEST, SubmissionError
from .handout import part_titles, read_text
from .judge import Result, Verdict, judge
from .sheet import sheet_of


def grade(exercise, submissions, out, seed=0, *, lenient=False, told=None):
    """Judges every submission in a folder and writes the reports. -> {student: judge.Result}

    submissions   a folder with STUDENT.zip files (as `minivl exercise submit` writes them) and STUDENT folders, or
                  one of these alone
    out           the folder to write: scores.csv, STUDENT.html, gradescope/STUDENT/results.json
    lenient       judge also what uses more than it needs; the objections are reported either way
    told          told(student, result) after each
    """
    sheet, submissions, out = sheet_of(exercise), Path(submissions), Path(out)
    alone = submissions.suffix == ".zip" and submissions.is_file() or (submissions / "exercise.json").is_file()
    if not alone and not submissions.is_dir():
        raise ValueError(f"submissions: {submissions} must be a folder of zip files and folders, or one of these")
    found = _submissions([submissions.absolute()] if alone else submissions.iterdir())
    if not found:
        raise ValueError(f"submissions: {submissions} holds neither zip files nor folders")
    (out / "gradescope").mkdir(parents=True, exist_ok=True)
    results = {}
    for student, path in found.items():
        try:
            result = judge(sheet.id, _files(path, sheet), seed, lenient=lenient)
        except SubmissionError as error:
            said = [Verdict(p.id, p.title, p.points, "refused", [str(error)]) for p in part_titles(sheet)]
            result = Result(sheet.id, seed, said, str(error))
        results[student] = result
        write_beside(out / f"{student}.html", page(student, sheet, result))
        (out / "gradescope" / student).mkdir(exist_ok=True)
        write_beside(out / "gradescope" / student / "results.json", gradescope(result))
        if told is not None:
            told(student, result)
    write_beside(out / "scores.csv", table(results))
    return results


def _submissions(paths):
    """{student: path}. A student's name is the file's, with nothing in it that a file name should not have."""
    found = {}
    for path in sorted(paths):
        if path.is_symlink() or path.name.startswith(".") or not (path.is_dir() or path.suffix == ".zip"):
            continue
        name = re.sub(r"[^\w.@ -]", "_", path.stem if path.suffix == ".zip" else path.name).strip(" .") or "_"
        while name in found or name == "gradescope":
            name += "_"
        found[name] = path
    return found


def _files(path, sheet):
    if path.is_dir():
        return {file: read_text(path / file, file) for file in sheet.files}
    try:
        with zipfile.ZipFile(path) as archive:
            return {file: _member(archive, file) for file in sheet.files}
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise SubmissionError(f"the zip file cannot be read: {error}") from None


def _member(archive, name):
    """One file by its exact name, at most LARGEST bytes of it: whatever else is in the archive is never looked at."""
    try:
        with archive.open(name) as file:
            data = file.read(LARGEST + 1)
    except KeyError:
        raise SubmissionError(f"{name} is missing") from None
    if len(data) > LARGEST:
        raise SubmissionError(f"{name} has more than {LARGEST:,} bytes")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise SubmissionError(f"{name} is not UTF-8") from None


def table(results):
    """scores.csv: a row for each student; what a spreadsheet would take for a formula gets a ' before it."""
    file = io.StringIO()
    parts = [v.id for v in next(iter(results.values())).verdicts]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["student", "exercise", "score", "points", *parts, *(f"{p} status" for p in parts), "note"])
    for student, r in results.items():
        scores, statuses = [v.score for v in r.verdicts], [v.status for v in r.verdicts]
        cells = [student, r.exercise, r.score, r.points, *scores, *statuses, r.note]
        writer.writerow([f"'{c}" if isinstance(c, str) and c[:1] in "=+-@\t\r" and c else c for c in cells])
    return file.getvalue()


def gradescope(result):
    """results.json as Gradescope's autograder reads it."""
    tests = [
        {"name": f"{v.id} {v.title}", "score": v.score, "max_score": v.points, "output": "\n".join([v.status, *v.said])}
        for v in result.verdicts
    ]
    return (
        json.dumps({"score": result.score, "output": result.note, "tests": tests}, indent=2, ensure_ascii=False) + "\n"
    )


def page(student, sheet, result):
    """What a student reads: points, and for each part what was seen. Offline, light and dark, no script."""
    rows = "".join(
        f"<tr><td>{html.escape(v.id)}</td><td>{html.escape(v.title)}</td><td>{v.score} of {v.points}</td>"
        f"<td>{html.escape(v.status)}{''.join(f'<p>{html.escape(s)}</p>' for s in v.said)}</td></tr>\n"
        for v in result.verdicts
    )
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(sheet.id)}: {html.escape(student)}</title>\n"
        "<style>:root{color-scheme:light dark}"
        "body{font:1rem/1.5 system-ui;max-width:50rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse}td,th{border-top:1px solid #8888;padding:.4rem .6rem;text-align:left;"
        "vertical-align:top}p{margin:.2rem 0;font-family:ui-monospace,monospace;font-size:.85rem}</style>\n"
        f"<h1>{html.escape(sheet.id)}: {html.escape(sheet.title)}</h1>\n"
        f"<p>{html.escape(student)}: {result.score} of {result.points} points, judged with seed {result.seed}.</p>\n"
        f"<table><tr><th>part</th><th>what</th><th>points</th><th>seen</th></tr>\n{rows}</table>\n</html>\n"
    )


def result_lines(result):
    """A Result for the terminal."""
    for v in result.verdicts:
        yield f"{v.id}  {v.score} of {v.points}  {v.title}: {v.status}"
        if v.status != "not attempted":  # that says it all
            yield from (f"        {said}" for said in v.said)
    yield f"{result.exercise}: {result.score} of {result.points} points"
