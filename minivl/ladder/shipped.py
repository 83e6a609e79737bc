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


EXAMPLES = {"layernorm": layernorm}
