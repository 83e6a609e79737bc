"""Every exercise: the reference earns all points, the handout none, no answer leaks, every mutant is caught."""

import os
import re
import subprocess
import sys
import zipfile

import pytest
from mutants import MUTANTS

from minivl import exercises, kernels
from minivl.exercises import cut, handout
from minivl.exercises.handout import HandoutError, part_titles
from minivl.exercises.judge import PACKAGE, judge, marked_parts

SHEETS = exercises.all_sheets()
JUDGED = [
    pytest.param(id, marks=pytest.mark.skipif(id == "ex11" and not kernels.compiler(), reason="needs a C++ compiler"))
    for id in SHEETS
]
ROOT = PACKAGE.parent


def reference(sheet):
    return {file: (ROOT / file).read_text() for file in sheet.files}


def test_every_marked_part_belongs_to_a_sheet_and_has_checks():
    marked = {}
    for path in [*(ROOT / "minivl").rglob("*.py"), *(ROOT / "minivl").rglob("*.cu")]:
        if "exercises" not in path.relative_to(ROOT).parts and "minivl:exercise" in path.read_text():
            for part in cut.parts_of(path.read_text(), str(path)):
                marked.setdefault(part.id, []).append(str(path.relative_to(ROOT)))
    assert all(len(files) == 1 for files in marked.values()), "two parts of one name"
    for sheet in SHEETS.values():
        parts = {p.id for p in part_titles(sheet)}
        assert parts and parts == {check.part for check in sheet.checks}
        assert {marked.pop(id)[0] for id in parts} == set(sheet.files)
    assert not marked, f"parts without a sheet: {marked}"


@pytest.mark.parametrize("id", JUDGED)
def test_reference_earns_all_points_and_the_handout_none(id, tmp_path):
    sheet = SHEETS[id]
    result = judge(id, {f: as_answer(text, sheet) for f, text in reference(sheet).items()}, seed=1)
    assert [v.status for v in result.verdicts] == ["right"] * len(result.verdicts), result
    assert result.score == result.points > 0
    exercises.get(id, tmp_path / "mine")
    result = exercises.check(tmp_path / "mine")
    assert result.score == 0 and {v.status for v in result.verdicts} == {"not attempted"}, result


def as_answer(text, sheet):
    """A file as somebody hands it in who knows all answers: in a CUDA file they stand between 'begin' and 'end'."""
    if not sheet.files[0].endswith(".cu"):
        return text
    text = re.sub(r"// minivl:exercise (\S+) points.*", r"// begin \1", text)
    for part in re.findall(r"// begin (\S+)", text):
        text = text.replace("// minivl:end", f"// end {part}", 1)
    return text


@pytest.mark.parametrize("id", SHEETS)
def test_no_line_of_an_answer_is_left_in_the_handout(id, tmp_path):
    exercises.get(id, tmp_path / "mine")
    texts = {
        path: {line.strip() for line in path.read_text().splitlines()}
        for path in (tmp_path / "mine").rglob("*")
        if path.suffix in (".py", ".cu", ".cuh", ".md")
    }
    for file, parts in marked_parts(SHEETS[id]).items():
        lines = (ROOT / file).read_text().splitlines()
        for part in parts:
            for line in map(str.strip, lines[part.first : part.last - 1]):
                if len(line) >= 25 and "minivl:hint" not in line:
                    leaks = [str(path) for path, there in texts.items() if line in there]
                    assert not leaks, f"{part.id}: {line!r} is left in {leaks}"


def test_every_part_has_five_mutants():
    for sheet in SHEETS.values():
        for part in part_titles(sheet):
            assert len(set(MUTANTS.get(part.id, ()))) >= 5, part.id


def mutant(sheet, part, old, new):
    """The reference with one thing changed in one part."""
    files = reference(sheet)
    for file, parts in marked_parts(sheet).items():
        if part in {p.id for p in parts}:
            found = next(p for p in parts if p.id == part)
            lines = files[file].splitlines()
            first = found.first + len(found.hints)
            body = "\n".join(lines[first : found.last - 1])
            assert body.count(old) >= 1, f"{part}: {old!r} does not stand there"
            lines[first : found.last - 1] = body.replace(old, new, 1).splitlines()
            files[file] = "\n".join(lines) + "\n"
    return {file: as_answer(text, sheet) for file, text in files.items()}


