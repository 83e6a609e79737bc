"""Check mode names what is planted in bugs.cu, with its line, and keeps silent about what is correct."""

import re

import numpy as np
import pytest
from launches import CORRECT, SILENT, f, i, result_of

from minivl import kernels
from minivl.ladder import caster, ladder

pytestmark = pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
BUGS = CORRECT.with_name("bugs.cu")


def marked(kernel, mark):
    """The line of bugs.cu that carries a mark in this kernel, as 'bugs.cu:LINE'; None where there is none."""
    lines = BUGS.read_text().splitlines()
    begin = next(n for n, line in enumerate(lines) if f" {kernel}(" in line)
    for n in range(begin, len(lines)):
        if f"// <- {mark}" in lines[n]:
            return f"bugs.cu:{n + 1}"
        if lines[n] == "}":
            return None
    return None


PLANTED = [  # kernel, grid, block, arguments, what the message says
    ("past_the_end", 1, 128, (f(64), f(64), 64), "out of bounds: read of 4 bytes, at byte 256 of x, which has 256"),
    ("before_the_begin", 1, 64, (f(64), f(64), 64), "out of bounds: read of 4 bytes, at byte -4 of x"),
    ("null_pointer", 1, 32, (None, f(32)), "out of bounds: read of 4 bytes, no array is near"),
    ("past_static_shared", 1, 64, (f(64), 1), "at byte 256 of shared memory s, which has 256"),
    ("past_static_shared", 1, 64, (f(64), -1), "at byte -4 of shared memory s, which has 256"),
    ("past_dynamic_shared", 1, 64, (f(64),), "at byte 256 of shared memory (dynamic), which has 256"),
    ("misaligned", 1, 1, (f(64), f(64)), "misaligned: access of 16 bytes at byte 4 of x"),
    ("misaligned_pack", 1, 1, (f(64), f(64)), "misaligned: access of 16 bytes at byte 8 of x"),
    ("misaligned_shared", 1, 64, (f(64),), "misaligned: access of 16 bytes at byte"),
    ("uninitialised", 1, 64, (f(64),), "uninitialised: read of byte 252 of shared memory s"),
    ("uninitialised_in_second_block", 2, 64, (f(128),), "uninitialised: read of byte"),
    ("missing_barrier", 1, 64, (f(64), f(64)), "race:"),
    ("missing_second_barrier", 1, 64, (f(512), f(512), 8), "race:"),
    ("two_write", 1, 64, (f(64),), "race:"),
    ("lockstep", 1, 32, (f(32), f(1)), "race:"),
    ("shuffle_for_a_barrier", 1, 32, (f(32), f(32)), "race:"),
    ("half_a_warp", 1, 32, (f(32), f(32)), "race:"),
    ("blocks_write_one_place", 3, 64, (f(1),), "of another block wrote"),
    ("last_block_without_fence", 4, 64, (f(256), f(4), i(1), f(1)), "of another block wrote"),
    ("fence_without_barrier", 4, 64, (f(256), f(256), i(1), f(1)), "of another block wrote"),
    ("atomic_and_plain", 1, 32, (i(1), i(32)), "race:"),
    ("write_to_constant", 1, 32, (f(32), f(32)), "write to a constant: byte"),
    (
        "some_return_before_a_barrier",
        1,
        64,
        (f(64), 40),
        "barrier divergence: 40 of 64 threads wait here, the other 24",
    ),
    ("two_barriers", 1, 64, (f(64),), "barrier divergence: thread 0 waits here, thread 32 at another barrier"),
    ("shuffle_from_a_lane_that_returned", 1, 32, (f(32), 20), "reduce.cuh:"),
    ("shuffle_outside_of_the_mask", 1, 32, (f(32),), "lane 8 shuffles from lane 16, which has returned or is not in"),
    ("not_in_its_own_mask", 1, 32, (f(32),), "lane 16 is not in the mask 0000ffff that it gives"),
    ("some_lanes_stay_away", 1, 32, (f(32),), "deadlock: thread 1 waits here for lanes ffffffff"),
    ("copy_not_waited_for", 1, 32, (f(128), f(32)), "unfinished copy: read of byte"),
    ("copy_waited_for_by_its_thread_only", 1, 32, (f(128), f(32)), "race:"),
    ("copy_over_what_is_read", 1, 32, (f(384), f(96), 3), "race:"),
    ("failed_assertion", 1, 32, (-f(32), f(32)), "assertion failed: x[threadIdx.x] >= 0"),
]


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize(("kernel", "grid", "block", "arguments", "said"), PLANTED, ids=[p[0] for p in PLANTED])
def test_a_planted_bug_is_reported_with_its_line(kernel, grid, block, arguments, said, seed):
    if kernel == "misaligned" and "clang" in str(kernels.compiler()):
        pytest.skip("clang++ splits a float4 before it can be looked at")
    arguments = tuple(x.copy() if isinstance(x, np.ndarray) else x for x in arguments)
    launch = getattr(kernels.load(BUGS, mode="check", seed=seed), kernel)
    with pytest.raises(kernels.KernelError) as error:
        launch(grid, block, arguments, shared_mem=256 if "dynamic" in kernel else 0)
    told = str(error.value)
    assert told.startswith(f"{kernel}: ")
    if seed is None:
        assert said in told
    lines = {marked(kernel, "here"), marked(kernel, "with")} - {None}
    if marked(kernel, "here"):
        assert any(told.startswith((f"{kernel}: {line}: ", f"{kernel}: {line} (")) for line in lines), told
    if marked(kernel, "with"):
        assert all(line in told for line in lines), told


