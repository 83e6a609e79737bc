"""A source file as a page to read: what it says on the left, what it does on the right, under its true line numbers."""

import ast
import re
import textwrap
import tokenize
from dataclasses import dataclass, field

from . import highlight
from .definitions import file_of
from .named_steps import is_mark, named_steps
from .prose import docstring, inline
from .tex import mathml

_RULE = re.compile(r"-{4,} *(.*?) *-{4,}")


@dataclass
class Section:
    """Words, the lines that say them, and the lines that they are about. `heading`: of a part of the file."""

    words: str = ""
    said: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    heading: str = ""


def python_sections(path):
    """(the docstring of the file, its Sections). Each line is in one section, or is among the words of one."""
    source = path.read_text(encoding="utf-8")
    lines, tree = source.splitlines(), file_of(path).tree
    docs, begins = _docstrings(tree), {_begin(node) for node in tree.body}
    comments, steps = _comments(source), {step.line: step for step in named_steps(path)}
    _, start, _ = docs.pop("module", ("", 0, 0))
    first = docs_end = 0
    if start:
        first, docs_end = start, tree.body[0].end_lineno
    sections, i = [Section()], 1
    while i <= len(lines):
        if first <= i <= docs_end:
            i = docs_end + 1
        elif i in steps:
            step = steps[i]
            words = f"<h3>{inline(step.title)}</h3>{mathml(step.tex, block=True)}"
            sections.append(Section(words, [i]))
            i += 1
        elif is_mark(lines[i - 1]):
            sections[-1].said.append(i)
            i += 1
        elif i in comments:
            begin = i
            while i in comments and i not in steps and not is_mark(lines[i - 1]):
                i += 1
            sections.append(_of_comment([comments[n] for n in range(begin, i)], list(range(begin, i))))
        elif i in docs:
            text, begin, end = docs[i]
            sections.append(Section(docstring(text), list(range(begin, end + 1)), list(range(i, begin))))
            i = end + 1
        else:
            if i in begins:
                sections.append(Section())
            sections[-1].lines.append(i)
            i += 1
    return (ast.get_docstring(tree) or ""), _kept(sections, lines)


def _docstrings(tree):
    """{line of the def or its decorator: (docstring, its first line, its last)} of functions and classes."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)) and (text := ast.get_docstring(node)):
            first = node.body[0]
            if isinstance(node, ast.Module):
                found["module"] = text, first.lineno, first.end_lineno
            else:
                found[_begin(node)] = text, first.lineno, first.end_lineno
    return found


def _begin(node):
    """The first line of a function or class, its decorators included; None of anything else."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return None


def _comments(source):
    """{line: text} of comments that have a line to themselves."""
    found = {}
    for token in highlight.tokens(source):
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
            found[token.start[0]] = token.string.removeprefix("#").removeprefix(" ")
    return found


def _of_comment(texts, said):
    if len(texts) == 1 and (match := _RULE.fullmatch(texts[0])):
        return Section(heading=match[1], said=said)
    return Section(docstring(textwrap.dedent("\n".join(texts))), said)


def _kept(sections, lines):
    """Sections without empty lines at either end, and without those that say and do nothing."""
    for section in sections:
        while section.lines and not lines[section.lines[0] - 1].strip():
            section.lines.pop(0)
        while section.lines and not lines[section.lines[-1] - 1].strip():
            section.lines.pop()
    return [section for section in sections if section.words or section.lines or section.heading]


def cuda_sections(path):
    """The same of a .cu or .cuh file: its comments of whole lines are the words."""
    lines = path.read_text(encoding="utf-8").splitlines()
    sections, i = [Section()], 0
    head = ""
    while i < len(lines):
        if is_mark(lines[i]):
            sections[-1].said.append(i + 1)
            i += 1
        elif lines[i].lstrip().startswith("//"):
            begin = i
            while i < len(lines) and lines[i].lstrip().startswith("//") and not is_mark(lines[i]):
                i += 1
            texts = [line.lstrip().removeprefix("//").removeprefix(" ") for line in lines[begin:i]]
            if begin == 0:
                head = _head_of_kernel(texts)
            else:
                sections.append(_of_comment(texts, list(range(begin + 1, i + 1))))
        else:
            sections[-1].lines.append(i + 1)
            i += 1
    return head, _kept(sections, lines)


def _head_of_kernel(texts):
    """The head of a .cu with what the compiler is told of it, `dtypes: ...`, as a list behind the words."""
    told = [re.fullmatch(r"(dtypes|defines|archs): +(.+)", text) for text in texts]
    words = [text for text, match in zip(texts, told, strict=True) if not match]
    return "\n".join([*words, "", *(f"{match[1]:<10}{match[2]}" for match in told if match)])


def sections_html(sections, shown):
    """Sections as HTML.   shown: the file's lines as HTML"""
    return "\n".join(_section_html(section, shown) for section in sections)


def _section_html(section, shown):
    if section.heading:
        slug = re.sub(r"[^a-z0-9]+", "-", section.heading.lower()).strip("-")
        heading = f'<h2 id="{slug}">{anchors(section.said)}{inline(section.heading)}</h2>'
        return heading + (_section_html(Section(lines=section.lines), shown) if section.lines else "")
    code = "".join(_line(number, shown[number - 1]) for number in section.lines)
    first = section.lines[0] if section.lines else 0
    code = f'<pre tabindex="0" role="group" aria-label="lines from {first}">{code}</pre>' if code else ""
    words = anchors(section.said) + section.words
    return f'<section class="pair"><div class="words">{words}</div><div class="code">{code}</div></section>'


def anchors(lines):
    """Places that links to lines lead to where the lines are not code but words."""
    return "".join(f'<i id="L{line}"></i>' for line in lines)


def _line(number, text):
    return (
        f'<span class="l" id="L{number}"><a class="no" href="#L{number}">{number}</a><span>{text or " "}</span></span>'
    )


def python_lines(path, where):
    """Lines of a Python file as HTML, names linked.   where: {(line, column): address}"""
    return highlight.python(path.read_text(encoding="utf-8"), lambda name, line, column: where.get((line, column)))


def cuda_lines(path):
    return highlight.cuda(path.read_text(encoding="utf-8"))


def first_sentence(text):
    """The first sentence of a docstring, and what comes after it."""
    first, *rest = re.split(r"(?<=[.:])\s*\n\n|(?<=\.)\s|\n\n|   ", text.strip(), maxsplit=1)
    return " ".join(first.split()).rstrip("."), (rest[0] if rest else "").strip("\n")
