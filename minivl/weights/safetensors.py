"""The safetensors format, written and read by hand.

    8 bytes     n, the length of the header, little-endian
    n bytes     JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {...}},
                filled up with spaces, so that the data begins at a multiple of 8
    the rest    the arrays, little-endian, C order, one behind the other without gaps; data_offsets count from here

Nothing in a file is executed, and nothing in it is believed: every length and offset is compared with the size of the
file before anything of that size is made. A broken file costs an error message, and no memory.
"""

import json
import mmap as memory_map
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod

import numpy as np

from ..array import on_gpu, to_device
from .fit import WeightsError

# From the last in a file to the first: the widest stand in front, so that every array is aligned.
DTYPES = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("<u1"),
    "I8": np.dtype("<i1"),
    "I16": np.dtype("<i2"),
    "U16": np.dtype("<u2"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # the upper half of a float32; NumPy has no such dtype
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "F32": np.dtype("<f4"),
    "C64": np.dtype("<c8"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
    "U64": np.dtype("<u8"),
}
_NAMES = {dtype.newbyteorder("="): name for name, dtype in DTYPES.items() if name != "BF16"}
_WIDTHS = {name: place for place, name in enumerate(DTYPES)}
_LONGEST_HEADER = 100_000_000  # bytes; the limit of the reference implementation
_MOST_AXES = 32  # NumPy 1 has no more


@dataclass(frozen=True)
class Entry:
    """One tensor of a file, which lies in its bytes `start` to `stop`."""

    dtype: str
    shape: tuple
    start: int
    stop: int


def save_safetensors(path, tensors, metadata=None):
    """Writes {name: array} to `path`: beside it, then renamed, so that a kill leaves the old file or the new one.

    The same tensors and metadata give the same bytes. Arrays on the GPU are fetched one at a time. A dtype called
    bfloat16 (NumPy has none, ml_dtypes has) is written as BF16.

    metadata    {str: str}
    raises      TypeError for a name, an array or metadata that the format cannot hold; nothing is written then
    """
    names = {name: _dtype_name(name, array) for name, array in tensors.items()}
    order = sorted(tensors, key=lambda name: (-_WIDTHS[names[name]], name))
    header, offset = {}, 0
    if metadata:
        if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
            raise TypeError(f"metadata: got {metadata!r}, must be texts by name")
        header["__metadata__"] = dict(sorted(metadata.items()))
    for name in order:
        array = tensors[name]
        header[name] = {"dtype": names[name], "shape": array.shape, "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with _written_beside(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(_as_bytes(tensors[name], DTYPES[names[name]]))


def load_safetensors(path, *, mmap=True):
    """{name: array} of a file, after every check that `read_header` makes.

    mmap    True: read-only views of the file, which take memory only when looked at; copy what is to be changed
            False: arrays of their own, read one after the other
    BF16 tensors come as float32 arrays of their own in both cases: the same numbers, exactly.
    """
    with open(path, "rb") as file:
        entries, _ = _read_header(file, path)
        if not mmap or not any(entry.stop > entry.start for entry in entries.values()):
            return {name: _array(name, entry, _read(file, entry, path), path) for name, entry in entries.items()}
        whole = np.frombuffer(memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ), np.uint8)
    return {name: _array(name, entry, whole[entry.start : entry.stop], path) for name, entry in entries.items()}


def read_header(path):
    """({name: Entry}, metadata) of a file, without its arrays.

    Raises WeightsError for all that the format forbids: lengths and offsets outside the file, a header that is no JSON
    object of the above form, a name that stands there twice, an unknown dtype, a shape that does not fill its bytes,
    arrays that overlap, gaps between them, bytes that belong to none.
    """
    with open(path, "rb") as file:
        return _read_header(file, path)


# ---- reading ---------------------------------------------------------------------------------------------------------


def _read_header(file, path):
    size = os.fstat(file.fileno()).st_size
    first = file.read(8)
    if len(first) < 8:
        raise WeightsError(f"{path}: {size} bytes, too short for a safetensors file")
    length = int.from_bytes(first, "little")
    if length > min(size - 8, _LONGEST_HEADER):
        raise WeightsError(
            f"{path}: header of {length} bytes in a file of {size}: no safetensors file, or a part of one"
        )
    header = _parse(file.read(length), path)

    metadata = header.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())):
        raise WeightsError(f"{path}: __metadata__ must be an object of texts")
    entries = {name: _entry(name, value, 8 + length, path) for name, value in header.items()}
    _check_tiling(entries, 8 + length, size, path)
    return entries, metadata