CASES = [(part, i) for part, found in MUTANTS.items() for i in range(len(found))]


@pytest.mark.slow
@pytest.mark.parametrize("part, i", CASES)
def test_every_mutant_is_caught(part, i):
    sheet = exercises.sheet_of(part)
    result = judge(sheet.id, mutant(sheet, part, *MUTANTS[part][i]), seed=5, lenient=True, seconds=30)
    verdict = next(v for v in result.verdicts if v.id == part)
    assert verdict.status in ("wrong", "failed", "timeout"), (MUTANTS[part][i], verdict)


@pytest.mark.parametrize("part", ["ex03.b"])
def test_some_mutants_are_caught(part):
    sheet = exercises.sheet_of(part)
    result = judge(sheet.id, mutant(sheet, part, *MUTANTS[part][1]), seed=5)
    verdicts = {v.id: v for v in result.verdicts}
    assert verdicts[part].status == "wrong" and verdicts["ex03.a"].status == "right"
    assert "dx" in verdicts[part].said[0] and "must be" in verdicts[part].said[0]


def test_a_student_works_through_an_exercise(tmp_path):
    folder = tmp_path / "mine"
    sheet = exercises.get("ex03", folder)
    with pytest.raises(HandoutError, match="holds something already"):
        exercises.get("ex03", folder)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTEST_ADDOPTS")}

    def pytest_here():
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly"]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    before = pytest_here()
    assert before.returncode == 1 and "not written yet: ex03.a: softmax, without overflow" in before.stdout
    for file, text in reference(sheet).items():
        (folder / file).write_text(text)
    after = pytest_here()
    assert after.returncode == 0, after.stdout
    (first,), both = exercises.hint(folder, "ex03.b"), exercises.hint(folder, "ex03.b")
    assert first.startswith(f"1 of {len(part_titles(sheet)[1].hints)}: ") and both[0] == first and len(both) == 2
    archive = exercises.submit(folder)
    once = archive.read_bytes()
    assert exercises.submit(folder).read_bytes() == once
    with zipfile.ZipFile(archive) as opened:
        assert opened.namelist() == ["exercise.json", *sorted(sheet.files)]


@pytest.mark.parametrize("id", SHEETS)
def test_readme_of_a_handout_lists_its_parts_in_order(id):
    listed = re.findall(rf"^\| ({id}\.\w) ", handout._readme(SHEETS[id]), re.MULTILINE)
    assert listed == sorted(part.id for part in part_titles(SHEETS[id]))


WALK = """
        while youngest:
            number = -heapq.heappop(youngest)
            for source, part in _passed_on(known.pop(number), grads.pop(number), late):
                if source.number in grads:
                    grads[source.number] = grads[source.number] + part
                else:
                    grads[source.number], known[source.number] = part, source
                    heapq.heappush(youngest, -source.number)
"""


@pytest.mark.parametrize(
    "right, wrong, said",
    [
        ("-heapq.heappop(youngest)", "-youngest.pop()", "one tensor twice"),
        ("= grads[source.number] + part", "+= part", "in place"),
        ("", "", None),
    ],
)
def test_common_mistakes_in_backward_are_called_by_their_names(right, wrong, said):
    """By themselves they end in 'the graph was used up' and 'output array is read-only', which help nobody here."""
    answer = WALK.replace(right, wrong) if right else WALK
    assert (answer != WALK) == bool(right)
    file = "minivl/tensor.py"
    files = reference(SHEETS["ex01"])
    part = next(p for p in cut.parts_of(files[file]) if p.id == "ex01.c")
    lines = files[file].splitlines()
    lines[part.first - 1 : part.last] = answer.strip("\n").splitlines()
    verdict = judge("ex01", {**files, file: "\n".join(lines) + "\n"}, seed=2).verdicts[-1]
    assert verdict.id == "ex01.c" and verdict.status == ("failed" if said else "right"), verdict
    assert not said or said in verdict.said[0], verdict


@pytest.mark.parametrize("id", SHEETS)
def test_sheets_say_goal_and_time(id):
    sheet = SHEETS[id]
    assert sheet.title and re.search(r"About \d+ (minutes|hours)", sheet.goal), id
    assert all(part.hints for part in part_titles(sheet)), f"{id}: a part without a hint"


def test_unknown_exercises_are_named():
    with pytest.raises(ValueError, match="ex99.*must be one of"):
        exercises.sheet_of("ex99")
