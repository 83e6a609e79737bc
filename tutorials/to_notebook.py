"""Tutorials as notebooks: python tutorials/to_notebook.py [FILE ...] [--out FOLDER]

A tutorial is a Python file in percent format: a line `# %%` begins a cell of code, `# %% [markdown]` one of prose,
whose lines are comments. The notebook is made of it and never edited; outputs are not kept.
"""

import argparse
import json
import re
from pathlib import Path

HERE = Path(__file__).parent
_CELL = re.compile(r"^# %%(?: \[(markdown|slide)\])?(.*)$")


def cells(source):
    """[(kind, text)] with kind "markdown" or "code". What stands before the first cell is a docstring, and left out."""
    found, kind, lines = [], None, []

    def end():
        text = "\n".join(lines).strip("\n")
        if kind == "markdown":
            text = "\n".join(re.sub(r"^# ?", "", line) for line in text.splitlines())
        if kind and text.strip():
            found.append((kind, text))

    for line in source.splitlines():
        if match := _CELL.match(line):
            end()
            kind, lines = ("markdown" if match[1] else "code"), []
        else:
            lines.append(line)
    end()
    return found


def notebook(source):
    """The notebook (format 4.5) of a tutorial's source, as a dict."""
    made = []
    for number, (kind, text) in enumerate(cells(source)):
        cell = {"cell_type": kind, "id": f"cell-{number:03}", "metadata": {}, "source": text.splitlines(keepends=True)}
        made.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    about = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"cells": made, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def tutorials():
    """The tutorials' files in their order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="tutorials (default: all)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the notebooks (default: beside the files)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for path in options.files or tutorials():
        target = options.out / f"{path.stem}.ipynb"
        beside = target.with_name(target.name + ".partial")
        beside.write_text(json.dumps(notebook(path.read_text(encoding="utf-8")), indent=1) + "\n", encoding="utf-8")
        beside.replace(target)
        print(f"wrote {target}")


if __name__ == "__main__":
    main()
