"""Pictures to arrays and back, preprocessing, and the sheets that people look at."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFont

from minivl.data.image import (
    CLIP_MEAN,
    CLIP_STD,
    Preprocess,
    contact_sheet,
    denormalise,
    heat,
    heat_legend,
    heat_light,
    normalise,
    resize_and_crop,
    to_array,
    to_picture,
    to_rgb,
    wrap,
)
from minivl.data.shards import decode_image


def noise(width, height, seed=0, channels=3):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def colour_at(picture, x=0, y=0):
    return picture.convert("RGB").getpixel((x, y))


# ---- arrays


def test_to_array_has_channels_first_in_0_to_1_and_comes_back():
    picture = noise(5, 7)
    array = to_array(picture)
    assert array.shape == (3, 7, 5) and array.dtype == np.float32 and array.flags.c_contiguous
    np.testing.assert_array_equal(array[2, 6, 4] * 255, np.asarray(picture)[6, 4, 2])
    assert to_picture(array).tobytes() == picture.tobytes()
    assert colour_at(to_picture(np.array([2.0, -1.0, 0.5]).reshape(3, 1, 1))) == (255, 0, 128)
    with pytest.raises(ValueError, match=r"array has shape \(7, 5, 3\); it must be \(3, H, W\)"):
        to_picture(np.zeros((7, 5, 3)))


def test_normalise_is_undone_and_keeps_the_dtype():
    for dtype in (np.float32, np.float64):
        images = np.random.default_rng(0).random((2, 3, 4, 5)).astype(dtype)
        n = normalise(images)
        assert n.dtype == dtype
        np.testing.assert_allclose(n[1, 2], (images[1, 2] - CLIP_MEAN[2]) / CLIP_STD[2], rtol=1e-5)
        np.testing.assert_allclose(denormalise(n), images, atol=1e-6)


def test_transparency_is_laid_on_white_in_every_mode():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    palette = Image.new("P", (4, 4), 0)
    palette.info["transparency"] = 0
    assert colour_at(to_rgb(clear)) == (255, 255, 255) == colour_at(to_rgb(palette))
    assert colour_at(to_rgb(half)) == (127, 127, 127) == colour_at(to_rgb(Image.new("LA", (4, 4), (0, 128))))


def test_deep_grey_is_scaled_not_clipped():
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    assert [colour_at(to_rgb(deep), x)[0] for x in range(3)] == [0, 100, 255]


def test_the_way_up_that_exif_tells_is_respected():
    picture = Image.new("RGB", (8, 4), "blue")
    picture.paste("red", (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise: the left comes to the top
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif, quality=95)
    for upright in (to_rgb(Image.open(file)), to_rgb(decode_image(file.getvalue()))):
        assert upright.size == (4, 8)
        assert colour_at(upright, 2, 1)[0] > 200 and colour_at(upright, 2, 6)[2] > 200


# ---- resize and crop


@pytest.mark.parametrize("shape", [(64, 64), (100, 40), (41, 97), (9, 30), (32, 33), (500, 301)])
def test_resize_and_crop_equals_its_two_steps(shape):
    picture = noise(*shape)
    short = min(shape)
    width, height = (int(32 * side / short) for side in shape)
    left, top = int(round((width - 32) / 2.0)), int(round((height - 32) / 2.0))
    steps = picture.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + 32, top + 32))
    got = resize_and_crop(picture, 32)
    assert got.size == (32, 32) and got.mode == "RGB"
    assert np.abs(np.asarray(got).astype(int) - np.asarray(steps)).max() <= 1


def test_a_picture_of_the_right_size_is_not_resampled():
    picture = noise(32, 32)
    assert resize_and_crop(picture, 32).tobytes() == picture.tobytes()


def test_a_very_long_picture_needs_no_room():
    assert resize_and_crop(Image.new("RGB", (60_000, 1), "red"), 224).size == (224, 224)


# ---- preprocess


def test_preprocess_takes_a_picture_a_path_and_an_array_alike(tmp_path):
    picture, preprocess = noise(40, 30), Preprocess(16)
    picture.save(tmp_path / "p.png")
    expected = preprocess(picture)
    assert expected.shape == (3, 16, 16) and expected.dtype == np.float32
    np.testing.assert_array_equal(expected, normalise(to_array(resize_and_crop(picture, 16)), CLIP_MEAN, CLIP_STD))
    for same in (np.asarray(picture), tmp_path / "p.png", str(tmp_path / "p.png")):
        np.testing.assert_array_equal(preprocess(same), expected)


def test_preprocess_uses_its_own_mean_and_std():
    grey = np.full((8, 8), 51, np.uint8)
    np.testing.assert_allclose(Preprocess(8, (0.5,) * 3, (0.5,) * 3)(grey), np.full((3, 8, 8), -0.6), atol=1e-6)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.zeros((8, 8, 3)), ValueError, r"float64 array of shape \(8, 8, 3\); it must be uint8"),
        (np.zeros((3, 8, 8), np.uint8), ValueError, r"shape \(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, r"shape \(0, 8, 3\)"),
        (None, TypeError, "picture: a NoneType; it must be a Pillow picture, a path or a uint8 array"),
        (b"bytes", TypeError, "picture: a bytes"),
        ("no/such.png", FileNotFoundError, "picture: no file 'no/such.png'"),
    ],
)
def test_preprocess_says_what_it_cannot_take(bad, error, message):
    with pytest.raises(error, match=message):
        Preprocess(8)(bad)


def test_a_broken_file_is_named(tmp_path):
    noise(64, 64).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    for name, part in (("text.png", b"hello"), ("half.png", content[: len(content) // 2]), ("empty.png", b"")):
        (tmp_path / name).write_bytes(part)
        with pytest.raises(ValueError, match=f"{name}.*cannot be used as a picture"):
            Preprocess(8)(tmp_path / name)


# ---- sheets


def test_contact_sheet_places_pictures_in_rows_with_their_titles_below():
    colours = ["red", "lime", "blue", "black"]
    tiles = [Image.new("RGB", (8, 8), colour) for colour in colours]
    sheet = contact_sheet(tiles, ["one", "two", "three", ""], columns=3, tile=40)
    pixels = np.asarray(sheet)
    found = {c: np.argwhere((pixels == np.array(colour_at(t))).all(-1)) for c, t in zip(colours, tiles, strict=True)}
    tops, lefts = ({c: tuple(f[:1600].min(0))[k] for c, f in found.items() if c != "black"} for k in (0, 1))
    assert len(set(tops.values())) == 1 and lefts["red"] < lefts["lime"] < lefts["blue"]
    assert len(found["red"]) == len(found["lime"]) == 40 * 40
    assert (found["black"].max(0) - found["black"].min(0) == 39).all() and found["black"].min() > 0
    titled = pixels[tops["red"] + 40 : found["black"].min(0)[0]]
    assert (titled < 128).any(), "titles leave ink below their pictures"


def test_contact_sheet_keeps_to_its_width_and_colours_titles():
    sheet = contact_sheet([noise(10, 20)] * 2, ["word " * 60, "supercalifragilistic" * 9], columns=2, tile=90, lines=2)
    assert sheet.width == 12 + 2 * (90 + 12)
    assert (np.asarray(sheet)[:, -12:] == 255).all() and (np.asarray(sheet)[:, 102:114] == 255).all()
    red = np.asarray(contact_sheet([Image.new("RGB", (9, 9))], ["wrong"], colours=["red"]))
    assert ((red[..., 0] > 200) & (red[..., 1] < 80)).any()


def test_contact_sheet_of_one_picture_with_a_heading_and_bad_arguments():
    assert contact_sheet([noise(9, 9)], heading="a heading").height > contact_sheet([noise(9, 9)]).height
    with pytest.raises(ValueError, match="2 titles for 1 pictures"):
        contact_sheet([noise(9, 9)], ["a", "b"])
    with pytest.raises(ValueError, match="0 pictures in 6 columns"):
        contact_sheet([])


def test_wrap_breaks_between_words_and_marks_what_it_cuts():
    font = ImageFont.load_default(size=13)
    text = "there is a red circle; on its right, a blue square"
    whole = wrap(text, 120, font, 9)
    assert " ".join(whole) == text and all(font.getlength(line) <= 120 for line in whole)
    cut = wrap(text, 120, font, 2)
    assert len(cut) == 2 and cut[0] == whole[0] and cut[1].endswith("...") and font.getlength(cut[1]) <= 120
    assert wrap("", 120, font, 2) == [""]


# ---- attention


def test_heat_is_measured_in_even_shares_not_stretched_to_its_maximum():
    white = Image.new("RGB", (8, 8), "white")
    even = np.asarray(heat(white, np.full((2, 2), 7.0), size=16)).astype(int)
    assert (even == even[0, 0]).all(), "indifference looks the same everywhere"
    np.testing.assert_array_equal(heat(white, np.full((2, 2), 0.01), size=16), even)

    peak = np.asarray(heat(white, [[1, 0], [0, 0]], size=16)).astype(int)
    assert (peak[:8, :8] == 255).all(), "all weight on one patch of four is 4 even shares: fully lit"
    assert peak[8:].max() < even.min() < 255
    assert heat_light([0, 1, 2, 4, 9]).tolist() == [0, 64, 128, 255, 255]
    assert (np.diff(heat_light(np.linspace(0, 4, 50)).astype(int)) >= 0).all()


def test_heat_lights_the_patch_that_it_was_given():
    weights = np.zeros((2, 4))
    weights[1, 2] = 1
    lit = np.asarray(heat(Image.new("RGB", (8, 8), "white"), weights, size=32)).min(-1) == 255
    assert lit[16:, 16:24].all() and lit.sum() == 16 * 8


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), [1, 2], [[1, -1]], [[np.nan, 1]]])
def test_heat_refuses_what_are_no_weights(bad):
    with pytest.raises(ValueError, match="heat: weights"):
        heat(noise(8, 8), bad)


def test_the_legend_runs_from_dark_to_light():
    bar = np.asarray(heat_legend(200).convert("L"))[2].astype(int)
    assert heat_legend(200).width == 200 and (np.diff(bar) >= 0).all()
    assert (bar[0], bar[-1]) == (heat_on_white(0), heat_on_white(4))


def heat_on_white(shares):
    weights = np.zeros((2, 2))
    weights[0, 0], weights[0, 1] = shares / 4, 1 - shares / 4
    return heat(Image.new("RGB", (8, 8), "white"), weights, size=8).convert("L").getpixel((1, 1))
