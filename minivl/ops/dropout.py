"""Dropout: numbers are set to 0 at random in training, so that none is relied on."""

from ..array import device_of, to_device
from ..tensor import Tensor, op


@op
def _dropout(x, keep):
    return x * keep, lambda d: d * keep


def dropout(x, *, p, random):
    """Sets each number to 0 with probability p and divides the others by 1 - p.   Srivastava et al. 2014.

    random    a numpy.random.Generator; every call draws x.size numbers from it, so one seed gives one run
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout: p is {p}, must be at least 0 and below 1")
    if p == 0:
        return x
    data = x.data if isinstance(x, Tensor) else x
    keep = random.random(data.shape, dtype="float32") >= p
    return _dropout(x, _like(keep / (1 - p), data))


def _like(a, x):
    """The NumPy array a, in the dtype of x and where x is."""
    return to_device(a.astype(x.dtype), device_of(x))
