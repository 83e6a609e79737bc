"""Slides of the tutorials: python tutorials/course/slides.py [NN ...] [--out FILE]

Every cell that begins with `# %% [slide]` becomes a slide, in one HTML file that needs no network: arrow keys, Home and
End turn the pages, and printing gives one slide a page.
"""

import argparse
import html
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parent.parent))  # runs from a checkout, too
import to_notebook  # noqa: E402

from minivl.pages.prose import markdown  # noqa: E402

_CELL = re.compile(r"^# %%(.*)$", re.MULTILINE)

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; background: #fff; color: #1a1a1a; font: 1.5rem/1.5 system-ui, sans-serif; }}
section {{ box-sizing: border-box; min-height: 100vh; padding: 6vh 8vw; position: relative; }}
h1, h2 {{ font-size: 2.2rem; line-height: 1.2; margin: 0 0 1.5rem; }}
pre, code {{ font-family: ui-monospace, monospace; font-size: 0.85em; background: #f2f2f2; }}
pre {{ padding: 0.8em; white-space: pre-wrap; }}
table {{ border-collapse: collapse; }}
th, td {{ border-bottom: 1px solid #8a8a8a; padding: 0.3em 1em 0.3em 0; text-align: left; vertical-align: top; }}
footer {{ position: absolute; bottom: 3vh; left: 8vw; right: 8vw; font-size: 1rem; color: #4a4a4a; }}
@media screen {{ .js section:not(.here) {{ display: none; }} }}
@page {{ size: 297mm 167mm; margin: 0; }}
@media print {{ section {{ min-height: 0; height: 166mm; break-after: page; }} }}
</style>
</head>
<body>
{slides}
<script>
const slides = [...document.querySelectorAll("section")];
let here = Math.max(0, slides.findIndex(s => "#" + s.id === location.hash));
function turn(to) {{
  here = Math.min(slides.length - 1, Math.max(0, to));
  slides.forEach((s, i) => s.classList.toggle("here", i === here));
  history.replaceState(null, "", "#" + slides[here].id);
}}
addEventListener("keydown", event => {{
  const steps = {{ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1}};
  const to = event.key === "Home" ? 0 : event.key === "End" ? slides.length - 1 : here + (steps[event.key] || NaN);
  if (to === to) {{ event.preventDefault(); turn(to); }}
}});
addEventListener("click", event => {{ if (!event.target.closest("a")) turn(here + 1); }});
document.documentElement.classList.add("js");
turn(here);
</script>
</body>
</html>
"""


def slides_of(source):
    """The Markdown of each tagged cell of a tutorial."""
    marks = list(_CELL.finditer(source))
    ends = [mark.start() for mark in marks[1:]] + [len(source)]
    found = []
    for mark, end in zip(marks, ends, strict=True):
        if "[slide]" in mark[1]:
            lines = [re.sub(r"^# ?", "", line) for line in source[mark.end() : end].split("\n") if line.startswith("#")]
            found.append("\n".join(lines).strip("\n"))
    return found


def title_of(source):
    return re.search(r"^# # (.+)$", source, re.MULTILINE)[1].strip()


def as_html(text):
    """Markdown as HTML. Links are left out: a slide leads nowhere."""
    return markdown(text, lambda target: None)


def page(paths):
    """One HTML file with the slides of the tutorials, each tutorial's title before its own."""
    made = []
    for path in paths:
        source = path.read_text(encoding="utf-8")
        found, title = slides_of(source), title_of(source)
        for n, text in enumerate(found, 1):
            foot = f"<footer>{html.escape(title)} &middot; {n} of {len(found)}</footer>"
            made.append(f'<section id="{path.stem[:2]}-{n}">\n{as_html(text)}\n{foot}\n</section>')
    if not made:
        raise ValueError("no tutorial named here has a cell that begins with `# %% [slide]`")
    return PAGE.format(title="minivl: slides of the tutorials", slides="\n".join(made))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("numbers", nargs="*", help="numbers of tutorials, such as 12 13 (default: all)")
    parser.add_argument("--out", type=Path, default=HERE.parent / "out" / "slides.html", help="the file to write")
    options = parser.parse_args()
    every = to_notebook.tutorials()
    if unknown := set(options.numbers) - {path.stem[:2] for path in every}:
        parser.error(f"there is no tutorial {', '.join(sorted(unknown))}")
    text = page([path for path in every if not options.numbers or path.stem[:2] in options.numbers])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    beside = options.out.with_name(options.out.name + ".partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
