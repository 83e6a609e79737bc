"""The launches of the other tests again, on a GPU: the same text, compiled by CuPy."""

from pathlib import Path

import numpy as np
import pytest
from launches import CORRECT, SILENT, result_of

from minivl import array, kernels

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not array.gpu_at_hand(), reason="there is no GPU here, or no CuPy")]
FIRST = Path(__file__).parent / "cu" / "first.cu"


def there(x):
    return array.to_device(x.copy(), "cuda") if isinstance(x, np.ndarray) else x


@pytest.mark.parametrize(("kernel", "grid", "block", "arguments", "expected"), SILENT, ids=[s[0] for s in SILENT])
def test_what_is_right_on_the_cpu_is_right_on_a_gpu(kernel, grid, block, arguments, expected):
    arguments = tuple(map(there, arguments))
    getattr(kernels.load(CORRECT), kernel)(grid, block, arguments, shared_mem=28 if kernel == "histogram" else 0)
    np.testing.assert_allclose(array.to_device(result_of(arguments), "cpu"), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_every_dtype_gives_what_the_cpu_gives(random, dtype):
    x = random.standard_normal((5, 77))
    x = (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else x.astype(dtype)
    here, y = np.empty_like(x), there(np.empty_like(x))
    k = kernels.load(FIRST, like=x)
    k.normalise(5, 128, (x, None, here, 77, 1e-5))
    k.normalise(5, 128, (there(x), None, y, 77, 1e-5))
    a, b = here, array.to_device(y, "cpu")
    if dtype == "bfloat16":
        assert np.abs(a.astype(int) - b).max() <= 1  # the last bit
    else:
        np.testing.assert_allclose(a, b, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-6)


def test_more_shared_memory_than_a_kernel_has_without_asking():
    x, y = there(np.arange(64, dtype=np.float32)), there(np.zeros(64, np.float32))
    kernels.load(FIRST).three_reversed(1, 64, (x, y), shared_mem=96 << 10)
    np.testing.assert_array_equal(array.to_device(y, "cpu"), 3 * np.arange(64)[::-1])


def test_lists_of_arrays_and_a_stream(random):
    import sys

    arrays = [there(random.standard_normal(n).astype(np.float32)) for n in (5, 77, 300)]
    sums = there(np.zeros(3, np.float32))
    sizes = there(np.array([5, 77, 300], np.int32))
    stream = sys.modules["cupy"].cuda.Stream(non_blocking=True)
    sys.modules["cupy"].cuda.Device().synchronize()
    kernels.load(FIRST).sums_of_all(3, 64, (arrays, sizes, sums), stream=stream)
    stream.synchronize()
    np.testing.assert_allclose(array.to_device(sums, "cpu"), [float(x.sum()) for x in arrays], rtol=1e-4)


def test_mistakes_are_named_on_a_gpu_too():
    x = there(np.zeros((8, 8), np.float32))
    with pytest.raises(ValueError, match="three_reversed: x of shape .* must be C-contiguous"):
        kernels.load(FIRST).three_reversed(1, 64, (x.T, x))
    with pytest.raises(ValueError, match="three_reversed: y is a NumPy array, must be CuPy like the others"):
        kernels.load(FIRST).three_reversed(1, 64, (x, np.zeros(64, np.float32)))
    with pytest.raises(TypeError, match="three_reversed: x is an array of float64, must be of float32"):
        kernels.load(FIRST).three_reversed(1, 64, (x.astype("float64"), x))
