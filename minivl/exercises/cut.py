"""Exercises are cut out of minivl's own source: markers say what a student is to write.

    def softmax(x):
        ...
        # minivl:exercise ex03.a points=2 "softmax, without overflow"
        # minivl:hint the largest score can be taken out first: the result stays the same
        p = ...
        # minivl:end

`skeleton` takes the marked lines out and leaves a NotImplementedError. `transplant` goes the other way: of what a
student hands in it takes the bodies of the functions that hold a marked part, puts them into the reference file, and
looks at nothing else. `objections` reads such a body for what an answer has no need of, such as imports.
A CUDA file has the same markers behind //, and only the lines between them are taken.
"""

import ast
import builtins
import re
from dataclasses import dataclass

_BEGIN = re.compile(r'^(\s*)(?:#|//) minivl:exercise (\S+) points=(\d+) "(.*)"$')
_HINT = re.compile(r"^\s*(?:#|//) minivl:hint (.*)$")
_END = re.compile(r"^\s*(?:#|//) minivl:end$")
LARGEST = 200_000  # characters of a file that is handed in
_NOT_NEEDED = {"exec", "eval", "compile", "open", "input", "globals", "locals", "vars", "breakpoint", "exit", "quit"}
_NOT_NEEDED |= {"getattr", "setattr", "delattr", "help", "memoryview", "object", "super", "type"}
_MODULES = {"math", "numpy"}  # that an answer may import
# In lines of CUDA nothing is called but these, and what the reference calls; no other function of C can be named.
_CUDA_CALLS = {
    *("if", "for", "while", "switch", "return", "sizeof", "int", "unsigned", "float", "double", "bool", "size_t"),
    *(
        "A",
        "T",
        "max",
        "min",
        "fmaxf",
        "fminf",
        "exp",
        "expf",
        "__expf",
        "exp2f",
        "log",
        "logf",
        "__logf",
        "sqrt",
        "sqrtf",
    ),
    *("rsqrtf", "fabs", "fabsf", "fmaf", "__fdividef", "__frcp_rn", "isinf", "isnan", "lane", "warp", "warp_sum"),
    *("warp_max", "block_sum", "block_max", "__shfl_xor_sync", "__shfl_down_sync", "__shfl_up_sync", "__shfl_sync"),
    *("__ballot_sync", "__syncthreads", "__syncwarp"),
}
_NOT_IN_CUDA = re.compile(
    r"#|::|\?\?|\(\s*\*|\b(asm|__asm\w*|extern|struct|class|template|using|namespace|goto|operator)\b"
)


class SubmissionError(ValueError):
    """What was handed in cannot be judged: a file or function is missing, or is not what it must be."""


@dataclass(frozen=True)
class Part:
    """One thing to write. `first`, `last` are the lines of its markers, counted from 1."""

    id: str
    points: int
    title: str
    hints: tuple
    first: int
    last: int
    function: str  # its name, "Class.method" for a method; "" in a CUDA file

    @property
    def exercise(self):
        return self.id.partition(".")[0]


def parts_of(text, name="source"):
    """The Parts that are marked in a file.   SyntaxError: a marker without its end, or outside of any function."""
    lines, parts, open_ = text.splitlines(), [], None
    for number, line in enumerate(lines, 1):
        if begin := _BEGIN.match(line):
            if open_:
                raise SyntaxError(
                    f"{name}, line {number}: {open_[1][1]} begins before {open_[1][0]} has its minivl:end"
                )
            open_ = number, (begin[2], begin[2]), int(begin[3]), begin[4], []
        elif open_ and (hint := _HINT.match(line)):
            open_[4].append(hint[1])
        elif _END.match(line):
            if not open_:
                raise SyntaxError(f"{name}, line {number}: minivl:end without a minivl:exercise")
            first, (id, _), points, title, hints = open_
            parts.append((id, points, title, tuple(hints), first, number))
            open_ = None
    if open_:
        raise SyntaxError(f"{name}: {open_[1][0]} has no minivl:end")
    if not parts or "__global__" in text:
        return [Part(*part, "") for part in parts]
    functions = _functions(ast.parse(text))
    return [Part(*part, _around(functions, part, name)) for part in parts]


