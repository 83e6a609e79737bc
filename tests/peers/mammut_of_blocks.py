"""MaMMUT's two passes in PyTorch, put together from open_clip's own blocks, and how their tensors are called here.

open_clip has no MaMMUT on PyPI; its ResidualAttentionBlock, with and without cross-attention, is what one is made of.
The focal loss and its mean are written as the paper prints them, pair by pair.
"""

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from minivl.weights.clip_names import fused_attention, openai_blocks, openai_mlp
from minivl.weights.names import both, rule


class Peer(nn.Module):
    """c is a minivl.models.mammut.Config of pictures."""

    def __init__(self, c):
        super().__init__()
        self.c, W, C = c, c.image_width, c.width
        side = c.image_size // c.patch
        self.conv1 = nn.Conv2d(3, W, c.patch, c.patch)
        self.image_position = nn.Parameter(torch.randn(side * side, W))
        blocks = [ResidualAttentionBlock(W, c.image_heads, c.image_hidden / W) for _ in range(c.image_layers)]
        self.image_blocks, self.ln_post = nn.ModuleList(blocks), nn.LayerNorm(W)
        self.to_decoder = nn.Linear(W, C)
        self.token_embedding = nn.Embedding(c.vocabulary, C)
        self.positional_embedding = nn.Parameter(torch.randn(c.context, C))
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(C, c.heads, c.hidden / C) for _ in range(c.layers))
        cross = [
            ResidualAttentionBlock(C, c.heads, c.hidden / C, is_cross_attention=True) for _ in range(c.cross_layers)
        ]
        self.cross_attn, self.ln_final = nn.ModuleList(cross), nn.LayerNorm(C)
        self.text_projection = nn.Parameter(torch.randn(C, c.vocabulary) * C**-0.5)
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def look(self, images):
        x = self.conv1(images).flatten(2).transpose(1, 2) + self.image_position
        for block in self.image_blocks:
            x = block(x)
        return self.to_decoder(self.ln_post(x))

    def decode(self, text, mask, memory=None):
        """mask (B, T, T), True = may attend"""
        x = self.token_embedding(text) + self.positional_embedding[: text.shape[1]]
        forbidden = torch.zeros(mask.shape, dtype=x.dtype).masked_fill(~mask, float("-inf"))
        forbidden = forbidden.repeat_interleave(self.c.heads, dim=0)
        every = self.c.layers // self.c.cross_layers
        for i, block in enumerate(self.resblocks):
            x = block(x, attn_mask=forbidden)
            if memory is not None and (i + 1) % every == 0:
                x = self.cross_attn[(i + 1) // every - 1](x, k_x=memory, v_x=memory)
        return self.ln_final(x)

    def forward(self, images, text, lengths):
        B, T = text.shape
        real = torch.arange(T) < lengths[:, None]
        seen = real[:, None, :].expand(B, T, T) if self.c.mask_pads else torch.ones(B, T, T, dtype=torch.bool)
        causal = torch.ones(T, T, dtype=torch.bool).tril()
        counted = real if self.c.mask_pads else torch.ones_like(real)
        memory = self.look(images)
        words = self.decode(text, seen & causal if self.c.contrast_pass == "causal" else seen)
        image = normalize(memory.mean(1), dim=-1)
        text_embedding = normalize((words * counted[..., None]).sum(1) / counted.sum(1, keepdim=True), dim=-1)
        decoded = self.decode(text, real[:, None, :] & causal, memory)
        predicts = real[:, 1:]
        logits = decoded[:, :-1][predicts] @ self.text_projection
        similarity = image @ text_embedding.T * self.logit_scale.exp()
        return {
            "image_embedding": image,
            "text_embedding": text_embedding,
            "logits": logits,
            "similarity": similarity,
            "contrastive_loss": softmax(similarity)
            if self.c.contrast == "softmax"
            else focal(similarity, self.c.gamma),
            "caption_loss": cross_entropy(logits, text[:, 1:][predicts]),
        }


def softmax(similarity):
    own = torch.arange(len(similarity))
    return (cross_entropy(similarity, own) + cross_entropy(similarity.T, own)) / 2


def focal(similarity, gamma):
    """L_I2T + L_T2I, each as printed."""
    total = 0
    for logits in (similarity, similarity.T):
        p = torch.sigmoid(logits)
        p = torch.where(torch.eye(len(p), dtype=torch.bool), p, 1 - p)
        total = total - ((1 - p) ** gamma * p.log()).sum() / len(p)
    return total


def rules(c):
    """The name map between Peer and ours, see minivl.weights.names."""
    found = [
        rule("conv1.weight", "vit.patch", kind="patches"),
        rule("conv1.bias", "vit.patch_bias"),
        rule("image_position", "vit.position"),
        *openai_blocks("image_blocks", "vit.transformer.blocks", c.image_layers),
        *both("ln_post", "vit.transformer.norm"),
        *both("to_decoder", "to_decoder", kind="linear"),
        rule("token_embedding.weight", "tokens.weight"),
        rule("positional_embedding", "position"),
        *openai_blocks("resblocks", "decoder.blocks", c.layers),
        *both("ln_final", "decoder.norm"),
        rule("text_projection", "next_token.weight"),
        rule("logit_scale", "log_scale"),
    ]
    for i in range(c.cross_layers):
        theirs, ours = f"cross_attn.{i}", f"decoder.cross.{i}"
        norms = (("ln_1", "norm1"), ("ln_1_kv", "norm_memory"), ("ln_2", "norm2"))
        found += [r for a, b in norms for r in both(f"{theirs}.{a}", f"{ours}.{b}")]
        found += fused_attention(f"{theirs}.attn", f"{ours}.attend_memory")
        found += openai_mlp(f"{theirs}.mlp", f"{ours}.mlp")
    return found


def random_everywhere(peer, keep_half=False):
    """What starts as 0 or 1 would hide mistakes. keep_half: numbers of float16, which a small file can hold."""
    with torch.no_grad():
        for p in peer.parameters():
            p += 0.1 * torch.randn_like(p)
            if keep_half:
                p.copy_(p.half())
    return peer
