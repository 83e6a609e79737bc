"""Arrays as text: few bytes, a stated error, and read by a page in a few lines of JavaScript.

kind   a number becomes                       it is off by at most
f4     itself                                 nothing
f2     a half-precision number                the largest, divided by 2048
i1     one of 255 steps from -scale to scale  scale / 254
u1     one of 256 steps from 0 to scale       scale / 510
b1     a bit                                  nothing
"""

import base64

import numpy as np


def pack(array, kind):
    """{"kind", "shape", "scale", "error", "data"}: an array of finite numbers as base64.   -inf becomes the least."""
    array = np.asarray(array)
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    if array.dtype.kind == "f" and finite.size < array.size:
        array = np.where(np.isfinite(array), array, finite.min(initial=0.0))
    scale, (numbers, error) = 1.0, (None, 0.0)
    if kind in ("i1", "u1"):
        scale = float(np.abs(array).max(initial=0.0)) or 1.0
    if kind == "b1":
        numbers = np.packbits(array.astype(bool).reshape(-1), bitorder="little")
    elif kind == "i1":
        numbers, error = np.round(array * (127 / scale)).astype(np.int8), scale / 254
    elif kind == "u1":
        numbers, error = np.round(array * (255 / scale)).astype(np.uint8), scale / 510
    else:
        numbers = array.astype({"f4": "<f4", "f2": "<f2"}[kind])
        error = 0.0 if kind == "f4" else float(np.abs(array).max(initial=0.0)) / 2048
    data = base64.b64encode(np.ascontiguousarray(numbers).tobytes()).decode()
    return {"kind": kind, "shape": list(array.shape), "scale": scale, "error": float(f"{error:.3g}"), "data": data}


def unpack(packed):
    """The array again, as the page sees it: float32, or bool for bits."""
    shape, raw = packed["shape"], base64.b64decode(packed["data"])
    if packed["kind"] == "b1":
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
        return bits[: int(np.prod(shape))].reshape(shape).astype(bool)
    numbers = np.frombuffer(raw, {"f4": "<f4", "f2": "<f2", "i1": "i1", "u1": "u1"}[packed["kind"]]).astype(np.float32)
    step = {"i1": 127, "u1": 255}.get(packed["kind"])
    return (numbers * np.float32(packed["scale"] / step) if step else numbers).reshape(shape)


def once(whole):
    """The same dict with a "shared" list: data that occurs more than once stands there, and its number in its place.

    What a layer hands on unchanged is found under several names: in MaMMUT's page that was one byte in thirteen.
    """
    counts = {}
    _replaced(whole, lambda data: counts.update({data: counts.get(data, 0) + 1}) or data)
    places = {data: n for n, data in enumerate(data for data, count in counts.items() if count > 1)}
    return {**_replaced(whole, lambda data: places.get(data, data)), "shared": list(places)}


def _replaced(part, change):
    """A copy of nested dicts and lists in which change(data) stands for the data of every packed array."""
    if isinstance(part, dict):
        if "data" in part and "shape" in part:
            return {**part, "data": change(part["data"])}
        return {name: _replaced(inner, change) for name, inner in part.items()}
    return [_replaced(inner, change) for inner in part] if isinstance(part, (list, tuple)) else part
