"""Three numbers of a step, with all that is needed to work them out again by hand: the page does, in double precision.

A sum is a dict: `form` says what is done with the numbers in it, `value` is what the model had.

    dot        sum_k a_k b_k * times + plus
    layernorm  (x_i - mean x) / sqrt(var x + eps) * weight + bias
    normalize  x_i / |x|
    softmax    exp x_i / sum exp x                 (nll: its negative logarithm)
    binary     a (sign) b
    unary      function(a)
    mean, sum  of the numbers in a
    parts      the sum of named numbers
    copy       a number that was only moved
"""

import numpy as np

from ..tensor import Tensor
from .pack import pack

_BINARY = {"add": "+", "sub": "−", "mul": "×", "div": "÷"}
_UNARY = {"exp", "log", "sqrt", "tanh", "relu", "sigmoid", "softplus", "gelu", "quick_gelu", "neg", "abs"}
_FEW = 4  # numbers are written out, more are packed
_TERMS = 512  # a sum of more numbers is not written out
_MOVERS = {"reshape", "transpose", "getitem", "cat", "expand", "cast", "where"}


def three(record, number):
    """Up to three sums for the output of call `number`, at places spread over it."""
    call = record.calls[number]
    out = call.out
    if out.size == 0:
        return []
    if out.ndim == 0:
        return _scalars(record, call)
    places = _places(record, out)
    found = [{"at": _told(record, out, place), **sum} for place in places if (sum := _sum(record, call, place))]
    inner = _added(record, call, places[0])
    return [*found[:1], inner, *found[1:2]] if inner else found


def _added(record, call, place):
    """The sum behind a number that something is then added to: the patch before its place, the branch of a block."""
    for argument in call.arguments if call.op == "add" else ():
        made = record.made(argument)
        if made is not None and made.op in ("linear", "patch_embed", "matmul") and made.out.shape == call.out.shape:
            at = _told(record, made.out, place) | {"of": made.op}
            return {"at": at, **_sum(record, made, place)}
    return None


