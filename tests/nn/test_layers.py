"""Layers, blocks, poolers and towers: shapes, statistics at the start, masks, dropout, derivatives."""

import numpy as np
import pytest

from minivl import Tensor, gradcheck, masks, nn, ops


def normal(random, *shape, dtype=np.float32):
    return Tensor(random.standard_normal(shape).astype(dtype))


def check_all_parameters(module, *arguments, **options):
    """gradcheck over every parameter, with weights that are not at a special value such as 0."""
    module.to(np.float64)
    random = np.random.default_rng(5)
    for p in module.parameters():
        p.data = p.data + 0.1 * random.standard_normal(p.shape)
    names, tensors = zip(*module.named_parameters(), strict=True)
    assert gradcheck(lambda *_: module(*arguments, **options), *tensors, names=names, seeds=(0,))


def test_linear(random):
    layer, x = nn.Linear(3, 5, random), normal(random, 2, 4, 3)
    assert layer(x).shape == (2, 4, 5)
    np.testing.assert_allclose(layer(x).data, x.data @ layer.weight.data, rtol=1e-5, atol=1e-6)
    assert nn.Linear(3, 5, random, bias=False).bias is None
    check_all_parameters(layer, normal(random, 2, 3, dtype="d"))


def test_a_new_linear_keeps_the_size_of_its_input(random):
    x = normal(random, 400, 256)
    assert nn.Linear(256, 300, random)(x).data.std() == pytest.approx(1, rel=0.05)
    assert nn.Linear(256, 300, random, scale=0.25)(x).data.std() == pytest.approx(0.25, rel=0.05)


