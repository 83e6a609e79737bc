"""Augmentation: what it keeps, what it changes, that each step can be switched off, and its errors."""

from dataclasses import fields, replace

import numpy as np
import pytest

from minivl.data.augment import Augment, blurred, sample, smooth_noise

NOTHING = Augment().scaled(0)


def pictures(B=4, H=16, W=16, seed=0):
    return np.random.default_rng(seed).random((B, 3, H, W), dtype=np.float32)


def apply(augment, x, seed=1):
    return augment(x, np.random.default_rng(seed))


def test_no_strength_changes_nothing():
    x = pictures()
    np.testing.assert_allclose(apply(NOTHING, x), x, atol=2e-5)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 3, 8, 8), (5, 3, 12, 20), (2, 3, 33, 7)])
def test_shape_dtype_and_range(shape):
    B, _, H, W = shape
    x = pictures(B, H, W)
    y = apply(Augment().scaled(2), x)
    assert y.shape == shape and y.dtype == np.float32 and y.flags.c_contiguous
    assert y.size == 0 or (y.min() >= 0 and y.max() <= 1)


def test_same_generator_same_pictures_and_the_input_is_left_alone():
    x = pictures()
    kept = x.copy()
    a, b, c = apply(Augment(), x, 7), apply(Augment(), x, 7), apply(Augment(), x, 8)
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert np.array_equal(x, kept)


def test_pictures_of_a_batch_change_apart():
    x = np.repeat(pictures(1), 6, axis=0)
    y = apply(Augment(), x).reshape(6, -1)
    assert len(np.unique(y, axis=0)) == 6


STEPS = {
    "rotation": 30.0,
    "scale": 0.5,
    "aspect": 0.5,
    "shear": 0.3,
    "shift": 0.2,
    "flip": 1.0,
    "warp": 0.1,
    "tone": 0.9,
    "mix": 0.5,
    "grey": 1.0,
    "saturation": 0.5,
    "hue": 0.3,
    "contrast": 0.5,
    "brightness": 0.3,
    "shading": 0.3,
    "posterise": 1.0,
    "blur": 1.0,
    "noise": 0.3,
    "cutout": 1.0,
}


@pytest.mark.parametrize("name", STEPS)
def test_each_step_alone_changes_the_picture(name):
    x = pictures()
    assert np.abs(apply(replace(NOTHING, **{name: STEPS[name]}), x) - x).mean() > 0.005


def test_every_parameter_is_tested():
    assert {f.name for f in fields(Augment)} - {"fill", "warp_cells"} == set(STEPS)


def test_flip_is_the_mirror_image():
    x = pictures()
    np.testing.assert_allclose(apply(replace(NOTHING, flip=1.0), x), x[..., ::-1], atol=2e-5)


def test_geometry_keeps_the_middle_and_uncovers_fill():
    x = np.zeros((64, 3, 17, 17), np.float32)
    x[:, :, 8, 8] = 1
    turned = apply(replace(NOTHING, rotation=180.0), x)
    assert (turned[:, :, 8, 8] > 0.95).all()  # a turn is about the centre
    moved = apply(replace(NOTHING, shift=0.5, fill=0.25), np.zeros_like(x))
    np.testing.assert_allclose(np.unique(moved.round(4))[[0, -1]], [0, 0.25])


def test_shift_moves_by_at_most_its_amount():
    x = np.zeros((200, 3, 21, 21), np.float32)
    x[:, :, 10, 10] = 1
    y = apply(replace(NOTHING, shift=0.2, fill=0.0), x)[:, 0]
    mass = y.sum((1, 2))
    np.testing.assert_allclose(mass, 1, atol=1e-3)
    rows = (y.sum(2) * np.arange(21)).sum(1) - 10
    assert np.abs(rows).max() <= 0.2 * 21 + 1e-3 and np.abs(rows).max() > 0.15 * 21


def test_grey_makes_the_channels_equal():
    y = apply(replace(NOTHING, grey=1.0), pictures())
    np.testing.assert_allclose(y, np.repeat(y[:, :1], 3, axis=1), atol=1e-5)


@pytest.mark.parametrize("name", ["mix", "hue", "saturation"])
def test_colour_steps_leave_grey_pictures_alone(name):
    x = np.repeat(pictures()[:, :1], 3, axis=1)
    np.testing.assert_allclose(apply(replace(NOTHING, **{name: STEPS[name]}), x), x, atol=1e-4)


def test_tone_keeps_black_white_and_order():
    ramp = np.tile(np.linspace(0, 1, 16, dtype=np.float32), (4, 3, 16, 1))
    y = apply(replace(NOTHING, tone=0.9), ramp)
    np.testing.assert_allclose(y[..., 0], 0, atol=1e-5)
    np.testing.assert_allclose(y[..., -1], 1, atol=1e-5)
    assert (np.diff(y, axis=3) > -1e-5).all()


def test_posterise_leaves_few_tones():
    for picture in apply(replace(NOTHING, posterise=1.0), pictures(8, 32, 32)):
        assert all(len(np.unique(channel)) <= 8 for channel in picture)


def test_cutout_is_one_flat_rectangle():
    x = pictures(16, 32, 32)
    changed = (np.abs(apply(replace(NOTHING, cutout=1.0), x) - x) > 1e-3).any(1)
    for mask in changed:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert 0 < mask.sum() <= 16 * 16 + 33
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.95


def test_sample_agrees_with_a_loop():
    x, random = pictures(2, 5, 6), np.random.default_rng(3)
    places = random.uniform(0, 1, (2, 2, 4, 3)).astype(np.float32) * np.array([4, 5], np.float32)[:, None, None]
    got = sample(x, places, 1.0)
    for b, i, j in np.ndindex(2, 4, 3):
        y, z = places[b, :, i, j]
        weights = np.maximum(0, 1 - np.abs(y - np.arange(5)))[:, None] * np.maximum(0, 1 - np.abs(z - np.arange(6)))
        np.testing.assert_allclose(got[b, :, i, j], (weights * x[b]).sum((1, 2)), atol=1e-5)


def test_sample_far_outside_gives_fill():
    places = np.full((1, 2, 2, 2), -50, np.float32)
    assert (sample(pictures(1), places, 0.5) == 0.5).all()
    np.testing.assert_allclose(sample(pictures(1), -places, 0.5), 0.5, atol=1e-3)


def test_smooth_noise_is_smooth_and_as_strong_as_asked():
    field = smooth_noise((400, 1, 32, 32), 4, 0.5, np.random.default_rng(0))
    assert 0.3 < field.std() < 0.55
    assert np.abs(np.diff(field, axis=3)).mean() < 0.1


def test_blur_keeps_flat_pictures_and_the_mean_of_a_point():
    flat = np.full((1, 3, 8, 8), 0.3, np.float32)
    np.testing.assert_allclose(blurred(flat), flat, rtol=1e-6)
    point = np.zeros((1, 1, 7, 7), np.float32)
    point[0, 0, 3, 3] = 16
    np.testing.assert_allclose(blurred(point)[0, 0, 2:5, 2:5], [[1, 2, 1], [2, 4, 2], [1, 2, 1]], rtol=1e-6)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"images has shape \(2, 8, 8\)"):
        apply(Augment(), np.zeros((2, 8, 8), np.float32))
    with pytest.raises(TypeError, match="images is uint8"):
        apply(Augment(), np.zeros((1, 3, 8, 8), np.uint8))
