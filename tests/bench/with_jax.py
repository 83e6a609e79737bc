"""The encoder step, computed by JAX, compiled as a whole."""

import cases
import jax
from with_arrays import encoder_loss

from minivl.array import cores


def about():
    return f"JAX {jax.__version__} (jit)"


def threads():
    return cores()  # XLA takes the cores of the process


def prepare(case):
    model, x = cases.encoder(**case["sizes"])
    weights = {name: jax.numpy.asarray(a) for name, a in model.state_dict().items()}
    x, heads = jax.numpy.asarray(x), case["sizes"]["heads"]
    compiled = jax.jit(jax.value_and_grad(lambda w: encoder_loss(w, x, heads, jax.numpy, jax.scipy.special.erf)))

    def step():
        loss, grads = jax.block_until_ready(compiled(weights))
        return [loss, grads["blocks.0.attend.query.weight"]]

    return step
