"""Tensor cores, ldmatrix and bfloat16: where every number lies, and how it is rounded."""

from pathlib import Path

import numpy as np
import pytest

from minivl import array, kernels

MATRIX = Path(__file__).parent / "cu" / "matrix.cu"
DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")),
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not array.gpu_at_hand(), reason="there is no GPU here")]
    ),
]


def run(kernel, device, *arguments, mode="check", grid=1, block=32):
    """Launches a kernel on copies of the arrays, and gives them back as they are then."""
    given = tuple(array.to_device(x.copy(), device) if isinstance(x, np.ndarray) else x for x in arguments)
    getattr(kernels.load(MATRIX, mode=mode), kernel)(grid, block, given)
    return tuple(array.to_device(x, "cpu") if hasattr(x, "dtype") else x for x in given)


def bf16(x):
    """Bits of the nearest bfloat16, by halves of the distance between neighbours rather than by adding to bits."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    below = (bits >> 16).astype(np.uint16)
    rest = bits & 0xFFFF
    up = (rest > 0x8000) | ((rest == 0x8000) & (below % 2 == 1))
    return np.where(np.isnan(x), 0x7FFF, below + up).astype(np.uint16)


def widened(x):
    return (x.astype(np.uint32) << 16).view(np.float32)


def tf32(x):
    return (x.view(np.uint32) & 0xFFFFE000).view(np.float32)


@pytest.fixture
def factors(random):
    return bf16(random.standard_normal((16, 16))), bf16(random.standard_normal((16, 8)))


@pytest.mark.parametrize("device", DEVICES)
def test_a_product_of_bf16(random, device, factors):
    a, b = factors
    before = random.standard_normal((16, 8)).astype(np.float32)
    after = run("product_bf16", device, a, b, before)[2]
    np.testing.assert_allclose(after, before + widened(a) @ widened(b), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("by_two", [0, 1])
def test_ldmatrix_brings_what_the_product_needs(device, factors, by_two):
    a, b = factors
    d = run("loaded", device, a, b, np.zeros((16, 8), np.float32), by_two)[2]
    np.testing.assert_allclose(d, widened(a) @ widened(b), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rounded", [0, 1])
def test_a_product_of_tf32(random, device, rounded):
    a, b = random.standard_normal((16, 8)).astype(np.float32), random.standard_normal((8, 8)).astype(np.float32)
    before = random.standard_normal((16, 8)).astype(np.float32)
    after = run("product_tf32", device, a, b, before, rounded)[2]
    if rounded:  # to the nearest: half of the last of 10 bits
        a, b = (tf32(x + np.sign(x) * np.ldexp(1.0, np.frexp(x)[1] - 12).astype(np.float32)) for x in (a, b))
    np.testing.assert_allclose(after, before + tf32(a) @ tf32(b), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_four_matrices_transposed(device):
    x = np.arange(256, dtype=np.uint16).reshape(4, 8, 8)
    y = run("four_transposed", device, x, np.zeros((32, 4, 2), np.uint16))[1]
    for lane in range(32):
        row, column = lane // 4, lane % 4 * 2
        np.testing.assert_array_equal(y[lane], x.swapaxes(1, 2)[:, row, column : column + 2])


@pytest.mark.parametrize("device", DEVICES)
def test_bfloat16_is_the_nearest_of_two_the_even(random, device):
    bits = np.concatenate([random.integers(0, 1 << 32, 5000), np.arange(256) << 15, (np.arange(256) << 15) + 1])
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 1e-40, 1.0039062, 1.0117188]
    x = np.concatenate([bits.astype(np.uint32).view(np.float32), np.array(special, np.float32)])
    n = x.size
    _, y, pairs, back, _ = run(
        "rounded", device, x, np.zeros(n, np.uint16), np.zeros(n, np.uint32), np.zeros(n, np.float32), n,
        mode="fast", grid=-(-n // 128), block=128,
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y, bf16(x))
        np.testing.assert_array_equal(pairs & 0xFFFF, bf16(x))
        np.testing.assert_array_equal(pairs >> 16, bf16(-x))
    finite = np.isfinite(x) & (np.abs(x) < 1e38)
    np.testing.assert_array_equal(back[finite], 2 * widened(y)[finite])


@pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
def test_half_a_warp_cannot_multiply():
    with pytest.raises(
        kernels.KernelError, match=r"deadlock: thread \d+ waits here for lanes ffffffff|needs all 32 lanes"
    ):
        run("half_a_warp_multiplies", "cpu", np.zeros(32, np.float32))
