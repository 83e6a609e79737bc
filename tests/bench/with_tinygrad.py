"""The encoder step, computed by tinygrad on the CPU."""

import os

os.environ.setdefault("DEV", "CPU")

import cases  # noqa: E402
from tinygrad import Tensor  # noqa: E402


def about():
    from importlib.metadata import version

    return f"tinygrad {version('tinygrad')}"


def threads():
    return 1


def prepare(case):
    model, x = cases.encoder(**case["sizes"])
    weights = {name: Tensor(a.copy()).realize() for name, a in model.state_dict().items()}
    x, sizes = Tensor(x), case["sizes"]
    B, T, C, H = *x.shape, sizes["heads"]

    def norm(x, name):
        return x.layernorm() * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def loss_of(x):
        for block in (f"blocks.{n}" for n in range(sizes["layers"])):
            h = norm(x, f"{block}.norm1")
            q, k, v = (
                linear(h, f"{block}.attend.{name}").reshape(B, T, H, C // H).transpose(1, 2)
                for name in ("query", "key", "value")
            )
            attended = q.scaled_dot_product_attention(k, v).transpose(1, 2).reshape(B, T, C)
            x = x + linear(attended, f"{block}.attend.out")
            h = linear(norm(x, f"{block}.norm2"), f"{block}.mlp.up")
            x = x + linear(0.5 * h * (1 + (h * 0.5**0.5).erf()), f"{block}.mlp.down")
        y = norm(x, "norm")
        return (y * y).mean()

    def step():
        loss = loss_of(x)
        grads = dict(zip(weights, loss.gradient(*weights.values()), strict=True))
        Tensor.realize(loss, *grads.values())
        return [loss.numpy(), grads["blocks.0.attend.query.weight"].numpy()]

    return step
