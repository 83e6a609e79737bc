"""The linear probe: it ends where the gradient does, and L-BFGS gets there."""

import numpy as np
import pytest

from minivl.linear_probe import choose_strength, fit_linear_probe, lbfgs


def clouds(random, N=90, C=4, K=3, apart=1.0):
    """Points around K centres."""
    classes = np.arange(N) % K
    return apart * random.standard_normal((K, C))[classes] + random.standard_normal((N, C)), classes


@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
def test_it_minimises_cross_entropy_and_half_the_square(random, strength):
    x, classes = clouds(random)

    def loss(W, b):
        z = x @ W + b
        log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        return -log_p[np.arange(90), classes].mean() + strength / 2 * (W * W).sum()

    W, b = fit_linear_probe(x, classes, strength=strength)
    best = loss(W, b)
    for _ in range(20):  # the loss is convex: it rises in every direction
        assert loss(W + 1e-3 * random.standard_normal(W.shape), b) > best
        assert loss(W, b + 1e-2 * random.standard_normal(3) * [1, -1, 0.5]) >= best - 1e-9
    z = x @ W + b
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    d = (p - np.eye(3)[classes]) / 90
    np.testing.assert_allclose(x.T @ d, -strength * W, atol=2e-6)
    np.testing.assert_allclose(d.sum(0), 0, atol=2e-6)


def test_what_can_be_told_apart_is(random):
    x, classes = clouds(random, apart=20.0)
    W, b = fit_linear_probe(x, classes, strength=1e-4)
    assert ((x @ W + b).argmax(1) == classes).all()


def test_a_strength_is_chosen_by_what_was_held_out(random):
    """Few points of many features: hardly any restraint learns the noise by heart."""
    x, classes = clouds(random, N=60, C=40, apart=0.5)
    held_out = np.arange(60) % 3 == 1
    held_out[::2] = ~held_out[::2]
    chosen = choose_strength(x, classes, held_out)
    assert chosen in [10.0**k for k in range(-7, 1)] and chosen >= 1e-3
    assert choose_strength(x, classes, held_out, strengths=(0.5,)) == 0.5
    assert choose_strength(x * 0, classes, held_out, strengths=(1.0, 2.0)) == 2.0, "of equals the largest"


def test_lbfgs_finds_the_end_of_a_curved_valley():
    """Rosenbrock's function: its minimum is 0, at (1, 1)."""
    calls = []

    def rosenbrock(x):
        calls.append(x)
        a, b = x
        gradient = np.array([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)])
        return (1 - a) ** 2 + 100 * (b - a * a) ** 2, gradient

    np.testing.assert_allclose(lbfgs(rosenbrock, np.array([-1.2, 1.0])), [1, 1], atol=1e-5)
    assert len(calls) < 80


def test_lbfgs_on_a_quadratic_bowl(random):
    A = random.standard_normal((20, 20))
    A, c = A @ A.T + np.eye(20), random.standard_normal(20)
    found = lbfgs(lambda x: (x @ A @ x / 2 - c @ x, A @ x - c), np.zeros(20), tolerance=1e-9)
    np.testing.assert_allclose(found, np.linalg.solve(A, c), atol=1e-8)
    assert (lbfgs(lambda x: (x @ x, 2 * x), np.zeros(3)) == 0).all(), "at the minimum it stays"
