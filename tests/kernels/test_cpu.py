"""Kernels on the CPU: the same numbers as NumPy, in any order of the threads."""

from pathlib import Path

import numpy as np
import pytest

from minivl import kernels

pytestmark = pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
FIRST = Path(__file__).parent / "cu" / "first.cu"


def bf16(x):
    """float32 -> the bits of the nearest bfloat16."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widened(x):
    return (x.astype(np.uint32) << 16).view(np.float32) if x.dtype == np.uint16 else x


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12), ("bfloat16", 1e-2)])
def test_a_kernel_computes_what_numpy_computes(random, dtype, tolerance, seed):
    x = random.standard_normal((3, 77))
    x = bf16(x) if dtype == "bfloat16" else x.astype(dtype)
    y = np.empty_like(x)
    kernels.load(FIRST, like=x, seed=seed).normalise(3, 128, (x, None, y, 77, 1e-5))
    wide = widened(x)
    expected = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(widened(y), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_static_and_dynamic_shared_memory(seed):
    x = np.arange(64, dtype=np.float32)
    y = np.empty_like(x)
    kernels.load(FIRST, seed=seed).three_reversed(1, 64, (x, y), shared_mem=256)
    np.testing.assert_array_equal(y, 3 * x[::-1])
