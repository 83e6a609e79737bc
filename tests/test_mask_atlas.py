"""Every plate of the atlas: a proof by gradients, drawings written by hand, and the masks that models really use."""

import textwrap

import numpy as np
import pytest

from minivl import Tensor, mask_atlas, masks, ops
from minivl.mask_atlas import BUILT, PAPERS, PLATES, reach
from minivl.models import clip, coca, mammut

NAMES = [f"{plate.paper}, {plate.part}" for plate in PLATES]


@pytest.mark.parametrize("plate", PLATES, ids=NAMES)
def test_a_gradient_is_exactly_zero_where_a_plate_forbids_and_nowhere_else(plate):
    assert plate.mask.dtype == bool and plate.mask.shape == (len(plate.rows), len(plate.columns))
    for seed in range(3):
        assert np.array_equal(reach(plate.mask, seed=seed) != 0, plate.mask), masks.draw(plate.mask)


def test_reach_is_what_one_query_after_the_other_would_give():
    random = np.random.default_rng(5)
    mask = random.random((3, 4)) < 0.6
    q, memory = random.standard_normal((1, 1, 3, 8)), random.standard_normal((1, 1, 4, 8))
    for i in range(3):
        m = Tensor(memory, requires_grad=True)
        ops.attention(Tensor(q), m, m, mask=mask)[0, 0, i].sum().backward()
        assert np.array_equal((m.grad[0, 0] != 0).any(-1), mask[i])
    assert np.array_equal(reach(mask) != 0, mask)


def test_all_eleven_papers_are_there_each_plate_once_and_every_letter_is_told():
    assert len(PAPERS) == 11 and list(dict.fromkeys(plate.paper for plate in PLATES)) == list(PAPERS)
    assert len(set(NAMES)) == len(NAMES)
    assert set("".join(plate.rows + plate.columns for plate in PLATES)) == set(mask_atlas.LETTERS)
    for plate in PLATES:
        assert plate.why.endswith((".", ".)")) and plate.known


# What a person would draw for each paper, by the words of its plates alone.
DRAWN = {
    "CLIP, text": """
        x . . . .
        x x . . .
        x x x . .
        x x x x .
        x x x x x""",
    "CoCa, text, lower half": """
        x . . . . .
        x x . . . .
        x x x . . .
        x x x . . .
        x x x . . .
        x x x . . x""",
    "MaMMUT, pass A: compare": """
        x x x . .
        x x x . .
        x x x . .
        x x x . .
        x x x . .""",
    "OmniVL, clip, in time": """
        x . x . x .
        . x . x . x
        x . x . x .
        . x . x . x
        x . x . x .
        . x . x . x""",
    "OmniVL, clip, in space": """
        x x x . . .
        x x x . . .
        x x x . . .
        . . . x x x
        . . . x x x
        . . . x x x""",
    "ERNIE-ViL, text at regions": """
        x x x .
        x x x .
        x x x .
        . . . .
        . . . .""",
    "M6, both to text": """
        x x x x x x . .
        x x x x x x . .
        x x x x x x . .
        x x x x x x . .
        x x x x x x . .
        x x x x x x . .
        x x x x x x x .
        x x x x x x x x""",
    "FLAVA, text": """
        x x x . .
        x x x . .
        x x x . .
        x x x . .
        x x x . .""",
    "OFA, decoder at encoder": """
        x x x x x x x .
        x x x x x x x .
        x x x x x x x .
        x x x x x x x .""",
    "BEiT-3, caption": """
        x x x x x . . .
        x x x x x . . .
        x x x x x . . .
        x x x x x . . .
        x x x x x . . .
        x x x x x x . .
        x x x x x x x .
        x x x x x x x x""",
    "PaLI, decoder": """
        x . . .
        x x . .
        x x x .
        x x x x""",
    "Unified in-context decoder, by a cache": """
        x x x x x x x .
        x x x x x x x x""",
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_plate_is_what_a_person_would_draw(name):
    assert masks.draw(PLATES[NAMES.index(name)].mask) == textwrap.dedent(DRAWN[name]).strip()


def test_two_layers_in_turn_let_a_clip_see_itself_whole():
    """What OmniVL's plates say: in time, then in space. Here without the class tokens, which time leaves out."""
    assert (masks.block(2, 2, 2) @ masks.same_place(3, 2)).all()


SIZES = dict(image_size=8, patch=4, vocabulary=13, image_width=8, image_heads=2, image_layers=1)
MODELS = {
    "CLIP": lambda random: clip.CLIP(
        clip.Config(**SIZES, context=5, embedding=6, text_width=8, text_heads=2, text_layers=1), random
    ),
    "CoCa": lambda random: coca.CoCa(
        coca.Config(
            image_size=8, patch=4, vocabulary=13, context=7, width=8, heads=2, image_layers=1, image_hidden=12,
            unimodal_layers=1, multimodal_layers=1, text_hidden=12, caption_queries=3,
        ),
        random,
    ),
    "MaMMUT": lambda random: mammut.MaMMUT(
        mammut.Config(**SIZES, image_hidden=12, context=7, width=8, heads=2, layers=1, cross_layers=1, hidden=8), random
    ),
}  # fmt: skip


@pytest.mark.parametrize("paper", MODELS)
def test_what_is_built_uses_the_masks_of_its_plates(paper, monkeypatch):
    used, attention = [], ops.attention

    def noted(q, k, v, mask=None, **options):
        full = np.broadcast_to(True if mask is None else mask, (*q.shape[:3], k.shape[2]))
        used.append(full[0, 0])
        return attention(q, k, v, mask=mask, **options)

    monkeypatch.setattr(ops, "attention", noted)
    random = np.random.default_rng(0)
    text, lengths = np.array([[1, 5, 6, 7, 2], [1, 5, 2, 0, 0], [1, 5, 6, 7, 2]])[1:], np.array([3, 5])
    MODELS[paper](random)({"image": random.standard_normal((2, 3, 8, 8)), "text": text, "lengths": lengths})
    drawn = {masks.draw(plate.mask) for plate in BUILT if plate.paper == paper}
    found = {masks.draw(mask) for mask in used}
    assert drawn <= found, "a plate shows a mask that the model does not use"
    all_see_all = {masks.draw(mask) for mask in used if mask.all()}  # pictures, and what has one query
    assert found - drawn <= all_see_all, "the model uses a mask that no plate shows"
