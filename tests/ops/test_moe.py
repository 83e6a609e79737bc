"""Mixture of experts: who goes where, against queues kept by hand, and what a whole layer makes of it."""

import naive
import numpy as np
import pytest

from minivl import Tensor, gradcheck, ops


def routed(experts, E, capacity, **options):
    """{(group, token, k): (expert, place)} read from the slots, once the same has been read from the choices."""
    routing = ops.expert_slots(experts, E, capacity, **options)
    G, T, K = experts.shape
    assert routing.slots.shape == (G, T, K) and routing.choices.shape == (E, G, capacity)
    assert routing.slots.dtype == routing.choices.dtype == np.int32
    places = {}
    for (g, t, k), slot in np.ndenumerate(routing.slots):
        if slot >= 0:
            e, rest = divmod(int(slot), G * capacity)
            assert rest // capacity == g  # a group has slots of its own
            places[g, t, k] = e, rest % capacity
            assert routing.choices[e, g, rest % capacity] == (g * T + t) * K + k
    assert (routing.choices >= 0).sum() == len(places)
    return places


@pytest.mark.parametrize("E, k", [(1, 1), (5, 2), (33, 3), (4, 4)])
def test_top_k_is_the_largest_first(random, E, k):
    scores = random.standard_normal((3, 7, E))
    expected = [[naive.top_k(row, k) for row in group] for group in scores]
    np.testing.assert_array_equal(ops.top_k(Tensor(scores), k), expected)


def test_of_equal_scores_the_first_is_taken_and_nan_last():
    assert ops.top_k(np.array([[1.0, 2, 2, 1], [0, -0.0, 0, 0]]), 3).tolist() == [[1, 2, 0], [0, 1, 2]]
    assert ops.top_k(np.array([np.nan, -np.inf, 5, np.nan]), 4).tolist() == [2, 0, 1, 3]


@pytest.mark.parametrize("capacity", [1, 2, 3, 100])
@pytest.mark.parametrize("G, T, K, E", [(1, 1, 1, 1), (2, 9, 2, 4), (3, 33, 3, 5), (1, 0, 2, 3), (1, 40, 1, 64)])
def test_places_are_given_as_in_a_queue(random, G, T, K, E, capacity):
    experts = ops.top_k(random.standard_normal((G, T, E)), K)
    order = np.stack([random.permutation(T) for _ in range(G)])
    wanted = random.random((G, T, K)) < 0.7
    for options in ({}, {"order": order}, {"wanted": wanted}, {"order": order, "wanted": wanted}):
        assert routed(experts, E, capacity, **options) == naive.route(experts, E, capacity, **options)


def test_second_choices_queue_behind_all_first_choices():
    experts = np.array([[[1, 0], [0, 1], [0, 1]]])
    assert routed(experts, 2, 2) == {(0, 0, 0): (1, 0), (0, 1, 0): (0, 0), (0, 2, 0): (0, 1), (0, 1, 1): (1, 1)}


def test_the_most_certain_queue_first_if_asked():
    """Batch prioritised routing: with one place an expert, the token with the largest gate gets it."""
    logits = np.array([[[1.0, 0], [3, 0], [2, 0]]])
    experts = ops.top_k(logits, 1)
    certain = ops.gates(logits, experts, renormalise=False).data.max(-1)
    assert routed(experts, 2, 1) == {(0, 0, 0): (0, 0)}
    assert routed(experts, 2, 1, order=ops.top_k(certain, 3)) == {(0, 1, 0): (0, 0)}


def test_a_dropped_token_gets_nothing_and_gives_no_gradient(random):
    x = Tensor(random.standard_normal((1, 3, 4)), requires_grad=True)
    routing = ops.expert_slots(np.zeros((1, 3, 1), int), 1, 2)
    gates = Tensor(np.full((1, 3, 1), 0.5), requires_grad=True)
    y = ops.combine(ops.dispatch(x, routing=routing), gates, routing=routing)
    np.testing.assert_array_equal(y.data[0, :2], x.data[0, :2] / 2)
    assert not y.data[0, 2].any()
    y.sum().backward()
    assert not x.grad[0, 2].any() and gates.grad[0, 2] == 0 and x.grad[0, :2].all()


