"""The tree of parameters: names, moving, saving, loading."""

import tracemalloc

import numpy as np
import pytest

from minivl import Tensor, nn
from minivl.weights import WeightsError


class Tree(nn.Module):
    def __init__(self, random):
        self.first = nn.Linear(3, 2, random)
        self.many = [nn.LayerNorm(2), nn.LayerNorm(2)]
        self.scales = [nn.constant_parameter(1, 2), nn.constant_parameter(2)]
        self.again = self.first.weight  # tied
        self.none, self.number = None, 3

    def forward(self, x):
        for norm, scale in zip(self.many, self.scales, strict=True):
            x = norm(x) * scale if x.shape[-1] == 2 else norm(self.first(x)) * scale
        return x


NAMES = [
    "first.weight", "first.bias", "many.0.weight", "many.0.bias", "many.1.weight", "many.1.bias",
    "scales.0", "scales.1",
]  # fmt: skip


def test_names_follow_the_attributes_and_no_tensor_comes_twice(random):
    tree = Tree(random)
    assert [name for name, _ in tree.named_parameters()] == NAMES
    assert len(tree.parameters()) == len(NAMES) and tree.num_parameters() == 6 + 2 + 4 * 2 + 2 + 1
    assert [type(m).__name__ for m in tree.modules()] == ["Tree", "Linear", "LayerNorm", "LayerNorm"]
    assert next(iter(dict(tree.named_parameters("image.")))) == "image.first.weight"


def test_calling_runs_forward_and_zero_grad_forgets(random):
    tree = Tree(random)
    tree(Tensor(random.standard_normal((4, 3)).astype("f"))).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in tree.parameters())
    tree.zero_grad()
    assert all(p.grad is None for p in tree.parameters())


def test_state_dict_is_the_memory_itself_and_loading_copies(random):
    one, other = Tree(random), Tree(random)
    state = one.state_dict()
    assert list(state) == NAMES and state["first.weight"] is one.first.weight.data
    other.load_state_dict(state)
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
        assert not np.shares_memory(array, state[name])
    assert other.again is other.first.weight


def test_loading_takes_the_models_dtype(random):
    one, other = Tree(random), Tree(random).to(np.float64)
    other.load_state_dict(one.state_dict())
    assert {t.dtype for t in other.parameters()} == {np.dtype(np.float64)}


def test_what_does_not_fit_is_listed_and_nothing_changes(random):
    tree = Tree(random)
    before = {name: a.copy() for name, a in tree.state_dict().items()}
    arrays = {name: np.full(a.shape, 7.0) for name, a in before.items()}
    del arrays["many.1.bias"]
    arrays["extra.weight"], arrays["scales.0"] = np.zeros(1), np.zeros(3)
    with pytest.raises(WeightsError) as caught:
        tree.load_state_dict(arrays)
    for words in ("missing: many.1.bias", "unexpected: extra.weight", "scales.0 (3,) where (2,) is expected"):
        assert words in str(caught.value)
    for name, a in tree.state_dict().items():
        np.testing.assert_array_equal(a, before[name])


def test_to(random):
    tree = Tree(random)
    tree(Tensor(np.ones((4, 3), np.float32))).sum().backward()
    assert tree.to(np.float64) is tree
    assert {t.dtype for t in tree.parameters()} == {np.dtype(np.float64)}
    assert all(t.grad is None and t.requires_grad for t in tree.parameters())
    assert tree.to("cpu").first.weight.device == "cpu"


class Counter(nn.Module):
    def __init__(self):
        self.weight, self.seen = nn.constant_parameter(1, 2), nn.Buffer(np.zeros(2, np.float32))


def test_buffers_are_saved_and_moved_but_not_learned():
    one, other = nn.Module(), nn.Module()
    one.inner, other.inner = Counter(), Counter()
    one.inner.seen.data = np.array([3, 4], np.float32)
    assert [name for name, _ in one.named_parameters()] == ["inner.weight"] and one.num_parameters() == 2
    assert [name for name, _ in one.named_buffers()] == ["inner.seen"] and not one.inner.seen.requires_grad
    assert list(one.state_dict()) == ["inner.weight", "inner.seen"]
    other.load_state_dict(one.state_dict())
    assert other.inner.seen.data.tolist() == [3, 4] and isinstance(other.inner.seen, nn.Buffer)
    assert other.to(np.float64).inner.seen.dtype == np.float64
    with pytest.raises(WeightsError, match="missing: inner.seen"):
        other.load_state_dict({"inner.weight": np.ones(2)})


def test_train_and_eval_reach_every_module(random):
    tree = Tree(random)
    assert all(m.training for m in tree.modules())
    assert tree.eval() is tree and not any(m.training for m in tree.modules())
    assert tree.train() is tree and all(m.training for m in tree.modules())


def test_unallocated_weights_take_no_memory():
    tracemalloc.start()
    layer = nn.Linear(100_000, 100_000, nn.Unallocated())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert layer.num_parameters() == 10**10 + 10**5 and layer.weight.shape == (100_000, 100_000) and peak < 1e6


def test_evenly_drawn_parameters(random):
    p = nn.uniform_parameter(random, 100, 200, bound=0.3)
    assert p.dtype == np.float32 and p.requires_grad and 0.299 < p.data.max() <= 0.3 and -0.3 <= p.data.min() < -0.299
    assert abs(p.data.mean()) < 0.01 and p.data.std() == pytest.approx(0.3 / 3**0.5, rel=0.02)
    assert nn.uniform_parameter(nn.Unallocated(), 10**9, 2, bound=1.0).shape == (10**9, 2)


def test_one_seed_one_model():
    one, same, other = (Tree(np.random.default_rng(seed)) for seed in (1, 1, 2))
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(array, same.state_dict()[name])
        assert array.dtype == np.float32
    assert (one.first.weight.data != other.first.weight.data).any()
