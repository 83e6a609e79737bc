"""A linear probe: logistic regression on features that may not change, by L-BFGS.   CLIP, arXiv 2103.00020, sec. 3.2.

The loss is convex: there is one best classifier, whatever the start, and nothing to be lucky with. So what a probe
reaches is a property of the features.
"""

import numpy as np

from .array import matmul


def fit_linear_probe(features, classes, *, strength, iterations=1000):
    """The W (C, K) and b (K,) that minimise mean cross-entropy + strength / 2 |W|^2, in float64.

    features (N, C)   classes (N,) of integers 0 .. K-1

    scikit-learn's `LogisticRegression(C=c)` minimises the same with strength = 1 / (c N).
    """
    features = np.asarray(features, np.float64)
    (N, C), K = features.shape, int(classes.max()) + 1
    truth = np.eye(K)[classes]

    def loss(flat):
        W, b = flat[: C * K].reshape(C, K), flat[C * K :]
        z = matmul(features, W, b)
        z -= z.max(1, keepdims=True)
        p = np.exp(z)
        total = p.sum(1, keepdims=True)
        value = (np.log(total).sum() - (z * truth).sum()) / N + strength / 2 * (W * W).sum()
        dz = (p / total - truth) / N
        return value, np.concatenate([(matmul(features.T, dz) + strength * W).ravel(), dz.sum(0)])

    best = lbfgs(loss, np.zeros(C * K + K), iterations)
    return best[: C * K].reshape(C, K), best[C * K :]


def choose_strength(features, classes, held_out, strengths=tuple(10.0**k for k in range(-7, 1))):
    """The strength whose probe, fitted without the rows `held_out` (N,), names most of them; of equals the largest.

    The paper sweeps 96 strengths on validation data, coarse first; these are eight, a factor of ten apart.
    """
    right = []
    for strength in strengths:
        W, b = fit_linear_probe(features[~held_out], classes[~held_out], strength=strength, iterations=200)
        right.append((float(((features[held_out] @ W + b).argmax(1) == classes[held_out]).mean()), strength))
    return max(right)[1]


def lbfgs(function, x, iterations=1000, memory=10, tolerance=1e-6):
    """Minimises `function(x) -> (value, gradient)` of a vector x.   Nocedal & Wright 2006, algorithm 7.5.

    Each step goes where Newton's method would, its curvature guessed from the last `memory` steps and what they did to
    the gradient; then half as far, and again, until the value falls by a fair share of what the slope promised.
    Ends where no entry of the gradient is larger than `tolerance`.
    """
    value, gradient = function(x)
    history = []
    for _ in range(iterations):
        if np.abs(gradient).max() <= tolerance:
            break
        direction = -_newton(gradient, history)
        slope = direction @ gradient
        step = 1.0 if history else min(1.0, 1 / np.abs(gradient).sum())
        while True:
            new = x + step * direction
            new_value, new_gradient = function(new)
            if new_value <= value + 1e-4 * step * slope:
                break
            step /= 2
            if step < 1e-12:  # as good as numbers of this precision can be
                return x
        moved, changed = new - x, new_gradient - gradient
        if moved @ changed > 0:
            history = [*history, (moved, changed)][-memory:]
        x, value, gradient = new, new_value, new_gradient
    return x


def _newton(gradient, history):
    """The inverse of the guessed curvature, times the gradient: the two loops of algorithm 7.4."""
    q, shares = gradient.copy(), []
    for moved, changed in reversed(history):
        share = (moved @ q) / (moved @ changed)
        q -= share * changed
        shares.append(share)
    if history:
        moved, changed = history[-1]
        q *= (moved @ changed) / (changed @ changed)
    for (moved, changed), share in zip(history, reversed(shares), strict=True):
        q += (share - (changed @ q) / (moved @ changed)) * moved
    return q
