"""README is run: its Python blocks in order, its commands as far as the parser that would take them."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from minivl import cli
from minivl.data.scenes import draw, scene
from minivl.train import Settings, train

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for named, text in fenced if named == language]


def commands():
    """Every line of README that calls minivl, in its blocks and in backquotes inside its tables."""
    lines = [line for block in blocks("") for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`((?:python -m data_tools\.|minivl )[^`]*)`", README)
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if part.startswith(("minivl ", "python -m data_tools."))]


@pytest.fixture(scope="module")
def folder_of_a_demo(tmp_path_factory):
    """A folder with a run named minivl-demo, as `minivl demo` leaves it, but trained for two steps."""
    folder = tmp_path_factory.mktemp("readme")
    settings = Settings(steps=2, batch_size=4, checkpoint_every=2)
    train("coca", data="scenes:20", out=folder / "minivl-demo", settings=settings, config={"width": 32}, quiet=True)
    draw(scene(0, "val", 0)).save(folder / "minivl-demo" / "demo.png")
    return folder


def test_the_python_blocks_run_in_order(folder_of_a_demo, monkeypatch, capsys):
    monkeypatch.chdir(folder_of_a_demo)
    names = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "[2. 4. 6.]" in printed
    assert "ratio 1.005" in printed
    assert names["similarity"].shape == (1, 2)
    assert np.isfinite(names["similarity"].numpy()).all()


@pytest.mark.parametrize("command", commands())
def test_a_command_is_understood(command):
    words = shlex.split(command)
    if words[0] == "minivl":
        if "--list" in words:
            with pytest.raises(SystemExit) as stop:
                cli.main(words[1:])
            assert stop.value.code == 0
        else:
            cli._parser().parse_args(words[1:])  # exits with 2 at a word that it does not know
    else:
        module = words[2]
        tool = Path(__file__).parents[1] / Path(*module.split("."))
        tool = tool / "__main__.py" if tool.is_dir() else tool.with_suffix(".py")
        options = tool.read_text(encoding="utf-8")
        assert all(f'"{word}"' in options for word in words if word.startswith("--") and word != "--help")


def test_there_are_commands_to_test():
    assert len(commands()) >= 8
