"""Every tutorial runs, says what it is for, ends in asserts, and becomes a notebook."""

import ast
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tutorials"))
import to_notebook  # noqa: E402

TUTORIALS = to_notebook.tutorials()


def run(path, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run([sys.executable, path], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_tutorials_run(path):
    done = run(path, MINIVL_FAST="1")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.slow
def test_tutorials_run_in_full(capsys):
    """Prints a table of their times. A tutorial is to take at most 90 s on two cores that do nothing else."""
    rows = []
    for path in TUTORIALS:
        begin = time.perf_counter()
        done = run(path, MINIVL_FAST="0")
        rows.append(f"{path.stem:<28}{time.perf_counter() - begin:6.1f} s")
        assert done.returncode == 0, path.stem + done.stderr[-4000:]
    with capsys.disabled():
        print("", "tutorials in full", *rows, sep="\n")


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_tutorials_say_what_they_are_for(path):
    source = path.read_text(encoding="utf-8")
    cells = to_notebook.cells(source)
    kind, first = cells[0]
    assert kind == "markdown" and first.startswith("# "), "the first cell is prose, with a title"
    for field in ("**Goal.**", "**You will see.**", "**Needs.**", "**Time.**"):
        assert field in first, f"the first cell lacks {field}"
    prose = "\n".join(text for kind, text in cells if kind == "markdown")
    assert len(re.findall(r"^\d\. ", prose.partition("## Exercises")[2], re.M)) == 3, "three exercises at the end"
    asserts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    assert len(asserts) >= 3, "asserts that fail if the point does not hold"
    assert "import minivl" in source or "from minivl" in source


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_tutorials_become_notebooks(path):
    source = path.read_text(encoding="utf-8")
    made = json.loads(json.dumps(to_notebook.notebook(source)))
    assert made["nbformat"] == 4 and {c["cell_type"] for c in made["cells"]} == {"markdown", "code"}
    for cell in made["cells"]:
        if cell["cell_type"] == "code":
            ast.parse("".join(cell["source"]))
            assert cell["outputs"] == [] and cell["execution_count"] is None


def test_numbers_of_tutorials_are_their_own():
    assert TUTORIALS and len({path.stem[:2] for path in TUTORIALS}) == len(TUTORIALS)
