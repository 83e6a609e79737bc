"""The encoder step, computed by HIPS autograd."""

import autograd
import autograd.numpy
import cases
from autograd.scipy.special import erf  # needs scipy
from with_arrays import encoder_loss

from minivl.array import cores


def about():
    from importlib.metadata import version

    return f"HIPS autograd {version('autograd')}"


def threads():
    return cores()  # in its matrix products


def prepare(case):
    model, x = cases.encoder(**case["sizes"])
    weights, heads = model.state_dict(), case["sizes"]["heads"]
    derivative = autograd.value_and_grad(lambda w: encoder_loss(w, x, heads, autograd.numpy, erf))

    def step():
        loss, grads = derivative(weights)
        return [loss, grads["blocks.0.attend.query.weight"]]

    return step