def _places(record, out):
    """Three indices: the largest number of the example, the least, and its first."""
    row = record.tokens.example(out)
    row = 0 if row is None else int(np.min(row)) if np.size(row) else 0
    inside = out.data[row] if out.ndim > 1 else out.data
    flat = [int(np.argmax(inside)), int(np.argmin(inside)), 0, inside.size // 2, inside.size - 1]
    found = [tuple(map(int, np.unravel_index(i, inside.shape))) for i in list(dict.fromkeys(flat))[:3]]
    return [(row, *place) if out.ndim > 1 else place for place in found]


def _told(record, out, place):
    """[id of the token, number of the feature] of a place; the page gives them names."""
    return {"token": int(record.tokens.of(out)[place]), "feature": place[-1]}


def _sum(record, call, place):
    data, a = call.out.data, [_array(x) for x in call.arguments]
    value = {"value": float(data[place])}
    *row, c = place
    row = tuple(row)
    if call.op == "linear":
        bias = a[2] if len(a) > 2 and a[2] is not None else None
        return value | _dot(a[0][row], a[1][:, c], plus=0.0 if bias is None else bias[c])
    if call.op == "matmul" and a[0].ndim > 1 and a[1].ndim > 1:
        right = a[1][(*row[:-1], slice(None), c)] if a[1].ndim == data.ndim else a[1][:, c]
        return value | _dot(a[0][row], right)
    if call.op == "patch_embed" and data.ndim == 3 and a[1].ndim == 4:
        return value | _patch(a, place)
    if call.op == "layernorm":
        return value | {"form": "layernorm", "x": _list(a[0][row]), "i": c, "weight": float(a[1][c]),
                        "bias": float(a[2][c]), "eps": call.options.get("eps", 1e-5)}  # fmt: skip
    if call.op in ("normalize", "softmax"):
        return value | {"form": call.op, "x": _list(a[0][row]), "i": c}
    if call.op in _BINARY:
        left, right = (float(np.broadcast_to(x, data.shape)[place]) for x in a[:2])
        return value | {"form": "binary", "sign": _BINARY[call.op], "a": left, "b": right}
    if call.op in _UNARY:
        return value | {"form": "unary", "function": call.op, "a": float(a[0][place])}
    if call.op == "embedding":
        token = int(np.asarray(a[1])[row])
        return value | {"form": "copy", "from": f"row {token}, column {c} of the table"}
    if call.op in ("mean", "sum") and call.options.get("axis") == 1 and a[0].ndim == 3 and data.ndim == 2:
        return value | {"form": call.op, "a": _list(a[0][place[0], :, c])}
    if call.op == "avg_pool2d":
        _, y, x, _ = place
        size = call.options["size"]
        step = call.options.get("stride") or size
        window = a[0][place[0], y * step : y * step + size, x * step : x * step + size, c]
        return value | {"form": "mean", "a": _list(window)}
    if call.op == "attention":
        return value | _mixed(record, call, place)
    if call.op in _MOVERS:
        return value | {"form": "copy", "from": "where it stood before: only the order has changed"}
    return None


def _patch(a, place):
    """A patch is a dot product of its pixels with one filter."""
    pictures, weight = a[0], a[1]
    b, n, c = place
    height, width = weight.shape[1:3]
    across = pictures.shape[3] // width
    top, left = n // across * height, n % across * width
    pixels = pictures[b, :, top : top + height, left : left + width]
    plus = float(a[2][c]) if len(a) > 2 and a[2] is not None else 0.0
    return _dot(pixels.reshape(-1), weight[..., c].reshape(-1), plus=plus)


def _mixed(record, call, place):
    from .looks import look_of

    look, (_, h, i, d) = look_of(record, record.calls.index(call)), place
    return _dot(look.weights[h, i], look.v[h, :, d])


def _dot(a, b, plus=0.0, times=1.0):
    return {"form": "dot", "a": _list(a), "b": _list(b), "plus": float(plus), "times": float(times)}


def _list(a):
    """Numbers that a page adds up again: a few as they are, many packed as float32, which is what the model has."""
    a = np.asarray(a, np.float64).reshape(-1)
    return [float(f"{x:.7g}") for x in a] if a.size <= _FEW else pack(a, "f4")


def _array(a):
    return a.data if isinstance(a, Tensor) else np.asarray(a) if a is not None else None


# ---- single numbers: the losses --------------------------------------------------------------------------------------


def _scalars(record, call):
    """A loss: how it was put together of other single numbers, and these again; at most three."""
    found, todo, surprised = [], [call], None
    while todo and len(found) < 3:
        here = todo.pop(0)
        surprised = here if here.op in ("cross_entropy", "contrastive") else surprised
        one = _scalar(record, here)
        if one is not None:
            named = next((name for name, value in record.result.items() if value is here.out), None)
            found.append({"at": {"op": here.op} | ({"named": named} if named else {}), **one})
        todo += [made for a in here.arguments if (made := record.made(a)) is not None and made.out.ndim == 0]
    return (found + _terms(record, surprised))[:3] if surprised else found


def _scalar(record, call):
    value, a = {"value": float(call.out.item())}, [_array(x) for x in call.arguments]
    if call.op in _BINARY:
        return value | {"form": "binary", "sign": _BINARY[call.op], "a": float(a[0]), "b": float(a[1])}
    if call.op in _UNARY:
        return value | {"form": "unary", "function": call.op, "a": float(a[0])}
    if call.op == "cross_entropy" and not call.options.get("label_smoothing"):
        return value | {"form": "mean", "a": _list(_choices(record, call).terms), "what": "terms"}
    if call.op == "contrastive" and 2 * len(a[0]) <= _TERMS:
        logits = _logits(record, call)
        terms = [_surprise(row, i) for some in (logits, logits.T) for i, row in enumerate(some)]
        return value | {"form": "mean", "a": _list(terms)}
    if call.op in ("sum", "mean") and a[0].size <= _TERMS:
        return value | {"form": call.op, "a": _list(a[0])}
    return None


def _choices(record, call):
    from .choices import choices_of

    return choices_of(record, record.calls.index(call))


def _logits(record, call):
    from .choices import pairs_of

    return pairs_of(record, [record.calls.index(call)])[0].astype(np.float64)


def _surprise(x, i):
    """-log softmax(x)_i"""
    return np.log(np.exp(x - x.max()).sum()) + x.max() - x[i]


def _terms(record, call):
    """Two of the terms that a loss is the mean of: of the example, the most and the least surprising."""
    if call.op == "contrastive":
        logits = _logits(record, call)
        told = (("the picture among the texts", logits[0]), ("the text among the pictures", logits[:, 0]))
        return [
            {"at": {"name": name}, "form": "nll", "x": _list(x), "i": 0, "value": float(_surprise(x, 0))}
            for name, x in told
        ]
    some = _choices(record, call)
    terms, own = some.terms, some.own
    if not len(own):
        return []
    order = own[np.argsort(terms[own])]
    rows = dict.fromkeys((int(order[-1]), int(order[0])))
    return [
        {
            "at": {"token": int(some.rows[r])}, "form": "nll", "x": _list(some.logits[r]), "i": int(some.target[r]),
            "value": float(terms[r]),
        }
        for r in rows
    ]  # fmt: skip
