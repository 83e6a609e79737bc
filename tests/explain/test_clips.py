"""Pages of clips: frames side by side, tokens by their place in time, and files that are strips of frames."""

import numpy as np
import pytest
from PIL import Image

from minivl import cli
from minivl.data.image import denormalise
from minivl.explain.book import build
from minivl.explain.example import columns_of, find_example, find_run, sheet
from minivl.run import load


@pytest.fixture(scope="module")
def clip_page(made):
    return made["mammut-clips"]


@pytest.mark.parametrize(("F", "columns"), [(2, 2), (4, 2), (5, 3), (16, 4)])
def test_a_sheet_has_the_frames_in_reading_order(F, columns):
    frames = np.random.default_rng(F).random((3, F, 5, 5))
    laid = sheet(frames)
    assert columns_of(F) == columns and laid.shape == (3, 5 * columns, 5 * columns)
    for f in range(F):
        y, x = 5 * (f // columns), 5 * (f % columns)
        assert np.array_equal(laid[:, y : y + 5, x : x + 5], frames[:, f])


def test_a_box_on_the_sheet_is_what_its_token_was_made_of(clip_page):
    """Each token again, by plain loops: the numbers in its box times the kernel of its shape, and its place."""
    book, told = clip_page
    clip, model = book.found.batch["image"][0], book.model
    vit, video = model.vit, model.video
    clip = clip - clip.mean()
    kernels = {(1, 16, 16): (vit.patch.data[:, None], vit.patch_bias.data)}
    for weight, bias in zip(video.kernels, video.biases, strict=True):
        kernels[weight.shape[1:4]] = weight.data, bias.data
    places = video.places(vit.position).data
    step = next(step for step in told["steps"] if step["kind"] == "tubes")
    number = next(v.calls[-1] for s in book.forward.steps if s.key == step["key"] for v in s.variants)
    made = book.last.calls[number].out.data[0]
    assert len(told["example"]["boxes"]) == len(made) == 20
    for place, (f, y, x, *size) in enumerate(told["example"]["boxes"]):
        weight, bias = kernels[tuple(size)]
        cut = clip[:, f : f + size[0], y : y + size[1], x : x + size[2]]
        want = (cut[..., None] * weight).sum((0, 1, 2, 3)) + bias + places[place]
        np.testing.assert_allclose(made[place], want, rtol=1e-4, atol=1e-4)


def test_tokens_are_called_by_place_and_time(clip_page):
    _, told = clip_page
    site = told["sites"][0]
    assert site["name"] == "vit.transformer.blocks.*.attend"
    names = [told["tokens"][id][1] for id in site["keys"]]
    assert names[0] == "patch 1 (frame 1, row 1, column 1)"
    assert names[7] == "patch 8 (frame 3, row 2, column 2)"
    assert names[8 + 7] == "tube 16 (frames 3–4, row 2, column 2)"
    assert names[-1] == "tube 20 (frames 1–4, row 2, column 2)" and len(set(names)) == 20
    memory = next(site for site in told["sites"] if site["name"].endswith("attend_memory"))
    assert [told["tokens"][id][1] for id in memory["keys"]] == names, "words look at the same places"


def test_the_page_shows_the_clip_as_the_model_sees_it(clip_page):
    book, told = clip_page
    assert told["example"]["clip"] == {"frames": 4, "columns": 2, "side": 32} and told["example"]["size"] == 64
    picture, c = np.asarray(book.found.pictures[0], np.float32), book.model.config
    third = denormalise(book.found.batch["image"], c.image_mean, c.image_std)[0][:, 2].transpose(1, 2, 0) * 255
    assert np.abs(picture[32:, :32] - third).max() <= 0.51
    assert told["arrays"]["pixels"]["shape"] == [64, 64]
    shape = next(step for step in told["steps"] if step["kind"] == "picture")["variants"][0]["axes"]
    assert shape == [["3", 3], ["F", 4], ["S", 32], ["S", 32]]


def test_a_file_is_a_strip_of_frames_or_stands_still(runs, tmp_path):
    strip, model = tmp_path / "strip.png", load(runs["mammut-clips"])
    greys = [0, 20, 40, 60, 80, 100, 120, 140]
    whole = Image.fromarray(np.repeat(np.uint8(greys), 10)[:, None, None].repeat(10, 1).repeat(3, 2))
    whole.save(strip)
    found = find_example(model, "moving", str(strip), "a red circle moves up")
    assert found.batch["image"].shape[1:] == (3, 4, 32, 32)
    assert [np.asarray(frame)[5, 5, 0] for frame in found.frames[0]] == greys[1::2], "the middle of each two"
    whole.crop((0, 40, 10, 50)).save(strip)
    found = find_example(model, "moving", str(strip), "a red circle moves up")
    assert [np.asarray(frame)[5, 5, 0] for frame in found.frames[0]] == [greys[4]] * 4


def test_a_model_of_pictures_is_shown_the_middle_frame(runs):
    clips, pictures = build(find_run(runs["mammut-clips"]), text="a red ring", versus=find_run(runs["clip"]))
    assert clips["example"]["clip"]["frames"] == 4 and pictures["example"]["clip"] is None
    assert pictures["example"]["size"] == 32 and pictures["example"]["grid"] == (4, 4)
    assert clips["example"]["text"] == pictures["example"]["text"]


def test_the_command_writes_the_page_of_a_clip(runs, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert cli.main(["explain", str(runs["mammut-clips"]), "--out", str(out)]) == 0
    assert "wrote" in capsys.readouterr().out and "tube 20 (frames 1–4" in out.read_text(encoding="utf-8")
