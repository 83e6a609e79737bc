"""Patch embedding: a picture is cut into patches, a clip into tubes, and each becomes one token.

Kernels: patch_embed.cu.
"""

import itertools
import math
import operator

import numpy as np

from .. import array, kernels
from ..array import array_module
from ..tensor import op


def patch_grid(size, kernel, stride, offset):
    """How many patches fit along each axis. All arguments are tuples with one entry an axis."""
    # minivl:exercise ex05.a points=1 "how many patches fit"
    # minivl:hint the last patch must lie inside: offset + (grid - 1) * stride + kernel <= size
    return tuple((n - o - k) // s + 1 for n, k, s, o in zip(size, kernel, stride, offset, strict=True))
    # minivl:end


def patch_centres(size, kernel, stride=None, offset=0):
    """Where the middle of every patch lies, in the order of its tokens: (N, axes), float64, in pixels.

    Pixel 0 lies at 0.0, so a patch of 4 from offset 0 at 1.5. Arguments as in `patch_embed`. For positions of tubes.
    """
    axes = len(kernel)
    stride, offset = tuple(kernel) if stride is None else _each(stride, axes), _each(offset, axes)
    grid = patch_grid(size, kernel, stride, offset)
    middles = [o + (k - 1) / 2 + s * np.arange(n) for n, k, s, o in zip(grid, kernel, stride, offset, strict=True)]
    return np.stack(np.meshgrid(*middles, indexing="ij"), axis=-1).reshape(-1, axes)


@op
def patch_embed(x, weight, bias=None, *, stride=None, offset=0):
    """Every patch of x, flattened, times a matrix.   Dosovitskiy et al. 2021, arXiv 2010.11929, eq. 1.

    x        pictures (B, 3, H, W) or clips (B, 3, F, H, W), any number of channels
    weight   (3, h, w, C) or (3, f, h, w, C): its shape says how large a patch or tube is
    bias     (C,) or None
    stride   from patch to patch, one number or one for each axis; None: patches side by side
    offset   where the first patch starts, likewise (tubes: Piergiovanni et al. 2023, arXiv 2212.03229)
    ->       tokens (B, N, C). N = prod(patch_grid(...)), and token number (t * rows + i) * columns + j is the patch at
             step t in time, row i, column j: row by row, for clips all rows of one step before the next step

    Patches may overlap (stride below the kernel) or leave gaps (above). Pixels beyond the last belong to none.
    """
    axes, kernel = x.ndim - 2, weight.shape[1:-1]
    if x.ndim not in (4, 5) or weight.ndim != x.ndim or weight.shape[0] != x.shape[1]:
        raise ValueError(
            f"patch_embed: x {x.shape} and weight {weight.shape}: want (B, 3, H, W) and (3, h, w, C), or with F and f"
        )
    stride = kernel if stride is None else _each(stride, axes)
    offset = _each(offset, axes)
    if len(stride) != axes or len(offset) != axes or min(stride) < 1 or min(offset) < 0:
        raise ValueError(
            f"patch_embed: stride {stride} and offset {offset}: want one number, or {axes}, "
            "from 1 upwards for stride and from 0 for offset"
        )
    grid = patch_grid(x.shape[2:], kernel, stride, offset)
    if min(grid) < 1:
        raise ValueError(f"patch_embed: x {x.shape} has no whole patch of {kernel} from offset {offset}")
    B, C, N = len(x), weight.shape[-1], math.prod(grid)
    matrix = weight.reshape(-1, C)
    patches = _laid_out(x, kernel, stride, offset, grid).reshape(B * N, len(matrix))

    def derivative(d):
        d = d.reshape(B * N, C)

        def dx():
            return _put_back(array.matmul(d, matrix.T), x, kernel, stride, offset, grid)

        return (
            dx,
            lambda: array.matmul(patches.T, d).reshape(weight.shape),
            None if bias is None else lambda: array.sum_rows(d),
        )

    return array.matmul(patches, matrix, bias).reshape(B, N, C), derivative


def _each(n, axes):
    return (operator.index(n),) * axes if hasattr(n, "__index__") else tuple(n)


def _laid_out(x, kernel, stride, offset, grid):
    """Every patch, its numbers side by side: (B, *grid, 3, *kernel), copied."""
    if kernels.wanted(x):
        return _launch_lay_out(x, kernel, stride, offset, grid)
    return array_module(x).ascontiguousarray(_windows(x, kernel, stride, offset, grid))


def _windows(x, kernel, stride, offset, grid):
    """A view (B, *grid, 3, *kernel): nothing is copied."""
    # minivl:exercise ex05.b points=3 "a picture, laid out as patches"
    # minivl:hint the shape is (B, *grid, channels, *kernel); a copy is as right as a view
    # minivl:hint loop over the grid with itertools.product, and cut with slices
    # minivl:hint as a view: one step along the grid is `stride` steps along the picture
    steps = x.strides[2:]
    start = x[(..., *(slice(o, None) for o in offset))]
    return array_module(x).lib.stride_tricks.as_strided(
        start,
        shape=(x.shape[0], *grid, x.shape[1], *kernel),
        strides=(x.strides[0], *(n * s for n, s in zip(steps, stride, strict=True)), x.strides[1], *steps),
    )
    # minivl:end


def _put_back(dpatches, x, kernel, stride, offset, grid):
    """Adds each patch's gradient to the pixels that it was cut from: one addition for each place in a patch."""
    if kernels.wanted(x):
        return _launch_put_back(dpatches, x, kernel, stride, offset, grid)
    dx = array_module(x).zeros_like(x)
    axes = len(kernel)
    dpatches = dpatches.reshape(x.shape[0], *grid, x.shape[1], *kernel)
    # minivl:exercise ex05.c points=4 "gradients of patches, put back"
    # minivl:hint a pixel in several patches gets the sum of their gradients, a pixel in none 0
    # minivl:hint loop over the patches; or over the places in a patch, which lie a stride apart
    dpatches = array_module(x).moveaxis(dpatches, axes + 1, 1)  # (B, 3, *grid, *kernel)
    for place in itertools.product(*(range(k) for k in kernel)):
        pixels = tuple(
            slice(o + p, o + p + (g - 1) * s + 1, s) for o, p, g, s in zip(offset, place, grid, stride, strict=True)
        )
        dx[(..., *pixels)] += dpatches[(..., *place)]
    return dx
    # minivl:end


# ---- the same by kernels ---------------------------------------------------------------------------------------------


def _launch_lay_out(x, kernel, stride, offset, grid):
    xp, numbers = array_module(x), x.shape[1] * math.prod(kernel)
    patches = xp.empty((len(x), *grid, x.shape[1], *kernel), x.dtype)
    if patches.size:
        threads = min(256, 32 * -(-numbers * x.itemsize // 512))  # 16 bytes each, at most eight warps
        arguments = (xp.ascontiguousarray(x), patches, *_axes(x, kernel, stride, offset, grid))
        kernels.load("patch_embed", like=x).patches_forward(patches.size // numbers, threads, arguments)
    return patches


def _launch_put_back(dpatches, x, kernel, stride, offset, grid):
    xp = array_module(x)
    dx = xp.empty(x.shape, x.dtype)
    if dx.size:
        arguments = (xp.ascontiguousarray(dpatches), dx, dx.size, *_axes(x, kernel, stride, offset, grid))
        kernels.load("patch_embed", like=x).patches_backward(-(-dx.size // 256), 256, arguments)
    return dx


def _axes(x, kernel, stride, offset, grid):
    """Channels, then sizes, kernel, stride, offset and grid of three axes; a picture is a clip of one frame."""
    missing = 5 - x.ndim
    each = [(x.shape[2:], 1), (kernel, 1), (stride, 1), (offset, 0), (grid, 1)]
    return x.shape[1], *itertools.chain(*((fill,) * missing + tuple(sizes) for sizes, fill in each))
