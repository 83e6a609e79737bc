"""What CLIP's tensors are called where it was published.

    openai         OpenAI's archives and state dicts, and open_clip, which kept the names. Where its text tower is a
                   module of its own (`custom_text`), its names begin with text., and are the same behind that.
    huggingface    CLIPModel of transformers: query, key and value apart, projections as Linear. Only with a ViT.

What a file does not tell: how many heads (64 numbers each in all published sizes) and whether the GELU is the quick one
(OpenAI's is; of open_clip's own only those called quickgelu). Hugging Face's config.json tells both.
"""

import re

from .fit import WeightsError, some
from .names import both, count, root, rule, shape_of

# What some files hold beside the weights: counters, ids of positions, masks, and sizes as numbers.
_BESIDE = re.compile(r"(.*\.)?(num_batches_tracked|position_ids|attn_mask|input_resolution|context_length|vocab_size)")


def recognise(tensors):
    """("openai" or "huggingface", {name: array} without prefixes and without what is no weight)."""
    tensors = without_wrapping(tensors)
    if any(name.startswith("text_model.") for name in tensors):
        return "huggingface", tensors
    tensors = {name.removeprefix("text."): array for name, array in tensors.items()}
    if "token_embedding.weight" in tensors and any(name.startswith("visual.") for name in tensors):
        return "openai", tensors
    raise WeightsError(f"no CLIP of OpenAI, open_clip or Hugging Face; its tensors are called {some(list(tensors), 4)}")


def without_wrapping(tensors):
    """The weights of a model, out of a checkpoint that may hold more: {"state_dict": ..., "optimizer": ...}."""
    for wrapping in ("state_dict.", "module."):  # of a trainer's checkpoint, of a model that was spread over GPUs
        inside = {name.removeprefix(wrapping): a for name, a in tensors.items() if name.startswith(wrapping)}
        tensors = inside or tensors
    return {name: array for name, array in tensors.items() if not _BESIDE.fullmatch(name)}


# ---- the maps --------------------------------------------------------------------------------------------------------


def rules(layout, config):
    """The map for a model of that Config, see names.py.   layout: "openai" or "huggingface" """
    if layout not in ("openai", "huggingface"):
        raise WeightsError(f"layout {layout!r} is unknown for CLIP, must be 'openai' or 'huggingface'")
    found = _openai(config) if layout == "openai" else _huggingface(config)
    return found + ([rule("logit_bias", "bias")] if config.loss == "sigmoid" else [])


def _openai(c):
    found = [
        rule("logit_scale", "log_scale"),
        rule("token_embedding.weight", "tokens.weight"),
        rule("positional_embedding", "position"),
        rule("text_projection", "text_projection.weight"),
        *both("ln_final", "text_encoder.norm"),
        *openai_blocks("transformer.resblocks", "text_encoder.blocks", c.text_layers),
    ]
    return found + (_openai_vit(c) if c.image_encoder == "vit" else _openai_resnet(c))


def _openai_vit(c):
    return [
        rule("visual.proj", "image_projection.weight"),
        *openai_vit("visual", "image_encoder", c.image_layers),
        *both("visual.ln_post", "image_encoder.transformer.norm"),
    ]


def openai_vit(theirs, ours, layers):
    """A ViT up to its last block; what comes behind differs between models."""
    return [
        rule(f"{theirs}.conv1.weight", f"{ours}.patch", kind="patches"),
        rule(f"{theirs}.class_embedding", f"{ours}.cls", kind="token"),
        rule(f"{theirs}.positional_embedding", f"{ours}.position"),
        *both(f"{theirs}.ln_pre", f"{ours}.pre_norm"),
        *openai_blocks(f"{theirs}.transformer.resblocks", f"{ours}.transformer.blocks", layers),
    ]


def openai_blocks(theirs, ours, layers):
    """Transformer blocks around nn.MultiheadAttention."""
    return [r for i in range(layers) for r in openai_block(f"{theirs}.{i}", f"{ours}.{i}")]


def openai_block(theirs, ours):
    return [
        *both(f"{theirs}.ln_1", f"{ours}.norm1"),
        *fused_attention(f"{theirs}.attn", f"{ours}.attend"),
        *both(f"{theirs}.ln_2", f"{ours}.norm2"),
        *openai_mlp(f"{theirs}.mlp", f"{ours}.mlp"),
    ]


def fused_attention(theirs, ours):
    parts = ("query", "key", "value")
    return [
        rule(f"{theirs}.in_proj_weight", *(f"{ours}.{part}.weight" for part in parts), kind="fused"),
        rule(f"{theirs}.in_proj_bias", *(f"{ours}.{part}.bias" for part in parts), kind="fused bias"),
        *both(f"{theirs}.out_proj", f"{ours}.out", "linear"),
    ]


def openai_mlp(theirs, ours):
    return both(f"{theirs}.c_fc", f"{ours}.up", "linear") + both(f"{theirs}.c_proj", f"{ours}.down", "linear")


def _openai_resnet(c):
    theirs, ours = "visual", "image_encoder"
    found = [rule(f"{theirs}.attnpool.positional_embedding", f"{ours}.pool.position")]
    for part, name in (("q", "query"), ("k", "key"), ("v", "value"), ("c", "out")):
        found += both(f"{theirs}.attnpool.{part}_proj", f"{ours}.pool.attend.{name}", "linear")
    for i in (1, 2, 3):
        found += _convolution(f"{theirs}.conv{i}", f"{theirs}.bn{i}", f"{ours}.conv{i}", f"{ours}.norm{i}")
    for stage, blocks in enumerate(c.image_blocks):
        for i in range(blocks):
            t, o = f"{theirs}.layer{stage + 1}.{i}", f"{ours}.stages.{stage}.blocks.{i}"
            for j in (1, 2, 3):
                found += _convolution(f"{t}.conv{j}", f"{t}.bn{j}", f"{o}.conv{j}", f"{o}.norm{j}")
            if i == 0:  # the only block whose input has another size than its output
                found += _convolution(f"{t}.downsample.0", f"{t}.downsample.1", f"{o}.shortcut", f"{o}.shortcut_norm")
    return found