def test_layernorm_and_embedding_and_mlp(random):
    x = normal(random, 2, 4, 8)
    y = nn.LayerNorm(8)(x)
    np.testing.assert_allclose(y.data.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(y.data.std(-1), 1, atol=1e-3)
    table = nn.Embedding(10, 4, random)
    assert table(np.array([[1, 2], [3, 1]])).shape == (2, 2, 4)
    mlp = nn.MLP(8, 12, random)
    assert mlp(x).shape == (2, 4, 8) and mlp.up.weight.shape == (8, 12)
    other = nn.MLP(8, 12, random, activation=ops.relu)
    np.testing.assert_array_equal(other(x).data, other.down(ops.relu(other.up(x))).data)
    check_all_parameters(mlp, normal(random, 2, 8, dtype="d"))
    check_all_parameters(nn.LayerNorm(8), normal(random, 2, 8, dtype="d"))


# ---- attention -------------------------------------------------------------------------------------------------------


def test_heads_are_slices_of_the_width(random):
    """Two heads of width 2 are two attentions, each with its own columns."""
    layer, x = nn.MultiHeadAttention(4, 2, random).to(np.float64), normal(random, 1, 3, 4, dtype="d")
    q, k, v = (x.data[0] @ m.weight.data for m in (layer.query, layer.key, layer.value))
    heads = []
    for h in (slice(0, 2), slice(2, 4)):
        scores = np.exp(q[:, h] @ k[:, h].T / np.sqrt(2))
        heads.append(scores / scores.sum(1, keepdims=True) @ v[:, h])
    np.testing.assert_allclose(layer(x).data[0], np.concatenate(heads, 1) @ layer.out.weight.data, rtol=1e-12)


def test_attention_with_mask_and_memory_of_another_width(random):
    layer = nn.MultiHeadAttention(4, 2, random, memory_width=6)
    x, memory = normal(random, 2, 3, 4, dtype="d"), normal(random, 2, 5, 6, dtype="d")
    mask = masks.padding([5, 2], 5)
    assert layer.to(np.float64)(x, memory, mask).shape == (2, 3, 4)
    check_all_parameters(layer, x, memory, mask=mask)
    check_all_parameters(nn.MultiHeadAttention(4, 2, random), x, mask=masks.causal(3))
    assert nn.MultiHeadAttention(4, 2, random, out_width=7).to(np.float64)(x).shape == (2, 3, 7)
    with pytest.raises(ValueError, match="MultiHeadAttention: width 6 is not divisible by 4 heads"):
        nn.MultiHeadAttention(6, 4, random)


# ---- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cross", [False, True])
def test_block(random, cross):
    block = nn.Block(4, 2, 8, random, cross=cross)
    x, memory = normal(random, 2, 3, 4, dtype="d"), normal(random, 2, 5, 4, dtype="d") if cross else None
    assert block.to(np.float64)(x, memory=memory).shape == (2, 3, 4)
    check_all_parameters(block, x, mask=masks.causal(3), memory=memory)


def test_causal_blocks_do_not_look_ahead(random):
    stack = nn.Transformer(2, 8, 2, 16, random, cross=True)
    x, memory = random.standard_normal((1, 5, 8)).astype("f"), normal(random, 1, 4, 8)
    before = stack(Tensor(x), mask=masks.causal(5), memory=memory).data
    for t in range(5):
        changed = x.copy()
        changed[:, t] += 1
        after = stack(Tensor(changed), mask=masks.causal(5), memory=memory).data
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert (after[:, t:] != before[:, t:]).any(-1).all()


def test_the_stream_does_not_grow_with_depth(random):
    x = normal(random, 2, 6, 32)
    sizes = [nn.Transformer(n, 32, 4, 64, np.random.default_rng(1)).stream(x).data.std() for n in (0, 1, 12)]
    assert sizes[0] == x.data.std() and sizes[1] < 2 and sizes[2] < 2


def test_the_norm_comes_last(random):
    stack, x = nn.Transformer(1, 8, 2, 16, random), normal(random, 2, 3, 8)
    np.testing.assert_array_equal(stack(x).data, stack.norm(stack.stream(x)).data)


def test_dropout_is_on_only_with_a_generator(random):
    stack, x = nn.Transformer(2, 8, 2, 16, random, dropout=0.5), normal(random, 2, 3, 8)
    plain = stack(x).data
    np.testing.assert_array_equal(stack(x).data, plain)
    dropped = [stack(x, random=np.random.default_rng(seed)).data for seed in (1, 1, 2)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert (dropped[0] != plain).any() and (dropped[0] != dropped[2]).any()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_checkpointed_stack_has_the_same_bits(dropout):
    def run(checkpointed):
        random = np.random.default_rng(0)
        stack = nn.Transformer(3, 8, 2, 16, random, cross=True, dropout=dropout, checkpointed=checkpointed)
        x, memory = (Tensor(random.standard_normal((2, 4, 8)).astype("f"), requires_grad=True) for _ in range(2))
        y = stack(x, mask=masks.causal(4), memory=memory, random=random if dropout else None)
        (y * y).sum().backward()
        return [y.data] + [t.grad for t in (x, memory, *stack.parameters())]

    for plain, checkpointed in zip(run(False), run(True), strict=True):
        np.testing.assert_array_equal(plain, checkpointed)


# ---- poolers and towers ----------------------------------------------------------------------------------------------


def test_pooler(random):
    pooler, memory = nn.AttentionalPooler(3, 8, 2, random), normal(random, 2, 5, 8, dtype="d")
    assert pooler.to(np.float64)(memory).shape == (2, 3, 8)
    check_all_parameters(pooler, memory)
    assert pooler.queries.shape == (3, 8)


def test_a_pooler_looks_at_a_set(random):
    """The order of what it looks at makes no difference, and pads make none."""
    pooler, memory = nn.AttentionalPooler(3, 8, 2, random).to(np.float64), random.standard_normal((1, 5, 8))
    expected = pooler(Tensor(memory[:, :3])).data
    np.testing.assert_allclose(pooler(Tensor(memory[:, [2, 0, 1]])).data, expected, rtol=1e-12)
    mask = masks.padding([3], 5)
    np.testing.assert_allclose(pooler(Tensor(memory), mask).data, expected, rtol=1e-12)
    memory[:, 3:] = 100
    np.testing.assert_allclose(pooler(Tensor(memory), mask).data, expected, rtol=1e-12)


def test_vit(random):
    vit = nn.ViT(8, 4, 2, 6, 2, 12, random)
    images = normal(random, 3, 3, 8, 8)
    assert vit(images).shape == (3, 4, 6)
    check_all_parameters(vit, normal(random, 1, 3, 8, 8, dtype="d"))
    with pytest.raises(ValueError, match=r"ViT: images \(1, 3, 8, 9\), must be \(B, 3, 8, 8\)"):
        vit(normal(random, 1, 3, 8, 9))
    with pytest.raises(ValueError, match="ViT: image_size 9 is not divisible by patch 4"):
        nn.ViT(9, 4, 1, 6, 2, 12, random)


def test_vit_with_all_that_clip_wants(random):
    options = dict(bias=False, class_token=True, pre_norm=True, activation=ops.quick_gelu)
    vit = nn.ViT(8, 4, 1, 6, 2, 12, random, **options).to(np.float64)
    images = normal(random, 2, 3, 8, 8, dtype="d")
    assert vit.patch_bias is None and vit.position.shape == (5, 6) and vit(images).shape == (2, 5, 6)
    patches = ops.patch_embed(images, vit.patch).data
    first = np.concatenate([np.broadcast_to(vit.cls.data, (2, 1, 6)), patches], axis=1) + vit.position.data
    expected = vit.transformer(vit.pre_norm(Tensor(first)))
    np.testing.assert_allclose(vit(images).data, expected.data, rtol=1e-12)
    assert vit.transformer.blocks[0].mlp.activation is ops.quick_gelu
    check_all_parameters(vit, images)


def test_vit_tells_places_apart(random):
    """Without positions, moving the patches of a picture about would only move the tokens."""
    vit = nn.ViT(8, 4, 1, 6, 2, 12, random).to(np.float64)
    images = random.standard_normal((1, 3, 8, 8))
    moved = np.roll(images, 4, axis=3)
    order = [1, 0, 3, 2]
    assert (abs(vit(Tensor(moved)).data[:, order] - vit(Tensor(images)).data) > 1e-6).any()
    vit.position.data = np.zeros_like(vit.position.data)
    np.testing.assert_allclose(vit(Tensor(moved)).data[:, order], vit(Tensor(images)).data, rtol=1e-10)


# ---- the cache -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [(1, 1, 1, 1, 1), (2, 3), (4, 1), (5,)])
def test_a_cache_gives_what_the_whole_gives(random, steps):
    stack = nn.Transformer(2, 8, 2, 16, random, cross=True).to(np.float64)
    x, memory = random.standard_normal((2, 5, 8)), normal(random, 2, 4, 8, dtype="d")
    whole = stack(Tensor(x), mask=masks.causal(5), memory=memory).data
    cache, parts = nn.Cache(), []
    assert cache.length == 0
    for n in steps:
        past = cache.length
        new = Tensor(x[:, past : past + n])
        parts.append(stack(new, mask=masks.causal(n, past), memory=memory, cache=cache).data)
    assert cache.length == 5
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-11, atol=1e-12)


def test_a_memory_is_worked_out_once(random):
    layer, x, memory = nn.MultiHeadAttention(4, 2, random), normal(random, 1, 1, 4), normal(random, 1, 3, 4)
    cache, calls = nn.Cache(), []
    layer.key.forward = lambda m: calls.append(m) or ops.linear(m, layer.key.weight, layer.key.bias)
    first = layer(x, memory=memory, cache=cache)
    second = layer(x, memory=memory, cache=cache)
    assert len(calls) == 1 and cache.length == 0
    np.testing.assert_array_equal(first.data, second.data)


def test_selecting_rows_of_a_cache(random):
    stack = nn.Transformer(1, 8, 2, 16, random, cross=True).to(np.float64)
    x, memory = random.standard_normal((3, 3, 8)), random.standard_normal((3, 4, 8))
    cache = nn.Cache()
    stack(Tensor(x[:, :2]), mask=masks.causal(2), memory=Tensor(memory), cache=cache)
    rows = [2, 0, 2, 1]
    cache.select(rows)
    got = stack(Tensor(x[rows][:, 2:]), mask=masks.causal(1, 2), memory=Tensor(memory[rows]), cache=cache)
    expected = stack(Tensor(x[rows]), mask=masks.causal(3), memory=Tensor(memory[rows]))
    np.testing.assert_allclose(got.data, expected.data[:, 2:], rtol=1e-11, atol=1e-12)