def _parse(text, path):
    def no_duplicates(pairs):
        known = {}
        for name, value in pairs:
            if name in known:
                raise WeightsError(f"{path}: header: {name!r} stands there twice")
            known[name] = value
        return known

    try:
        if not text.startswith(b"{"):
            raise ValueError("it does not begin with {")
        return json.loads(text.decode("utf-8"), object_pairs_hook=no_duplicates)
    except WeightsError:
        raise
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, nested without end
        raise WeightsError(f"{path}: header of {len(text)} bytes at byte 8 cannot be read: {error}") from None


def _entry(name, value, data, path):
    where = f"{path}: tensor {name!r}"
    if not (isinstance(value, dict) and {"dtype", "shape", "data_offsets"} <= set(value)):
        raise WeightsError(f"{where}: must have dtype, shape and data_offsets, got {_short(value)}")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise WeightsError(f"{where}: dtype {_short(dtype)} is not known; known are {', '.join(DTYPES)}")
    if not (_whole_numbers(shape) and len(shape) <= _MOST_AXES and prod(n for n in shape if n) < 2**59):
        raise WeightsError(f"{where}: shape {_short(shape)} is no list of at most {_MOST_AXES} sensible lengths")
    if not (_whole_numbers(offsets) and len(offsets) == 2 and offsets[0] <= offsets[1]):
        raise WeightsError(f"{where}: data_offsets {_short(offsets)} must be [start, stop] with 0 <= start <= stop")
    wanted = prod(shape) * DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != wanted:
        raise WeightsError(f"{where}: {dtype} {shape} takes {wanted} bytes, data_offsets {_short(offsets)} do not")
    return Entry(dtype, tuple(shape), data + offsets[0], data + offsets[1])


def _check_tiling(entries, data, size, path):
    """The arrays must fill the file from `data` to its end, each byte once."""
    reached, last = data, "the header"
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != reached:
            fault = "overlaps" if entry.start < reached else "leaves a gap behind"
            raise WeightsError(f"{path}: tensor {name!r} at byte {entry.start} {fault} {last}, which ends at {reached}")
        reached, last = entry.stop, f"tensor {name!r}"
    if reached != size:
        fault = "the file is cut off" if reached > size else "bytes at its end belong to no tensor"
        raise WeightsError(f"{path}: {last} ends at byte {reached}, the file at byte {size}: {fault}")


def _whole_numbers(value):
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _short(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _read(file, entry, path):
    raw = np.empty(entry.stop - entry.start, np.uint8)  # no more than the file has: _check_tiling
    file.seek(entry.start)
    if file.readinto(raw) != len(raw):
        raise WeightsError(f"{path}: ends before byte {entry.stop}: it became shorter while it was read")
    return raw


def _array(name, entry, raw, path):
    return as_numbers(raw.view(DTYPES[entry.dtype]).reshape(entry.shape), entry.dtype, f"{path}: tensor {name!r}")


def as_numbers(array, dtype, where):
    """An array as it lies in a file: its booleans checked, its BF16 widened to float32."""
    if dtype == "BOOL" and array.size and array.view(np.uint8).max() > 1:
        raise WeightsError(f"{where}: BOOL with bytes other than 0 and 1")
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else array


# ---- writing ---------------------------------------------------------------------------------------------------------


def _dtype_name(name, array):
    if not isinstance(name, str) or name == "__metadata__":
        raise TypeError(f"tensors: got the name {name!r}, must be a text other than __metadata__")
    if not (isinstance(array, np.ndarray) or on_gpu(array)):
        raise TypeError(f"tensors: {name!r} is a {type(array).__name__}, must be an array")
    dtype = "BF16" if array.dtype.name == "bfloat16" else _NAMES.get(array.dtype.newbyteorder("="))
    if dtype is None:
        raise TypeError(f"tensors: {name!r} has dtype {array.dtype}, which the format cannot hold")
    return dtype


def _as_bytes(array, dtype):
    flat = np.ascontiguousarray(to_device(array, "cpu")).reshape(-1)
    flat = flat.view(np.uint16) if flat.dtype.name == "bfloat16" else flat
    return flat.astype(dtype, copy=False).view(np.uint8)


@contextmanager
def _written_beside(path):
    """A file to write to, which takes the place of `path` once all of it is on the disk, and not before."""
    path = os.fspath(path)
    beside = f"{path}.partial"
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(beside)
        raise
    if os.name == "posix":  # the new name is on the disk when its folder is
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
