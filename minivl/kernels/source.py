"""The text of a kernel: where it lies, what it includes, which dtypes it serves.

Our own headers are put into the text itself, because CuPy keeps compiled kernels by their text alone and would not
notice that a header has changed. `#line` keeps the line numbers of every message those of the files.
"""

import re
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
INCLUDE = Path(__file__).parent / "include"
ACCUMULATORS = {"float32": "float", "float64": "double", "bfloat16": "float"}
STORAGE = {"float32": "float", "float64": "double", "bfloat16": "__nv_bfloat16"}

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"]+)[>"].*$', re.MULTILINE)
_PRAGMA_ONCE = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+once.*$", re.MULTILINE)
_HEAD = re.compile(r"^//[ \t]*(dtypes|archs|defines):(.*)$", re.MULTILINE)


def find(name):
    """The file of a kernel: 'layernorm' is minivl/ops/layernorm.cu, 'ladder/softmax_1_naive' that of minivl/ladder.

    A path that ends in .cu is taken as it is.
    """
    text = str(name)
    if text.endswith(".cu"):
        path = Path(name)
    elif text.startswith("ladder/"):
        path = PACKAGE / f"{text}.cu"
    else:
        path = PACKAGE / "ops" / f"{text}.cu"
    if not path.is_file():
        raise FileNotFoundError(f"kernel {text!r}: there is no file {path}; shipped are {', '.join(shipped())}")
    return path


def shipped():
    """The names of all kernels that minivl brings, those of the ladder last."""
    ops = [path.stem for path in sorted((PACKAGE / "ops").glob("*.cu"))]
    return ops + [f"ladder/{path.stem}" for path in sorted((PACKAGE / "ladder").glob("*.cu"))]


def _line(path, what):
    """What follows in the line `// WHAT: ...` of a .cu file, or None."""
    return dict(_HEAD.findall(path.read_text(encoding="utf-8"))).get(what)


def dtypes(path):
    """The dtypes that a file serves: of its line `// dtypes: ...`, else all three."""
    line = _line(path, "dtypes")
    named = list(STORAGE) if line is None else line.split()
    if unknown := set(named) - set(STORAGE):
        unknown = ", ".join(sorted(unknown))
        raise ValueError(f"{path.name}: its line `// dtypes:` names {unknown}, must be of {', '.join(STORAGE)}")
    return named


def archs(path):
    """The architectures of GPUs that the gate compiles for: of a line `// archs: ...`, else sm_80 and sm_90."""
    return (_line(path, "archs") or "sm_80 sm_90").split()


def variants(path):
    """The `defines` that a file is compiled with: of a line `// defines: WIDTH=32, WIDTH=64 TILE=16`, two of them."""
    settings = (_line(path, "defines") or "").split(",")
    return [dict(setting.split("=", 1) for setting in one.split()) for one in settings]


def read(path, dtype, defines=()):
    """The whole text to compile: T and A for `dtype`, what `defines` says, the file with all that it includes."""
    if dtype not in dtypes(path):
        raise ValueError(f"{path.name}: dtype is {dtype!r}, must be one of {', '.join(dtypes(path))}")
    settings = {
        "MINIVL_T": STORAGE[dtype],
        "MINIVL_A": ACCUMULATORS[dtype],
        f"MINIVL_{dtype.upper()}": 1,
        **dict(defines),
    }
    head = "".join(f"#define {name} {_word(name, value)}\n" for name, value in settings.items())
    return head + _inlined(path, set())


def _word(name, value):
    return int(value) if isinstance(value, bool) else value


def _inlined(path, seen):
    """The file with each `#include "..."` replaced by that file, once."""
    seen.add(path.name)
    text = _PRAGMA_ONCE.sub("", path.read_text(encoding="utf-8"))  # its line stays, empty

    def insert(match):
        line = text.count("\n", 0, match.start()) + 1
        if match[1] == "<":
            raise ValueError(f"{path.name}:{line} includes <{match[2]}>: kernels include only files of ours, in quotes")
        if Path(match[2]).name in seen:
            return ""
        for folder in (path.parent, INCLUDE):
            if (folder / match[2]).is_file():
                return f'{_inlined(folder / match[2], seen)}\n#line {line + 1} "{path.name}"'
        raise FileNotFoundError(
            f'{path.name}:{line} includes "{match[2]}", which is neither beside it nor in {INCLUDE}'
        )

    return f'#line 1 "{path.name}"\n' + _INCLUDE.sub(insert, text)


def without_comments(text):
    """The same text with comments as blanks, every line where it was."""

    def blank(match):
        return match[0] if match[0][0] in "\"'" else re.sub(r"[^\n]", " ", match[0])

    return re.sub(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', blank, text, flags=re.DOTALL)
