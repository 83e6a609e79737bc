"""MaMMUT beside its two passes put together from open_clip's blocks: outputs, losses, the gradient of every weight."""

import numpy as np
import pytest

from minivl.models.mammut import Config, MaMMUT
from minivl.weights.names import to_ours

pytestmark = pytest.mark.peer

SMALL = dict(
    image_size=16, patch=8, image_width=24, image_heads=3, image_layers=2, image_hidden=48, vocabulary=43, context=9,
    width=32, heads=4, layers=4, cross_layers=2, hidden=64,
)  # fmt: skip
KINDS = {
    "focal": {},
    "softmax": {"contrast": "softmax", "cross_layers": 4},
    "causal": {"contrast_pass": "causal", "gamma": 2.0, "cross_layers": 1},
    "pads are read": {"mask_pads": False},
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_passes_of_open_clips_blocks_agree(torch, open_clip_models, dtype, agree, agree_in_gradients, kind):
    from mammut_of_blocks import Peer, random_everywhere, rules

    c = Config(**{**SMALL, **KINDS[kind]})
    torch.manual_seed(0)
    peer = random_everywhere(Peer(c)).to(getattr(torch, dtype))
    ours = MaMMUT(c, np.random.default_rng(0)).to(dtype)
    shapes = {name: a.shape for name, a in ours.state_dict().items()}
    ours.load_state_dict(to_ours(rules(c), {name: p.detach().numpy() for name, p in peer.named_parameters()}, shapes))
    text, lengths = torch.randint(1, 43, (5, 9)), torch.tensor([9, 4, 2, 7, 3])
    text[torch.arange(9) >= lengths[:, None]] = 0
    images = torch.randn(5, 3, 16, 16, dtype=getattr(torch, dtype))

    theirs = peer(images, text, lengths)
    (theirs["contrastive_loss"] + theirs["caption_loss"]).backward()
    out = ours({"image": images.numpy(), "text": text.numpy(), "lengths": lengths.numpy()})
    out["loss"].backward()
    for name, tensor in theirs.items():
        agree(out[name], tensor, name=name)
    agree_in_gradients(ours, peer, rules(c))