def test_a_layer_without_drops_is_the_gated_sum_over_experts(random):
    """Dense: every expert sees every token, weighted by its gate or 0. Sparse: the same numbers and gradients."""
    G, T, C, E, K = 2, 5, 3, 4, 2
    x, router, weight = (random.standard_normal(s) for s in ((G, T, C), (C, E), (E, C, C)))

    def sparse(x, router, weight):
        logits = x @ router
        experts = ops.top_k(logits, K)
        routing = ops.expert_slots(experts, E, T)
        sent = ops.dispatch(x, routing=routing).reshape(E, G * T, C)
        answers = (sent @ weight).tanh().reshape(E, G, T, C)
        return ops.combine(answers, ops.gates(logits, experts), routing=routing)

    def dense(x, router, weight):
        logits = x @ router
        experts = ops.top_k(logits, K)
        chosen = (experts[..., None] == np.arange(E)).any(-2)
        gates = ops.softmax(ops.where(chosen, logits, -np.inf))
        answers = (x.reshape(1, G * T, C) @ weight).tanh().reshape(E, G, T, C)
        return (answers * gates.transpose(2, 0, 1).reshape(E, G, T, 1)).sum(0)

    results = []
    for layer in (sparse, dense):
        tensors = [Tensor(a, requires_grad=True) for a in (x, router, weight)]
        y = layer(*tensors)
        y.backward(np.cos(np.arange(y.size)).reshape(y.shape))
        results.append([y.data, *(t.grad for t in tensors)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert gradcheck(sparse, x, router, weight, seeds=(0,))


def test_load_balance_is_one_where_tokens_are_spread_and_E_where_they_are_not():
    E = 4
    even, first = np.zeros((1, 8, E)), np.arange(8)[None] % E
    assert ops.load_balance(even, first).item() == 1
    crowded = np.zeros((1, 8, E))
    crowded[..., 2] = 50
    assert ops.load_balance(crowded, np.full((1, 8), 2)).item() == pytest.approx(E)


ROUTING = ops.expert_slots(np.zeros((1, 3, 1), int), 2, 2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ops.top_k(np.zeros((2, 3)), 4), ValueError, "top_k: k is 4, must be from 1 to the (3,) scores"),
        (lambda: ops.expert_slots(np.zeros((2, 3), int), 2, 2), ValueError, "integers (G, T, K), got int64 (2, 3)"),
        (lambda: ops.expert_slots(np.zeros((1, 2, 3)), 2, 2), ValueError, "got float64"),
        (lambda: ops.expert_slots(np.full((1, 2, 3), 2), 2, 2), IndexError, "experts from 2 to 2, must be in 0 to 1"),
        (lambda: ops.expert_slots(np.zeros((1, 2, 3), int), 2, 0), ValueError, "capacity is 0, must be at least 1"),
        (lambda: ops.dispatch(np.zeros((1, 4, 2)), routing=ROUTING), ValueError, "dispatch: x is laid out as (1, 4)"),
        (lambda: ops.combine(np.zeros((2, 1, 3, 2)), np.zeros((1, 3, 1)), routing=ROUTING), ValueError,
         "combine: y is laid out as (2, 1, 3), the routing is for (2, 1, 2)"),
        (lambda: ops.combine(np.zeros((2, 1, 2, 2)), np.zeros((1, 3, 2)), routing=ROUTING), ValueError,
         "combine: gates is laid out as (1, 3, 2)"),
        (lambda: ops.load_balance(np.zeros((1, 3, 2)), np.zeros((1, 2))), ValueError, "need first choices (1, 3)"),
    ],
)  # fmt: skip
def test_errors_say_what_was_wrong(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
