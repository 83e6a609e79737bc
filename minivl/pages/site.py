"""The whole site: every source file side by side with its prose, tutorials, the mask atlas, and where to begin."""

import html
import os
import re
import shutil
from collections import defaultdict
from pathlib import Path

from .. import mask_atlas
from . import atlas, side_by_side, tutorial
from .definitions import links
from .named_steps import PACKAGE, short
from .prose import docstring, inline, markdown
from .side_by_side import anchors

STYLE = Path(__file__).with_name("site.css")
# README's order, to be read by who wants to know how it works.
ORDER = (
    "tensor.py", "ops/layernorm.py", "ops/attention.py", "masks.py", "nn/transformer.py", "models/coca.py", "losses.py",
    "generate.py", "train.py",
)  # fmt: skip
ROOMS = {
    "": "The engine, and what stands beside it", "ops": "The mathematics: each op beside its derivative",
    "nn": "Layers", "models": "Papers, one file each", "kernels": "Running CUDA anywhere",
    "ladder": "Kernels for learning, one idea a rung", "tokenizers": "Words as tokens", "data": "Data",
    "metrics": "Scores", "weights": "Published weights", "exercises": "Exercises, and their grading",
    "explain": "The step-through page", "pages": "These pages",
}  # fmt: skip


def write_site(out, root=None):
    """Writes the site into the folder `out`; returns its files. What else is in the folder stays.

    root   the folder that has tutorials/, where there are any; the one that minivl/ is in if not given
    """
    site = Site(Path(out), PACKAGE.parent if root is None else Path(root))
    return site.write()


