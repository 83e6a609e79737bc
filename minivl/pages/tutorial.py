"""Tutorials: Python in percent format (`# %%`, `# %% [markdown]`) as pages, formulas set, code with its lines.

Nothing is run here. What a tutorial prints, it tells whoever runs it; what it drew when it was last run stands below
the cell that drew it.
"""

import re

from . import highlight
from .prose import markdown

_ONLY_A_DOCSTRING = re.compile(r'\s*(?:r?"""(?:(?!""").)*"""\s*)?', re.DOTALL)
_CELL = re.compile(r"^# %%(.*)$", re.MULTILINE)
_SHOWN = re.compile(r'^show\(.*"(\w+)"\)$', re.MULTILINE)  # a picture, which show.py saves under tutorials/out/


def cells(source):
    """[(kind, text, first line)]: kind is "markdown" or "code"; the text of Markdown is without its # signs."""
    marks = list(_CELL.finditer(source))
    ends = [mark.start() for mark in marks[1:]] + [len(source)]
    found = []
    head = source[: marks[0].start()] if marks else source
    if not _ONLY_A_DOCSTRING.fullmatch(head):  # for whoever opens the file; a page has its title
        found.append(("code", head.strip("\n"), 1))
    for mark, end in zip(marks, ends, strict=True):
        text = source[mark.end() : end].strip("\n")
        line = source.count("\n", 0, mark.end()) + 2
        if "[markdown]" in mark[1] or "[slide]" in mark[1]:
            lines = [re.sub(r"^# ?", "", one) for one in text.split("\n")]
            found.append(("markdown", "\n".join(lines), line))
        elif text.strip():
            found.append(("code", text, line))
    return found


def title(source, path):
    """The first heading, or the name of the file."""
    match = re.search(r"^# # (.+)$", source, re.MULTILINE)
    return match[1].strip() if match else path.stem.replace("_", " ")


def body(source, link):
    """The cells as HTML.   link(target) -> where a link leads from here"""
    parts, shown = [], highlight.python(source)
    for kind, text, line in cells(source):
        if kind == "markdown":
            parts.append(f'<div class="words">{markdown(text, link)}</div>')
        else:
            rows = range(line, line + text.count("\n") + 1)
            code = "".join(
                f'<span class="l" id="L{n}"><a class="no" href="#L{n}">{n}</a><span>{shown[n - 1] or " "}</span></span>'
                for n in rows
            )
            parts.append(f'<pre tabindex="0" role="group" aria-label="lines from {line}">{code}</pre>')
            drawn = ((name, link(f"out/{name}.png")) for name in _SHOWN.findall(text))
            parts += [
                f'<img src="{at}" alt="what this cell draws: {name[3:].replace("_", " ")}">' for name, at in drawn if at
            ]
    return "\n".join(parts)
