"""The small bricks: linear map, convolution, normalisations, embedding, MLP."""

import numpy as np

from .. import ops
from .module import Buffer, Module, constant_parameter, parameter


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


class Conv2d(Module):
    """A linear map of every place of a map and its neighbours.   x (B, H, W, C) -> (B, H', W', D); see ops.conv2d

    size   of the window; the weight is (size, size, C, D) and starts as that of Linear does, for as many inputs
    """

    def __init__(self, C, D, size, random, stride=1, padding=0, bias=True):
        self.weight = parameter(random, size, size, C, D, std=(size * size * C) ** -0.5)
        self.bias = constant_parameter(0, D) if bias else None
        self.stride, self.padding = stride, padding

    def forward(self, x):
        h, w, C, D = self.weight.shape
        if (h, w, self.stride, self.padding) == (1, 1, 1, 0):  # nothing is to be laid out
            return ops.linear(x, self.weight.reshape(C, D), self.bias)
        return ops.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)


class LayerNorm(Module):
    """Each vector to mean 0 and variance 1, times weight, plus bias.   x (..., C) -> (..., C)"""

    def __init__(self, C, eps=1e-5):
        self.weight, self.bias, self.eps = constant_parameter(1, C), constant_parameter(0, C), eps

    def forward(self, x):
        return ops.layernorm(x, self.weight, self.bias, eps=self.eps)


class BatchNorm(Module):
    """Each feature to mean 0 and variance 1 over the batch, times weight, plus bias.   x (..., C) -> (..., C)

    In training by the batch's own mean and variance, whose running means are kept; in use (`eval`) by these, so that
    what is made of a picture no longer depends on its neighbours.   Ioffe & Szegedy 2015, arXiv 1502.03167.

    momentum   share of the newest batch in the running means; the variance kept is that of n - 1, as in PyTorch
    """

    def __init__(self, C, momentum=0.1, eps=1e-5):
        self.weight, self.bias = constant_parameter(1, C), constant_parameter(0, C)
        self.running_mean, self.running_var = Buffer(np.zeros(C, np.float32)), Buffer(np.ones(C, np.float32))
        self.momentum, self.eps = momentum, eps

    def forward(self, x):
        if not self.training:
            kept = self.running_mean, self.running_var
            return ops.batch_norm(x, self.weight, self.bias, *kept, eps=self.eps)
        n = x.size // x.shape[-1]
        if n < 2:
            raise ValueError(f"BatchNorm: x {x.shape} has one number a feature: no variance to train with; use eval()")
        mean, var = ops.batch_moments(x)
        for running, new in ((self.running_mean, mean), (self.running_var, var * (n / (n - 1)))):
            running.data = (1 - self.momentum) * running.data + self.momentum * new
        return ops.batch_norm(x, self.weight, self.bias, mean, var, training=True, eps=self.eps)


class Embedding(Module):
    """A vector for each of V tokens.   ids (...) -> (..., C)"""

    def __init__(self, V, C, random, std=0.02):
        self.weight = parameter(random, V, C, std=std)

    def forward(self, ids):
        return ops.embedding(self.weight, ids)


class MLP(Module):
    """Two linear maps with a GELU, or another `activation`, between.   x (..., C) -> (..., hidden) -> (..., C)"""

    def __init__(self, C, hidden, random, scale=1.0, activation=ops.gelu):
        self.up, self.down = Linear(C, hidden, random), Linear(hidden, C, random, scale=scale)
        self.activation = activation

    def forward(self, x):
        if self.activation in (ops.gelu, ops.quick_gelu):  # they take the bias along: on a GPU one pass less
            return self.down(self.activation(ops.linear(x, self.up.weight), self.up.bias))
        return self.down(self.activation(self.up(x)))
