"""What the tensors of open_clip's CoCa are called, and what of them fits.

Nothing that open_clip calls CoCa can be mapped exactly to the paper's model in models/coca.py, in any configuration of
open_clip 3.3.0: its ViT always has a class token and a norm before the first block, both embeddings always go through a
linear map (a norm stands between, so it cannot be multiplied into the layer before), and every cross-attention brings
a second MLP. What can be mapped exactly is models/open_clip_coca.py, which is that model, for

    attentional_pool   true (all published weights), "cascade" and "parallel"; not without a pooler, where the decoder
                       looks at tokens of another width than its own and open_clip itself fails
    text_cfg           embed_cls, a plain transformer; the tower of a Hugging Face model (coca_roberta) does not fit
    correct_cls_mask   both; no file says which, see Config.shifted_mask
    heads              of the text 64 numbers each and 8 of the pooler, as published, unless open_clip_config.json or
                       `changes` say otherwise

Left out, because neither is weights: attn_mask of older files. `text_decoder.text_projection` is not initialised in
open_clip: in a model that was never trained it holds whatever memory held.
"""

from .clip_names import (
    fused_attention,
    openai_blocks,
    openai_mlp,
    openai_vit,
    vit_sizes,
    vocabulary_sizes,
    without_wrapping,
)
from .fit import WeightsError, some
from .names import both, count, rule, shape_of


def recognise(tensors):
    """("open_clip", {name: array} without prefixes and without what is no weight)."""
    tensors = without_wrapping(tensors)
    if "text_decoder.ln_final.weight" not in tensors or "text.token_embedding.weight" not in tensors:
        raise WeightsError(f"no CoCa of open_clip; its tensors are called {some(list(tensors), 4)}")
    return "open_clip", tensors


def rules(layout, config):
    """The map for a model of that Config, see names.py.   layout: "open_clip" """
    if layout != "open_clip":
        raise WeightsError(f"layout {layout!r} is unknown for CoCa, must be 'open_clip'")
    c, shared = config, config.pooler == "shared"
    found = [
        rule("logit_scale", "log_scale"),
        *openai_vit("visual", "vit", c.image_layers),
        *both("visual.ln_post", "pooled_norm" if shared else "vit.transformer.norm"),
        rule("visual.proj", "image_projection.weight"),
        *_pooler("visual.attn_pool", "caption_pooler", fused=c.image_width == c.width),
        rule("text.token_embedding.weight", "tokens.weight"),
        rule("text.positional_embedding", "position"),
        rule("text.cls_emb", "cls", kind="token"),
        *openai_blocks("text.transformer.resblocks", "unimodal.blocks", c.unimodal_layers),
        *both("text.ln_final", "unimodal.norm"),
        rule("text.text_projection", "text_projection.weight"),
        *openai_blocks("text_decoder.resblocks", "multimodal.blocks", c.multimodal_layers),
        *both("text_decoder.ln_final", "multimodal.norm"),
        rule("text_decoder.text_projection", "next_token.weight"),
    ]
    if not shared:
        found += _pooler("visual.attn_pool_contrastive", "contrastive_pooler", fused=True)
    for i in range(c.multimodal_layers):
        found += _crossing(f"text_decoder.cross_attn.{i}", f"crossing.{i}")
    return found


def _pooler(theirs, ours, fused):
    found = [
        rule(f"{theirs}.query", f"{ours}.queries"),
        *both(f"{theirs}.ln_q", f"{ours}.norm_queries"),
        *both(f"{theirs}.ln_k", f"{ours}.norm_memory"),
        *fused_attention(f"{theirs}.attn", f"{ours}.attend"),
    ]
    if fused:
        return found
    parts = (("q", "query"), ("k", "key"), ("v", "value"))  # where the widths differ, three matrices and one bias
    apart = [rule(f"{theirs}.attn.{p}_proj_weight", f"{ours}.attend.{o}.weight", kind="linear") for p, o in parts]
    return [r for r in found if r.kind != "fused"] + apart


def _crossing(theirs, ours):
    return [
        *both(f"{theirs}.ln_1", f"{ours}.norm1"),
        *both(f"{theirs}.ln_1_kv", f"{ours}.norm_memory"),
        *fused_attention(f"{theirs}.attn", f"{ours}.attend"),
        *both(f"{theirs}.ln_2", f"{ours}.norm2"),
        *openai_mlp(f"{theirs}.mlp", f"{ours}.mlp"),
    ]


def sizes(layout, tensors):
    """Fields of models.open_clip_coca.Config that the tensors of `recognise` tell."""
    width = shape_of(tensors, "text.token_embedding.weight", 2)[1]
    vocabulary = shape_of(tensors, "text_decoder.text_projection", 2)[1]
    image = vit_sizes(tensors, "visual.conv1.weight", "visual.positional_embedding", "visual.transformer.resblocks")
    image.pop("image_encoder")
    found = {
        **image,
        **vocabulary_sizes(vocabulary),
        "context": shape_of(tensors, "text.positional_embedding", 2)[0] - 1,
        "width": width,
        "text_heads": max(1, width // 64),
        "unimodal_layers": count(tensors, "text.transformer.resblocks"),
        "multimodal_layers": count(tensors, "text_decoder.resblocks"),
        "caption_queries": shape_of(tensors, "visual.attn_pool.query", 2)[0],
        "pooler_heads": 8,
    }
    if "visual.attn_pool_contrastive.query" in tensors:  # which of the two is not in the file; cascade is the paper's
        found["pooler"] = "cascade"
    return found