class Site:
    """Its pages, and where each is."""

    def __init__(self, out, root):
        self.out, self.root = out, root.resolve()
        self.tutorials = sorted((self.root / "tutorials").glob("[0-9][0-9]_*.py"))
        self.files = [
            path for path in sorted(PACKAGE.rglob("*"))
            if path.suffix in (".py", ".cu", ".cuh") and path.read_text(encoding="utf-8").strip()
        ]  # fmt: skip
        self.titles, self.written = {}, []

    def write(self):
        for path in self.files:
            self.write_source(path)
        for path in self.tutorials:
            self.write_tutorial(path)
        self.write_page("masks.html", "The mask atlas", self.atlas(), "wide")
        self.write_page("index.html", "minivl: read it", self.front(), "front")
        _write(self.folder("style.css"), STYLE.read_text(encoding="utf-8"))
        return self.written

    # ---- places ------------------------------------------------------------------------------------------------------

    def folder(self, place):
        path = self.out / place
        path.parent.mkdir(parents=True, exist_ok=True)
        self.written.append(path)
        return path

    def place(self, path):
        """The page of a file, from the top of the site: minivl/ops/attention.py.html."""
        return f"{short(path)}.html"

    def address(self, start):
        """A function (file, line) -> address, as seen from the page `start`."""
        up = "../" * start.count("/")
        known = set(self.files)

        def address(file, line=None):
            if file not in known:
                return None
            place = self.place(file)
            page = "" if place == start else up + place
            return page + (f"#L{line}" if line and line > 1 else "" if page else "#")

        return address

    def write_page(self, place, title, body, kind=""):
        up = "../" * place.count("/")
        back = "" if place == "index.html" else f'<a href="{up}index.html">minivl</a> · '
        atlas_link = "" if place == "masks.html" else f'<a href="{up}masks.html">the mask atlas</a>'
        crumbs = f"{back or '<b>minivl</b> · '}{atlas_link or 'the mask atlas'}"
        _write(
            self.folder(place),
            "<!doctype html>\n"
            f'<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
            f'initial-scale=1"><title>{title}</title><link rel="icon" href="data:,">'
            f'<link rel="stylesheet" href="{up}style.css"></head>\n'
            f'<body class="{kind}"><header><nav aria-label="Site">{crumbs}</nav></header>\n'
            f"<main>{body}</main></body></html>\n",
        )

    # ---- source ------------------------------------------------------------------------------------------------------

    def write_source(self, path):
        place = self.place(path)
        address = self.address(place)
        if path.suffix == ".py":
            told, sections = side_by_side.python_sections(path)
            leads = {at: address(*target) for at, target in links(path).items()}
            shown = side_by_side.python_lines(path, {at: to for at, to in leads.items() if to})
        else:
            told, sections = side_by_side.cuda_sections(path)
            shown = side_by_side.cuda_lines(path)
        title, subtitle, rest = _head(told, path)
        first = min((n for section in sections for n in (*section.lines, *section.said)), default=2)
        whole = title if path.parent.name == "models" else side_by_side.first_sentence(told)[0] or path.name
        self.titles[path] = html.escape(whole, quote=False)
        inner = [section.heading for section in sections if section.heading]
        parts = "".join(f'<li><a href="#{_slug(name)}">{html.escape(name)}</a></li>' for name in inner)
        head = (
            f'<p class="file">{short(path)}{self.neighbours(path, address)}</p>'
            f"<h1>{html.escape(title, quote=False)}</h1>"
            + (f'<p class="lead">{inline(subtitle)}</p>' if subtitle else "")
            + f'<div class="intro">{anchors(range(2, first))}{rest}</div>'
            + (f'<ol class="parts">{parts}</ol>' if len(inner) > 1 else "")
        )
        self.write_page(
            place, f"{html.escape(title)} · {path.name}", head + side_by_side.sections_html(sections, shown), "source"
        )

    def neighbours(self, path, address):
        """Links from an op to its kernels and back, and to what comes next in the reading order."""
        stem = re.split(r"[_.]", path.name)[0] if path.suffix != ".py" else path.stem
        beside = [
            other for other in self.files
            if other.parent == path.parent and other != path and path.parent.name == "ops"
            and (other.stem == path.stem or other.suffix != ".py" and other.stem.startswith(f"{path.stem}_")
                 or path.suffix != ".py" and other.name == f"{stem}.py")
        ]  # fmt: skip
        found = "".join(f' · <a href="{address(other)}">{other.name}</a>' for other in beside)
        name = short(path).removeprefix("minivl/")
        if name in ORDER and ORDER.index(name) + 1 < len(ORDER):
            later = ORDER[ORDER.index(name) + 1]
            found += f' · next to read: <a href="{address(PACKAGE / later)}">{later}</a>'
        return found

    # ---- tutorials, atlas, front -------------------------------------------------------------------------------------

    def write_tutorial(self, path):
        source = path.read_text(encoding="utf-8")
        place = f"tutorials/{path.stem}.html"
        address = self.address(place)

        def link(target):
            """Links to files of the repository lead to their pages; to other tutorials likewise."""
            if re.match(r"[a-z]+:|#", target):
                return target
            file, _, at = target.partition("#")
            whole = (path.parent / file).resolve()
            if whole.suffix == ".py" and whole.parent == path.parent:
                return f"{whole.stem}.html" + (f"#{at}" if at else "")
            if whole.is_file() and whole.suffix in (".png", ".jpg", ".svg", ".webp"):
                shutil.copyfile(whole, self.folder(f"tutorials/{whole.name}"))
                return whole.name
            inside = whole.is_relative_to(self.root)
            page = address(PACKAGE.parent / whole.relative_to(self.root)) if inside else None
            return page if page is None or not at else f"{page}#{at}"

        self.titles[path] = html.escape(tutorial.title(source, path), quote=False)
        self.write_page(place, self.titles[path], tutorial.body(source, link) + self.following(path), "tutorial")

    def following(self, path):
        """A link to the next tutorial."""
        later = self.tutorials[self.tutorials.index(path) + 1 :][:1]
        return "".join(
            f'<p class="file">next: <a href="{one.stem}.html">'
            f"{html.escape(tutorial.title(one.read_text(encoding='utf-8'), one), quote=False)}</a></p>"
            for one in later
        )

    def atlas(self):
        lead = (
            "Everything that tells one paper's attention from another's is a mask: a table that says, for each pair of "
            "a query (row) and a key (column), whether the one may look at the other. A filled square: it may. A "
            "crossed one: it may not, its score becomes −∞ and its weight exactly 0."
        )
        return f"<h1>The mask atlas</h1><p class=lead>{lead}</p>{atlas.atlas(self.address('masks.html'))}"

    def front(self):
        address = self.address("index.html")
        lead, letters = side_by_side.python_sections(PACKAGE / "__init__.py")[0].split("\n\n")[:2]
        lead = lead.partition(": ")[2]
        told = (
            f"<p class=lead>{html.escape(lead[0].upper() + lead[1:])} Every file stands here as it is: what it says on "
            "the left, what it does on the right, under its own line numbers; a name leads to where it is defined.</p>"
            f"{docstring(letters)}"
        )
        order = "".join(
            f"<li>{self.entry(PACKAGE / name, address)}</li>" for name in ORDER if PACKAGE / name in self.titles
        )
        papers = "".join(
            self.paper(path, address) for path in self.files if path.parent.name == "models" and path.stem[0] != "_"
        )
        lessons = "".join(
            f'<li><a href="tutorials/{path.stem}.html">{self.titles[path]}</a></li>' for path in self.tutorials
        )
        lessons = f'<h2>Tutorials</h2><ul class="lessons">{lessons}</ul>' if lessons else ""
        plates = "".join(
            f'<a class="plate" href="masks.html#{name}">{atlas.drawing(first_mask(atlas.examples(name)), name)}'
            f"<span>{name.replace('_', ' ')}</span></a>"
            for name in atlas.functions() if atlas.examples(name)
        )  # fmt: skip
        return (
            f'<h1>minivl, to be read</h1><div class="intro">{told}</div>'
            f'<h2>Read in this order</h2><ol class="order">{order}</ol>{lessons}'
            f'<h2>Papers</h2><div class="papers">{papers}</div>'
            f'<h2><a href="masks.html">Who may look at whom: the mask atlas</a></h2>'
            f"<p>The masks of {len(mask_atlas.PAPERS)} papers side by side, each proved by gradients, and what they "
            f'are made of:</p><div class="plates">{plates}</div>'
            f"<h2>Everything</h2>{self.everything(address)}"
        )

    def entry(self, path, address):
        return f'<a href="{address(path)}">{short(path).removeprefix("minivl/")}</a> <span>{self.titles[path]}</span>'

    def paper(self, path, address):
        """A card: what the paper is, and the idea in its own file's words."""
        text = side_by_side.python_sections(path)[0]
        _, subtitle, _ = _head(text, path)
        idea = text.split("\n\n")[1]
        return (
            f'<a class="card" href="{address(path)}"><b>{self.titles[path]}</b>'
            f"<small>{html.escape(subtitle, quote=False)}</small><span>{_text(markdown(idea))}</span></a>"
        )

    def everything(self, address):
        rooms = defaultdict(list)
        for path in self.files:
            parts = path.relative_to(PACKAGE).parts
            rooms[parts[0] if len(parts) > 1 else ""].append(path)
        order = [*(name for name in ROOMS if name in rooms), *(name for name in rooms if name not in ROOMS)]
        return "".join(
            f"<details {'open' if name in ('ops', 'models') else ''}><summary>{ROOMS.get(name, name)}"
            f"{f' <small>minivl/{name}/</small>' if name else ''}</summary><ul>"
            + "".join(f"<li>{self.entry(path, address)}</li>" for path in rooms[name])
            + "</ul></details>"
            for name in order
        )


def _write(path, text):
    """Beside and renamed, so that no reader sees half a page; not forced to the disc, for it is soon made again."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def first_mask(examples):
    """The first mask of the first example: the smallest drawing there is of it."""
    mask = examples[0][1]
    return mask.reshape(-1, *mask.shape[-2:])[0]


def _head(text, path):
    """(title, subtitle, the rest as HTML) of what a file says of itself at its top."""
    if path.parent.name == "models" and "   " in text.split("\n")[0]:  # title and number, then the authors
        first, _, rest = text.partition("\n\n")
        about, *authors = first.split("\n")
        title, *numbers = re.split(r"\s{3,}", about)
        return title.rstrip("."), " ".join(["".join(authors), *numbers]).strip(), docstring(rest)
    sentence, rest = side_by_side.first_sentence(text)
    title, _, subtitle = sentence.partition(": ")
    return title or path.name, subtitle[:1].upper() + subtitle[1:], docstring(rest) if rest.strip() else ""


def _slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _text(markup):
    return re.sub(r"<[^>]*>", "", markup)
