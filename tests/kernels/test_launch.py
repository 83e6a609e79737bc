"""Launches: the library is chosen by the arrays, compiled once, and every wrong launch is one clear error."""

import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from minivl import kernels
from minivl.kernels import cpu, gpu

FIRST = Path(__file__).parent / "cu" / "first.cu"
needs_compiler = pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
X, Y = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """Nothing has been compiled yet."""
    monkeypatch.setenv("MINIVL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kernels, "_loaded", {})
    return tmp_path / "cache" / "kernels"


# ---- what a launch refuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "block", "shared", "said"),
    [
        (0, 64, 0, "grid is 0, must be one to three numbers within 1 and"),
        ((1, 1, 1, 1), 64, 0, "grid is .* must be one to three numbers"),
        (1.0, 64, 0, "grid is 1.0, must be"),
        ((1, 70000), 64, 0, "grid is .1, 70000., must be"),
        (1, 0, 0, "block is 0, must be"),
        (1, 1025, 0, "block is 1025, must be"),
        (1, (64, 32), 0, "block .64, 32, 1. is of more than 1024 threads"),
        (1, (1, 1, 65), 0, "block is .1, 1, 65., must be"),
        (1, 64, -1, "shared_mem is -1 bytes, must be 0 to"),
        (1, 64, 1 << 20, "shared_mem is 1048576 bytes, must be 0 to"),
    ],
)
def test_a_launch_that_no_gpu_could_do_is_an_error(grid, block, shared, said):
    with pytest.raises(ValueError, match=f"three_reversed: {said}"):
        kernels.load(FIRST).three_reversed(grid, block, (X, Y), shared_mem=shared)


def test_a_kernel_that_is_not_there_is_an_error():
    with pytest.raises(AttributeError, match="first.cu has no kernel 'normalize'; it has normalise, three_reversed"):
        kernels.load(FIRST).normalize(1, 64, ())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "slow"}, "mode: got 'slow', must be 'fast' or 'check'"),
        ({"seed": -1}, "seed: got -1, must be a whole number of at least 0, or None"),
        ({"seed": 0.5}, "seed: got 0.5, must be"),
        ({"dtype": "float16"}, "first.cu: dtype is 'float16', must be one of float32, float64, bfloat16"),
    ],
)
def test_settings_that_make_no_sense_are_errors(settings, said):
    with pytest.raises(ValueError, match=said):
        kernels.load(FIRST, **settings)


# ---- the compiler and its cache --------------------------------------------------------------------------------------


