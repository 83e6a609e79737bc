"""AdamW on many parameters in one launch of adamw.cu. The algorithm, and its equations: `adamw` in optim.py."""

import functools

import numpy as np

from .. import kernels
from ..array import array_module
from . import rows

CHUNK = 8192  # numbers of one parameter that a block takes; adamw.cu has it too


def fits(p, g, *state):
    """Whether the kernel can change p by its gradient g, and its state, where they lie."""
    return rows.wanted(p, g) and p.flags.c_contiguous and all(rows.address(a) % 16 == 0 for a in (p, *state))


def step(parameters, gradients, means, squares, rates, betas):
    """Changes `parameters`, `means` and `squares` in place: lists of arrays of one dtype, all of one device.

    rates    for each parameter lr sqrt(1 - beta2^t) / (1 - beta1^t), eps sqrt(1 - beta2^t), 1 - lr decay
    """
    xp, like = array_module(parameters[0]), means[0]
    sizes, parameter, chunk = _blocks(tuple(p.size for p in parameters), xp)
    kernels.load("adamw", like=parameters[0]).adamw(
        len(parameter),
        256,
        (
            parameters, [rows.aligned(g) for g in gradients], means, squares, sizes,
            xp.asarray(np.asarray(rates, like.dtype)), parameter, chunk, 1 - betas[0], 1 - betas[1],
        ),
    )  # fmt: skip


@functools.lru_cache(maxsize=16)
def _blocks(sizes, xp):
    """The sizes; and for each block which parameter it takes, and which chunk of it."""
    chunks = [-(-size // CHUNK) for size in sizes]
    parameter = np.repeat(np.arange(len(sizes), dtype=np.int32), chunks)
    chunk = np.concatenate([np.arange(n, dtype=np.int32) for n in chunks])
    return xp.asarray(np.array(sizes, np.int64)), xp.asarray(parameter), xp.asarray(chunk)
