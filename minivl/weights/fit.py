"""What every reader and name map says when weights are not what they should be."""


class WeightsError(ValueError):
    """A file that is not what it should be, or weights that do not fit. The message says what, and where."""


def match(expected, found):
    """Raises WeightsError unless both {name: shape} agree; it names what is missing, unexpected and misshapen."""
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    misshapen = [
        f"{name} {tuple(found[name])} where {tuple(shape)} is expected"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
    faults = [f"{len(names)} {kind}: {some(names)}" for kind, names in kinds if names]
    if faults:
        raise WeightsError(f"weights do not fit: {'; '.join(faults)}")


def some(names, most=10):
    """The first names of many, for a message."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
