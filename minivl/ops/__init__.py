"""The mathematics: every op takes Tensors or arrays and returns a Tensor, and stands beside its own derivative.

One family a file. Importing this package also gives Tensor its operators and methods.
"""

import numpy as np

from ..tensor import Tensor
from .attention import attention
from .batch_norm import batch_moments, batch_norm
from .contrastive import contrastive
from .conv import conv2d
from .cross_entropy import cross_entropy
from .dropout import dropout
from .embedding import embedding
from .gelu import gelu, quick_gelu
from .layernorm import add_layernorm, layernorm
from .math import (
    abs,
    add,
    clamp,
    div,
    exp,
    log,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    relu,
    sigmoid,
    softplus,
    sqrt,
    sub,
    tanh,
    where,
)
from .matmul import linear, matmul
from .moe import Routing, combine, dispatch, expert_slots, gates, load_balance, top_k
from .nearest_code import nearest_code
from .normalize import normalize
from .patch_embed import patch_centres, patch_embed, patch_grid
from .pool import avg_pool2d, max_pool2d
from .reduce import logsumexp, max, mean, sum, var
from .rmsnorm import rmsnorm
from .shape import cast, cat, constant, expand, getitem, move, reshape, stack, swapaxes, to, transpose
from .softmax import log_softmax, softmax

__all__ = [
    "Routing",
    "abs",
    "add",
    "add_layernorm",
    "attention",
    "avg_pool2d",
    "batch_moments",
    "batch_norm",
    "cast",
    "cat",
    "clamp",
    "combine",
    "constant",
    "contrastive",
    "conv2d",
    "cross_entropy",
    "dispatch",
    "div",
    "dropout",
    "embedding",
    "exp",
    "expand",
    "expert_slots",
    "gates",
    "gelu",
    "getitem",
    "layernorm",
    "linear",
    "load_balance",
    "log",
    "log_softmax",
    "logsumexp",
    "matmul",
    "max",
    "max_pool2d",
    "maximum",
    "mean",
    "minimum",
    "move",
    "mul",
    "nearest_code",
    "neg",
    "normalize",
    "patch_centres",
    "patch_embed",
    "patch_grid",
    "pow",
    "quick_gelu",
    "relu",
    "reshape",
    "rmsnorm",
    "sigmoid",
    "softmax",
    "softplus",
    "sqrt",
    "stack",
    "sub",
    "sum",
    "swapaxes",
    "tanh",
    "to",
    "top_k",
    "transpose",
    "var",
    "where",
]


def _shape(arguments):
    """reshape(2, 3) and reshape((2, 3)) mean the same, as in NumPy and PyTorch."""
    return arguments[0] if len(arguments) == 1 and not isinstance(arguments[0], int) else arguments


def _power(a, exponent):
    """a ** exponent; an array of exponents needs a > 0."""
    if isinstance(exponent, np.generic):
        exponent = exponent.item()  # a NumPy number would bring its dtype along
    return pow(a, exponent=exponent) if isinstance(exponent, (int, float)) else exp(mul(log(a), exponent))


# What an operator or a method of Tensor stands for.
for _name, _meaning in {
    "__add__": add,
    "__radd__": lambda a, b: add(b, a),
    "__sub__": sub,
    "__rsub__": lambda a, b: sub(b, a),
    "__mul__": mul,
    "__rmul__": lambda a, b: mul(b, a),
    "__truediv__": div,
    "__rtruediv__": lambda a, b: div(b, a),
    "__matmul__": matmul,
    "__rmatmul__": lambda a, b: matmul(b, a),
    "__neg__": neg,
    "__pow__": _power,
    "__getitem__": lambda x, index: getitem(x, index=index),
    "sum": lambda x, axis=None, keepdims=False: sum(x, axis=axis, keepdims=keepdims),
    "mean": lambda x, axis=None, keepdims=False: mean(x, axis=axis, keepdims=keepdims),
    "max": lambda x, axis=None, keepdims=False: max(x, axis=axis, keepdims=keepdims),
    "var": lambda x, axis=None, keepdims=False: var(x, axis=axis, keepdims=keepdims),
    "reshape": lambda x, *shape: reshape(x, shape=_shape(shape)),
    "transpose": lambda x, *axes: transpose(x, axes=_shape(axes) if axes else None),
    "swapaxes": swapaxes,
    "exp": exp,
    "log": log,
    "sqrt": sqrt,
    "tanh": tanh,
    "relu": relu,
    "abs": abs,
    "to": to,
    "T": property(transpose),
}.items():
    setattr(Tensor, _name, _meaning)
