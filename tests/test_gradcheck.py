"""The check of derivatives must itself be checked: right ones pass, planted errors are found and named."""

import numpy as np
import pytest

from minivl import GradientError, Tensor, gradcheck, op, ops


def test_right_derivatives_pass(random):
    x, y = random.standard_normal((3, 4)), random.standard_normal(4)
    assert gradcheck(lambda x, y: ops.softmax(x * y).tanh(), x, y) is True


def test_all_of_a_model_at_once(random):
    """Tensors that fn reaches by itself; and what they held is there again afterwards."""
    w, b = (Tensor(random.standard_normal(s), requires_grad=True) for s in ((3, 2), (2,)))
    data = w.data, b.data
    gradcheck(lambda *_: ops.linear(np.ones((4, 3)), w, b).tanh().sum(), w, b)
    assert w.data is data[0] and b.data is data[1] and w.grad is None


@op
def layernorm_without_mean(x, weight, bias, *, eps=1e-5):
    """The commonest mistake: rstd * (dn - n mean(dn n)), with - mean(dn) forgotten."""
    n = x - x.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt((n * n).mean(-1, keepdims=True) + eps)
    n = n * rstd

    def derivative(dy):
        dn = dy * weight
        return rstd * (dn - n * (dn * n).mean(-1, keepdims=True)), (dy * n).sum((0, 1)), dy.sum((0, 1))

    return n * weight + bias, derivative


def test_a_forgotten_term(random):
    arrays = [random.standard_normal(s) for s in ((2, 3, 8), (8,), (8,))]
    gradcheck(ops.layernorm, *arrays)
    with pytest.raises(
        GradientError, match=r"gradcheck: x at index \(\d, \d, \d\): got .* expected .* \(ratio"
    ) as caught:
        gradcheck(layernorm_without_mean, *arrays, names=["x", "weight", "bias"])
    assert caught.value.argument == "x"


def planted(error, at):
    """sin, with a wrong derivative at one index."""

    @op
    def sine(x):
        def derivative(d):
            dx = d * np.cos(x)
            dx[at] *= error
            return dx

        return np.sin(x), derivative

    return sine


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("error", "ratio"), [(1.01, 1.01), (-1, -1), (0, 0), (2, 2), (np.nan, np.nan)])
def test_one_wrong_entry_among_4096(error, ratio, seed):
    random = np.random.default_rng(seed)
    at = tuple(random.integers(0, (4, 32, 32)))
    x = random.uniform(-1, 1, (4, 32, 32))
    with pytest.raises(GradientError) as caught:
        gradcheck(planted(error, at), x, seeds=(seed,))
    wrong = caught.value
    assert wrong.index == at and wrong.argument == "argument 0"
    assert f"index {tuple(int(i) for i in at)}" in str(wrong)
    assert wrong.got / wrong.expected == pytest.approx(ratio, rel=1e-4, nan_ok=True)


def test_the_argument_is_named(random):
    @op
    def product(a, b):
        return a * b, lambda d: (d * b, 0.99 * d * a)

    a, b = random.standard_normal((2, 3)), random.standard_normal((2, 3))
    with pytest.raises(GradientError, match=r"gradcheck: right at index .*\(ratio 0.99\)"):
        gradcheck(product, a, b, names=["left", "right"])
    assert gradcheck(product, a, Tensor(b))  # what requires no gradient is not checked


def test_a_lost_history_is_found(random):
    with pytest.raises(GradientError, match="got 0, expected"):
        gradcheck(lambda x: (x * x).detach(), random.standard_normal(3))
    with pytest.raises(GradientError, match="got 0, expected"):
        gradcheck(lambda x, y: x * y.detach(), *random.standard_normal((2, 3)))


def test_single_precision_is_refused():
    with pytest.raises(TypeError, match="gradcheck: argument 1 is float32, must be float64"):
        gradcheck(ops.add, np.ones(2), np.ones(2, np.float32))
    with pytest.raises(TypeError, match="x is int64"):
        gradcheck(ops.exp, Tensor([1, 2]), names=["x"])


def test_another_value_the_second_time(random):
    with pytest.raises(ValueError, match="another value the second time; seed its generator inside fn"):
        gradcheck(lambda x: ops.dropout(x, p=0.5, random=random), np.ones(20))


def test_nothing_to_check():
    for tensors in ([], [Tensor(np.ones(2))]):
        with pytest.raises(ValueError, match="requires_grad=True: nothing would be checked"):
            gradcheck(lambda *_: Tensor(np.ones(2)), *tensors)


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_the_tolerance_goes_with_the_size_of_the_derivative(random, scale):
    x = random.standard_normal((4, 4))
    gradcheck(lambda x: x.tanh() * scale, x)
    with pytest.raises(GradientError):
        gradcheck(lambda x: planted(1.01, (1, 2))(x) * scale, x)
