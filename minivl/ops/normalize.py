"""L2 normalisation: every vector to length 1, so that an inner product is the cosine of an angle."""

from ..array import array_module
from ..tensor import op


@op
def normalize(x, *, eps=1e-12):
    """y = x / max(|x|, eps) over the last axis.   x (..., C)

    dx = (dy - y <dy, y>) / |x|: a change along x itself changes nothing.
    """
    xp = array_module(x)
    length = xp.maximum(xp.sqrt((x * x).sum(-1, keepdims=True)), x.dtype.type(eps))
    y = x / length

    def derivative(dy):
        along = xp.where(length > eps, (dy * y).sum(-1, keepdims=True), 0)
        return (dy - y * along) / length

    return y, derivative
