"""Rearranging numbers without changing them, and moving them between dtypes and devices."""

from ..array import array_module, device_of, to_device
from ..tensor import Tensor, op


@op
def reshape(x, *, shape):
    before = x.shape
    return x.reshape(shape), lambda d: d.reshape(before)


@op
def transpose(x, *, axes=None):
    """Axes in the order of `axes`; reversed where none are given."""
    n = x.ndim

    def derivative(d):
        to = range(n)[::-1] if axes is None else [a % n for a in axes]
        return d.transpose([to.index(i) for i in range(n)])

    return x.transpose(axes), derivative


def swapaxes(x, a, b):
    axes = list(range(x.ndim))
    axes[a], axes[b] = axes[b], axes[a]
    return transpose(x, axes=axes)


@op
def expand(x, *, shape):
    """x repeated along axes of length 1, and along new ones in front, to `shape`."""
    return array_module(x).broadcast_to(x, shape), lambda d: d  # the engine sums what was repeated


@op
def getitem(x, *, index):
    """x[index]: numbers, slices, None, ..., and arrays of integers or booleans."""
    parts = index if isinstance(index, tuple) else (index,)
    # Integers in an array may take an element twice; slices and booleans cannot.
    repeats = any(isinstance(p, list) or (hasattr(p, "dtype") and p.dtype != bool) for p in parts)
    xp, shape, dtype = array_module(x), x.shape, x.dtype

    def derivative(d):
        dx = xp.zeros(shape, dtype)
        if repeats:
            xp.add.at(dx, index, d)
        else:
            dx[index] = d
        return dx

    return x[index], derivative


@op
def _cat(*arrays, axis):
    xp = array_module(arrays[0])
    ends, total = [], 0
    for a in arrays:
        total += a.shape[axis]
        ends.append(total)
    return xp.concatenate(arrays, axis), lambda d: tuple(xp.split(d, ends[:-1], axis))


def cat(tensors, axis=0):
    """Tensors joined along an axis that they have."""
    return _cat(*tensors, axis=axis)


def stack(tensors, axis=0):
    """Tensors of one shape, joined along a new axis."""
    along = (*[slice(None)] * (axis % (tensors[0].ndim + 1)), None)
    return cat([getitem(t, index=along) for t in tensors], axis)


@op
def cast(x, *, dtype):
    before = x.dtype
    return x.astype(dtype), lambda d: d.astype(before)


@op
def move(x, *, device):
    """x on 'cpu' or 'cuda'; its gradient comes back to where x is."""
    home = device_of(x)
    return to_device(x, device), lambda d: to_device(d, home)


def to(x, where):
    """x on the device 'cpu' or 'cuda', or in the dtype `where`."""
    return move(x, device=where) if where in ("cpu", "cuda") else cast(x, dtype=where)


def constant(x):
    """x as a Tensor without gradient, unless it is one already."""
    return x if isinstance(x, Tensor) else Tensor(x)
