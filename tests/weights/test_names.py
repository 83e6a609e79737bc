"""Name maps: there and back, sizes from shapes, and every fault by name."""

import numpy as np
import pytest

from minivl.models import clip, open_clip_coca
from minivl.nn import Unallocated
from minivl.weights import WeightsError, clip_names, coca_names
from minivl.weights.names import rule, to_ours, to_theirs

VIT = dict(embedding=6, image_size=16, image_width=64, image_heads=1, patch=8, image_layers=2)
TEXT = dict(vocabulary=13, start_token=11, end_token=12, context=7, text_width=128, text_heads=2, text_layers=3)
RESNET = dict(embedding=6, image_size=64, image_encoder="resnet", image_width=4, image_heads=2)
CLIPS = {
    "openai": clip.Config(**VIT, **TEXT),
    "openai resnet": clip.Config(**RESNET, image_blocks=(2, 1, 3, 1), **TEXT),
    "openai sigmoid": clip.Config(**VIT, **TEXT, loss="sigmoid"),
    "huggingface": clip.Config(**VIT, **TEXT),
}
SMALL = dict(
    image_size=16,
    patch=8,
    context=7,
    start_token=510,
    end_token=511,
    width=64,
    text_heads=1,
    caption_queries=3,
    pooler_heads=8,
)
COCAS = {
    "open_clip": open_clip_coca.Config(**SMALL, image_width=128, image_heads=2, image_layers=3),
    "open_clip cascade": open_clip_coca.Config(**SMALL, image_width=64, image_heads=1, pooler="cascade"),
}
ALL = {name: (clip_names, clip.CLIP, c) for name, c in CLIPS.items()}
ALL |= {name: (coca_names, open_clip_coca.OpenCLIPCoCa, c) for name, c in COCAS.items()}


def state(model, seed=0):
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(a.shape).astype(np.float32) for name, a in model.state_dict().items()}


@pytest.fixture(params=ALL)
def case(request):
    """(name map, layout, config, our weights)"""
    names, Model, config = ALL[request.param]
    return names, request.param.split(" ")[0], config, state(Model(config, Unallocated()))


def test_there_and_back_and_no_copy_on_the_way_here(case):
    names, layout, config, ours = case
    rules = names.rules(layout, config)
    theirs = to_theirs(rules, ours)
    assert len({r.theirs for r in rules}) == len(rules)
    assert names.recognise(theirs)[0] == layout
    back = to_ours(rules, theirs, {name: a.shape for name, a in ours.items()})
    assert set(back) == set(ours)
    for name, array in back.items():
        np.testing.assert_array_equal(array, ours[name])
        assert any(np.shares_memory(array, a) for a in theirs.values()), name


def test_sizes_are_read_from_shapes(case):
    names, layout, config, ours = case
    found = names.sizes(*names.recognise(to_theirs(names.rules(layout, config), ours)))
    heads = {"image_heads": config.image_heads} if getattr(config, "image_encoder", "vit") == "resnet" else {}
    assert type(config)(**{**found, **heads}) == config


@pytest.mark.parametrize(
    "preset", ["vit_b_32", "vit_b_16", "vit_l_14", "rn50", "rn101", "rn50x4", "rn50x16", "rn50x64"]
)
def test_all_published_sizes_are_told_by_their_shapes(preset):
    config = getattr(clip.Config, preset)()
    ours = {n: np.broadcast_to(np.int8(0), a.shape) for n, a in clip.CLIP(config, Unallocated()).state_dict().items()}
    found = clip_names.sizes("openai", to_theirs(clip_names.rules("openai", config), ours))
    assert clip.Config(**found) == config


def test_what_lies_around_and_beside_the_weights_is_taken_off():
    config = CLIPS["openai"]
    ours = state(clip.CLIP(config, Unallocated()))
    theirs = to_theirs(clip_names.rules("openai", config), ours)
    beside = {
        "attn_mask": np.zeros(3),
        "input_resolution": np.array(224),
        "visual.bn1.num_batches_tracked": np.array(1),
    }
    wrapped = {f"state_dict.module.{name}": a for name, a in (theirs | beside).items()} | {"optimizer.0": np.zeros(2)}
    in_a_room = {f"text.{n}" if n.split(".")[0] not in ("visual", "logit_scale") else n: a for n, a in theirs.items()}
    for found in (wrapped, in_a_room):
        layout, tensors = clip_names.recognise(found)
        assert layout == "openai" and set(tensors) == set(theirs)


