"""The kernels of nearest codes: the same codes, in any order of threads and however the codes are shared out."""

import importlib

import numpy as np
import pytest
from kernel_runs import CHECK, bf16, running, ways, widened

from minivl import ops
from minivl.array import to_device

nearest = importlib.import_module("minivl.ops.nearest_code")

SIZES = [(1, 1, 1), (33, 31, 3), (31, 1025, 5), (130, 33, 20), (0, 4, 2)]  # N, K, C


def found(x, codes, way):
    with running(way) as there:
        return [to_device(a, "cpu") for a in ops.nearest_code(there(x), there(codes))]


@ways("in order", "seed 1", "seed 2", *CHECK)
@pytest.mark.parametrize("N, K, C", SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("f", 1e-5), ("d", 1e-12)])
def test_same_as_the_definition(random, N, K, C, dtype, tolerance, way):
    if way in CHECK and (dtype == "d" or N * K > 10000):
        pytest.skip("enough is seen in float32 and on fewer codes")
    x, codes = random.standard_normal((N, C)).astype(dtype), random.standard_normal((K, C)).astype(dtype)
    (indices, distances), (expected, least) = found(x, codes, way), ops.nearest_code(x, codes)
    assert indices.dtype == np.int64 and distances.dtype == x.dtype
    np.testing.assert_allclose(distances, least, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(indices, expected)  # random codes are never that close to each other
    again = found(x, codes, way)
    assert indices.tobytes() == again[0].tobytes() and distances.tobytes() == again[1].tobytes()


@ways("in order", "seed 1", "seed 2")
@pytest.mark.parametrize("shares", [1, 3, 1000])
def test_of_equal_codes_the_first_however_they_are_shared_out(random, shares, way, monkeypatch):
    monkeypatch.setattr(nearest, "_BLOCKS", shares)
    codes = random.standard_normal((40, 7)).astype("f")
    which = random.integers(0, 40, 500)
    indices, distances = found(codes, codes[which], way)
    present = [i for i in range(40) if i in which]
    assert [int(indices[i]) for i in present] == [int(np.flatnonzero(which == i)[0]) for i in present]
    assert not distances[present].any()


@ways("in order", "seed 1", *CHECK)
@pytest.mark.parametrize("N, K, C", [(1, 1, 8), (33, 31, 16), (31, 1025, 8), (130, 300, 72), (33, 40, 20)])
def test_bfloat16(random, N, K, C, way, monkeypatch):
    """On tensor cores where rows are whole packs of 16 bytes, else (the last size) by the kernel of the others."""
    if way in CHECK and N * K > 10000:
        pytest.skip("enough is seen on fewer codes")
    monkeypatch.setattr(nearest, "_BLOCKS", 5)
    x, codes = bf16(random.standard_normal((N, C))), bf16(random.standard_normal((K, C)))
    with running(way) as there:
        indices, distances = (to_device(a, "cpu") for a in nearest._launch(there(x), there(codes)))
        again = nearest._launch(there(x), there(codes))[0]
    expected, least = ops.nearest_code(widened(x), widened(codes))
    np.testing.assert_array_equal(indices, to_device(again, "cpu"))
    np.testing.assert_allclose(widened(distances), least, rtol=2**-8)
    assert (indices != expected).mean() < 0.02  # sums are rounded in another order


@ways("in order", "seed 1")
def test_of_equal_codes_the_first_on_tensor_cores(random, way, monkeypatch):
    monkeypatch.setattr(nearest, "_BLOCKS", 2)
    codes = bf16(random.standard_normal((40, 8)))
    which = random.integers(0, 40, 500)
    with running(way) as there:
        indices, distances = (to_device(a, "cpu") for a in nearest._launch(there(codes), there(codes[which])))
    present = [i for i in range(40) if i in which]
    assert [int(indices[i]) for i in present] == [int(np.flatnonzero(which == i)[0]) for i in present]
    assert not widened(distances[present]).any()
