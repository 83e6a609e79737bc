"""Optimisers against their papers' equations in plain Python loops; clipping, schedules, averages, resuming."""

import math

import numpy as np
import pytest

from minivl import optim
from minivl.optim import (
    SGD,
    Adafactor,
    AdamW,
    WeightAverage,
    clip_grad_norm,
    decay_groups,
    warmup_constant,
    warmup_cosine,
    warmup_linear,
)
from minivl.tensor import Tensor
from minivl.weights import WeightsError, load_safetensors, save_safetensors

SHAPES = [(), (1,), (5,), (3, 4), (1, 6), (2, 3, 4), (0,), (0, 3)]
OPTIMISERS = {
    "SGD": lambda params, **o: SGD(params, 0.1, **o),
    "momentum": lambda params, **o: SGD(params, 0.1, momentum=0.9, **o),
    "Nesterov": lambda params, **o: SGD(params, 0.1, momentum=0.9, nesterov=True, **o),
    "AdamW": lambda params, **o: AdamW(params, 0.01, **o),
    "Adafactor": lambda params, **o: Adafactor(params, 0.01, **o),
    "Adafactor without mean": lambda params, **o: Adafactor(params, 0.01, betas=(0.0, 1.0), **o),
}


def parameters(shapes=SHAPES, dtype=np.float32, seed=0):
    random = np.random.default_rng(seed)
    return [Tensor(np.asarray(random.standard_normal(shape), dtype), requires_grad=True) for shape in shapes]


def set_gradients(params, seed):
    random = np.random.default_rng(seed)
    for p in params:
        p.grad = np.asarray(random.standard_normal(p.shape) * 10.0 ** random.integers(-3, 3), p.data.dtype)


def naive_sgd(p, gradients, lr, decay=0.0, momentum=0.0, nesterov=False):
    p, v = list(p), [0.0] * len(p)
    for g in gradients:
        for i in range(len(p)):
            d = g[i] + decay * p[i]
            v[i] = momentum * v[i] + d
            p[i] = p[i] - lr * (d + momentum * v[i] if nesterov else v[i])
    return p


def naive_adamw(p, gradients, lr, decay=0.0, beta1=0.9, beta2=0.999, eps=1e-8):
    p, m, v = list(p), [0.0] * len(p), [0.0] * len(p)
    for t, g in enumerate(gradients, 1):
        for i in range(len(p)):
            m[i] = beta1 * m[i] + (1 - beta1) * g[i]
            v[i] = beta2 * v[i] + (1 - beta2) * g[i] ** 2
            m_hat, v_hat = m[i] / (1 - beta1**t), v[i] / (1 - beta2**t)
            p[i] = p[i] - lr * (m_hat / (math.sqrt(v_hat) + eps) + decay * p[i])
    return p


def naive_adafactor(p, gradients, lr, decay=0.0, beta1=0.9, beta2=0.999, clip=1.0, relative=False, scaled=False):
    """Algorithm 4 with sums, as printed: V = R C / (1^T R)."""
    n, m = len(p), len(p[0])
    p = [list(row) for row in p]
    R, C, mean = [0.0] * n, [0.0] * m, [[0.0] * m for _ in range(n)]
    for t, g in enumerate(gradients, 1):
        b = min(beta2, 1 - t**-0.8)
        for i in range(n):
            R[i] = b * R[i] + (1 - b) * sum(g[i][j] ** 2 + 1e-30 for j in range(m))
        for j in range(m):
            C[j] = b * C[j] + (1 - b) * sum(g[i][j] ** 2 + 1e-30 for i in range(n))
        U = [[g[i][j] / math.sqrt(R[i] * C[j] / sum(R)) for j in range(m)] for i in range(n)]
        too_large = max(1.0, math.sqrt(sum(u * u for row in U for u in row) / (n * m)) / clip)
        rate = lr * (min(1e-2, 1 / math.sqrt(t)) if relative else 1)
        rate *= max(1e-3, math.sqrt(sum(x * x for row in p for x in row) / (n * m))) if scaled else 1
        for i in range(n):
            for j in range(m):
                mean[i][j] = beta1 * mean[i][j] + (1 - beta1) * U[i][j] / too_large
                p[i][j] -= rate * (mean[i][j] + decay * p[i][j])
    return p


