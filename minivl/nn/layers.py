"""The small bricks: linear map, layer normalisation, embedding, MLP."""

from .. import ops
from .module import Module, constant_parameter, parameter


class Linear(Module):
    """y = x W + b.   x (..., C)   weight (C, D)   bias (D,)   ->   (..., D)

    The weight starts normal with variance 1/C, so that y is as large as x; `scale` makes it smaller, as for the last
    matrix of a residual branch.
    """

    def __init__(self, C, D, random, bias=True, scale=1.0):
        self.weight = parameter(random, C, D, std=scale * C**-0.5)
        self.bias = constant_parameter(0, D) if bias else None

    def forward(self, x):
        return ops.linear(x, self.weight, self.bias)


class LayerNorm(Module):
    """Each vector to mean 0 and variance 1, times weight, plus bias.   x (..., C) -> (..., C)"""

    def __init__(self, C, eps=1e-5):
        self.weight, self.bias, self.eps = constant_parameter(1, C), constant_parameter(0, C), eps

    def forward(self, x):
        return ops.layernorm(x, self.weight, self.bias, eps=self.eps)


class Embedding(Module):
    """A vector for each of V tokens.   ids (...) -> (..., C)"""

    def __init__(self, V, C, random, std=0.02):
        self.weight = parameter(random, V, C, std=std)

    def forward(self, ids):
        return ops.embedding(self.weight, ids)


class MLP(Module):
    """Two linear maps with a GELU between.   x (..., C) -> (..., hidden) -> (..., C)"""

    def __init__(self, C, hidden, random, scale=1.0):
        self.up, self.down = Linear(C, hidden, random), Linear(hidden, C, random, scale=scale)

    def forward(self, x):
        return self.down(ops.gelu(self.up(x)))
