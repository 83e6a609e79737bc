"""Name maps: what the tensors of a published model are called here, and how they lie.

A map is a list of rules, each for one tensor of theirs and one or several of ours. A rule says nothing about direction:
`to_ours` reads it one way, for importing, and `to_theirs` the other, for exporting. Importing makes no copies: every
array that comes out is a view of one that went in.

The tensors of CLIP and of open_clip's CoCa are in clip_names.py and coca_names.py.
"""

from dataclasses import dataclass

import numpy as np

from .fit import WeightsError, match, some


@dataclass(frozen=True)
class Rule:
    """`theirs` is `ours` in another order of axes; `kind` is one of those below."""

    theirs: str
    ours: tuple
    kind: str = "same"


# kind -> their array as a list of ours, our arrays as theirs
_KINDS = {
    "same": (lambda a: [a], lambda ours: ours[0]),
    # PyTorch's Linear has (outputs, inputs), ours (inputs, outputs)
    "linear": (lambda a: [a.T], lambda ours: ours[0].T),
    # nn.MultiheadAttention keeps query, key and value in one matrix (3 outputs, inputs)
    "fused": (lambda a: [part.T for part in np.split(a, 3)], lambda ours: np.concatenate([part.T for part in ours])),
    "fused bias": (lambda a: np.split(a, 3), np.concatenate),
    # convolutions: theirs (outputs, inputs, h, w); ours (h, w, inputs, outputs), or (3, P, P, C) for patches
    "conv": (lambda a: [a.transpose(2, 3, 1, 0)], lambda ours: ours[0].transpose(3, 2, 0, 1)),
    "patches": (lambda a: [a.transpose(1, 2, 3, 0)], lambda ours: ours[0].transpose(3, 0, 1, 2)),
    # a learned token: theirs (C,), ours (1, 1, C)
    "token": (lambda a: [a.reshape(1, 1, -1)], lambda ours: ours[0].reshape(-1)),
}


def rule(theirs, *ours, kind="same"):
    return Rule(theirs, ours, kind)


def both(theirs, ours, kind="same"):
    """Rules for weight and bias of a layer; the weight of a Linear lies the other way round, its bias does not."""
    return [rule(f"{theirs}.weight", f"{ours}.weight", kind=kind), rule(f"{theirs}.bias", f"{ours}.bias")]


def to_ours(rules, tensors, shapes):
    """Their tensors under our names.

    tensors   {their name: array}   shapes   {our name: shape} of the model that is to take them
    ->        {our name: view of their array}
    raises    WeightsError that lists, by their names, what is missing, unexpected or of another shape
    """
    expected = {r.theirs: _KINDS[r.kind][1]([_hollow(shapes[name]) for name in r.ours]).shape for r in rules}
    match(expected, {name: array.shape for name, array in tensors.items()})
    found = {}
    for r in rules:
        parts = _KINDS[r.kind][0](tensors[r.theirs])
        found |= dict(zip(r.ours, parts, strict=True))
    return found


def to_theirs(rules, arrays):
    """Our arrays under their names, the other way round: {our name: array} -> {their name: array}."""
    expected = {name: arrays[name].shape if name in arrays else () for r in rules for name in r.ours}
    match(expected, {name: array.shape for name, array in arrays.items()})
    return {r.theirs: _KINDS[r.kind][1]([arrays[name] for name in r.ours]) for r in rules}


def _hollow(shape):
    """An array of that shape that takes no memory."""
    return np.broadcast_to(np.int8(0), shape)


def count(tensors, prefix):
    """How many layers there are: prefix.0.…, prefix.1.…, up to the first number that is missing."""
    numbers = {name[len(prefix) + 1 :].partition(".")[0] for name in tensors if name.startswith(prefix + ".")}
    layers = 0
    while str(layers) in numbers:
        layers += 1
    return layers


def shape_of(tensors, name, axes):
    """The shape of a tensor from which a size is read; WeightsError where it is not there or has other axes."""
    if name not in tensors:
        raise WeightsError(f"{name!r} is missing, which tells a size of the model; there are: {some(list(tensors), 4)}")
    if tensors[name].ndim != axes:
        raise WeightsError(f"{name!r} has shape {tensors[name].shape}, must have {axes} axes")
    return tensors[name].shape


def root(n, what):
    """The whole square root of n."""
    if round(n**0.5) ** 2 != n or n < 1:
        raise WeightsError(f"{what} has {n} places, must be a square: pictures are as high as wide")
    return round(n**0.5)
