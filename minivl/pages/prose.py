"""Prose as HTML: docstrings as this house writes them, and the part of Markdown that tutorials use.

A docstring has paragraphs, drawings, and lists of two columns:

    q       (B, H, Tq, D)                        a name or a formula, three spaces or more, and what it is; a line that
    k, v    (B, H, Tk, D); v may be wider        starts far to the right goes on with what stands above it
"""

import html
import re

from .tex import mathml

_INLINE = re.compile(
    r"`(?P<code>[^`]+)`|\$\$(?P<block>.+?)\$\$|\$(?P<math>[^$\n]+)\$|\*\*(?P<strong>[^*]+)\*\*"
    r"|(?<![\w*])\*(?P<em>[^*\s][^*]*)\*(?![\w*])|(?P<picture>!?)\[(?P<label>[^\]]*)\]\((?P<target>[^)\s]+)\)",
    re.DOTALL,
)
_HEADS = {"paper", "where we differ"}  # what the first row of a table begins with, if it says what the columns are
_ROW = re.compile(r"(\S(?:.*?\S)?)\s{2,}(\S.*)")


def inline(text, link=None):
    """`code`, **strong**, *emphasis*, $formulas$ and [links](target).   link(target) -> where it leads here, or None"""
    out, end = [], 0
    for match in _INLINE.finditer(text):
        out.append(html.escape(text[end : match.start()], quote=False))
        out.append(_inline_part(match, link))
        end = match.end()
    return "".join(out) + html.escape(text[end:], quote=False)


def _inline_part(match, link):
    found = match.groupdict()
    if found["code"] is not None:
        return f"<code>{html.escape(found['code'], quote=False)}</code>"
    if found["block"] or found["math"]:
        return mathml(found["block"] or found["math"], block=bool(found["block"]))
    for name in ("strong", "em"):
        if found[name]:
            return f"<{name}>{inline(found[name], link)}</{name}>"
    target = link(found["target"]) if link else found["target"]
    if found["picture"]:
        return f'<img src="{html.escape(target or "")}" alt="{html.escape(found["label"])}">' if target else ""
    label = inline(found["label"], link)
    return f'<a href="{html.escape(target)}">{label}</a>' if target else label


# ---- docstrings ------------------------------------------------------------------------------------------------------


def _nowhere(target):
    """Docstrings have no links: what looks like one is an example."""


def docstring(text):
    """A docstring, already dedented, as HTML."""
    blocks = re.split(r"\n\s*\n", text.strip("\n"))
    return "\n".join(_docstring_block(block) for block in _joined(blocks) if block.strip())


def _joined(blocks):
    """Drawings that a blank line cuts in two are put together again."""
    out = []
    for block in blocks:
        if out and _is_drawing(out[-1]) and _is_drawing(block):
            out[-1] += "\n\n" + block
        else:
            out.append(block)
    return out


def _is_drawing(block):
    lines = block.split("\n")
    return all(line.startswith("  ") for line in lines) and _rows_of(block) is None


def _docstring_block(block):
    rows = _rows_of(block)
    if rows is not None:
        head = " class=headed" if rows[0][0] in _HEADS else ""
        cells = "".join(f"<dt>{html.escape(a, quote=False)}</dt><dd>{inline(b, _nowhere)}</dd>" for a, b in rows)
        return f"<dl{head}>{cells}</dl>"
    if any(line.startswith("  ") for line in block.split("\n")) or re.search(r"\S {5,}\S.*\n.*\S {5,}\S", block):
        return f'<pre tabindex="0" role="group" aria-label="drawing">{html.escape(block, quote=False)}</pre>'
    lead, *rest = re.split(r"   +", " ".join(block.split("\n")))  # shapes stand apart from the sentence before them
    apart = "".join(f" <span class=apart>{inline(part, _nowhere)}</span>" for part in rest)
    return f"<p>{inline(lead, _nowhere)}{apart}</p>"


def _rows_of(block):
    """[(name, what it is)] of a list in two columns; None where the block is something else."""
    lines, rows = block.split("\n"), []
    indents = [len(line) - len(line.lstrip()) for line in lines]
    for line, indent in zip(lines, indents, strict=True):
        match = _ROW.fullmatch(line.strip())
        if match and indent == min(indents):
            rows.append([match[1], re.sub(r"\s{2,}", " · ", match[2])])
        elif rows and indent > min(indents) + 3:
            rows[-1][1] += " " + line.strip()
        else:
            return None
    starts = {line.index(match[2], len(match[1])) for line in lines if (match := _ROW.fullmatch(line.rstrip()))}
    one_column = len(starts) <= 2 or min(indents) == 0
    enough = len(rows) > 1 or (rows and re.fullmatch(r"[\w, ]{1,24}", rows[0][0]))
    return rows if enough and one_column and not re.search(r"[|+\\/]--|\[ ", block) else None


# ---- Markdown --------------------------------------------------------------------------------------------------------


def markdown(text, link=None):
    """Headings, paragraphs, lists, tables, quotations and fenced code."""
    fences = []

    def kept(match):
        fences.append(f"<pre><code>{html.escape(match[1], quote=False)}</code></pre>")
        return f"\n\n\0{len(fences) - 1}\0\n\n"

    text = re.sub(r"^```[^\n]*\n(.*?)^```$", kept, text, flags=re.DOTALL | re.MULTILINE)
    blocks = [_markdown_block(block.strip("\n"), link) for block in re.split(r"\n\s*\n", text) if block.strip()]
    return re.sub("<p>\0(\\d+)\0</p>", lambda match: fences[int(match[1])], "\n".join(blocks))


def _markdown_block(block, link):
    lines = block.split("\n")
    if match := re.fullmatch(r"(#{1,6})\s+(.*)", lines[0]):
        level, rest = len(match[1]), "\n".join(lines[1:])
        after = "\n" + _markdown_block(rest, link) if rest.strip() else ""
        return f"<h{level}>{inline(match[2], link)}</h{level}>{after}"
    if all(line.startswith("|") for line in lines) and len(lines) > 1:
        return _markdown_table(lines, link)
    if all(line.startswith(">") for line in lines):
        return f"<blockquote>{_markdown_block(chr(10).join(line[1:].lstrip() for line in lines), link)}</blockquote>"
    if match := re.match(r"(?:[-*]|(\d+)\.)\s+", lines[0]):
        tag, items = ("ol" if match[1] else "ul"), re.split(r"^(?:[-*]|\d+\.)\s+", block, flags=re.MULTILINE)[1:]
        return f"<{tag}>{''.join(f'<li>{inline(item.strip(), link)}</li>' for item in items)}</{tag}>"
    if all(line.startswith("    ") for line in lines):
        return f"<pre><code>{html.escape(chr(10).join(line[4:] for line in lines), quote=False)}</code></pre>"
    apart = re.split(r"\n(?=\*\*[^*\n]+\.\*\* )", block)  # a line that begins with **Goal.** begins something new
    return "".join(f"<p>{inline(part, link)}</p>" for part in apart)


def _markdown_table(lines, link):
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    head, body = rows[0], rows[2:] if set("".join(rows[1])) <= set("-: ") else rows[1:]
    top = "".join(f"<th>{inline(cell, link)}</th>" for cell in head)
    rest = "".join(f"<tr>{''.join(f'<td>{inline(cell, link)}</td>' for cell in row)}</tr>" for row in body)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{rest}</tbody></table>"
