"""The laws of the house: who may import whom, what a user installs, what README promises."""

import ast
import configparser
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "minivl").rglob("*.py"))
ARROWS = [  # a room may use what stands above it, and nothing below it
    {"array", "masks", "tokenizers", "weights"},
    {"tensor"},
    {"ops"},
    {"nn", "losses"},
    {"models"},
    {"train", "metrics", "explain", "cli"},
]
CORE = {"numpy", "PIL", "regex", "tqdm"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


@cache
def imports(path):
    """Full names of what a file imports, wherever in it; `from a import b` gives a.b if that is a module, else a."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *(node.module.split(".") if node.module else ())))
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in node.names}
    return found


def room(module):
    """minivl.ops.gelu -> ops; None for the package itself, which only collects names."""
    return module.split(".")[1] if "." in module else None


def reached(module):
    """Every room that a module uses, through however many others, with one path that leads there."""
    paths, todo = {}, [(module, (module,))]
    seen = {module}
    while todo:
        current, path = todo.pop()
        for name in imports(MODULES[current]):
            if name.split(".")[0] == "minivl" and name in MODULES and name not in seen and room(name):
                seen.add(name)
                paths.setdefault(room(name), (*path, name))
                todo.append((name, (*path, name)))
    return paths


@pytest.mark.parametrize("height", range(len(ARROWS)), ids=lambda i: " ".join(sorted(ARROWS[i])))
def test_arrows_between_rooms_point_one_way(height):
    forbidden = set().union(*ARROWS[height + 1 :])
    for module in MODULES:
        if room(module) in ARROWS[height]:
            for target, path in reached(module).items():
                assert target not in forbidden, f"{room(module)} may not use {target}: {' -> '.join(path)}"


def test_rooms_do_not_go_in_circles():
    uses = {room(module): set() for module in MODULES if room(module)}
    for module, path in MODULES.items():
        if room(module):
            uses[room(module)] |= {
                room(n) for n in imports(path) if n in MODULES and room(n) not in (None, room(module))
            }
    while free := {name for name, targets in uses.items() if not targets & set(uses)}:
        for name in free:
            del uses[name]
    assert not uses, f"these rooms use each other in a circle, or what does: {uses}"


def test_models_never_import_each_other():
    for module, path in MODULES.items():
        if module.startswith("minivl.models."):
            others = {name for name in imports(path) if name.startswith("minivl.models") and name != module}
            assert not others, f"{module} imports {others}"


def test_kernels_know_arrays_and_never_tensors():
    for module in MODULES:
        if room(module) == "kernels":
            assert not {"tensor", "ops", "nn", "models"} & set(reached(module)), module


def test_only_array_imports_cupy_and_nothing_imports_more_than_the_core():
    for module, path in MODULES.items():
        allowed = CORE | sys.stdlib_module_names | {"minivl"} | ({"cupy"} if module == "minivl.array" else set())
        foreign = {name.split(".")[0] for name in imports(path)} - allowed
        assert not foreign, f"{path.relative_to(ROOT)} imports {', '.join(sorted(foreign))}"


def test_import_minivl_takes_neither_cupy_nor_matplotlib():
    code = "import minivl, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "numpy" in loaded.split()
    assert not {"cupy", "cupy_backends", "matplotlib", "torch", "scipy"} & set(loaded.split())


@cache
def configuration():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def names(requirements):
    return {re.match(r"[\w.-]+", line).group().lower() for line in requirements.split("\n") if line.strip()}


def test_the_core_dependencies_are_exactly_four():
    assert names(configuration()["options"]["install_requires"]) == {"numpy", "pillow", "regex", "tqdm"}


def test_the_extras_are_those_that_readers_are_told_of():
    extras = configuration()["options.extras_require"]
    assert set(extras) == {"cuda", "test", "tutorials", "peers", "data", "dist"}
    assert all(names(extras[extra]) for extra in extras)
    assert not {"open_clip_torch", "torchvision"} & names(extras["peers"]), "these replace torch by another"


def test_the_versions_agree():
    (version,) = re.findall(r'^__version__ = "(.+)"$', (ROOT / "minivl/__init__.py").read_text(), re.MULTILINE)
    assert configuration()["metadata"]["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["pip install -e . && minivl demo", 'pip install -e ".[test]" && pytest'])
def test_readme_holds_the_command_on_a_line_of_its_own(command):
    assert command in (ROOT / "README.md").read_text(encoding="utf-8").split("\n")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_files_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", text) + re.findall(
        r'(?:src|href)="([^"]+)"', text
    ):
        if not re.match(r"[a-z][a-z+.-]*:|#", target):
            assert (ROOT / target.split("#")[0]).exists(), f"{page} links to {target}"


def test_every_python_file_says_what_it_is_for():
    folders = [ROOT / name for name in ("minivl", "data_tools", "tests", "tutorials")]
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if text.strip():  # an empty __init__.py says enough
            assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"


def test_every_folder_of_code_is_a_package_and_is_installed():
    for folder in {path.parent for path in SOURCES}:
        assert (folder / "__init__.py").exists(), (
            f"{folder.relative_to(ROOT)} has no __init__.py, so that pip leaves it out"
        )


def test_nothing_is_ever_unpickled():
    for path in SOURCES:
        assert not {"pickle", "marshal", "shelve", "dill"} & imports(path), path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, f"{path}:{node.value.lineno}"


def test_the_checks_run_the_command_of_readme_and_name_no_host():
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert 'pip install -e ".[test]" && pytest' in text
    assert not re.search(r"https?://|--index-url|--extra-index-url|-i ", text)
    if os.name == "posix":
        assert os.access(script, os.X_OK)


def test_the_licence_is_apache_2():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
    assert configuration()["metadata"]["license"] == "Apache-2.0"