def run(optimiser, p, gradients):
    for g in gradients:
        p.grad = g.astype(p.data.dtype)
        optimiser.step()
    return p.data


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum, nesterov", [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_is_its_equation(momentum, nesterov, decay):
    (p,) = parameters([(7,)], np.float64)
    gradients = np.random.default_rng(1).standard_normal((6, 7))
    expected = naive_sgd(p.data, gradients, 0.1, decay, momentum, nesterov)
    out = run(SGD([p], 0.1, momentum=momentum, weight_decay=decay, nesterov=nesterov), p, gradients)
    np.testing.assert_allclose(out, expected, rtol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw_is_algorithm_2_of_loshchilov_and_hutter(decay):
    (p,) = parameters([(7,)], np.float64)
    gradients = np.random.default_rng(1).standard_normal((6, 7)) * 10.0 ** np.arange(-8, 4, 2)[:, None]
    expected = naive_adamw(p.data, gradients, 0.01, decay)
    np.testing.assert_allclose(run(AdamW([p], 0.01, weight_decay=decay), p, gradients), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"relative": True}, {"scaled": True}, {"decay": 0.1}, {"clip": 0.3}, {"beta1": 0.0}]
)
def test_adafactor_is_algorithm_4_of_shazeer_and_stern(options):
    (p,) = parameters([(3, 5)], np.float64)
    gradients = np.random.default_rng(1).standard_normal((8, 3, 5)) * 10.0 ** np.arange(-4, 4)[:, None, None]
    expected = naive_adafactor(p.data, gradients, 0.05, **options)
    optimiser = Adafactor(
        [p],
        0.05,
        betas=(options.get("beta1", 0.9), 0.999),
        clip=options.get("clip", 1.0),
        weight_decay=options.get("decay", 0.0),
        relative_step=options.get("relative", False),
        scale_parameter=options.get("scaled", False),
    )
    np.testing.assert_allclose(run(optimiser, p, gradients), expected, rtol=1e-11)


def test_adafactor_keeps_one_number_a_row_and_one_a_column():
    optimiser = Adafactor(parameters([(4, 30, 20), (9,)]), 0.01, betas=(0.0, 0.999))
    assert {name: a.shape for name, a in optimiser.state_dict().items()} == {
        "steps": (2,),
        "0.row": (4, 30),
        "0.column": (4, 20),
        "1.square": (9,),
    }


def test_factored_moments_are_exact_where_squared_gradients_have_rank_1():
    """With g_ij^2 = (a_i b_j)^2 at every step, the matrix must move as its elements would, each with its own moment."""
    random = np.random.default_rng(2)
    a, b = random.uniform(0.1, 3, 6), random.uniform(0.1, 3, 4)
    signs = random.choice([-1.0, 1.0], (5, 6, 4))
    sizes = random.uniform(0.5, 2, (5, 1, 1))
    gradients = signs * np.outer(a, b) * sizes
    (matrix,) = parameters([(6, 4)], np.float64)
    vector = Tensor(matrix.data.reshape(-1).copy(), requires_grad=True)
    factored = run(Adafactor([matrix], 0.1, clip=0.5), matrix, gradients)
    whole = run(Adafactor([vector], 0.1, clip=0.5), vector, gradients.reshape(5, -1))
    np.testing.assert_allclose(factored.reshape(-1), whole, rtol=1e-12)


def test_a_stack_of_matrices_has_moments_of_its_own_each():
    gradients = np.random.default_rng(3).standard_normal((4, 2, 3, 5))
    (stack,) = parameters([(2, 3, 5)], np.float64)
    ones = [Tensor(x.copy(), requires_grad=True) for x in stack.data]
    run(Adafactor([stack], 0.1, clip=1e9), stack, gradients)
    for i, p in enumerate(ones):
        run(Adafactor([p], 0.1, clip=1e9), p, gradients[:, i])
        np.testing.assert_allclose(stack.data[i], p.data, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 1e-25, 1e-13, 1e12])