def _functions(tree):
    """{qualified name: node} of the functions and methods that do not stand in another function."""
    found = {}
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        for item in inside:
            if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found[item.name if item is node else f"{node.name}.{item.name}"] = item
    return found


def _around(functions, part, name):
    first, last = part[4], part[5]
    for function, node in functions.items():
        if node.lineno < first and last <= node.end_lineno + 1:
            return function
    raise SyntaxError(f"{name}, line {first}: {part[0]} does not stand in a function")


def skeleton(text, wanted=None):
    """The file as a student gets it: a NotImplementedError for each part whose exercise is `wanted` (None: all).

    Markers go too, those of the other exercises as well.
    """
    parts = {part.first: part for part in parts_of(text)}
    slashes = "//" if "__global__" in text else "#"
    out, skip_to, inside = [], 0, False
    for number, line in enumerate(text.splitlines(), 1):
        if number <= skip_to:
            continue
        part = parts.get(number)
        if part and (wanted is None or part.exercise == wanted):
            indent = line[: len(line) - len(line.lstrip())]
            out.append(f"{indent}{slashes} {part.id} ({part.points} points): {part.title}")
            if slashes == "#":
                out.append(f'{indent}raise NotImplementedError("{part.id}: {part.title}")')
            else:
                out += [f"{indent}// begin {part.id}", f"{indent}// end {part.id}"]
            skip_to = part.last
        elif not (_BEGIN.match(line) or _END.match(line) or (inside and _HINT.match(line))):
            out.append(line)
        inside = bool(_BEGIN.match(line)) or (inside and bool(_HINT.match(line)))
    return "\n".join(out) + "\n"


def transplant(reference, submitted, exercise, name="source"):
    """The reference file with the student's answers to the parts of an exercise in it. -> text, {part id: objections}

    SubmissionError where a function is missing, has another signature, or cannot be read.
    """
    if len(submitted) > LARGEST:
        raise SubmissionError(f"{name}: {len(submitted):,} characters, must be at most {LARGEST:,}")
    parts = [part for part in parts_of(reference, name) if part.exercise == exercise]
    return (_transplant_cuda if parts and not parts[0].function else _transplant)(reference, submitted, parts, name)


def _transplant(reference, submitted, parts, name):
    try:
        theirs = _functions(ast.parse(submitted))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SubmissionError(f"{name} is not Python: {error}") from None
    ours, lines, found = _functions(ast.parse(reference)), reference.splitlines(), {}
    their_lines = submitted.splitlines()
    for function in sorted({part.function for part in parts}, key=lambda f: -ours[f].lineno):
        node = theirs.get(function)
        if node is None:
            raise SubmissionError(f"{name} has no function {function}")
        if ast.dump(node.args) != ast.dump(ours[function].args):
            raise SubmissionError(f"{name}: {function} has other arguments than it was given with")
        for part in parts:
            if part.function == function:
                found[part.id] = objections(node, ours[function], name)
        first, last = _body(ours[function])
        last = max([last, *(part.last for part in parts if part.function == function)])
        lines[first - 1 : last] = _their_body(node, ours[function], their_lines, name)
    return "\n".join(lines) + "\n", found


def _body(node):
    """The first and last line of a function's statements, its docstring left out."""
    statements = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
    return statements[0].lineno, statements[-1].end_lineno


def _their_body(node, ours, lines, name):
    first, last = _body(node)
    if first == node.lineno or node.body[0].col_offset != ours.body[0].col_offset:
        raise SubmissionError(f"{name}: {node.name} must be indented as it was given, its first line below the def")
    return lines[first - 1 : last]


