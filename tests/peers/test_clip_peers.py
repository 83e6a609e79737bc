"""CLIP's start beside open_clip's, and the golden files beside the peers that they were made with.

That all outputs and gradients agree is in test_weights_peers.py, through the same name maps as published weights.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from minivl.models.clip import CLIP, Config
from minivl.weights import clip_names
from minivl.weights.names import to_ours

pytestmark = pytest.mark.peer

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def golden(torch, transformers, open_clip_models):
    """The script that makes the files."""
    spec = importlib.util.spec_from_file_location("make_clip", GOLDEN / "make_clip.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["clip_huggingface", "clip_vit", "clip_resnet"])
def test_golden_files_are_what_the_peers_give(golden, name):
    kept, made = np.load(GOLDEN / f"{name}.npz"), golden.results(name)
    assert set(kept.files) == set(made) and set(golden.PEERS) == {p.stem for p in GOLDEN.glob("clip_*.npz")}
    for key, expected in made.items():
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(kept[key], expected, rtol=1e-5, atol=1e-7, err_msg=key)
        else:
            np.testing.assert_array_equal(kept[key], expected, err_msg=key)


@pytest.mark.parametrize("encoder", ["vit", "resnet"])
def test_weights_start_as_large_as_theirs(torch, golden, encoder):
    """The authors' initialisation, as open_clip wrote it down once more."""
    sizes = dict(text_width=64, text_heads=4, text_layers=3, embedding=64, vocabulary=500)
    if encoder == "vit":
        config = Config(image_width=64, image_heads=4, **sizes)
    else:
        config = Config(**{**golden.RESNET, **sizes, "image_width": 16, "image_heads": 8})
    torch.manual_seed(0)
    theirs = {name: a.detach().numpy() for name, a in golden.open_clip(config).state_dict().items()}
    ours = CLIP(config, np.random.default_rng(0)).state_dict()
    shapes = {name: a.shape for name, a in ours.items()}
    theirs = to_ours(clip_names.rules("openai", config), clip_names.without_wrapping(theirs), shapes)
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        if expected.std() < 1e-7:  # biases, norms and statistics that start as 0 or 1; the temperature
            np.testing.assert_allclose(ours[name], expected, rtol=1e-6, err_msg=name)
        elif expected.size > 1000:
            assert ours[name].std() == pytest.approx(expected.std(), rel=0.08), name
            assert np.abs(ours[name]).max() == pytest.approx(np.abs(expected).max(), rel=0.3), name
        else:
            assert 0.5 < ours[name].std() / expected.std() < 2, name