def test_adafactor_survives_tiny_and_huge_gradients_in_float32(scale):
    (p,) = parameters([(6, 4)])
    before = p.data.copy()
    gradients = (np.random.default_rng(4).standard_normal((3, 6, 4)) * scale).astype(np.float32)
    run(Adafactor([p], 0.1, weight_decay=0.0), p, gradients)
    assert np.isfinite(p.data).all()
    assert np.abs(p.data - before).max() < 1
    assert (scale < 1e-20) == np.array_equal(p.data, before)  # eps stands for squares that float32 cannot hold


@pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)
def test_any_shape_is_updated_in_place_and_keeps_its_dtype(make):
    for dtype in (np.float16, np.float32, np.float64):
        params = parameters(dtype=dtype)
        arrays, before = [p.data for p in params], [p.data.copy() for p in params]
        optimiser = make(params)
        for seed in range(3):
            set_gradients(params, seed)
            optimiser.step()
        for p, a, b in zip(params, arrays, before, strict=True):
            assert p.data is a and a.dtype == dtype and np.isfinite(a).all()
            assert a.size == 0 or not np.array_equal(a, b)


@pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)
def test_layout_and_number_of_threads_change_no_bit(make, monkeypatch):
    def train(layout):
        params = parameters([(300, 200), (70,)])
        for p in params:
            p.data = layout(p.data)
        optimiser = make(params)
        for seed in range(3):
            set_gradients(params, seed)
            optimiser.step()
        return params

    monkeypatch.setenv("MINIVL_THREADS", "1")
    expected = train(np.copy)
    monkeypatch.setenv("MINIVL_THREADS", "3")
    for p, q in zip(train(np.copy), expected, strict=True):
        assert p.data.tobytes() == q.data.tobytes()
    monkeypatch.setattr(optim, "_BUNDLE", 1000)
    for p, q in zip(train(np.copy), expected, strict=True):
        assert p.data.tobytes() == q.data.tobytes()
    for p, q in zip(train(np.asfortranarray), expected, strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)
def test_small_parameters_are_updated_together_and_none_notices(make, monkeypatch):
    """Bundles of several, of one, and of those whose fellows rest in between: the same bits."""

    def walk(bundle, resting):
        monkeypatch.setattr(optim, "_BUNDLE", bundle)
        params = parameters()
        optimizer = make([{"params": params[:4], "weight_decay": 0.1}, {"params": params[4:]}])
        for step in range(4):
            set_gradients(params, step)
            for p in params[1:5] if step in resting else ():
                p.grad = None
            optimizer.step()
        return [p.data for p in params], optimizer

    for resting in ((), (1,), (0, 3)):
        (together, bundled), (few, _), (alone, single) = (walk(n, resting) for n in (1 << 17, 8, -1))
        assert not single.bundles and (len(bundled.bundles) == 2 or not bundled.by_elements)
        for a, b, c in zip(together, few, alone, strict=True):
            np.testing.assert_array_equal(a, c)
            np.testing.assert_array_equal(b, c)
        assert all(np.array_equal(a, single.state_dict()[name]) for name, a in bundled.state_dict().items())


@pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)
def test_a_resumed_run_has_the_same_bits(make, tmp_path):
    def train(optimiser, seeds):
        for seed in seeds:
            set_gradients(optimiser.params, seed)
            if seed == 2:
                optimiser.params[3].grad = None  # so that its count of steps differs
            optimiser.lr = warmup_cosine(seed, 0.1, 3, 10)
            optimiser.step()

    whole = make(parameters())
    train(whole, range(10))

    first = make(parameters())
    train(first, range(5))
    save_safetensors(tmp_path / "state", first.state_dict())
    save_safetensors(tmp_path / "weights", {str(i): p.data for i, p in enumerate(first.params)})

    weights = load_safetensors(tmp_path / "weights")
    second = make([Tensor(weights[str(i)].copy(), requires_grad=True) for i in range(len(SHAPES))])
    second.load_state_dict(load_safetensors(tmp_path / "state"))
    train(second, range(5, 10))
    for p, q in zip(second.params, whole.params, strict=True):
        assert p.data.tobytes() == q.data.tobytes()
    for name, a in second.state_dict().items():
        assert a.tobytes() == whole.state_dict()[name].tobytes(), name


