"""Ways to run an op through its kernels: on the CPU in several orders of threads and in check mode, and on a GPU."""

import contextlib

import numpy as np
import pytest

from minivl import Tensor, kernels
from minivl.array import gpu_at_hand, to_device

needs_compiler = pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
CPU = {"in order": ("fast", None), "seed 1": ("fast", 1), "seed 2": ("fast", 2), "seed 3": ("fast", 3)}
CHECK = {"check": ("check", None), "check, seed 4": ("check", 4)}


def ways(*names):
    """A parametrisation by `way`: those named, else the CPU in three orders; and a GPU."""
    some = [pytest.param(name, marks=needs_compiler, id=name) for name in names or ("in order", "seed 1", "seed 2")]
    return pytest.mark.parametrize("way", [*some, pytest.param("gpu", marks=pytest.mark.gpu)])


@contextlib.contextmanager
def running(way):
    """Within it, ops use their kernels that way; gives the function that moves an array there."""
    if way == "gpu":
        if not gpu_at_hand():
            pytest.skip("there is no GPU here")
        yield lambda a: to_device(a, "cuda")
    else:
        mode, seed = (CPU | CHECK)[way]
        with kernels.on_cpu(mode=mode, seed=seed):
            yield np.asarray


def moved_there(call, way):
    """`call` on tensors of NumPy arrays, carried out where that way runs: for gradcheck."""
    device = "cuda" if way == "gpu" else "cpu"
    return lambda *tensors: call(*(t.to(device) for t in tensors)).to("cpu")


def results(call, arrays, way=None, seed=1):
    """[output, gradients] of an op along one random direction, as NumPy arrays; way None: without kernels."""
    with running(way) if way else contextlib.nullcontext(np.asarray) as there:
        tensors = [Tensor(there(a), requires_grad=True) for a in arrays]
        out = call(*tensors)
        out.backward(there(np.random.default_rng(seed).standard_normal(out.shape).astype(out.dtype)))
        return [to_device(a, "cpu") for a in (out.data, *(t.grad for t in tensors))]


def agree(call, arrays, way, **tolerance):
    """What the kernels give, twice: the same bits both times, and what the definition gives."""
    first, again, expected = results(call, arrays, way), results(call, arrays, way), results(call, arrays)
    for a, b, c in zip(first, again, expected, strict=True):
        assert a.tobytes() == b.tobytes() and a.dtype == c.dtype and a.shape == c.shape
        np.testing.assert_allclose(a, c, **tolerance)


def bf16(x):
    """The bits of the nearest bfloat16, as uint16: what kernels take for bfloat16 where NumPy does not know it."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widened(bits):
    """bfloat16 bits -> float32"""
    return (bits.astype(np.uint32) << 16).view(np.float32)
