"""Source as HTML: keywords, strings, numbers and comments told apart, and names linked to where they are defined."""

import functools
import html
import io
import keyword
import re
import tokenize

_SKIPPED = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
_STRINGS = {tokenize.STRING} | {
    getattr(tokenize, name) for name in ("FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END") if hasattr(tokenize, name)
}
_CUDA_WORDS = {
    "auto", "bool", "break", "case", "char", "class", "const", "constexpr", "continue", "default", "do",
    "double", "else", "enum", "extern", "false", "float", "for", "if", "inline", "int", "long", "namespace",
    "nullptr", "return", "short", "signed", "sizeof", "static", "struct", "switch", "template", "true",
    "typedef", "typename", "union", "unsigned", "using", "void", "volatile", "while", "__global__",
    "__device__", "__host__", "__shared__", "__restrict__", "__launch_bounds__", "__forceinline__",
    "__constant__", "size_t", "int64_t", "uint32_t", "__syncthreads", "__syncwarp", "threadIdx", "blockIdx",
    "blockDim", "gridDim",
}  # fmt: skip
_CUDA = re.compile(
    r"(?P<c>//[^\n]*|/\*.*?\*/)|(?P<s>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')|(?P<p>^[ \t]*\#[^\n]*)"
    r"|(?P<n>\b\d[\w.]*)|(?P<w>[A-Za-z_]\w*)",
    re.DOTALL | re.MULTILINE,
)


@functools.lru_cache(maxsize=4)
def tokens(source):
    """The tokens of a Python source."""
    return tuple(tokenize.generate_tokens(io.StringIO(source).readline))


def python(source, link=None):
    """Lines of Python as HTML.   link(name, line, column) -> where a name leads, or None"""
    lines = source.splitlines()
    out, done = [[] for _ in lines], (1, 0)  # how far the source has been copied
    for token in tokens(source):
        if token.type in _SKIPPED:
            continue
        (row, column), text = token.start, token.string
        if row != done[0]:
            done = (row, 0)
        out[row - 1].append(html.escape(lines[row - 1][done[1] : column], quote=False))
        spans = _spans(_python_class(token), text, link and token.type == tokenize.NAME and link(text, row, column))
        if token.type in _STRINGS:  # braces are doubled in the source of an f-string, but not in its tokens
            end_row, end_column = token.end
            source_lines = lines[row - 1 : end_row]
            source_lines[-1] = source_lines[-1][:end_column]
            source_lines[0] = source_lines[0][column:]
            spans = _spans("s", "\n".join(source_lines), None)
        for offset, span in enumerate(spans):
            out[row - 1 + offset].append(span)
        done = token.end
    return ["".join(parts) for parts in out]


def _python_class(token):
    if token.type == tokenize.NAME:
        return "k" if keyword.iskeyword(token.string) else ""
    return {tokenize.NUMBER: "n", tokenize.COMMENT: "c"}.get(token.type, "s" if token.type in _STRINGS else "")


def cuda(source, link=None):
    """Lines of CUDA C++ as HTML."""
    whole, end = [], 0
    for match in _CUDA.finditer(source):
        whole.append(html.escape(source[end : match.start()], quote=False))
        kind, text = match.lastgroup, match.group()
        kind = {"w": "k" if text in _CUDA_WORDS else "", "p": "k"}.get(kind, kind)
        leads = link(text, source.count("\n", 0, match.start()) + 1, 0) if link and not kind else None
        whole.append("\n".join(_spans(kind, text, leads)))
        end = match.end()
    whole.append(html.escape(source[end:], quote=False))
    return "".join(whole).splitlines()


def _spans(kind, text, href):
    """The text of one token, a piece of HTML for each of its lines."""
    pieces = [html.escape(line, quote=False) for line in text.split("\n")]
    if href:
        return [f'<a href="{html.escape(href)}">{piece}</a>' for piece in pieces]
    return [f"<span class={kind}>{piece}</span>" if kind and piece else piece for piece in pieces]
