"""What is measured: models, sizes and inputs, the same for every engine. A case is a dict that JSON can hold."""

import math

import numpy as np

from minivl import nn
from minivl.models import clip, coca, mammut

# At base width there are few layers, so that a step takes a second or two. No text ends by itself (end_token -1), so
# that every engine generates as many tokens.
_COCA = dict(image_layers=2, unimodal_layers=1, multimodal_layers=2)
_CLIP = dict(image_layers=2, text_layers=2, text_width=768, text_heads=12)
_MAMMUT = dict(image_layers=1, width=768, heads=12, layers=2, cross_layers=1, hidden=3072)
MODELS = {  # model -> size -> (batch, sizes); "small" is for --quick
    "CoCa": {
        "tiny": (64, coca.Config.tiny(end_token=-1)),
        "base": (8, coca.Config.base(**_COCA, vocabulary=8192, end_token=-1)),
        "small": (4, coca.Config.tiny(width=16, heads=2, end_token=-1)),
    },
    "CLIP": {
        "tiny": (64, clip.Config.tiny()),
        "base": (8, clip.Config.vit_b_16(**_CLIP, vocabulary=8192)),
        "small": (4, clip.Config.tiny(image_width=16, image_heads=2, text_width=16, text_heads=2)),
    },
    "MaMMUT": {
        "tiny": (64, mammut.Config.tiny(end_token=-1)),
        "base": (8, mammut.Config.base(**_MAMMUT, vocabulary=8192, end_token=-1)),
        "small": (4, mammut.Config.tiny(width=16, heads=2, image_heads=2, end_token=-1)),
    },
}
_CLASSES = {"CoCa": coca.CoCa, "CLIP": clip.CLIP, "MaMMUT": mammut.MaMMUT}

ENCODER = dict(layers=6, width=192, heads=3, batch=64, tokens=65)
SMALL_ENCODER = dict(layers=1, width=32, heads=2, batch=4, tokens=9)

