"""Where every name is defined: so that a name in a page of source leads to its definition.

Only what the source says itself is followed: imports, the top level of files, and methods of the class that one is in.
"""

import ast
import functools
from dataclasses import dataclass, field
from pathlib import Path

from .named_steps import PACKAGE


@dataclass
class File:
    """What a source file defines and what it calls things by.

    lines     {name, or Class.method: line}
    imported  {name here: (file, name there, or None for the whole file)}
    """

    path: Path
    tree: ast.Module
    lines: dict = field(default_factory=dict)
    imported: dict = field(default_factory=dict)


@functools.cache
def file_of(path):
    """The File of a path of the package."""
    found = File(path, ast.parse(path.read_text(encoding="utf-8")))
    for node in ast.walk(found.tree):  # imports within functions count too
        if isinstance(node, ast.ImportFrom):
            _import_from(found, node)
    for node in found.tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.lines[node.name] = node.lineno
            for child in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(child, ast.FunctionDef):
                    found.lines[f"{node.name}.{child.name}"] = child.lineno
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        found.lines.setdefault(name.id, node.lineno)
    return found


def _import_from(found, node):
    """from .layers import Linear, from .. import ops, from minivl.data import image: what each name stands for."""
    base = _folder_of(found.path, node)
    if base is None:
        return
    for alias in node.names:
        here = alias.asname or alias.name
        whole = _module(base / alias.name) if base.is_dir() else None
        target = _module(base)
        if whole is not None and alias.name not in (file_of(target).lines if target and target != found.path else ()):
            found.imported[here] = whole, None
        elif target is not None and target != found.path:
            found.imported[here] = target, alias.name


def _folder_of(path, node):
    """The folder or module that `from` names; None outside the package."""
    if node.level:
        base = path.parent
        for _ in range(node.level - 1):
            base = base.parent
    elif (node.module or "").split(".")[0] == PACKAGE.name:
        base, node = PACKAGE.parent, node
    else:
        return None
    return base.joinpath(*(node.module.split(".") if node.module else ()))


def _module(path):
    """The file of a module, whose path has no suffix yet: x.py, or x/__init__.py."""
    for file in (path.with_name(path.name + ".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def definition(path, name):
    """(file, line) of what a name stands for at the top level of a file, through as many imports as it takes."""
    for _ in range(8):
        found = file_of(path)
        if name in found.lines:
            return path, found.lines[name]
        if name not in found.imported:
            return None
        path, there = found.imported[name]
        if there is None:
            return path, 1
        name = there
    return None


def links(path):
    """{(line, column): (file, line)} of the names in a file that lead somewhere else than to their own line."""
    found, known = {}, file_of(path)

    def lead(line, column, target):
        if target is not None and target != (path, line):
            found[line, column] = target

    def visit(node, inside):
        if isinstance(node, ast.ClassDef):
            inside = node.name
        if isinstance(node, ast.alias) and "." not in node.name:
            lead(node.lineno, node.col_offset, definition(path, node.asname or node.name))
        if isinstance(node, ast.Name):
            lead(node.lineno, node.col_offset, definition(path, node.id))
        elif isinstance(node, ast.Attribute):
            place = node.end_lineno, node.end_col_offset - len(node.attr)
            if isinstance(node.value, ast.Name) and node.value.id == "self" and inside:
                lead(*place, _own(path, known, inside, node.attr))
            elif isinstance(node.value, ast.Name) and known.imported.get(node.value.id, (None, ""))[1] is None:
                module = known.imported.get(node.value.id)
                lead(*place, definition(module[0], node.attr) if module else None)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(known.tree, None)
    return found


def _own(path, known, inside, name):
    line = known.lines.get(f"{inside}.{name}")
    return None if line is None else (path, line)
