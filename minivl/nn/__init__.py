"""Layers, from the linear map to whole towers.

Each file builds on those before it: module, layers, attention, transformer, vit.
"""

from .attention import Cache, MultiHeadAttention
from .layers import MLP, Embedding, LayerNorm, Linear
from .module import Module, Unallocated, constant_parameter, parameter
from .transformer import AttentionalPooler, Block, Transformer
from .vit import ViT

__all__ = [
    "MLP",
    "AttentionalPooler",
    "Block",
    "Cache",
    "Embedding",
    "LayerNorm",
    "Linear",
    "Module",
    "MultiHeadAttention",
    "Transformer",
    "Unallocated",
    "ViT",
    "constant_parameter",
    "parameter",
]
