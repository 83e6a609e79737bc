"""What `minivl ladder report` runs for a kernel of minivl/ops: its op, forward and backward, on a small example."""

import numpy as np

from .. import ops
from ..tensor import Tensor


def _backward(op, *arrays, **settings):
    """Runs an op and its derivative."""
    inputs = [Tensor(x, requires_grad=np.issubdtype(x.dtype, np.floating)) for x in arrays]
    op(*inputs, **settings).sum().backward()


def layernorm(random):
    x, weight, bias = (random.standard_normal(shape).astype(np.float32) for shape in ((64, 256), 256, 256))
    _backward(ops.layernorm, x, weight, bias)


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


EXAMPLES = {"layernorm": layernorm, "moe": moe, "nearest_code": nearest_code, "patch_embed": patch_embed}
