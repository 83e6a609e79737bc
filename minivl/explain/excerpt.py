"""A few lines of a source file around those that are meant, highlighted, with their true numbers."""

import ast
import functools
import inspect
from pathlib import Path

from ..pages import highlight
from ..pages.named_steps import is_mark, short

_BEFORE, _AFTER, _MOST = 2, 2, 16


@functools.cache
def _file(path):
    """(lines as HTML, plain lines, [(first, body's first, last, qualified name)] of all functions, innermost last)"""
    source = Path(path).read_text(encoding="utf-8")
    functions = []

    def visit(node, name):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                own = f"{name}.{child.name}" if name else child.name
                if isinstance(child, ast.FunctionDef):
                    functions.append((child.lineno, _body(child), child.end_lineno, own))
                visit(child, own)
            else:
                visit(child, name)

    visit(ast.parse(source), "")
    return highlight.python(source), source.splitlines(), sorted(functions)


def _body(function):
    """The first line after a docstring."""
    first = function.body[0]
    told = isinstance(first, ast.Expr) and isinstance(getattr(first, "value", None), ast.Constant)
    return first.end_lineno + 1 if told else first.lineno


def excerpt(path, first, last):
    """{"file", "line", "function", "lines": [[number, HTML, whether it is meant]]}; number 0 stands for a gap.

    The comments that name steps are left out, for the page sets their formulas itself; so are the marks of exercises.
    """
    shown, plain, functions = _file(str(path))
    inside = [f for f in functions if f[0] <= first <= f[2]]
    begin, body, end, name = inside[-1] if inside else (1, 1, len(plain), Path(path).stem)
    last = min(last, first + _MOST)
    numbers = [n for n in range(max(body, first - _BEFORE), min(end, last + _AFTER) + 1)]
    numbers = [n for n in numbers if not (plain[n - 1].lstrip().startswith("#:") or is_mark(plain[n - 1]))]
    while numbers and not plain[numbers[0] - 1].strip():
        numbers.pop(0)
    while numbers and not plain[numbers[-1] - 1].strip():
        numbers.pop()
    lines = [[n, shown[n - 1], first <= n <= last] for n in numbers]
    if inside and begin not in numbers:
        gap = [[0, "", False]] if numbers and numbers[0] > begin + 1 else []
        lines = [[begin, shown[begin - 1], False], *gap, *lines]
    return {"file": short(path), "line": first, "function": name, "lines": _dedented(lines, plain)}


def _dedented(lines, plain):
    """Without the indentation that all lines share."""
    indents = [len(plain[n - 1]) - len(plain[n - 1].lstrip()) for n, _, _ in lines if n and plain[n - 1].strip()]
    cut = min(indents, default=0)
    return [[n, text[cut:] if n else "", meant] for n, text, meant in lines]


def derivative_of(function):
    """(file, first line, last line) of the derivative that stands in an op."""
    function = inspect.unwrap(function)
    file = inspect.getsourcefile(function)
    lines, start = inspect.getsourcelines(function)
    whole = ast.parse("".join(lines)).body[0]
    nested = [n for n in ast.walk(whole) if isinstance(n, ast.FunctionDef) and n.name == "derivative"]
    meant = nested[0] if nested else [n for n in whole.body if isinstance(n, ast.Return)][-1]
    return file, start + meant.lineno - 1, start + meant.end_lineno - 1
