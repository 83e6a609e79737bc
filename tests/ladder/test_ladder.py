"""Every rung of every ladder computes what NumPy computes, in order, out of order and under check mode's eyes."""

import numpy as np
import pytest

from minivl import cli, kernels
from minivl.array import gpu_at_hand, to_device
from minivl.ladder import TOLERANCE, Rung, caster, error, ladder, names
from minivl.ladder.shipped import EXAMPLES

needs_compiler = pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
RUNGS = [(name, rung) for name in names() for rung in ladder(name).rungs]
IDS = [f"{rung.name}-{rung.dtype}" for _, rung in RUNGS]


def arrays_of(name, rung):
    return ladder(name).make(np.random.default_rng(1), caster(rung.dtype), **ladder(name).cpu)


@needs_compiler
@pytest.mark.parametrize(("mode", "seed"), [("fast", None), ("check", 1)])
@pytest.mark.parametrize(("name", "rung"), RUNGS, ids=IDS)
def test_a_rung_is_right(name, rung, mode, seed):
    assert error(ladder(name), rung, arrays_of(name, rung), mode, seed) <= TOLERANCE[rung.dtype]


@pytest.mark.gpu
@pytest.mark.skipif(not gpu_at_hand(), reason="there is no GPU here")
@pytest.mark.parametrize(("name", "rung"), RUNGS, ids=IDS)
def test_a_rung_is_right_on_a_gpu(name, rung):
    arrays = {key: to_device(x, "cuda") for key, x in arrays_of(name, rung).items()}
    assert error(ladder(name), rung, arrays) <= TOLERANCE[rung.dtype]


@pytest.mark.parametrize(("name", "rung"), RUNGS, ids=IDS)
def test_the_first_line_of_a_rung_is_its_idea(name, rung):
    if rung.name.startswith("ladder/"):
        with open(kernels.find(rung.name), encoding="utf-8") as file:
            assert file.readline().startswith("// RUNG: ")
        assert rung.idea.endswith(".")


def test_every_rung_that_lies_here_is_in_a_table():
    assert {name for name in kernels.shipped() if name.startswith("ladder/")} <= {rung.name for _, rung in RUNGS}


@needs_compiler
@pytest.mark.parametrize("name", [name for name in kernels.shipped() if not name.startswith("ladder/")])
def test_every_shipped_kernel_has_an_example_and_runs_clean_in_it(name):
    with kernels.on_cpu(mode="check", seed=7), kernels.counting() as counts:
        EXAMPLES[name](np.random.default_rng(0))
    assert any(count.file == f"{name}.cu" for count in counts)


def test_a_wrong_rung_is_noticed():
    wrong = Rung("ladder/softmax_1_naive", lambda k, x, y: y.fill(0.5))
    assert error(ladder("softmax"), wrong, arrays_of("softmax", wrong)) > 0.1
    wrong = Rung("ladder/softmax_1_naive", lambda k, x, y: y.fill(np.nan))
    assert error(ladder("softmax"), wrong, arrays_of("softmax", wrong)) == float("inf")


# ---- what is printed -------------------------------------------------------------------------------------------------


@needs_compiler
def test_a_ladder_prints_every_rung_and_its_transactions(capsys):
    assert cli.main(["ladder", "softmax", "--device", "cpu"]) == 0
    told = capsys.readouterr().out.splitlines()
    for rung in ladder("softmax").rungs:
        assert sum(line.split()[:2] == [rung.name.removeprefix("ladder/"), rung.dtype] for line in told) == 1
    (naive,) = (line.split() for line in told if line.startswith("softmax_1_naive "))
    assert naive[1] == "float32" and float(naive[4]) == 16.0  # three readings and a writing, 8 times what is used


@needs_compiler
def test_a_report_names_the_lines(capsys):
    assert cli.main(["ladder", "report", "softmax_1_naive"]) == 0
    told = capsys.readouterr().out.splitlines()[1:]
    assert len(told) == 4  # three loops that read, one that also writes
    for line in told:
        assert "32.0 sectors" in line and "12%" in line and "for (int i = 0; i < C; i++)" in line


@needs_compiler
@pytest.mark.parametrize("name", ["cross_entropy", "embedding", "gelu", "layernorm", "rmsnorm", "softmax"])
def test_a_report_of_a_shipped_kernel_shows_its_lines(capsys, name):
    assert cli.main(["ladder", "report", name]) == 0
    told = capsys.readouterr().out
    assert f"{name}.cu:" in told or "rows.cuh:" in told
    assert "global read" in told and "global write" in told


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["report"], 2, "minivl ladder report KERNEL"),
        (["softmax", "softmax_1_naive"], 2, "minivl ladder report KERNEL"),
        (["siftmax"], 1, "there is no ladder 'siftmax', there are: "),
        (["report", "siftmax"], 1, "there is no kernel 'siftmax' to report on, there are: "),
    ],
)
def test_errors_are_one_line(capsys, words, code, said):
    assert cli.main(["ladder", *words]) == code
    told = capsys.readouterr()
    assert told.out == "" and said in told.err and told.err.count("\n") == 1


def test_without_a_name_all_ladders_are_listed(capsys):
    assert cli.main(["ladder"]) == 0
    assert capsys.readouterr().out.split() == names()


def test_without_a_compiler_the_command_says_so(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MINIVL_CACHE", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(kernels, "_loaded", {})
    assert cli.main(["ladder", "softmax", "--device", "cpu"]) == 1
    assert "install g++ or clang++" in capsys.readouterr().err
