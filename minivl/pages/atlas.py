"""The mask atlas: every mask of masks.py drawn from the function itself, and who uses it."""

import ast
import html
import inspect
import re

import numpy as np

from .. import masks
from .named_steps import PACKAGE, short
from .prose import docstring

_EXAMPLE = re.compile(r"^\s*(\w+\([^)]*\))\s+(?=[x.])", re.MULTILINE)
_CELL = 20


def functions():
    """Names of the functions of masks.py that make a mask."""
    own = (name for name, value in vars(masks).items() if getattr(value, "__module__", None) == masks.__name__)
    return [name for name in own if not name.startswith("_") and name != "draw"]


def examples(name):
    """[(call as text, its mask)]: the calls whose drawings stand in the docstring."""
    text = inspect.getdoc(getattr(masks, name)) or ""
    calls = [call for call in _EXAMPLE.findall(text) if call.startswith(name)]
    return [(call, eval(call, {"__builtins__": {}}, vars(masks))) for call in calls]


def uses():
    """{name: [(file, line, the expression)]}: where models and layers make masks."""
    found = {}
    for path in sorted([*(PACKAGE / "models").glob("*.py"), *(PACKAGE / "nn").glob("*.py")]):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                value = node.func.value
                if isinstance(value, ast.Name) and value.id == "masks":
                    call = ast.get_source_segment(source, node)
                    found.setdefault(node.func.attr, []).append((path, node.lineno, " ".join(call.split())))
    return found


# What stands for the sizes that a model's expression names: six tokens, of which four are words.
_SIZES = {"T": 6, "lengths": np.array([4]), "batch": {"lengths": np.array([4])}, "text": np.zeros((1, 6))}


def together():
    """{expression: (mask, [(file, line)])}: masks that models put together of several, where they can be drawn."""
    found = {}
    for path in sorted((PACKAGE / "models").glob("*.py")):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr)):
                told = " ".join(ast.get_source_segment(source, node).split())
                try:
                    mask = eval(told, {"__builtins__": {}, "masks": masks}, _SIZES)
                except (NameError, TypeError, KeyError, AttributeError):
                    continue
                found.setdefault(told, (mask, []))[1].append((path, node.lineno))
    return found


def drawing(mask, label):
    """A mask (..., queries, keys) as SVG, one after the other for the masks of a batch."""
    mask = np.asarray(mask)
    return "".join(_svg(one, label) for one in mask.reshape(-1, *mask.shape[-2:]))


def _svg(mask, label):
    rows, columns = mask.shape
    cells = []
    for (i, j), allowed in np.ndenumerate(mask):
        x, y = 1 + j * _CELL, 1 + i * _CELL
        kind = "may" if allowed else "not"
        cells.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}"/>')
        if not allowed:
            cells.append(f'<path d="M{x + 4} {y + _CELL - 5}L{x + _CELL - 5} {y + 4}"/>')
    width, height = columns * _CELL + 2, rows * _CELL + 2
    told = f"{label}: {int(mask.sum())} of {mask.size} pairs are allowed"
    return (
        f'<svg class="mask" role="img" aria-label="{html.escape(told)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{"".join(cells)}</svg>'
    )


def atlas(address):
    """The body of the page.   address(file, line) -> where a line of source stands"""
    used, parts = uses(), []
    for name in functions():
        function = getattr(masks, name)
        _, line = inspect.getsourcelines(function)
        text = inspect.getdoc(function) or ""
        words = docstring(text.split(f"\n\n{name}(")[0])
        drawn = "".join(
            f"<figure>{drawing(mask, call)}<figcaption><code>{html.escape(call)}</code></figcaption></figure>"
            for call, mask in examples(name)
        )
        users = "".join(
            f'<li><a href="{address(file, at)}">{short(file)}:{at}</a> <code>{html.escape(call)}</code></li>'
            for file, at, call in used.get(name, [])
        )
        users = f"<p>Used in</p><ul>{users}</ul>" if users else "<p class=note>No model here uses it by itself.</p>"
        source = address(PACKAGE / "masks.py", line)
        parts.append(
            f'<section class="plate" id="{name}"><div><h2><a href="{source}">{name}</a></h2>{words}{users}</div>'
            f'<div class="drawings">{drawn}</div></section>'
        )
    return "\n".join([*parts, _together(address)])


def _together(address):
    plates = "".join(
        f'<section class="plate"><div><h3><code>{html.escape(told)}</code></h3><ul>'
        + "".join(f'<li><a href="{address(file, line)}">{short(file)}:{line}</a></li>' for file, line in places)
        + f'</ul></div><div class="drawings"><figure>{drawing(mask, told)}</figure></div></section>'
        for told, (mask, places) in together().items()
    )
    return (
        f"<h2>Put together</h2><p>Six tokens, of which four are words and two are pads.</p>{plates}" if plates else ""
    )