def test_without_a_compiler_one_sentence_says_what_to_install(monkeypatch, empty_cache, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert kernels.compiler() is None
    with pytest.raises(kernels.NoCompiler, match=r"need a C\+\+ compiler: install g\+\+ or clang\+\+, or set CXX"):
        kernels.load(FIRST).three_reversed(1, 64, (X, Y), shared_mem=256)


@needs_compiler
def test_what_is_compiled_is_kept_and_found_again(monkeypatch, empty_cache):
    kernels.load(FIRST).three_reversed(1, 64, (X, Y.copy()), shared_mem=256)
    kept = {path.name for path in empty_cache.iterdir()}
    assert len(kept) == 2 and {name.rpartition(".")[2] for name in kept} == {"so", "o"}  # the kernels and the runtime
    monkeypatch.setattr(kernels, "_loaded", {})
    monkeypatch.setattr(cpu.subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
    kernels.load(FIRST).three_reversed(1, 64, (X, Y.copy()), shared_mem=256)


@needs_compiler
def test_an_edited_file_is_compiled_again(empty_cache, tmp_path):
    path, y = tmp_path / "kernel.cu", np.zeros(1, np.float32)
    for value in (1, 2):
        path.write_text(f'extern "C" __global__ void put(float* y) {{ y[0] = {value}; }}')
        import os

        os.utime(path, (value, value))
        kernels.load(path).put(1, 1, (y,))
        assert y[0] == value


@needs_compiler
def test_what_the_compiler_refuses_is_told_with_the_line(empty_cache, tmp_path):
    path = tmp_path / "kernel.cu"
    path.write_text('extern "C" __global__ void put(float* y) {\n    y[0] = nothing;\n}\n')
    with pytest.raises(kernels.KernelError, match=r"(?s)kernel: the C\+\+ compiler refuses it.*kernel.cu:2:"):
        kernels.load(path).put(1, 1, (np.zeros(1, np.float32),))


@pytest.mark.slow
@needs_compiler
def test_several_processes_may_compile_the_same_at_once(empty_cache):
    text = (
        "import numpy as np; from minivl import kernels; y = np.zeros(64, 'f4'); "
        f"kernels.load({str(FIRST)!r}).three_reversed(1, 64, (np.ones(64, 'f4'), y), shared_mem=256); print(y.sum())"
    )
    root = Path(kernels.__file__).parents[2]
    all_of_them = [
        subprocess.Popen([sys.executable, "-c", text], cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [one.communicate()[0].strip() for one in all_of_them] == ["192.0"] * 3
    assert len(list(empty_cache.iterdir())) == 2


@needs_compiler
def test_threads_may_launch_at_once():
    """Each with shared memory of its own, as every thread of the system has."""

    def reverse(n):
        x, y = np.full(64, n, np.float32), np.zeros(64, np.float32)
        for _ in range(20):
            kernels.load(FIRST).three_reversed(1, 64, (x, y), shared_mem=256)
            checked = kernels.load(FIRST, mode="check")
            checked.three_reversed(1, 64, (x, y), shared_mem=256)
        return (y == 3 * n).all()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(reverse, range(4)))


@needs_compiler
@pytest.mark.parametrize("mode", ["fast", "check"])
def test_a_list_of_arrays(random, mode):
    arrays = [random.standard_normal(n).astype(np.float32) for n in (5, 77, 300)]
    sums, sizes = np.zeros(3, np.float32), np.array([5, 77, 300], np.int32)
    k = kernels.load(FIRST, mode=mode)
    k.sums_of_all(3, 64, (arrays, sizes, sums))
    np.testing.assert_allclose(sums, [x.sum() for x in arrays], rtol=1e-4)
    if mode == "check":
        sizes[1] = 78
        with pytest.raises(kernels.KernelError, match=r"out of bounds: read of 4 bytes, at byte 308 of arrays\[1\]"):
            k.sums_of_all(3, 64, (arrays, sizes, sums))


# ---- which library ---------------------------------------------------------------------------------------------------


def test_ops_want_kernels_on_a_gpu_and_within_on_cpu(monkeypatch):
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    there = cupy.array(4)
    assert kernels.wanted(there) and not kernels.wanted(X) and not kernels.wanted(there, X)
    with kernels.on_cpu():
        assert kernels.wanted(X) and kernels.wanted(X, Y.astype(np.float64), Y.astype(np.uint16))
        assert not kernels.wanted(X.astype(np.float16)) and kernels.wanted(X, X.astype(np.int64))
    assert not kernels.wanted(X)


def test_like_takes_dtype_from_an_array_and_mode_from_on_cpu():
    with kernels.on_cpu(mode="check", seed=5):
        k = kernels.load(FIRST, like=X.astype(np.float64))
        assert (k.dtype, k.mode, k.seed) == ("float64", "check", 5)
        assert kernels.load(FIRST, mode="fast").mode == "fast"
        with kernels.on_cpu():
            assert kernels.load(FIRST, like=X).mode == "fast"
    assert kernels.load(FIRST, like=X) is kernels.load(FIRST)
    assert kernels.load(FIRST, like=X.astype(np.uint16)).dtype == "bfloat16"


class FakeCupy(types.ModuleType):
    """What gpu.py asks of CuPy, keeping what it was asked."""

    def __init__(self):
        super().__init__("cupy")
        self.modules, self.launches = [], []
        self.ndarray = type("ndarray", (), {"__module__": "cupy", "__getitem__": lambda x, i: x})

    def array(self, n):
        x = self.ndarray()
        x.dtype, x.shape, x.size = np.dtype("float32"), (n,), n
        x.flags, x.data = types.SimpleNamespace(c_contiguous=True), types.SimpleNamespace(ptr=1000 + n)
        return x

    def asarray(self, values, dtype):
        return ("on the GPU", values, dtype)

    def RawModule(self, **settings):
        self.modules.append(settings)
        return types.SimpleNamespace(get_function=self.function)

    def function(self, name):
        cupy = self

        class Function:
            max_dynamic_shared_size_bytes = 48 << 10

            def __call__(self, grid, block, arguments, shared_mem):
                cupy.launches.append((name, grid, block, arguments, shared_mem, self.max_dynamic_shared_size_bytes))

        return Function()


def test_arrays_of_cupy_go_to_cupy_with_every_scalar_in_its_type(monkeypatch):
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(kernels, "_loaded", {})
    x, y = cupy.array(4), cupy.array(5)
    k = kernels.load(FIRST)
    k.normalise((2, 3), 128, (x, None, y, 77, 1e-5))
    k.three_reversed(1, 64, (x, y), shared_mem=100 << 10)
    assert [one["options"] for one in cupy.modules] == [gpu.OPTIONS]  # compiled once for both
    assert cupy.modules[0]["code"] == k.text and "#include" not in k.text
    (name, grid, block, arguments, shared, _), (_, _, _, _, _, allowed) = cupy.launches
    assert (name, grid, block, shared) == ("normalise", (2, 3, 1), (128, 1, 1), 0)
    assert arguments[:3] == (x, None, y) and [type(one) for one in arguments[3:]] == [np.int32, np.float32]
    assert allowed == 100 << 10


def test_a_list_of_cupys_arrays_becomes_their_addresses_once(monkeypatch):
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(kernels, "_loaded", {})
    sizes = cupy.array(2)
    sizes.dtype = np.dtype("int32")
    for _ in range(2):
        kernels.load(FIRST).sums_of_all(2, 64, ([cupy.array(4), cupy.array(5)], sizes, cupy.array(2)))
    first, second = (launch[3][0] for launch in cupy.launches)
    assert first == ("on the GPU", (1004, 1005), "uint64") and first is second