def _convolution(theirs, their_norm, ours, our_norm):
    statistics = [rule(f"{their_norm}.{name}", f"{our_norm}.{name}") for name in ("running_mean", "running_var")]
    return [rule(f"{theirs}.weight", f"{ours}.weight", kind="conv"), *both(their_norm, our_norm), *statistics]


def _huggingface(c):
    if c.image_encoder != "vit":
        raise WeightsError(f"Hugging Face's CLIPModel has a ViT, this model a {c.image_encoder}: export it as openai")
    text, image = "text_model.embeddings", "vision_model.embeddings"
    return [
        rule("logit_scale", "log_scale"),
        rule(f"{text}.token_embedding.weight", "tokens.weight"),
        rule(f"{text}.position_embedding.weight", "position"),
        rule("text_projection.weight", "text_projection.weight", kind="linear"),
        *both("text_model.final_layer_norm", "text_encoder.norm"),
        *_huggingface_blocks("text_model", "text_encoder", c.text_layers),
        rule(f"{image}.class_embedding", "image_encoder.cls", kind="token"),
        rule(f"{image}.patch_embedding.weight", "image_encoder.patch", kind="patches"),
        rule(f"{image}.position_embedding.weight", "image_encoder.position"),
        rule("visual_projection.weight", "image_projection.weight", kind="linear"),
        *both("vision_model.pre_layrnorm", "image_encoder.pre_norm"),  # spelt so there
        *both("vision_model.post_layernorm", "image_encoder.transformer.norm"),
        *_huggingface_blocks("vision_model", "image_encoder.transformer", c.image_layers),
    ]


def _huggingface_blocks(theirs, ours, layers):
    found = []
    for i in range(layers):
        t, o = f"{theirs}.encoder.layers.{i}", f"{ours}.blocks.{i}"
        for part, name in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "out")):
            found += both(f"{t}.self_attn.{part}_proj", f"{o}.attend.{name}", "linear")
        found += both(f"{t}.mlp.fc1", f"{o}.mlp.up", "linear") + both(f"{t}.mlp.fc2", f"{o}.mlp.down", "linear")
        found += both(f"{t}.layer_norm1", f"{o}.norm1") + both(f"{t}.layer_norm2", f"{o}.norm2")
    return found


# ---- sizes, as the shapes tell them ----------------------------------------------------------------------------------


def sizes(layout, tensors):
    """Fields of models.clip.Config that the tensors of `recognise` tell. Heads are 64 wide, as in all published sizes.

    Raises WeightsError for tensors that no CLIP has.
    """
    loss = {"loss": "sigmoid"} if "logit_bias" in tensors else {}
    return loss | (_huggingface_sizes(tensors) if layout == "huggingface" else _openai_sizes(tensors))


def _huggingface_sizes(tensors):
    text, image = "text_model.embeddings", "vision_model.embeddings"
    names = (f"{text}.token_embedding.weight", f"{text}.position_embedding.weight", "text_projection.weight")
    vit = (f"{image}.patch_embedding.weight", f"{image}.position_embedding.weight", "vision_model.encoder.layers")
    found = _text_sizes(tensors, *names, "text_model.encoder.layers", of_embedding=0)
    return found | vit_sizes(tensors, *vit)


def _openai_sizes(tensors):
    names = ("token_embedding.weight", "positional_embedding", "text_projection", "transformer.resblocks")
    found = _text_sizes(tensors, *names, of_embedding=1)
    if "visual.class_embedding" in tensors:
        vit = ("visual.conv1.weight", "visual.positional_embedding", "visual.transformer.resblocks")
        return found | vit_sizes(tensors, *vit)
    return found | _resnet_sizes(tensors)


def _text_sizes(tensors, tokens, position, projection, blocks, of_embedding):
    vocabulary, width = shape_of(tensors, tokens, 2)
    return {
        "embedding": shape_of(tensors, projection, 2)[of_embedding],
        **vocabulary_sizes(vocabulary),
        "context": shape_of(tensors, position, 2)[0],
        "text_width": width,
        "text_heads": max(1, width // 64),
        "text_layers": count(tensors, blocks),
    }


def vocabulary_sizes(vocabulary):
    """CLIP's vocabulary ends with its start and its end token, and pads with 0."""
    return dict(vocabulary=vocabulary, start_token=vocabulary - 2, end_token=vocabulary - 1, pad_token=0)


def vit_sizes(tensors, patch, position, blocks):
    width, _, _, side = shape_of(tensors, patch, 4)
    grid = root(shape_of(tensors, position, 2)[0] - 1, position)
    sizes = dict(image_size=grid * side, patch=side, image_width=width, image_heads=max(1, width // 64))
    return {"image_encoder": "vit", **sizes, "image_layers": count(tensors, blocks)}


def _resnet_sizes(tensors):
    blocks = []
    while layers := count(tensors, f"visual.layer{len(blocks) + 1}"):
        blocks.append(layers)
    places, pooled = shape_of(tensors, "visual.attnpool.positional_embedding", 2)
    return {
        "image_encoder": "resnet",
        "image_size": root(places - 1, "visual.attnpool.positional_embedding") * 2 ** (1 + len(blocks)),
        "image_width": shape_of(tensors, "visual.conv3.weight", 4)[0],
        "image_heads": max(1, pooled // 64),
        "image_blocks": tuple(blocks),
    }