def test_every_kernel_of_bugs_is_tried():
    assert {planted[0] for planted in PLANTED} == set(kernels.load(BUGS).signatures)


@pytest.mark.parametrize("mode", ["fast", "check"])
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize(("kernel", "grid", "block", "arguments", "expected"), SILENT, ids=[s[0] for s in SILENT])
def test_what_is_correct_is_not_reported(kernel, grid, block, arguments, expected, seed, mode):
    arguments = tuple(x.copy() if isinstance(x, np.ndarray) else x for x in arguments)
    module = kernels.load(CORRECT, mode=mode, seed=seed)
    getattr(module, kernel)(grid, block, arguments, shared_mem=28 if kernel == "histogram" else 0)
    np.testing.assert_allclose(result_of(arguments), expected, rtol=1e-6)


def test_every_kernel_of_correct_is_tried():
    assert {silent[0] for silent in SILENT} == set(kernels.load(CORRECT).signatures)


def test_arrays_that_overlap_stay_one():
    x = f(70)
    kernels.load(CORRECT, mode="check").twice(3, 32, (x, x, 70))
    np.testing.assert_array_equal(x, 2 * f(70))
    x = f(100)
    kernels.load(CORRECT, mode="check").twice(1, 32, (x[10:42], x[50:82], 32))
    np.testing.assert_array_equal(x[50:82], 2 * f(100)[10:42])
    with pytest.raises(kernels.KernelError, match="x = y"):
        kernels.load(CORRECT, mode="check").twice(2, 32, (x[:32], x[:31], 33))


WAITS = re.compile(r"__syncthreads\(\);|cp_async_wait<\w+>\(\);")


@pytest.mark.parametrize("name", ["matmul_3_shared", "matmul_6_tensor_cores"])
def test_no_wait_can_be_taken_out_of_a_kernel_unnoticed(tmp_path, name):
    (rung,) = (rung for rung in ladder("matmul").rungs if rung.name == f"ladder/{name}")
    text = kernels.find(rung.name).read_text(encoding="utf-8")
    waits = list(WAITS.finditer(text))
    assert waits
    for n, wait in enumerate(waits):
        path = tmp_path / f"without_{n}.cu"
        path.write_text(text[: wait.start()] + ";" + text[wait.end() :], encoding="utf-8")
        arrays = ladder("matmul").make(np.random.default_rng(0), caster(rung.dtype), **ladder("matmul").cpu)
        with pytest.raises(kernels.KernelError, match="race|unfinished copy|uninitialised"):
            rung.launch(kernels.load(path, dtype=rung.dtype, mode="check"), **arrays)