def test_missing_unexpected_and_misshapen_are_listed_by_their_names():
    config = CLIPS["openai"]
    ours = state(clip.CLIP(config, Unallocated()))
    shapes = {name: a.shape for name, a in ours.items()}
    rules = clip_names.rules("openai", config)
    theirs = to_theirs(rules, ours)
    del theirs["visual.transformer.resblocks.1.attn.in_proj_weight"]
    theirs["visual.extra"] = np.zeros(3)
    theirs["text_projection"] = theirs["text_projection"].T
    with pytest.raises(WeightsError) as error:
        to_ours(rules, theirs, shapes)
    assert str(error.value) == (
        "weights do not fit: 1 missing: visual.transformer.resblocks.1.attn.in_proj_weight; "
        "1 unexpected: visual.extra; 1 misshapen: text_projection (6, 128) where (128, 6) is expected"
    )
    del ours["position"]
    with pytest.raises(WeightsError, match="1 missing: position"):
        to_theirs(rules, ours)


def test_each_kind_by_hand():
    """Against PyTorch's own layouts, written out."""
    fused = np.arange(12.0).reshape(6, 2)  # query, key and value, each (outputs 2, inputs 2)
    kernel = np.arange(24.0).reshape(2, 3, 2, 2)  # (outputs, inputs, h, w)
    rules = [
        rule("f", "q", "k", "v", kind="fused"),
        rule("l", "linear", kind="linear"),
        rule("c", "conv", kind="conv"),
        rule("p", "patches", kind="patches"),
    ]
    theirs = {"f": fused, "l": fused, "c": kernel, "p": kernel}
    shapes = {"q": (2, 2), "k": (2, 2), "v": (2, 2), "linear": (2, 6), "conv": (2, 2, 3, 2), "patches": (3, 2, 2, 2)}
    ours = to_ours(rules, theirs, shapes)
    x = np.array([1.0, 10.0])
    for part, rows in (("q", slice(0, 2)), ("k", slice(2, 4)), ("v", slice(4, 6))):
        np.testing.assert_array_equal(x @ ours[part], fused[rows] @ x)
    np.testing.assert_array_equal(x @ ours["linear"], fused @ x)
    for out, channel, i, j in np.ndindex(kernel.shape):
        assert ours["conv"][i, j, channel, out] == kernel[out, channel, i, j]
        assert ours["patches"][channel, i, j, out] == kernel[out, channel, i, j]


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({}, "no CLIP of OpenAI, open_clip or Hugging Face; its tensors are called $"),
        ({"a": np.zeros(1), "b": np.zeros(1)}, "its tensors are called a, b"),
        (
            {"text_model.x": np.zeros(1)},
            "'text_model.embeddings.token_embedding.weight' is missing, which tells a size",
        ),
        ({"token_embedding.weight": np.zeros(4), "visual.x": np.zeros(1)}, r"has shape \(4,\), must have 2 axes"),
    ],
)
def test_what_is_no_clip_is_said(tensors, message):
    with pytest.raises(WeightsError, match=message):
        clip_names.sizes(*clip_names.recognise(tensors))


def test_pictures_that_are_no_square_are_said():
    config = CLIPS["openai"]
    theirs = to_theirs(clip_names.rules("openai", config), state(clip.CLIP(config, Unallocated())))
    theirs["visual.positional_embedding"] = np.zeros((7, 64))
    with pytest.raises(WeightsError, match="visual.positional_embedding has 6 places, must be a square"):
        clip_names.sizes("openai", theirs)


def test_what_has_no_place_elsewhere_is_said():
    with pytest.raises(WeightsError, match="CLIPModel has a ViT, this model a resnet"):
        clip_names.rules("huggingface", CLIPS["openai resnet"])
    with pytest.raises(WeightsError, match="no CoCa of open_clip; its tensors are called x"):
        coca_names.recognise({"x": np.zeros(1)})