# Of the arrays that the ops get: those of the encoder above, and those of base width.
SIZES = {
    "tiny": dict(batch=64, tokens=65, width=192, heads=3),
    "base": dict(batch=8, tokens=256, width=768, heads=12),
    "small": dict(batch=2, tokens=9, width=32, heads=2),
}
# What grows, in which case, and how far.
_LAYERS, _ATTENTION = dict(layers=2, width=192, heads=3, batch=16, tokens=65), dict(batch=1, width=256, heads=4)
GROWING = {
    "batch": ("encoder", [dict(_LAYERS, batch=n) for n in (16, 32, 64, 128)]),
    "tokens": ("encoder", [dict(_LAYERS, batch=4, tokens=n) for n in (128, 256, 512, 1024)]),
    "width": ("encoder", [dict(_LAYERS, width=n, heads=n // 64) for n in (128, 256, 512, 1024)]),
    "tokens, attention alone": ("attention", [dict(_ATTENTION, tokens=n) for n in (512, 1024, 2048, 4096)]),
}
SMALL_GROWING = {
    "tokens": ("encoder", [dict(SMALL_ENCODER, tokens=n) for n in (8, 16)]),
    "tokens, attention alone": ("attention", [dict(_ATTENTION, tokens=n) for n in (64, 128)]),
}
OPS = (
    "attention", "attention, causal", "layernorm", "add_layernorm", "rmsnorm", "normalize", "batch_norm", "gelu",
    "quick_gelu", "softmax", "cross_entropy", "contrastive", "linear", "embedding", "patch_embed", "conv2d", "AdamW",
)  # fmt: skip

# The most that minivl's time may be of PyTorch's; what is missing is only reported.
WANTED = {
    "train": {"tiny": 0.95, "base": 1.1},
    "generate": {"tiny": 1, "base": 1},
    "op": {"attention": 1.2, "attention, causal": 1.2, "layernorm": 1, "gelu": 1, "cross_entropy": 1, "AdamW": 1},
}
WANTED_MEMORY = 1
# The largest exponents of time and of memory, 2 and 1 but for noise: scores are worked out a chunk at a time, and never
# kept whole.
WANTED_GROWTH = {"tokens, attention alone": (2.1, 1.1)}


def wanted(case):
    """The target of a case, None if it has none."""
    return WANTED.get(case["kind"], {}).get(case.get("name", case.get("size")))


def case_of(name, sizes):
    """The encoder step, or an op alone."""
    return {"kind": "encoder", "sizes": sizes} if name == "encoder" else {"kind": "op", "name": name, "sizes": sizes}


def shape_of(model, size):
    """Of a measured model, in words."""
    (B, c), kinds = MODELS[model][size], ("image", "unimodal", "multimodal", "text")
    layers = [n for name, n in vars(c).items() if name in ("layers", "cross_layers", *(f"{k}_layers" for k in kinds))]
    width = c.image_width if model == "CLIP" else c.width
    return f"width {width}, {' + '.join(map(str, layers))} layers, batch {B}"


def model_of(case):
    """A new model, the same numbers at every call, and a batch for it."""
    B, config = MODELS[case["model"]][case["size"]]
    random = np.random.default_rng(0)
    T, S = config.context, config.image_size
    batch = {
        "image": random.standard_normal((B, 3, S, S), dtype=np.float32),
        "text": random.integers(0, config.vocabulary, (B, T)),
        "lengths": random.integers(T // 2, T + 1, B),
    }
    return _CLASSES[case["model"]](config, np.random.default_rng(1)), batch


def encoder(layers, width, heads, batch, tokens):
    """A new nn.Transformer, the same numbers at every call, and its input (batch, tokens, width)."""
    x = np.random.default_rng(0).standard_normal((batch, tokens, width), dtype=np.float32)
    return nn.Transformer(layers, width, heads, 4 * width, np.random.default_rng(1)), x


def op_inputs(name, batch, tokens, width, heads):
    """The arrays that an op of `OPS` gets, in its order. Floating point numbers are learned, but for pictures."""
    B, T, C, H = batch, tokens, width, heads
    random = np.random.default_rng(0)

    def normal(*shape):
        return random.standard_normal(shape, dtype=np.float32)

    def heads_of_a_projection():
        return normal(B, T, H, C // H).transpose(0, 2, 1, 3)

    V, patch = 8 * C, 16
    places = max(1, math.isqrt(T))
    side = patch * places  # of a picture with about T patches
    pairs, third = 16 * B, C // 3  # as many pictures and texts as a small batch has; as many features as a small map
    return {
        "attention": lambda: [heads_of_a_projection() for _ in range(3)],
        "attention, causal": lambda: [heads_of_a_projection() for _ in range(3)] + [np.tri(T, dtype=bool)],
        "layernorm": lambda: [normal(B, T, C), normal(C), normal(C)],
        "add_layernorm": lambda: [normal(B, T, C), normal(B, T, C), normal(C), normal(C)],
        "rmsnorm": lambda: [normal(B, T, C), normal(C)],
        "normalize": lambda: [normal(B, T, C)],
        "batch_norm": lambda: [normal(B, places, places, C), normal(C), normal(C)],
        "gelu": lambda: [normal(B, T, 4 * C)],
        "quick_gelu": lambda: [normal(B, T, 4 * C)],
        "contrastive": lambda: [*(0.1 * normal(pairs, C) for _ in range(2)), np.array(1, np.float32)],
        "conv2d": lambda: [normal(B, places, places, third), normal(3, 3, third, third), normal(third)],
        "cross_entropy": lambda: [normal(B * T // 4, V), random.integers(0, V, B * T // 4)],
        "linear": lambda: [normal(B, T, C), normal(C, 4 * C), normal(4 * C)],
        "softmax": lambda: [normal(B, H, T, T)],
        "embedding": lambda: [normal(V, C), random.integers(0, V, (B, T))],
        "patch_embed": lambda: [normal(B, 3, side, side), normal(3, patch, patch, C), normal(C)],
        "AdamW": lambda: [normal(C, C), normal(C, 4 * C), normal(4 * C, C), normal(V, C), normal(C), normal(4 * C)],
    }[name]()


def learned(name, arrays):
    """Which of an op's inputs get a gradient."""
    return [a.dtype.kind == "f" and not (name == "patch_embed" and a.ndim == 4 and i == 0)
            for i, a in enumerate(arrays)]  # fmt: skip


def upstream(shape):
    """d(loss)/d(output) for an output of this shape."""
    return np.random.default_rng(2).standard_normal(shape, dtype=np.float32)