def test_the_state_of_another_model_is_refused():
    optimiser = AdamW(parameters([(3, 4)]), 0.1)
    with pytest.raises(WeightsError, match=r"1 missing: 0.square; 1 unexpected: 1.mean; 1 misshapen: 0.mean \(2,\)"):
        optimiser.load_state_dict({"steps": np.zeros(1), "0.mean": np.zeros(2), "1.mean": np.zeros(2)})


def test_a_parameter_without_gradient_rests_and_its_count_with_it():
    params = parameters([(4,), (4,)])
    optimiser = AdamW(params, 0.1)
    resting = params[1].data.copy()
    for seed in range(9):
        set_gradients(params, seed)
        params[1].grad = None
        optimiser.step()
    assert np.array_equal(params[1].data, resting)
    assert optimiser.steps.tolist() == [9, 0]
    params[1].grad = np.array([1, -1, 5, -5], np.float32)
    optimiser.step()  # its first step is of length lr, not corrected as if it were the tenth
    np.testing.assert_allclose(params[1].data, resting * (1 - 0.1 * 0.01) - 0.1 * np.sign(params[1].grad), rtol=1e-5)


def test_groups_have_their_own_rate_and_decay():
    slow, bare, plain = parameters([(3, 4), (3, 4), (3, 4)])
    optimiser = AdamW(
        [{"params": [slow], "lr_scale": 0.1}, {"params": [bare], "weight_decay": 0.0}, {"params": [plain]}],
        lr=0.01,
        weight_decay=0.5,
    )
    gradients = np.random.default_rng(5).standard_normal((4, 12))
    expected = [
        naive_adamw(p.data.reshape(-1).astype(float), gradients, lr, decay)
        for p, lr, decay in ((slow, 0.001, 0.5), (bare, 0.01, 0.0), (plain, 0.01, 0.5))
    ]
    for g in gradients:
        for p in optimiser.params:
            p.grad = g.reshape(3, 4).astype(np.float32)
        optimiser.step()
    for p, e in zip(optimiser.params, expected, strict=True):
        np.testing.assert_allclose(p.data.reshape(-1), e, rtol=1e-5, atol=1e-6)


def test_decay_groups_spare_vectors_and_numbers():
    named = dict(zip(["weight", "bias", "scale", "kernel"], parameters([(3, 4), (4,), (), (2, 3, 4)]), strict=True))
    decayed, spared = decay_groups(named.items(), 0.1)
    assert decayed == {"params": [named["weight"], named["kernel"]], "weight_decay": 0.1}
    assert spared == {"params": [named["bias"], named["scale"]], "weight_decay": 0.0}


@pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)
def test_every_optimiser_finds_the_bottom_of_a_bowl(make):
    """f(p) = |p - target|^2 / 2, whose gradient is p - target."""
    (p,) = parameters([(6, 5)])
    target = np.random.default_rng(6).standard_normal((6, 5)).astype(np.float32)
    optimiser = make([p], weight_decay=0.0)
    for step in range(400):
        p.grad = p.data - target
        optimiser.lr = warmup_linear(step, 0.1, 10, 400)
        optimiser.step()
    assert np.abs(p.data - target).max() < 1e-2


def test_zero_grad_forgets():
    params = parameters()
    set_gradients(params, 0)
    SGD(params, 0.1).zero_grad()
    assert all(p.grad is None for p in params)


