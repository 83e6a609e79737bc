"""The comments `#: Title | TeX`: the steps of a paper, named where the code takes them.

#: Scores | S = \\frac{QK^\\top}{\\sqrt{D}}          the comment
w = xp.matmul(q * scale, k.swapaxes(-1, -2))        its lines: up to a blank line, the next such comment, or the
if bias is not None:                                end of the indented block that it stands in
    w += bias
"""

import functools
import tokenize
from dataclasses import dataclass
from pathlib import Path

from .highlight import tokens

PACKAGE = Path(__file__).parent.parent  # minivl/
_SIGN = "#: "


@dataclass(frozen=True)
class NamedStep:
    """One comment. `file` is a path; `line` that of the comment; `first` and `last` are the lines that it names."""

    file: str
    line: int
    title: str
    tex: str
    first: int
    last: int

    @property
    def place(self):
        """As people write it: minivl/models/coca.py:145, the first of the lines that are named."""
        return f"{short(self.file)}:{self.first}"


def short(file):
    """A path within the package as minivl/...; any other as its name."""
    path = Path(file)
    return path.relative_to(PACKAGE.parent).as_posix() if path.is_relative_to(PACKAGE) else path.name


@functools.cache
def named_steps(file):
    """The steps that a source file names, in the order of their lines.   ValueError: a comment without its formula"""
    source = Path(file).read_text(encoding="utf-8")
    lines, found = source.splitlines(), []
    for token in tokens(source) if _SIGN in source else ():
        if token.type == tokenize.COMMENT and token.string.startswith(_SIGN):
            line, indent = token.start
            title, bar, tex = token.string.removeprefix(_SIGN).partition(" | ")
            if not bar:
                raise ValueError(f"{short(file)}:{line}: {token.string!r} must be '#: Title | TeX'")
            last = _last_line(lines, line, indent)
            first = next((n for n in range(line + 1, last + 1) if not is_mark(lines[n - 1])), line + 1)
            found.append(NamedStep(str(file), line, title.strip(), tex.strip(), first, last))
    return tuple(found)


def is_mark(line):
    """Whether a line only marks an exercise: no reader of the page needs it."""
    return line.lstrip().startswith(("# minivl:", "// minivl:"))


def _last_line(lines, start, indent):
    """The last of the lines from `start` (counted from 0) that belong together, counted from 1."""
    end = start
    while end < len(lines):
        line = lines[end]
        if not line.strip() or len(line) - len(line.lstrip()) < indent or line.lstrip().startswith(_SIGN):
            break
        end += 1
    return end


def step_at(file, line):
    """The named step that a line belongs to; None where there is none."""
    return next((step for step in named_steps(file) if step.first <= line <= step.last), None)
