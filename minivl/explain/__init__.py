"""The step-through page: one forward and backward pass of a trained model, in one file that opens anywhere, offline."""

from pathlib import Path

from .. import blas
from ..run import write_beside
from .book import as_json, build
from .example import find_run
from .pack import once

PAGE = Path(__file__).parent / "page"
SCRIPTS = (
    "data.js", "places.js", "draw.js", "sums.js", "cards.js", "firsts.js", "masks.js", "losses.js", "attention.js",
    "within.js", "overview.js", "back.js", "after.js", "quiz.js", "walk.js", "controls.js", "render.js", "keys.js",
)  # fmt: skip


def explain(model, image=None, text=None, *, run=None, versus=None, quiz=False, out="explain.html"):
    """Writes the page of a model; returns its path and size in bytes.

    model    the folder of a run, or the name of a model whose run is `run` or ./minivl-demo
    image    a path; text: what it shows. Without them an example of the run's own data, which training never showed
    versus   the folder of a second run, to compare with on the same example
    quiz     the page asks before it shows
    """
    path = Path(out)
    with blas.SingleThreaded():  # the products are small; threads that wait for each other would only cost
        content = page(build(find_run(model, run), image, text, None if versus is None else find_run(versus)), quiz)
    write_beside(path, content)
    return path, len(content.encode())


def page(books, quiz=False):
    """The HTML of one book, or of two to compare."""
    title = " and ".join(dict.fromkeys(book["about"]["model"] for book in books))
    parts = {
        "title": f"minivl explain: {title}",
        "style": _read("page.css"),
        "book": as_json(once({"books": books, "quiz": bool(quiz)})),
        "script": "(() => {\n'use strict';\n" + "\n".join(map(_script, SCRIPTS)) + "\n})();",
    }
    return _filled(_read("page.html"), parts)


def _filled(text, parts):
    """{{name}} replaced, each once: what is put in is not looked through again."""
    pieces = []
    for name, value in sorted(parts.items(), key=lambda part: text.index("{{" + part[0] + "}}")):
        before, text = text.split("{{" + name + "}}", 1)
        pieces += [before, value]
    return "".join([*pieces, text])


def _script(name):
    """A script without its indentation, a tenth of the page that nobody reads there."""
    return "\n".join(line.strip() for line in _read(name).split("\n"))


def _read(name):
    return (PAGE / name).read_text(encoding="utf-8")