X = parameters([(2, 3)])[0]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: AdamW([], 0.1), "params: got none, must be at least one Tensor"),
        (lambda: AdamW([X, X], 0.1), "params: got one Tensor twice"),
        (lambda: AdamW([{"params": [X], "lr": 1}], 0.1), r"params: got a group of \['lr', 'params'\]"),
        (lambda: AdamW([X], -0.1), "lr: got -0.1, must be at least 0"),
        (lambda: AdamW([X], 0.1, betas=(0.9, 1.0)), r"betas: got \(0.9, 1.0\), must be two numbers in \[0, 1\)"),
        (lambda: AdamW([X], 0.1, eps=0), "eps: got 0, must be greater than 0"),
        (lambda: AdamW([X], 0.1, weight_decay=-1), "weight_decay: got -1, must be at least 0"),
        (lambda: AdamW([{"params": [X], "lr_scale": -2}], 0.1), "lr_scale: got -2"),
        (lambda: SGD([X], 0.1, momentum=1.0), "momentum: got 1.0"),
        (lambda: SGD([X], 0.1, nesterov=True), "nesterov: got True with momentum 0"),
        (lambda: Adafactor([X], 0.1, clip=0), "clip: got 0"),
        (lambda: Adafactor([X], 0.1, eps=(0, 1e-3)), "eps: got"),
        (lambda: clip_grad_norm([X], 0), "max_norm: got 0"),
        (lambda: warmup_constant(-1, 1.0, 5), "step: got -1"),
        (lambda: warmup_linear(0, 1.0, 5, 5), r"total: got 5, must be greater than warmup \(5\)"),
        (lambda: WeightAverage([X], 1.0), "decay: got 1.0"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_clipping_scales_all_gradients_to_one_length():
    params = parameters([(3, 4), (5,), ()])
    set_gradients(params, 0)
    before = [p.grad.astype(float) for p in params]
    length = math.sqrt(sum((g**2).sum() for g in before))
    assert clip_grad_norm(params, 2 * length) == pytest.approx(length, rel=1e-14)
    assert all(np.array_equal(p.grad, g) for p, g in zip(params, before, strict=True))
    assert clip_grad_norm(params, length / 4) == pytest.approx(length, rel=1e-14)
    for p, g in zip(params, before, strict=True):
        np.testing.assert_allclose(p.grad, g / 4, rtol=1e-6)
        assert isinstance(p.grad, np.ndarray) and p.grad.dtype == np.float32
    assert clip_grad_norm(params, 1e9) == pytest.approx(length / 4, rel=1e-6)


def test_gradients_that_share_memory_are_scaled_once():
    a, b, c = parameters([(4,), (4,), (2, 4)])
    shared = np.full(4, 3.0, np.float32)
    a.grad, b.grad, c.grad = shared, shared, np.broadcast_to(shared, (2, 4))
    assert clip_grad_norm([a, b, c], 6.0) == 12.0
    assert shared.tolist() == [3.0] * 4
    for p in (a, b, c):
        assert np.array_equal(p.grad, np.full(p.shape, 1.5))


def test_the_norm_is_summed_in_float64_and_does_not_depend_on_threads(monkeypatch):
    big, empty = parameters([(700, 300), (0, 3)])
    set_gradients([big, empty], 0)
    big.grad[0, 0] = 1e25  # its square is no float32
    monkeypatch.setenv("MINIVL_THREADS", "1")
    one = clip_grad_norm([big, empty], 1e30)
    assert one == pytest.approx(1e25, rel=1e-7)
    big.grad[0, 0] = 0
    norms = set()
    for threads in "123":
        monkeypatch.setenv("MINIVL_THREADS", threads)
        norms.add(clip_grad_norm([big, empty], 1e30))
    assert len(norms) == 1
    assert norms.pop() == pytest.approx(math.sqrt((big.grad.astype(float) ** 2).sum()), rel=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_named_and_nothing_is_touched(bad):
    params = parameters([(3,), (3, 4), (2,)])
    set_gradients(params, 0)
    params[1].grad[1, 2] = bad
    before = [p.grad for p in params]
    with pytest.raises(FloatingPointError, match="gradient of parameter number 1: 1 of its 12 numbers are not finite"):
        clip_grad_norm(params, 1e-3)
    with pytest.raises(FloatingPointError, match="gradient of parameter block.weight: 1 of its 12"):
        clip_grad_norm(zip(["bias", "block.weight", "end"], params, strict=True), 1e-3)
    assert all(p.grad is g for p, g in zip(params, before, strict=True))


def test_clipping_without_any_gradient():
    assert clip_grad_norm(parameters(), 1.0) == 0.0


def test_schedules_at_their_corners():
    linear = [warmup_linear(step, 8.0, 4, 12) for step in range(14)]
    assert linear == [2, 4, 6, 8, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    cosine = [warmup_cosine(step, 8.0, 4, 12, floor=2.0) for step in (0, 3, 4, 8, 12, 99)]
    assert cosine == pytest.approx([2, 8, 8, 5, 2, 2])
    assert warmup_cosine(6, 1.0, 4, 12) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert [warmup_constant(step, 8.0, 4) for step in (0, 1, 3, 4, 10**9)] == [2, 4, 8, 8, 8]
    assert [schedule(0, 8.0, 0, 10) for schedule in (warmup_constant, warmup_linear, warmup_cosine)] == [8, 8, 8]


def test_the_average_is_the_weighted_mean_of_the_weights_so_far():
    (p,) = parameters([(5,)], np.float64)
    average = WeightAverage([p], 0.9)
    seen = []
    for t in range(1, 8):
        p.data = p.data + np.random.default_rng(t).standard_normal(5)
        seen.append(p.data.copy())
        average.update()
        weights = [0.9 ** (t - i) for i in range(1, t + 1)]
        expected = sum(w * x for w, x in zip(weights, seen, strict=True)) / sum(weights)
        with average.swapped():
            np.testing.assert_allclose(p.data, expected, rtol=1e-12)
        assert np.array_equal(p.data, seen[-1])


def test_swapped_gives_the_weights_back_after_an_error_and_refuses_nonsense():
    (p,) = parameters([(5,)])
    own = p.data
    average = WeightAverage([p], 0.5)
    with pytest.raises(KeyError), average.swapped():
        assert p.data is not own
        with pytest.raises(RuntimeError, match="swapped already"), average.swapped():
            pass
        with pytest.raises(RuntimeError, match="average itself"):
            average.update()
        raise KeyError
    assert p.data is own


def test_a_resumed_average_has_the_same_bits():
    def train(p, average, seeds):
        for seed in seeds:
            p.data = np.random.default_rng(seed).standard_normal(5).astype(np.float32)
            average.update()
        return average

    (p,) = parameters([(5,)])
    whole = train(p, WeightAverage([p], 0.9), range(6))
    state = {name: a.copy() for name, a in train(p, WeightAverage([p], 0.9), range(3)).state_dict().items()}
    resumed = WeightAverage([p], 0.9)
    resumed.load_state_dict(state)
    train(p, resumed, range(3, 6))
    for name, a in whole.state_dict().items():
        assert a.tobytes() == resumed.state_dict()[name].tobytes()


@pytest.mark.peer
def test_sgd_and_adamw_walk_with_pytorch():
    torch = pytest.importorskip("torch", reason="needs the peers extra")
    pairs = [
        (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
        (AdamW, torch.optim.AdamW, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3}),
    ]
    for ours, theirs, options in pairs:
        params = parameters(dtype=np.float64)
        peers = [torch.nn.Parameter(torch.tensor(p.data)) for p in params]
        optimiser, peer = ours(params, **options), theirs(peers, **options)
        for seed in range(5):
            set_gradients(params, seed)
            for p, q in zip(params, peers, strict=True):
                q.grad = torch.tensor(p.grad)
            assert clip_grad_norm(params, 1.0) == pytest.approx(
                torch.nn.utils.clip_grad_norm_(peers, 1.0).item(), rel=1e-12
            )
            optimiser.step()
            peer.step()
        for p, q in zip(params, peers, strict=True):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-5)
