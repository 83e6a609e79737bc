"""Patches of pictures and tubes of clips: any stride, offset and overlap, against loops."""

import naive
import numpy as np
import pytest

from minivl import Tensor, gradcheck, ops

GRIDS = [  # x, kernel, stride, offset, patches
    ((2, 3, 6, 6), (2, 2), None, 0, 9),
    ((1, 3, 7, 5), (2, 2), None, 0, 6),  # pixels are left over
    ((2, 1, 6, 5), (3, 2), 1, 0, 16),  # overlap
    ((2, 3, 6, 6), (2, 2), (2, 3), (1, 0), 4),  # gaps
    ((1, 2, 4, 4), (1, 1), 3, 0, 4),
    ((1, 3, 4, 4), (4, 4), None, 0, 1),
    ((2, 3, 4, 4, 6), (2, 2, 2), None, 0, 12),
    ((1, 3, 5, 4, 4), (3, 2, 2), (1, 2, 2), (1, 0, 2), 4),  # tubes that overlap in time
    ((1, 1, 4, 5, 5), (1, 3, 3), (3, 1, 2), 0, 12),
]


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
@pytest.mark.parametrize(("shape", "kernel", "stride", "offset", "patches"), GRIDS)
def test_definition(random, shape, kernel, stride, offset, patches, layout):
    axes = len(kernel)
    x = random.standard_normal(shape)
    if layout == "channels last":
        x = np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    weight, bias = random.standard_normal((shape[1], *kernel, 4)), random.standard_normal(4)
    each = [(n,) * axes if isinstance(n, int) else n for n in (kernel if stride is None else stride, offset)]
    out = ops.patch_embed(Tensor(x), weight, bias, stride=stride, offset=offset)
    assert out.shape == (shape[0], patches, 4)
    np.testing.assert_allclose(out.data, naive.patch_embed(x, weight, bias, *each), rtol=1e-12, atol=1e-13)
    gradcheck(lambda *a: ops.patch_embed(*a, stride=stride, offset=offset), x, weight, bias, seeds=(0,))


def test_a_pixel_that_belongs_to_no_patch_has_no_gradient(random):
    x = Tensor(random.standard_normal((1, 1, 5, 5)), requires_grad=True)
    ops.patch_embed(x, np.ones((1, 2, 2, 1)), stride=2, offset=1).sum().backward()
    expected = np.ones((5, 5))
    expected[0] = expected[:, 0] = 0
    np.testing.assert_array_equal(x.grad[0, 0], expected)


def test_patches_are_read_row_by_row_and_frame_by_frame():
    x = np.arange(2 * 2 * 2.0).reshape(1, 1, 2, 2, 2)
    assert ops.patch_embed(Tensor(x), np.ones((1, 1, 1, 1, 1))).data.ravel().tolist() == list(range(8))


@pytest.mark.parametrize(("shape", "kernel", "stride", "offset", "patches"), GRIDS)
def test_centres_are_the_mean_place_of_the_pixels_of_each_patch(shape, kernel, stride, offset, patches):
    """A clip whose pixels say where they lie, averaged over each tube by the op itself."""
    size, axes = shape[2:], len(kernel)
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij")).astype(np.float64)  # (axes, *size)
    average = np.full((1, *kernel, 1), 1 / np.prod(kernel))
    mean = ops.patch_embed(Tensor(places[:, None]), average, stride=stride, offset=offset).data[..., 0].T
    centres = ops.patch_centres(size, kernel, stride, offset)
    assert centres.shape == (patches, axes) and centres.dtype == np.float64
    np.testing.assert_allclose(centres, mean, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "weight", "options", "words"),
    [
        ((1, 3, 4), (3, 2, 2, 5), {}, "x (1, 3, 4) and weight (3, 2, 2, 5)"),
        ((1, 3, 4, 4), (1, 2, 2, 5), {}, "want (B, 3, H, W) and (3, h, w, C)"),
        ((1, 3, 4, 4), (3, 2, 2, 2, 5), {}, "weight (3, 2, 2, 2, 5)"),
        ((1, 3, 4, 4), (3, 5, 2, 5), {}, "has no whole patch of (5, 2)"),
        ((1, 3, 4, 4), (3, 2, 2, 5), {"offset": 3}, "from offset (3, 3)"),
        ((1, 3, 4, 4), (3, 2, 2, 5), {"offset": -1}, "offset (-1, -1)"),
        ((1, 3, 4, 4), (3, 2, 2, 5), {"stride": 0}, "stride (0, 0)"),
        ((1, 3, 4, 4), (3, 2, 2, 5), {"stride": (2, 2, 2)}, "want one number, or 2"),
        ((1, 3, 4, 4), (3, 2, 2, 5), {"offset": (1,)}, "want one number, or 2"),
    ],
)
def test_errors(x, weight, options, words):
    with pytest.raises(ValueError) as caught:
        ops.patch_embed(Tensor(np.zeros(x)), np.zeros(weight), **options)
    assert "patch_embed" in str(caught.value) and words in str(caught.value)
