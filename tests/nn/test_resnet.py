"""Convolution and batch normalisation as layers, and CLIP's ResNet: shapes, statistics, strides, derivatives."""

import numpy as np
import pytest

from minivl import Tensor, gradcheck, nn, no_grad, ops, trace


def normal(random, *shape):
    return Tensor(random.standard_normal(shape))


def check_all_parameters(module, *arguments):
    random = np.random.default_rng(5)
    for p in module.parameters():
        p.data = p.data + 0.1 * random.standard_normal(p.shape)
    names, tensors = zip(*module.named_parameters(), strict=True)
    assert gradcheck(lambda *_: module(*arguments), *tensors, names=names, seeds=(0,))


# ---- layers ----------------------------------------------------------------------------------------------------------


def test_conv(random):
    layer = nn.Conv2d(3, 5, 3, random, stride=2, padding=1).to(np.float64)
    x = normal(random, 2, 4, 6, 3)
    assert layer.weight.shape == (3, 3, 3, 5) and layer(x).shape == (2, 2, 3, 5)
    expected = ops.conv2d(x, layer.weight, layer.bias, stride=2, padding=1)
    np.testing.assert_array_equal(layer(x).data, expected.data)
    check_all_parameters(layer, x)


def test_a_conv_of_size_one_lays_nothing_out(random):
    layer, x = nn.Conv2d(3, 5, 1, random, bias=False).to(np.float64), normal(random, 2, 4, 6, 3)
    assert layer.bias is None
    with trace() as ran:
        y = layer(x)
    assert [r.op for r in ran] == ["reshape", "linear"]
    np.testing.assert_allclose(y.data, ops.conv2d(x, layer.weight).data, rtol=1e-12)
    check_all_parameters(layer, x)


def test_batch_norm_in_training_and_in_use(random):
    norm = nn.BatchNorm(3).to(np.float64)
    kept_mean, kept_var = np.zeros(3), np.ones(3)
    for _ in range(4):
        x = 2 * random.standard_normal((5, 2, 2, 3)) + 1
        y = norm(Tensor(x)).data
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-10, atol=1e-12)
        kept_mean, kept_var = 0.9 * kept_mean + 0.1 * mean, 0.9 * kept_var + 0.1 * var * 20 / 19
        np.testing.assert_allclose(norm.running_mean.data, kept_mean, rtol=1e-12)
        np.testing.assert_allclose(norm.running_var.data, kept_var, rtol=1e-12)
    norm.eval()
    used = norm(Tensor(x)).data
    np.testing.assert_allclose(used, (x - kept_mean) / np.sqrt(kept_var + 1e-5), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(norm(Tensor(x[:1])).data, used[:1], err_msg="in use nobody has neighbours")
    np.testing.assert_array_equal(norm.running_mean.data, norm.eval().running_mean.data)
    assert (norm.train()(Tensor(x[:1])).data != used[:1]).any()


@pytest.mark.parametrize("mode", [True, False])
def test_batch_norm_derivative(random, mode):
    norm = nn.BatchNorm(3).to(np.float64).train(mode)
    norm.running_var.data = np.array([0.5, 1.0, 2.0])
    x = random.standard_normal((4, 3))
    if not mode:
        check_all_parameters(norm, Tensor(x))
    names, tensors = zip(*norm.named_parameters(), strict=True)
    assert names == ("weight", "bias") and gradcheck(lambda x, *_: norm(x), x, *tensors, seeds=(0,))


def test_batch_norm_of_a_single_number():
    norm = nn.BatchNorm(2)
    with pytest.raises(ValueError, match=r"BatchNorm: x \(1, 2\) has one number a feature: .* use eval\(\)"):
        norm(Tensor(np.ones((1, 2), "f")))
    assert norm.eval()(Tensor(np.ones((1, 2), "f"))).shape == (1, 2)


# ---- the tower -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [True, False])
def test_resnet(random, mode):
    net = nn.ResNet(16, (2, 1), 4, 2, 5, random).to(np.float64).train(mode)
    images = normal(random, 3, 3, 16, 16)
    assert net.map(images).shape == (3, 4, 32) and net(images).shape == (3, 5)
    check_all_parameters(net, images)


def test_its_names():
    net = nn.ResNet(16, (2, 1), 4, 2, 5, nn.Unallocated())
    names = {name for name, _ in net.named_parameters()}
    assert {"conv1.weight", "norm3.bias", "stages.0.blocks.1.conv2.weight", "pool.attend.out.bias"} <= names
    assert "stages.0.blocks.0.shortcut.weight" in names and "stages.0.blocks.1.shortcut.weight" not in names
    assert not any("conv" in name and name.endswith("bias") for name in names)
    buffers = {name for name, _ in net.named_buffers()}
    assert {"norm1.running_mean", "stages.1.blocks.0.shortcut_norm.running_var"} <= buffers and not buffers & names


def test_strides_take_means_first(random):
    """A 3x3 convolution never skips a place: what is skipped is skipped by a mean."""
    net = nn.ResNet(16, (1, 1), 4, 2, 5, random)
    with trace() as ran, no_grad():
        net(Tensor(random.standard_normal((2, 3, 16, 16)).astype("f")))
    kinds = [r.op for r in ran if r.op in ("conv2d", "avg_pool2d")]
    assert kinds == ["conv2d"] * 3 + ["avg_pool2d"] + ["conv2d"] + ["conv2d", "avg_pool2d", "avg_pool2d"]
    assert net.stages[1].blocks[0].conv2.stride == 1 and net.conv1.stride == 2


def test_a_bottleneck_adds_to_its_input(random):
    block, x = nn.Bottleneck(8, 2, random).to(np.float64).eval(), abs(random.standard_normal((2, 3, 3, 8)))
    assert not block.changes
    block.norm3.weight.data = np.zeros(8)
    np.testing.assert_array_equal(block(Tensor(x)).data, x)


def test_the_pooler_asks_with_the_mean(random):
    pool, x = nn.AttentionPool(4, 8, 2, 5, random).to(np.float64), random.standard_normal((2, 4, 8))
    tokens = np.concatenate([x.mean(1, keepdims=True), x], axis=1) + pool.position.data
    expected = pool.attend(Tensor(tokens), memory=Tensor(tokens)).data[:, 0]
    np.testing.assert_allclose(pool(Tensor(x)).data, expected, rtol=1e-12)
    assert expected.shape == (2, 5)
    check_all_parameters(pool, Tensor(x))


def test_errors(random):
    with pytest.raises(ValueError, match="ResNet: image_size 20 is not divisible by 8, for 2 stages"):
        nn.ResNet(20, (1, 1), 4, 2, 5, random)
    with pytest.raises(ValueError, match=r"ResNet: blocks \(1, 0\), must be at least one in each stage"):
        nn.ResNet(16, (1, 0), 4, 2, 5, random)
    net = nn.ResNet(16, (1,), 4, 2, 5, random)
    with pytest.raises(ValueError, match=r"ResNet: images \(1, 3, 16, 8\), must be \(B, 3, 16, 16\)"):
        net(Tensor(np.zeros((1, 3, 16, 8), "f")))
