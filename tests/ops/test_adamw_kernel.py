"""AdamW's kernel: many parameters in one launch, and what each gets is what the equations give it alone."""

import numpy as np
import pytest
from kernel_runs import bf16, needs_compiler, running, ways, widened

from minivl import kernels, optim
from minivl.array import to_device
from minivl.ops import adamw
from minivl.optim import AdamW, decay_groups
from minivl.tensor import Tensor

SHAPES = [(1,), (31,), (33,), (), (1025,), (3, 5), (0,), (2, 9000), (8192,), (7, 8)]


def trained(way, dtype="f", steps=4):
    """The parameters and moments after some steps, one parameter without a gradient now and then."""
    random = np.random.default_rng(0)
    values = [np.asarray(random.standard_normal(shape), dtype) for shape in SHAPES]
    gradients = [[np.asarray(random.standard_normal(s), dtype) for s in SHAPES] for _ in range(steps)]
    there = np.asarray
    with running(way) if way else pytest.MonkeyPatch.context() as moved:
        there = moved if way else there
        params = [Tensor(there(v.copy()), requires_grad=True) for v in values]
        optimizer = AdamW(decay_groups(enumerate(params), weight_decay=0.1), lr=1e-2, betas=(0.9, 0.99))
        for step in range(steps):
            for i, p in enumerate(params):
                p.grad = None if i == step else there(gradients[step][i])
            optimizer.lr = 1e-2 / (1 + step)
            optimizer.step()
        found = [p.data for p in params] + [a for state in optimizer.state for a in state.values()]
        return [to_device(a, "cpu") for a in found], optimizer.steps


@ways()
@pytest.mark.parametrize(("dtype", "tolerance"), [("f", 2e-6), ("d", 1e-14)])
def test_the_same_numbers_as_numpy(way, dtype, tolerance):
    found, steps = trained(way, dtype)
    again, _ = trained(way, dtype)
    expected, expected_steps = trained(None, dtype)
    assert steps.tolist() == expected_steps.tolist()
    for a, b, c in zip(found, again, expected, strict=True):
        assert a.tobytes() == b.tobytes() and a.dtype == c.dtype and a.shape == c.shape
        np.testing.assert_allclose(a, c, rtol=tolerance, atol=tolerance)


@needs_compiler
def test_check_mode_finds_nothing():
    trained("check, seed 4", steps=1)


@needs_compiler
def test_parameters_that_do_not_lie_one_after_the_other_are_left_to_numpy(random, monkeypatch):
    launched = []
    monkeypatch.setattr(adamw, "step", lambda parameters, *_: launched.extend(p.shape for p in parameters))
    params = [Tensor(random.standard_normal((4, 5)).T, requires_grad=True), Tensor(np.ones(3), requires_grad=True)]
    before = params[0].data.copy()
    for p in params:
        p.grad = np.ones(p.shape)
    with kernels.on_cpu():
        AdamW(params, lr=1e-2).step()
    assert launched == [(3,)] and (params[0].data != before).all()


@ways("in order", "seed 1", "check")
@pytest.mark.parametrize("n", [1, 31, 8200])
def test_bfloat16(random, way, n):
    """Parameters and gradients in 16 bits, their moments in float32."""
    p, g = bf16(random.standard_normal(n)), bf16(random.standard_normal(n))
    mean, square = (random.random(n).astype("f") for _ in range(2))
    expected = [widened(p), mean.copy(), square.copy()]
    optim.adamw(expected[0], widened(g), *expected[1:], lr=0.1, step=3, betas=(0.9, 0.99), eps=1e-8, decay=0.1)
    root = np.sqrt(1 - 0.99**3)
    rates = [(0.1 * root / (1 - 0.9**3), 1e-8 * root, 1 - 0.1 * 0.1)]
    with running(way) as there:
        found = [there(p), there(mean), there(square)]
        adamw.step(found[:1], [there(g)], found[1:2], found[2:], rates, (0.9, 0.99))
        found = [to_device(a, "cpu") for a in found]
    np.testing.assert_allclose(widened(found[0]), expected[0], rtol=2**-8)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-5, atol=1e-6)
