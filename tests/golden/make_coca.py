"""Makes coca_*.npz: what open_clip's CoCa gives for random weights. Needs the peers extra.

    python tests/golden/make_coca.py

A file holds the Config, the batch, all weights by our names, and the peer's embeddings, logits, losses and gradients.
tests/models/test_open_clip_coca.py compares them with ours, without PyTorch. Weights and pictures are numbers of
float16, so that a file stays small and nothing is lost.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "peers"))

import transformers  # noqa: E402, F401  before the hollow torchvision, see there
from hollow_torchvision import install  # noqa: E402

from minivl.models.open_clip_coca import Config, OpenCLIPCoCa  # noqa: E402
from minivl.nn import Unallocated  # noqa: E402
from minivl.weights import coca_names  # noqa: E402
from minivl.weights.names import to_ours  # noqa: E402

SMALL = dict(
    image_size=16, patch=8, image_layers=1, image_heads=2, vocabulary=43, context=7, width=8, text_heads=2,
    unimodal_layers=1, multimodal_layers=2, caption_queries=3, pooler_heads=2,
)  # fmt: skip
KINDS = {
    "coca_shared": {**SMALL, "image_width": 12},
    "coca_cascade": {**SMALL, "image_width": 8, "pooler": "cascade", "shifted_mask": False},
    "coca_parallel": {**SMALL, "image_width": 8, "pooler": "parallel"},
}


def open_clip(c):
    install()
    from open_clip import CoCa

    text = dict(context_length=c.context, vocab_size=c.vocabulary, width=c.width, heads=c.text_heads)
    image = dict(image_size=c.image_size, layers=c.image_layers, width=c.image_width, patch_size=c.patch)
    pooler = dict(attentional_pool=c.pooler == "shared" or c.pooler, attn_pooler_queries=c.caption_queries)
    pooler |= dict(attn_pooler_heads=c.pooler_heads, output_tokens=True, head_width=c.image_width // c.image_heads)
    made = CoCa(
        embed_dim=c.width,
        multimodal_cfg=dict(text, layers=c.multimodal_layers),
        text_cfg=dict(text, layers=c.unimodal_layers, embed_cls=True, output_tokens=True),
        vision_cfg={**image, **pooler},
    )
    torch.nn.init.normal_(made.text_decoder.text_projection, std=c.width**-0.5)  # which open_clip forgets
    made.text.correct_cls_mask = not c.shifted_mask
    return made


def batch(c):
    random = np.random.default_rng(1)
    text, lengths = random.integers(1, c.vocabulary, (3, c.context)), np.array([c.context, 4, 3])
    text[np.arange(c.context) >= lengths[:, None]] = 0
    images = random.standard_normal((3, 3, c.image_size, c.image_size)).astype(np.float16)
    return {"image": images, "text": text, "lengths": lengths}


def results(name):
    """What stands in the file of that name: {"weights/...", "gradients/...", "out/...", "batch/...", "config"}."""
    from open_clip import CoCaLoss

    c = Config(**KINDS[name])
    torch.manual_seed(0)
    peer, inputs = open_clip(c).double(), batch(c)
    with torch.no_grad():  # random everywhere: what starts as 0 or 1 would hide mistakes
        for key, p in peer.named_parameters():
            p += 0.1 * torch.randn_like(p) * (key != "logit_scale")
            p.copy_(p.half())
    out = peer(torch.tensor(inputs["image"]).double(), torch.tensor(inputs["text"]))
    out["image_features"] = out["image_features"].reshape(3, -1)  # of two poolers it has an axis more
    losses = CoCaLoss(caption_loss_weight=2.0, clip_loss_weight=1.0)(**out, output_dict=True)
    sum(losses.values()).backward()
    counted = np.arange(c.context - 1) < inputs["lengths"][:, None] - 1
    kept = {
        "image_embedding": out["image_features"],
        "text_embedding": out["text_features"],
        "logits": out["logits"][torch.tensor(counted)],
        "contrastive_loss": losses["contrastive_loss"],
        "caption_loss": losses["caption_loss"] / 2,
    }
    rules = coca_names.rules("open_clip", c)
    shapes = {key: a.shape for key, a in OpenCLIPCoCa(c, Unallocated()).state_dict().items()}
    weights = {key: p.detach().numpy() for key, p in peer.named_parameters()}
    gradients = {key: p.grad.numpy() for key, p in peer.named_parameters()}
    return {
        "config": np.array(json.dumps(KINDS[name])),
        **{f"batch/{key}": a for key, a in inputs.items()},
        **{f"weights/{key}": a.astype(np.float16) for key, a in to_ours(rules, weights, shapes).items()},
        **{f"out/{key}": a.detach().numpy() for key, a in kept.items()},
        **{f"gradients/{key}": a.astype(np.float32) for key, a in to_ours(rules, gradients, shapes).items()},
    }


if __name__ == "__main__":
    for name in KINDS:
        install()
        np.savez_compressed(HERE / f"{name}.npz", **results(name))
        print(f"wrote {HERE / name}.npz, {(HERE / f'{name}.npz').stat().st_size} bytes")
