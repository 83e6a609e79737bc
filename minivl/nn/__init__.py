"""Layers, from the linear map to whole towers.

Each file builds on those before it: module, layers, positions, attention, transformer, moe, vit, resnet.
"""

from .attention import Cache, MultiHeadAttention
from .layers import MLP, BatchNorm, Conv2d, Embedding, LayerNorm, Linear
from .module import Buffer, Module, Unallocated, constant_parameter, parameter, uniform_parameter
from .moe import MoE
from .positions import cropped_positions, reading, sin_cos
from .resnet import AttentionPool, Bottleneck, ResNet
from .transformer import AttentionalPooler, Block, Transformer
from .vit import ViT

__all__ = [
    "MLP",
    "MoE",
    "AttentionPool",
    "AttentionalPooler",
    "BatchNorm",
    "Block",
    "Bottleneck",
    "Buffer",
    "Cache",
    "Conv2d",
    "Embedding",
    "LayerNorm",
    "Linear",
    "Module",
    "MultiHeadAttention",
    "ResNet",
    "Transformer",
    "Unallocated",
    "ViT",
    "constant_parameter",
    "cropped_positions",
    "parameter",
    "reading",
    "sin_cos",
    "uniform_parameter",
]
