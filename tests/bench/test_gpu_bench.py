"""The benchmark of kernels covers all of them and compares what is equal; on a GPU's path too, walked by a stand-in."""

import gpu
import gpu_cases
import gpu_step
import numpy as np
import pytest
from stand_in_cupy import instead_of_cupy
from test_bench import tables

from minivl import kernels
from minivl.array import gpu_at_hand

needs_compiler = pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
needs_no_gpu = pytest.mark.skipif(gpu_at_hand(), reason="the path without a GPU")


def test_every_shipped_kernel_has_a_case():
    measured = {name for case in gpu_cases.CASES.values() for name in case.kernels}
    assert measured == {name for name in kernels.shipped() if not name.startswith("ladder/")}


@pytest.mark.slow
@needs_compiler
@needs_no_gpu
def test_without_a_gpu_every_kernel_is_checked_and_counted(tmp_path, capsys):
    gpu.main(["--dtype", "float32", "--out", str(tmp_path)])
    text = (tmp_path / "gpu-kernels-on-cpu.md").read_text(encoding="utf-8")
    assert text.strip() in capsys.readouterr().out and "nothing is timed" in text
    ((head, _, *rows),) = tables(text)
    assert len(rows) == len([name for name in gpu_cases.CASES if "16k" not in name])
    for name, error, sectors, least, *_ in rows:
        assert name.endswith("float32") and float(error) < 1e-4
        assert int(sectors.replace(",", "")) > 0 and 0.8 < float(least) < 20


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("only", ["patch", "mixture", "nearest", "AdamW", "attention, head width 64, 4k", "step"])
def test_the_path_of_a_gpu_runs_to_its_end(only, monkeypatch, capsys):
    for module in (gpu, gpu_step):
        monkeypatch.setattr(module, "installed", lambda name: False)
    with instead_of_cupy():
        gpu.main(["--quick", "--dtype", "float32", "--only", only])
    text = capsys.readouterr().out
    assert "a stand-in on the CPU" in text and "Left out" not in text
    (table,) = tables(text)
    names = [name for name in gpu_cases.CASES if only in name]
    derived = sum(gpu_cases.CASES[name].derivative for name in names)
    assert len(table) == 2 + (1 if only == "step" else len(names) + derived)


def test_results_that_differ_are_not_compared():
    a = np.ones(3, np.float32)
    assert gpu.difference("x", [a], [a + 1e-6], "float32") < 1e-5
    for other in (a + 1, a[:2], a * np.nan):
        with pytest.raises(RuntimeError, match="x.*results"):
            gpu.difference("x", [a], [other], "float32")
    with pytest.raises(RuntimeError, match="differ by 5.0e-01"):
        gpu.difference("x", [np.array([1, 2])], [np.array([1, 3])], "float32")


def test_an_op_that_launches_no_kernel_is_told(monkeypatch):
    case = gpu_cases.CASES["layernorm"]
    monkeypatch.setattr(kernels, "wanted", lambda *arrays: False)
    with pytest.raises(RuntimeError, match="layernorm: its op launched no kernel"):
        gpu.counted("layernorm", case, "float32")


def test_a_name_that_is_no_case_is_told():
    with pytest.raises(SystemExit, match="--only: got 'softmix', must be in one of: layernorm"):
        gpu.main(["--only", "softmix"])


@pytest.mark.peer
@pytest.mark.parametrize("name", gpu_cases.CASES)
def test_every_case_is_equal_in_pytorch(name, monkeypatch):
    pytest.importorskip("torch")
    import gpu_torch

    monkeypatch.setattr(gpu_torch, "DEVICE", "cpu")
    case = gpu_cases.CASES[name]
    arrays = case.make(np.random.default_rng(0), **case.cpu)
    theirs = gpu_torch.results(gpu_torch.prepare(name, case, arrays, "float32"))
    assert gpu.difference(name, gpu.results(gpu_cases.prepared(name, arrays)), theirs, "float32") < 1e-4
