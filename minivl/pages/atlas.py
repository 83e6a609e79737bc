"""The mask atlas as a page: eleven papers side by side; then the functions of masks.py, drawn from themselves.

A paper's plate is drawn from gradients that are measured as the page is written, not from the mask.
"""

import ast
import html
import inspect
import re

import numpy as np

from .. import mask_atlas, masks
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


def drawing(mask, label, rows="", columns=""):
    """A mask (..., queries, keys) as SVG, one after the other for the masks of a batch; a letter for each token."""
    mask = np.asarray(mask)
    return "".join(_svg(one, label, rows, columns) for one in mask.reshape(-1, *mask.shape[-2:]))


def _svg(mask, label, rows, columns):
    left, above = (_CELL if rows else 0), (_CELL if columns else 0)
    cells = [f'<text x="{left / 2}" y="{above + (i + 0.72) * _CELL}">{letter}</text>' for i, letter in enumerate(rows)]
    cells += [
        f'<text x="{left + (j + 0.5) * _CELL}" y="{0.72 * _CELL}">{letter}</text>' for j, letter in enumerate(columns)
    ]
    for (i, j), allowed in np.ndenumerate(mask):
        x, y = 1 + left + j * _CELL, 1 + above + i * _CELL
        kind = "may" if allowed else "not"
        cells.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}"/>')
        if not allowed:
            cells.append(f'<path d="M{x + 4} {y + _CELL - 5}L{x + _CELL - 5} {y + 4}"/>')
    width, height = left + mask.shape[1] * _CELL + 2, above + mask.shape[0] * _CELL + 2
    told = f"{label}: {int(mask.sum())} of {mask.size} pairs are allowed"
    return (
        f'<svg class="mask" role="img" aria-label="{html.escape(told)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{"".join(cells)}</svg>'
    )


def paper(name, address):
    """One paper: its plates side by side, each with its reason, its proof, and from where we know it."""
    plates = [plate for plate in mask_atlas.PLATES if plate.paper == name]
    figures = "".join(_plate(plate, address) for plate in plates)
    about = f"<small>arXiv {mask_atlas.PAPERS[name]}</small>"
    head = f'<section class="paper" id="{slug(name)}"><h3>{name} {about}</h3>'
    return f'{head}<div class="gallery">{figures}</div></section>'


def _plate(plate, address):
    gradients = mask_atlas.reach(plate.mask)
    sees, zeros = gradients != 0, int((gradients == 0).sum())
    if not np.array_equal(sees, plate.mask):
        raise ValueError(f"atlas: the gradients of {plate.paper}, {plate.part}, are not what its mask allows")
    proof = f"{zeros} of {sees.size} gradients are exactly 0" if zeros else f"none of {sees.size} gradients is 0"
    known, file = html.escape(plate.known), PACKAGE / plate.known
    known = f'<a href="{address(file)}">{known}</a>' if file.is_file() else known
    drawn = drawing(sees, f"{plate.paper}, {plate.part}", plate.rows, plate.columns)
    return (
        f"<figure><figcaption><b>{plate.part}</b></figcaption>{drawn}<p>{html.escape(plate.why, quote=False)}</p>"
        f'<p class="note">{proof}. From {known}.</p></figure>'
    )


def slug(name):
    return name.lower().replace(" ", "-")


def legend():
    """What the letters of the plates mean."""
    told = "".join(f"<div><dt>{letter}</dt><dd>{what}</dd></div>" for letter, what in mask_atlas.LETTERS.items())
    return f'<dl class="legend">{told}</dl>'


def atlas(address):
    """The body of the page.   address(file, line) -> where a line of source stands"""
    names = mask_atlas.PAPERS
    way = " · ".join(f'<a href="#{slug(name)}">{name}</a>' for name in names)
    side_by_side = "".join(paper(name, address) for name in names)
    source = address(PACKAGE / "mask_atlas.py")
    return (
        f"<h2>Eleven papers, side by side</h2><p>{way}</p>"
        "<p>Each square says what was measured as this page was written: whether the output of the query on the left "
        "moves with the token above. Crossed: the gradient is 0, exactly. "
        f'The plates stand in <a href="{source}">mask_atlas.py</a>.</p>{legend()}{side_by_side}'
        f"<h2>What they are made of</h2>{_functions(address)}"
    )


def _functions(address):
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
            f'<section class="plate" id="{name}"><div><h3><a href="{source}">{name}</a></h3>{words}{users}</div>'
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
        f"<h2>Put together, in models</h2><p>Six tokens, of which four are words and two are pads.</p>{plates}"
        if plates
        else ""
    )
