"""Pictures into patches, clips into tubes, and back.

A transformer reads tokens. A picture becomes tokens by being cut up: how many patches fit, which pixels stand in which
patch, and where a patch's gradient belongs when it comes back. Patches may overlap or leave gaps; a tube is a patch
that lasts for some frames, and needs no line more.

    grid = (size - offset - kernel) // stride + 1                    along each axis
    pixel (o + i s + p) is number p of patch i

You will need: slices, `itertools.product`; strides if you like. About 90 minutes.
"""

import itertools

import numpy as np

from ..sheet import check, close, equal, scenario

FILES = ("minivl/ops/patch_embed.py",)
# size, kernel, stride, offset
_CUTS = (
    ((4, 6), (2, 3), (2, 3), (0, 0)),
    ((7, 9), (3, 2), (2, 2), (1, 0)),
    ((8, 8), (2, 2), (3, 4), (0, 1)),
    ((5, 6, 7), (2, 3, 3), (1, 2, 4), (1, 0, 0)),
    ((4, 5, 5), (4, 1, 5), (4, 2, 1), (0, 0, 0)),
)


@scenario
def grid_of(size, kernel, stride, offset):
    from minivl.ops import patch_grid

    return np.array(patch_grid(*(tuple(int(n) for n in a) for a in (size, kernel, stride, offset))))


@scenario
def laid_out(x, kernel, stride, offset):
    """Patches themselves: an embedding by the identity."""
    from minivl import ops

    numbers = x.shape[1] * int(np.prod(kernel))
    weight = np.eye(numbers).reshape(x.shape[1], *(int(k) for k in kernel), numbers)
    return ops.patch_embed(x, weight, stride=_tuple(stride), offset=_tuple(offset)).numpy()


@scenario
def put_back(x, d, kernel, stride, offset):
    from minivl import Tensor, ops

    numbers = x.shape[1] * int(np.prod(kernel))
    weight = np.eye(numbers).reshape(x.shape[1], *(int(k) for k in kernel), numbers)
    x = Tensor(x, requires_grad=True)
    ops.patch_embed(x, weight, stride=_tuple(stride), offset=_tuple(offset)).backward(d)
    return x.grad


def _tuple(a):
    return tuple(int(n) for n in a)


def _patches(size, kernel, stride, offset):
    """The pixels of every patch, as an array of indices (N, pixels, axes), by trying every place."""
    found = []
    for start in itertools.product(*(range(n) for n in size)):
        on_grid = all(s >= o and (s - o) % t == 0 for s, o, t in zip(start, offset, stride, strict=True))
        if on_grid and all(s + k <= n for s, k, n in zip(start, kernel, size, strict=True)):
            found.append([tuple(map(sum, zip(start, place, strict=True))) for place in np.ndindex(*kernel)])
    return found


@check("ex05.a", "grid = (size - offset - kernel) // stride + 1")
def patches_that_fit(run, random):
    """One too many or too few; the offset left out."""
    for size, kernel, stride, offset in _CUTS:
        wanted = [
            sum(1 for s in range(o, n, t) if s + k <= n)
            for n, k, t, o in zip(size, kernel, stride, offset, strict=True)
        ]
        equal(f"grid of {size} in patches of {kernel}", run(grid_of, size, kernel, stride, offset), wanted)


@check("ex05.b", "pixel (o + i s + p) is number p of patch i")
def every_pixel_in_its_place(run, random):
    """Rows and columns exchanged; channels last; stride and kernel mistaken for each other."""
    for size, kernel, stride, offset in _CUTS:
        x = random.standard_normal((2, 3, *size))
        wanted = [
            [
                [x[(b, c, *pixel)] for c in range(3) for pixel in patch]
                for patch in _patches(size, kernel, stride, offset)
            ]
            for b in range(2)
        ]
        close("patches", run(laid_out, x, kernel, stride, offset), np.array(wanted), 1e-12)


@check("ex05.c", "a pixel gets the sum over the patches that it is in")
def gradients_go_home(run, random):
    """The last patch wins where patches overlap; something for pixels that are in none."""
    for size, kernel, stride, offset in _CUTS:
        x, patches = random.standard_normal((2, 3, *size)), _patches(size, kernel, stride, offset)
        d = random.standard_normal((2, len(patches), 3 * int(np.prod(kernel))))
        wanted = np.zeros_like(x)
        for b, (n, patch), c in itertools.product(range(2), enumerate(patches), range(3)):
            for i, pixel in enumerate(patch):
                wanted[(b, c, *pixel)] += d[b, n, c * len(patch) + i]
        close("dx", run(put_back, x, d, kernel, stride, offset), wanted, 1e-12)
