"""The kernels of patches and tubes: laid out and put back as the definition does, in any order of threads."""

import importlib
import math

import numpy as np
import pytest
from kernel_runs import CHECK, agree, bf16, moved_there, running, ways, widened

from minivl import gradcheck, ops
from minivl.array import to_device

patches = importlib.import_module("minivl.ops.patch_embed")  # the package has the op under this name

GRIDS = [  # x, kernel, stride, offset
    ((1, 1, 1, 1), (1, 1), 1, 0),
    ((2, 3, 8, 8), (4, 4), None, 0),  # whole packs of 16 bytes
    ((2, 3, 16, 33), (8, 8), 8, 0),  # rows that no pack fits
    ((1, 3, 31, 31), (7, 5), (3, 4), (2, 1)),  # overlap
    ((2, 1, 9, 16), (2, 8), (4, 8), (1, 8)),  # gaps, in packs
    ((1, 1, 8, 16), (4, 8), (4, 8), (1, 2)),  # packs but for the offset
    ((1, 2, 3, 1025), (1, 33), (1, 31), 0),
    ((0, 3, 8, 8), (4, 4), None, 0),
    ((2, 3, 4, 8, 8), (2, 4, 4), None, 0),  # tubes
    ((1, 3, 6, 9, 8), (3, 2, 4), (2, 3, 4), (1, 0, 4)),  # that overlap in time and leave gaps between rows
    ((1, 2, 5, 8, 16), (4, 4, 8), (1, 2, 8), 0),
]
every_grid = pytest.mark.parametrize(("shape", "kernel", "stride", "offset"), GRIDS)


def embed(stride, offset):
    return lambda *arrays: ops.patch_embed(*arrays, stride=stride, offset=offset)


@ways()
@every_grid
@pytest.mark.parametrize(("dtype", "tolerance"), [("f", 1e-4), ("d", 1e-12)])
def test_same_as_the_definition(random, shape, kernel, stride, offset, dtype, tolerance, way):
    arrays = [random.standard_normal(s).astype(dtype) for s in (shape, (shape[1], *kernel, 3), (3,))]
    agree(embed(stride, offset), arrays, way, rtol=tolerance, atol=tolerance)


@ways(*CHECK)
@every_grid
def test_every_access_is_in_order(random, shape, kernel, stride, offset, way):
    if math.prod(shape) < 4000:
        arrays = [random.standard_normal(s).astype("f") for s in (shape, (shape[1], *kernel, 2), (2,))]
        agree(embed(stride, offset), arrays, way, rtol=1e-4, atol=1e-4)


@ways("in order", "seed 1", "check")
@every_grid
def test_bfloat16(random, shape, kernel, stride, offset, way):
    """Laying out moves bits; putting back adds up in float32 and rounds once."""
    stride = kernel if stride is None else patches._each(stride, len(kernel))
    offset = patches._each(offset, len(kernel))
    grid = patches.patch_grid(shape[2:], kernel, stride, offset)
    x = bf16(random.standard_normal(shape))
    windows = np.ascontiguousarray(patches._windows(x, kernel, stride, offset, grid))
    with running(way) as there:
        laid_out = patches._launch_lay_out(there(x), kernel, stride, offset, grid)
        dx = patches._launch_put_back(laid_out, there(x), kernel, stride, offset, grid)
    np.testing.assert_array_equal(to_device(laid_out, "cpu"), windows)
    exact = patches._put_back(widened(windows), widened(x), kernel, stride, offset, grid)
    np.testing.assert_allclose(widened(to_device(dx, "cpu")), exact, rtol=2**-8)


@ways("seed 1")
@pytest.mark.parametrize("grid", [GRIDS[3], GRIDS[8]])
def test_derivative(random, grid, way):
    shape, kernel, stride, offset = grid
    arrays = [random.standard_normal(s) for s in (shape, (shape[1], *kernel, 2), (2,))]
    with running(way):
        assert gradcheck(moved_there(embed(stride, offset), way), *arrays, tolerance=1e-7)