def _transplant_cuda(reference, submitted, parts, name):
    lines, found = reference.splitlines(), {}
    for part in sorted(parts, key=lambda part: -part.first):
        pattern = rf"^[ \t]*// begin {re.escape(part.id)}\n(.*?)^[ \t]*// end {re.escape(part.id)}$"
        answer = re.search(pattern, submitted, re.M | re.S)
        if answer is None:
            raise SubmissionError(f"{name} has no lines '// begin {part.id}' and '// end {part.id}'")
        body = answer[1].splitlines()
        ours = set(re.findall(r"(\w+)\s*\(", "\n".join(lines[part.first : part.last])))
        bad = []
        for i, line in enumerate(body, 1):
            code = re.sub(r"//.*", "", line)
            names = set(re.findall(r"(\w+)\s*\(", code)) - _CUDA_CALLS - ours
            if (other := _NOT_IN_CUDA.search(code)) or names:
                bad.append(f"line {i} of {part.id}: {', '.join(sorted(names)) or other[0]!r} is not needed")
        depth = 0
        for c in re.sub(r"//[^\n]*|/\*.*?\*/", "", answer[1], flags=re.S):
            depth += (c == "{") - (c == "}")
            if depth < 0:
                bad.append(f"{part.id}: a closing brace without its opening one")
                break
        found[part.id] = bad
        lines[part.first - 1 : part.last] = body if body and not bad else [""]
        if not "".join(body).strip():
            found[part.id] = None  # nothing was written
    return "\n".join(lines) + "\n", found


def objections(node, reference, name="source"):
    """What stands in a student's function that no answer has need of: a list of sentences, each with its line.

    node, reference   ast of the student's function, and of ours: what ours uses is allowed, and so are builtins such as
                      `sum`, what the function itself defines, and imports of math and numpy
    """
    ours, free, bad = _names(reference), {"np", "numpy", "math", "NotImplementedError"}, []
    own = _defined(node)
    for item in ast.walk(node):
        line = getattr(item, "lineno", node.lineno)
        if isinstance(item, (ast.Import, ast.ImportFrom)):
            modules = [a.name for a in item.names] if isinstance(item, ast.Import) else [item.module or "."]
            bad += [(line, f"import of {m}") for m in modules if m.partition(".")[0] not in _MODULES]
        elif isinstance(item, (ast.Global, ast.ClassDef, ast.AsyncFunctionDef)):
            bad.append((line, type(item).__name__.lower().removesuffix("def")))
        elif isinstance(item, ast.Name):
            known = item.id in own | ours | free or (hasattr(builtins, item.id) and item.id not in _NOT_NEEDED)
            if not known or (item.id.startswith("__") and item.id not in ours):
                bad.append((line, f"the name {item.id}"))
        elif isinstance(item, ast.Attribute):
            if (
                item.attr.startswith("_")
                and item.attr not in ours
                or item.attr in ("backward", "derivative", "f_globals")
                and item.attr not in ours
            ):
                bad.append((line, f".{item.attr}"))
            if (
                isinstance(item.ctx, (ast.Store, ast.Del))
                and _root(item) not in _arguments(reference)
                and _root(item) not in own
            ):
                bad.append((line, f"a change of {ast.unparse(item)}"))
    return [f"{name}, line {line}: {what} is not needed" for line, what in sorted(set(bad))]


def _names(node):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)
    }


def _arguments(node):
    a = node.args
    return {x.arg for x in [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])]}


def _defined(node):
    """Names that a function gives a value to: arguments, assignments, loops, inner functions and their arguments."""
    found = set()
    for item in ast.walk(node):
        if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store):
            found.add(item.id)
        elif isinstance(item, (ast.FunctionDef, ast.Lambda)):
            found |= _arguments(item) | ({item.name} if isinstance(item, ast.FunctionDef) else set())
        elif isinstance(item, ast.alias):
            found.add((item.asname or item.name).partition(".")[0])
        elif isinstance(item, ast.ExceptHandler) and item.name:
            found.add(item.name)
    return found


def _root(node):
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.value if not isinstance(node, ast.Call) else node.func
    return node.id if isinstance(node, ast.Name) else ""
