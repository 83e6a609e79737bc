"""The sparse layer: what it does is what its experts, asked one by one, would do."""

import numpy as np
import pytest

from minivl import Tensor, gradcheck, no_grad
from minivl.nn import MoE


def by_hand(layer, x):
    """Token by token, with queues kept in lists."""
    B, T, _ = x.shape
    y, S = np.zeros_like(x), layer.slots(T)
    logits = x @ layer.router.weight.data
    for b in range(B):
        order = np.argsort(-logits[b], axis=-1, kind="stable")[:, : layer.K]
        taken = [0] * layer.E
        for k in range(layer.K):
            for t in range(T):
                e = order[t, k]
                if taken[e] < S:
                    taken[e] += 1
                    p = np.exp(logits[b, t] - logits[b, t].max())
                    gate = p[e] / (p[order[t]] if layer.K > 1 else p).sum()
                    answer = np.maximum(x[b, t] @ layer.up.data[e], 0) @ layer.down.data[e]
                    y[b, t] += gate * answer
    return y


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("E", "K", "T"), [(4, 2, 24), (3, 1, 30), (8, 2, 5), (2, 2, 1)])
def test_as_if_every_token_asked_by_itself(random, E, K, T, training):
    layer = MoE(6, 10, E, random, K=K).train(training)
    x = random.standard_normal((2, T, 6)).astype("f")
    y, balance = layer(Tensor(x))
    np.testing.assert_allclose(y.data, by_hand(layer, x), rtol=1e-4, atol=1e-5)
    assert balance.shape == () and 0 < balance.item() <= E


def test_more_slots_in_use_than_in_training(random):
    layer = MoE(4, 4, 8, random)
    assert [layer.slots(T) for T in (1, 32, 64)] == [4, 5, 10]
    assert [layer.eval().slots(T) for T in (1, 32, 64)] == [4, 8, 16]


def test_derivative(random):
    layer = MoE(5, 7, 4, random).to(np.float64)
    x = random.standard_normal((2, 12, 5))

    def both(x, router, up, down):
        layer.router.weight, layer.up, layer.down = router, up, down
        y, balance = layer(x)
        return y * (1 + balance)

    assert gradcheck(both, x, layer.router.weight.data, layer.up.data, layer.down.data)


def test_the_balancing_loss_spreads_tokens(random):
    """All tokens like one expert; a few steps down the loss alone, and they like several."""
    layer = MoE(4, 4, 4, random, K=1)
    x = random.standard_normal((1, 64, 4)).astype("f")
    x[..., 0] = 1
    layer.router.weight.data[0] = [3, 0, 0, 0]
    first = layer(Tensor(x))[1].item()
    for _ in range(40):
        layer.zero_grad()
        layer(Tensor(x))[1].backward()
        layer.router.weight.data -= 0.2 * layer.router.weight.grad
    with no_grad():
        assert layer(Tensor(x))[1].item() < 1.3 < 2 < first


def test_errors(random):
    with pytest.raises(ValueError, match="MoE: K is 3, must be from 1 to the 2 experts"):
        MoE(4, 4, 2, random, K=3)


@pytest.mark.peer
@pytest.mark.parametrize("training", [True, False])
def test_equal_to_another_implementation(random, training):
    """The package mixture-of-experts: GShard's routing as in Tensor2Tensor, forward and backward."""
    torch, peer = pytest.importorskip("torch"), pytest.importorskip("mixture_of_experts")
    theirs = peer.MoE(6, num_experts=4, hidden_dim=10, second_policy_train="all", second_policy_eval="all", loss_coef=1)
    ours = MoE(6, 10, 4, random)
    theirs.train(training), ours.train(training)
    pairs = [
        (theirs.gate.w_gating, ours.router.weight),
        (theirs.experts.w1, ours.up),
        (theirs.experts.w2, ours.down),
    ]
    with torch.no_grad():
        for a, b in pairs:
            a.copy_(torch.from_numpy(b.data))
    x = random.standard_normal((3, 40, 6)).astype("f")
    mine, yours = Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    (y, balance), (z, loss) = ours(mine), theirs(yours)
    (y.sum() + balance).backward()
    (z.sum() + loss).backward()
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(balance.item(), loss.item(), rtol=1e-5)
    for a, b in [(yours, mine), *pairs]:
        np.testing.assert_allclose(b.grad, a.grad.numpy(), rtol=1e-3, atol=1e-4)
