"""The encoder as a formula on arrays: NumPy checks the others with it, JAX and HIPS autograd differentiate it."""

import math

import cases
import numpy as np


def encoder_loss(weights, x, heads, xp, erf):
    """The mean square of what a pre-norm transformer makes of x (B, T, C).

    weights   name -> array, as nn.Transformer names them
    xp        numpy, or a module that does as it does
    """
    B, T, C = x.shape

    def norm(x, name):
        x = x - xp.mean(x, axis=-1, keepdims=True)
        x = x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + 1e-5)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x, name):
        return xp.matmul(x, weights[f"{name}.weight"]) + weights[f"{name}.bias"]

    def split(x):
        return xp.swapaxes(xp.reshape(x, (B, T, heads, C // heads)), 1, 2)

    layers = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    for block in (f"blocks.{n}" for n in range(layers)):
        h = norm(x, f"{block}.norm1")
        q, k, v = (split(linear(h, f"{block}.attend.{name}")) for name in ("query", "key", "value"))
        scores = xp.matmul(q, xp.swapaxes(k, -1, -2)) * (C // heads) ** -0.5
        scores = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        shares = scores / xp.sum(scores, axis=-1, keepdims=True)
        x = x + linear(xp.reshape(xp.swapaxes(xp.matmul(shares, v), 1, 2), (B, T, C)), f"{block}.attend.out")
        h = linear(norm(x, f"{block}.norm2"), f"{block}.mlp.up")
        x = x + linear(0.5 * h * (1 + erf(h * math.sqrt(0.5))), f"{block}.mlp.down")
    y = norm(x, "norm")
    return xp.mean(y * y)


def encoder_loss_in_numpy(case):
    """The loss alone, in float64: what every engine's first step must give."""
    model, x = cases.encoder(**case["sizes"])
    weights = {name: a.astype(np.float64) for name, a in model.state_dict().items()}
    return encoder_loss(weights, x.astype(np.float64), case["sizes"]["heads"], np, np.vectorize(math.erf))
