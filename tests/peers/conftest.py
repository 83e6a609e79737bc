"""What the peer tests share: packages of others, and how their tensors are compared with ours.

The tests of this folder may import the files that stand beside them.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

TOLERANCE = {"float64": 1e-5, "float32": 1e-4}  # relative, of the largest number of a tensor
ROUNDING = {"float64": 1e-9, "float32": 1e-3}  # of the largest gradient: what is smaller may be a 0 that was rounded


@pytest.fixture(scope="session")
def torch():
    torch = pytest.importorskip("torch", reason="needs the peers extra")
    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="session")
def transformers(torch):
    return pytest.importorskip("transformers", reason="needs the peers extra")


@pytest.fixture(scope="session")
def open_clip_models(transformers):
    """open_clip, which asks for torchvision and needs none of it; transformers is imported before, see there."""
    from hollow_torchvision import install

    install()
    return pytest.importorskip("open_clip", reason="needs open_clip_torch, installed with --no-deps")


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


def array(tensor):
    return tensor.detach().numpy() if hasattr(tensor, "detach") else np.asarray(getattr(tensor, "data", tensor))


@pytest.fixture
def agree(dtype):
    """agree(ours, theirs, floor): equal but for rounding; `floor` is a size below which all is rounding."""

    def check(ours, theirs, floor=0.0, name=""):
        ours, theirs = array(ours), array(theirs)
        assert ours.shape == theirs.shape, (name, ours.shape, theirs.shape)
        assert ours.dtype == dtype and np.isfinite(theirs).all(), name
        scale = max(np.abs(theirs).max(initial=0), floor)
        assert np.abs(ours - theirs).max(initial=0) <= TOLERANCE[dtype] * scale, name

    return check


@pytest.fixture
def agree_in_gradients(agree, dtype):
    """Every parameter's gradient, theirs found through the name map."""
    from minivl.weights.names import to_ours

    def check(model, peer, rules):
        state = model.state_dict()
        theirs = {name: array(p.grad) for name, p in peer.named_parameters()}
        known = [r for r in rules if r.theirs in theirs]
        shapes = {name: state[name].shape for r in known for name in r.ours}
        found = to_ours(known, {r.theirs: theirs[r.theirs] for r in known}, shapes)
        ours = dict(model.named_parameters())
        assert set(found) == set(ours) and len(known) == len(theirs), "a parameter without a gradient"
        # a key's bias moves all scores of a query alike: its gradient is 0 but for rounding
        floor = ROUNDING[dtype] * max(np.abs(grad).max() for grad in theirs.values())
        for name, tensor in ours.items():
            agree(tensor.grad, found[name], floor, name)

    return check
