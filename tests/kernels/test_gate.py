"""The compile gate: what it reads in NVRTC's log, and what it refuses. Most of it needs nvidia-cuda-nvrtc."""

from pathlib import Path

import pytest

from minivl import kernels
from minivl.kernels import gate, source

FOLDER = Path(__file__).parent / "cu"
needs_nvrtc = pytest.mark.skipif(gate.nvrtc() is None, reason="NVRTC is not installed: .ci/run installs it")

LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_90'
ptxas info    : Function properties for first
    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 48 bytes cumulative stack size, 16896 bytes smem
ptxas info    : Compile time = 4.625 ms
ptxas info    : Compiling entry function 'second' for 'sm_90'
ptxas info    : Function properties for second
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 0 barriers
ptxas info    : Compile time = 1.000 ms
"""


def test_registers_and_spills_are_read_from_the_log():
    assert gate.usages(LOG) == [
        gate.Usage("first", "sm_90", 168, 16896, 16, 20),
        gate.Usage("second", "sm_90", 12, 0, 0, 0),
    ]


@needs_nvrtc
@pytest.mark.parametrize("name", ["first", "correct", "patterns"])
def test_the_kernels_of_the_tests_pass(name, capsys):
    path = FOLDER / f"{name}.cu"
    assert gate.main([str(path)]) == 0
    told = capsys.readouterr().out
    for kernel in kernels.load(path).signatures:
        rows = [line.split() for line in told.splitlines() if f" {kernel} " in line]
        assert len(rows) == len(source.dtypes(path))
        assert all(len(row) == 8 and row[-1] == "0" for row in rows)  # registers for two architectures
    assert "no kernel is refused, none spills" in told


@needs_nvrtc
def test_a_kernel_that_spills_fails(capsys):
    assert gate.main([str(FOLDER / "spilling.cu")]) == 1
    told = capsys.readouterr().out
    assert told.count("spilling ") == 2 and "refused or spilling:" in told


@needs_nvrtc
@pytest.mark.parametrize("text", ["int i = nothing;", "y[0] = INFINITY", 'asm("mma.sync.wrong;");'])
def test_what_nvidias_compiler_refuses_fails_with_its_line(tmp_path, capsys, text):
    path = tmp_path / "wrong.cu"
    path.write_text(f'// dtypes: float32\nextern "C" __global__ void wrong(float* y) {{\n    {text}\n}}\n')
    assert gate.main([str(path), "--arch", "sm_90"]) == 1
    told = capsys.readouterr().out
    assert "wrong.cu float32 sm_90: " in told and ("wrong.cu(3)" in told or "mma" in told)


@needs_nvrtc
def test_the_cubin_is_for_the_architecture_that_was_asked_for():
    cubin, log = gate.compiled(source.read(FOLDER / "first.cu", "bfloat16"), "sm_80")
    assert cubin.startswith(b"\x7fELF") and b"normalise" in cubin
    assert {use.arch for use in gate.usages(log)} == {"sm_80"}


def test_without_nvrtc_the_gate_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(gate, "nvrtc", lambda: None)
    assert gate.main([]) == 1
    assert 'pip install "nvidia-cuda-nvrtc==13.0.*"' in capsys.readouterr().err
