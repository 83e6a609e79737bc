"""Makes clip_*.npz: what CLIPs of Hugging Face and open_clip give for random weights. Needs the peers extra.

    python tests/golden/make_clip.py

A file holds the Config, the batch, all weights by our names, and the peer's embeddings, logits, loss and gradients in
float64. tests/models/test_clip_golden.py compares them with ours, without PyTorch. Weights and pictures are numbers of
float16, so that a file stays small and nothing is lost.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "peers"))

import hollow_torchvision  # noqa: E402

from minivl.models.clip import CLIP, Config  # noqa: E402
from minivl.nn import Unallocated  # noqa: E402
from minivl.weights import clip_names  # noqa: E402
from minivl.weights.names import to_ours  # noqa: E402

END = 42
TEXT = dict(vocabulary=43, context=7, text_width=8, text_heads=2, text_layers=2, end_token=END)
VIT = dict(embedding=6, image_size=16, patch=8, image_width=12, image_heads=3, image_layers=2, **TEXT)
RESNET = dict(
    embedding=6, image_size=64, image_encoder="resnet", image_width=4, image_heads=2, image_blocks=(1, 2, 1, 1), **TEXT
)  # fmt: skip


def hugging_face(c):
    text = dict(
        vocab_size=c.vocabulary, hidden_size=c.text_width, intermediate_size=4 * c.text_width,
        num_hidden_layers=c.text_layers, num_attention_heads=c.text_heads, max_position_embeddings=c.context,
        eos_token_id=END, bos_token_id=END - 1, pad_token_id=0,
    )  # fmt: skip
    image = dict(
        hidden_size=c.image_width, intermediate_size=4 * c.image_width, num_hidden_layers=c.image_layers,
        num_attention_heads=c.image_heads, image_size=c.image_size, patch_size=c.patch,
    )  # fmt: skip
    config = transformers.CLIPConfig(text_config=text, vision_config=image, projection_dim=c.embedding)
    return transformers.CLIPModel(config)


def open_clip(c):
    vit = c.image_encoder == "vit"
    image = dict(
        image_size=c.image_size, layers=c.image_layers if vit else list(c.image_blocks), width=c.image_width,
        head_width=(c.image_width if vit else 32 * c.image_width) // c.image_heads, patch_size=c.patch,
    )  # fmt: skip
    text = dict(
        context_length=c.context, vocab_size=c.vocabulary, width=c.text_width, heads=c.text_heads, layers=c.text_layers
    )
    package = hollow_torchvision.open_clip()
    return package.model.CLIP(embed_dim=c.embedding, vision_cfg=image, text_cfg=text, quick_gelu=c.quick_gelu)


PEERS = {
    "clip_huggingface": ("huggingface", hugging_face, VIT),
    "clip_vit": ("openai", open_clip, {**VIT, "quick_gelu": False}),
    "clip_resnet": ("openai", open_clip, RESNET),
}


def batch(c):
    random = np.random.default_rng(1)
    text, lengths = random.integers(1, END - 1, (3, c.context)), np.array([c.context, 4, 3])
    text[np.arange(3), lengths - 1] = END
    text[np.arange(c.context) >= lengths[:, None]] = 0
    images = random.standard_normal((3, 3, c.image_size, c.image_size)).astype(np.float16)
    return {"image": images, "text": text, "lengths": lengths}


def results(name):
    """What stands in the file of that name: {"weights/...", "gradients/...", "out/...", "batch/...", "config"}."""
    layout, make, changes = PEERS[name]
    c = Config(**changes)
    torch.manual_seed(0)
    peer, inputs = make(c).double().train(), batch(c)
    with torch.no_grad():  # random everywhere: what starts as 0 or 1 would hide mistakes
        for key, p in peer.named_parameters():
            p += 0.1 * torch.randn_like(p) * (key != "logit_scale")
            p.copy_(p.half())
    weights = {key: a.numpy().copy() for key, a in peer.state_dict().items()}
    out = forward(layout, peer, torch.tensor(inputs["image"]).double(), torch.tensor(inputs["text"]))
    out["loss"].backward()

    model = CLIP(c, Unallocated())
    rules, shapes = clip_names.rules(layout, c), {key: a.shape for key, a in model.state_dict().items()}
    learned = {key for key, _ in model.named_parameters()}
    gradients = {key: p.grad.numpy() for key, p in peer.named_parameters()}
    of_learned = [rule for rule in rules if learned.issuperset(rule.ours)]
    weights = to_ours(rules, clip_names.without_wrapping(weights), shapes)
    after = to_ours(rules, clip_names.without_wrapping({k: a.numpy() for k, a in peer.state_dict().items()}), shapes)
    return {
        "config": np.array(json.dumps(changes)),
        **{f"batch/{key}": a for key, a in inputs.items()},
        **{f"weights/{key}": a.astype(np.float16) for key, a in weights.items()},
        **{f"out/{key}": a.detach().numpy() for key, a in out.items()},
        **{f"gradients/{key}": a.astype(np.float32) for key, a in to_ours(of_learned, gradients, shapes).items()},
        **{f"after/{key}": after[key] for key in sorted(after.keys() - learned)},  # statistics
    }


def forward(layout, peer, images, text):
    if layout == "huggingface":
        out = peer(input_ids=text, pixel_values=images, return_loss=True)
        image, words, logits, loss = out.image_embeds, out.text_embeds, out.logits_per_image, out.loss
    else:
        image, words, scale = peer(images, text)[:3]
        logits, target = scale * image @ words.T, torch.arange(len(text))
        entropy = torch.nn.functional.cross_entropy
        loss = (entropy(logits, target) + entropy(logits.T, target)) / 2
    return {"image_embedding": image, "text_embedding": words, "similarity": logits, "loss": loss}


if __name__ == "__main__":
    for name in PEERS:
        np.savez_compressed(HERE / f"{name}.npz", **results(name))
        print(f"wrote {HERE / name}.npz, {(HERE / f'{name}.npz').stat().st_size} bytes")
