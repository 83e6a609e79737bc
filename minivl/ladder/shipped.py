"""What `minivl ladder report` runs for a kernel of minivl/ops: its op, forward and backward, on a small example."""

import numpy as np

from .. import ops, optim
from ..tensor import Tensor
from . import bfloat16_bits


def _backward(op, *arrays, **settings):
    """Runs an op and its derivative."""
    inputs = [Tensor(x, requires_grad=np.issubdtype(x.dtype, np.floating)) for x in arrays]
    op(*inputs, **settings).sum().backward()


def _of_shapes(op, *shapes):
    return lambda random: _backward(op, *(np.float32(random.standard_normal(shape)) for shape in shapes))


def cross_entropy(random):
    target = random.integers(0, 1000, 24)
    _backward(lambda x: ops.cross_entropy(x, target), random.standard_normal((24, 1000)).astype(np.float32))


def embedding(random):
    ids = np.minimum(random.integers(0, 60, 200), 40)  # a third of them is one token
    _backward(lambda table: ops.embedding(table, ids), random.standard_normal((41, 64)).astype(np.float32))


def adamw(random):
    params = [Tensor(random.standard_normal(n).astype(np.float32), requires_grad=True) for n in (100, 33, 3000)]
    for p in params:
        p.grad = random.standard_normal(p.shape).astype(np.float32)
    optim.AdamW(params, lr=1e-3).step()


def patch_embed(random):
    _backward(
        ops.patch_embed, *(random.standard_normal(s).astype(np.float32) for s in ((2, 3, 64, 64), (3, 16, 16, 8)))
    )


def moe(random):
    """A layer whose experts hand back what they got: routed, sent, fetched and mixed."""
    x, logits = (Tensor(random.standard_normal((1, 256, n)).astype(np.float32), requires_grad=True) for n in (64, 8))
    experts = ops.top_k(logits, 2)
    routing = ops.expert_slots(experts, 8, 80)
    ops.combine(ops.dispatch(x, routing=routing), ops.gates(logits, experts), routing=routing).sum().backward()


def nearest_code(random):
    ops.nearest_code(*(random.standard_normal((n, 32)).astype(np.float32) for n in (256, 128)))


def attention_bf16(random):
    """On the bits of bfloat16, which no Tensor holds: the op's function itself."""
    q, k, v, d = (bfloat16_bits(random.standard_normal((1, 1, 128, 64))) for _ in range(4))
    ops.attention.__wrapped__(q, k, v, causal=True)[1](d)


def contrastive_bf16(random):
    image, text = (bfloat16_bits(random.standard_normal((128, 64)) / 8) for _ in range(2))
    ops.contrastive.__wrapped__(image, text, np.float32([1]))[1](np.float32([1]))


def nearest_code_bf16(random):
    ops.nearest_code(*(bfloat16_bits(random.standard_normal((n, 32))) for n in (256, 128)))


EXAMPLES = {
    "adamw": adamw,
    "attention": _of_shapes(ops.attention, *[(1, 1, 70, 64)] * 3),
    "attention_bf16": attention_bf16,
    "contrastive": _of_shapes(ops.contrastive, (70, 32), (70, 32), ()),
    "contrastive_bf16": contrastive_bf16,
    "cross_entropy": cross_entropy,
    "embedding": embedding,
    "gelu": _of_shapes(ops.gelu, (64, 256), (256,)),
    "layernorm": _of_shapes(ops.layernorm, (64, 256), (256,), (256,)),
    "moe": moe,
    "nearest_code": nearest_code,
    "nearest_code_bf16": nearest_code_bf16,
    "patch_embed": patch_embed,
    "rmsnorm": _of_shapes(ops.rmsnorm, (64, 256), (256,)),
    "softmax": _of_shapes(ops.softmax, (64, 256)),
}
