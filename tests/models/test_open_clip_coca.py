"""open_clip's CoCa beside what it gave itself, kept in tests/golden, and in use: no PyTorch is needed.

The files are made by tests/golden/make_coca.py.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from minivl import gradcheck, no_grad
from minivl.models import find
from minivl.models.open_clip_coca import Config, OpenCLIPCoCa
from minivl.nn import Unallocated
from minivl.optim import AdamW

GOLDEN = Path(__file__).parent.parent / "golden"
KINDS = ("coca_shared", "coca_cascade", "coca_parallel")
TOLERANCES = {"float64": 1e-6, "float32": 1e-4}  # of the largest number in a tensor; gradients are kept in float32


def part(kept, name):
    return {key.removeprefix(name + "/"): kept[key] for key in kept.files if key.startswith(name + "/")}


def golden(kind, dtype="float64"):
    """(what is kept, model with its weights, batch)"""
    kept = np.load(GOLDEN / f"{kind}.npz", allow_pickle=False)
    model = OpenCLIPCoCa(Config(**json.loads(kept["config"].item())), np.random.default_rng(0)).to(dtype)
    model.load_state_dict(part(kept, "weights"))
    batch = part(kept, "batch")
    return kept, model, {**batch, "image": batch["image"].astype(dtype)}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_what_open_clip_gave(kind, dtype):
    kept, model, batch = golden(kind, dtype)
    out = model(batch)
    out["loss"].backward()
    for name, expected in part(kept, "out").items():
        assert out[name].shape == expected.shape
        assert np.abs(out[name].data - expected).max() <= TOLERANCES[dtype] * np.abs(expected).max(), name
    gradients, expected = {name: p.grad for name, p in model.named_parameters()}, part(kept, "gradients")
    assert set(gradients) == set(expected)
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for name, gradient in expected.items():
        scale = max(np.abs(gradient).max(), 1e-3 * largest)  # a key's bias has a gradient of 0, but for rounding
        assert np.abs(gradients[name] - gradient).max() <= TOLERANCES[dtype] * scale, name


def test_whole_model_gradcheck():
    _, model, batch = golden("coca_shared")
    names, parameters = zip(*model.named_parameters(), strict=True)
    assert gradcheck(lambda *_: model(batch)["loss"], *parameters, names=names, seeds=(0,))


@pytest.mark.parametrize("shifted", [True, False])
def test_who_sees_whom(shifted):
    """No word sees a later one; with the shifted mask [CLS] sees one pad, else none; later pads change nothing."""
    _, model, batch = golden("coca_shared")
    model.config.shifted_mask = shifted
    text = batch["text"][1:2]  # 4 words and 3 pads
    words, embedding = (t.data for t in model.read(text))
    for t in range(4):
        changed = text.copy()
        changed[0, t] = text[0, t] % 40 + 1
        other_words, other = (x.data for x in model.read(changed))
        np.testing.assert_array_equal(other_words[:, :t], words[:, :t])
        assert np.abs(other - embedding).max() > 1e-6
    before = model.tokens.weight.data.copy()
    model.tokens.weight.data[0] += np.random.default_rng(0).standard_normal(8)  # the pad's own vector
    assert bool(np.abs(model.read(text)[1].data - embedding).max() > 1e-6) is shifted
    model.tokens.weight.data = before
    for T in (4, 5, 6):  # trimmed texts are filled up again
        np.testing.assert_array_equal(model.read(text[:, :T])[1].data, embedding)


def test_captions_by_cache_are_those_without():
    _, model, batch = golden("coca_cascade")
    with no_grad():
        memory = model.look(batch["image"])[0]
        for i, caption in enumerate(model.generate(batch["image"], max_tokens=5)):
            tokens = [model.config.start_token]
            for token in caption:
                tokens.append(model.decode(np.array([tokens]), memory[i : i + 1]).data[0, -1].argmax())
                assert tokens[-1] == token


def test_it_learns_one_batch():
    _, model, batch = golden("coca_shared", "float32")
    optimizer = AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for _ in range(60):
        out = model(batch)
        model.zero_grad()
        out["loss"].backward()
        optimizer.step()
        losses.append(out["loss"].item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("preset, parameters", [("vit_b_32", 253_560_065), ("vit_l_14", 638_450_177)])
def test_published_parameter_counts(preset, parameters):
    assert OpenCLIPCoCa(getattr(Config, preset)(), Unallocated()).num_parameters() == parameters
    assert find("open_clip_coca") == (Config, OpenCLIPCoCa)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"pooler": "both"}, "Config.pooler is 'both', must be 'shared', 'cascade' or 'parallel'"),
        ({"pooler": "cascade", "image_width": 48}, "needs image_width = width, got 48"),
    ],
)
def test_what_cannot_be_is_said(changes, message):
    with pytest.raises(ValueError, match=message):
        OpenCLIPCoCa(Config(**changes), np.random.default_rng(0))


def test_texts_that_are_too_long_are_said():
    _, model, batch = golden("coca_shared")
    with pytest.raises(ValueError, match="text of 8 tokens, Config.context is 7"):
        model.encode_text(np.ones((1, 8), np.int64), np.array([8]))
    with pytest.raises(ValueError, match="this model has no tokenizer"):
        model.encode_text("a red circle")
