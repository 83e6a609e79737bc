"""The kernels of mixture of experts: who goes where exactly, what comes back nearly, in any order of threads."""

import importlib

import numpy as np
import pytest
from kernel_runs import CHECK, agree, bf16, moved_there, running, ways, widened

from minivl import gradcheck, ops
from minivl.array import to_device

moe = importlib.import_module("minivl.ops.moe")

SIZES = [(1, 1, 1, 1, 1), (2, 31, 5, 2, 8), (1, 33, 33, 3, 4), (1, 1025, 8, 1, 100), (2, 0, 3, 1, 2), (1, 5, 40, 35, 1)]
every_size = pytest.mark.parametrize(("G", "T", "E", "K", "S"), SIZES)
row_by_row = pytest.mark.parametrize(("G", "T", "E", "K", "S"), [(G, min(T, 65), *rest) for G, T, *rest in SIZES])


def scores(random, G, T, E):
    """With ties, infinities and a NaN among them."""
    logits = random.integers(-3, 4, (G, T, E)) / 2
    logits[random.random(logits.shape) < 0.05] = -np.inf
    logits[random.random(logits.shape) < 0.02] = np.nan
    return logits.astype("f")


@ways(*CHECK, "in order", "seed 1", "seed 2")
@every_size
def test_choices_and_places_are_those_of_the_definition(random, G, T, E, K, S, way):
    logits = scores(random, G, T, E)
    order = np.stack([random.permutation(T) for _ in range(G)])
    wanted = random.random((G, T, K)) < 0.7
    experts = ops.top_k(logits, K)
    for options in ({}, {"order": order}, {"wanted": wanted}, {"order": order, "wanted": wanted}):
        expected = ops.expert_slots(experts, E, S, **options)
        with running(way) as there:
            found = ops.top_k(there(logits), K)
            routing = ops.expert_slots(found, E, S, **{name: there(a) for name, a in options.items()})
        np.testing.assert_array_equal(to_device(found, "cpu"), experts)
        for a, b in zip(routing, expected, strict=True):
            assert a.dtype == np.int32
            np.testing.assert_array_equal(to_device(a, "cpu"), b)


@ways("in order")
def test_an_expert_that_does_not_exist_is_dropped(way):
    with running(way) as there:
        routing = ops.expert_slots(there(np.array([[[0], [-1], [2], [1]]])), 2, 2)
    assert to_device(routing.slots, "cpu").ravel().tolist() == [0, -1, -1, 2]


@ways("in order", "seed 1", "check")
@row_by_row
@pytest.mark.parametrize(("dtype", "tolerance"), [("f", 1e-5), ("d", 1e-12)])
def test_gates(random, G, T, E, K, S, dtype, tolerance, way):
    logits = random.standard_normal((G, T, E)).astype(dtype)
    experts = ops.top_k(logits, K)
    for renormalise in (True, False):

        def call(x, renormalise=renormalise):
            return ops.gates(x, to_device(experts, x.device), renormalise=renormalise)

        agree(call, [logits], way, rtol=tolerance, atol=tolerance)


@ways("in order", "seed 1", "check")
@row_by_row
@pytest.mark.parametrize(("dtype", "tolerance"), [("f", 1e-5), ("d", 1e-12)])
def test_there_and_back(random, G, T, E, K, S, dtype, tolerance, way):
    for C in (1, 64) if T == 65 else (31, 64):
        experts = ops.top_k(random.standard_normal((G, T, E)), K)
        x, y, g = (random.standard_normal(s).astype(dtype) for s in ((G, T, C), (E, G, S, C), (G, T, K)))

        def routing(like, experts=experts):
            return ops.expert_slots(to_device(experts, like.device), E, S)

        agree(lambda x: ops.dispatch(x, routing=routing(x)), [x], way, rtol=tolerance, atol=tolerance)
        agree(lambda y, g: ops.combine(y, g, routing=routing(y)), [y, g], way, rtol=tolerance, atol=tolerance)


@ways("in order", "seed 1", "check")
@pytest.mark.parametrize("C", [1, 33, 64])
def test_bfloat16(random, C, way):
    """Rows are moved as they are; sums and products are made in float32 and rounded once."""
    G, T, E, K, S = 2, 31, 5, 2, 8
    logits = widened(bf16(scores(random, G, T, E)))
    experts = ops.top_k(logits, K)
    routing, gates = ops.expert_slots(experts, E, S), random.standard_normal((G, T, K)).astype("f")
    x, y = bf16(random.standard_normal((G, T, C))), bf16(random.standard_normal((E, G, S, C)))
    with running(way) as there:
        xp = moe.array_module(there(x))
        found = moe._launch_top_k(xp, there(bf16(logits)), K)
        routed = moe.Routing(*map(there, routing))
        sent = moe._launch_to_slots(xp, there(x), routed)
        mixed = moe._launch_to_tokens(xp, there(y), routed, there(gates))
        dy, dgates = moe._launch_combine_backward(xp, there(x), there(y), there(gates), routed)
        g, dlogits = moe._launch_gates(xp, there(bf16(random.standard_normal(logits.shape))), there(experts), True)
        dlogits, _ = dlogits(g)
    np.testing.assert_array_equal(to_device(found, "cpu"), experts)
    np.testing.assert_array_equal(to_device(sent, "cpu"), moe._to_slots(x, routing))
    for got, exact in [
        (mixed, moe._to_tokens(widened(y), routing, gates)),
        (dy, moe._to_slots(widened(x), routing, gates)),
    ]:
        np.testing.assert_allclose(widened(to_device(got, "cpu")), exact, rtol=2**-8, atol=1e-6)
    dots = (widened(y).reshape(-1, C)[routing.slots] * widened(x)[:, :, None]).sum(-1)
    np.testing.assert_allclose(to_device(dgates, "cpu"), np.where(routing.slots >= 0, dots, 0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(widened(to_device(g, "cpu")).sum(-1), 1, rtol=2**-7)
    np.testing.assert_allclose(widened(to_device(dlogits, "cpu")).sum(-1), 0, atol=2**-7)


@ways("seed 1")
def test_derivative(random, way):
    G, T, E, K, S = 2, 9, 5, 2, 3

    def layer(x, logits, scale):
        experts = ops.top_k(logits, K)
        routing = ops.expert_slots(experts, E, S)
        return ops.combine(ops.dispatch(x, routing=routing) * scale, ops.gates(logits, experts), routing=routing)

    arrays = [random.standard_normal(s) for s in ((G, T, 6), (G, T, E), (E, 1, 1, 6))]
    with running(way):
        assert gradcheck(moved_there(layer, way), *arrays, tolerance=1e-7)
