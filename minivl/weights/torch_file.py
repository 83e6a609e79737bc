"""Reads what PyTorch writes, without PyTorch: torch.save's .pt, .pth and .bin, and TorchScript archives.

    NAME/data.pkl     a pickle that says which tensors there are, see pickle_machine.py
    NAME/data/0 ...   the storages, the numbers as they lie in memory
    NAME/code/...     TorchScript only: the model's program, which is not looked at

The members of the zip file are stored as they are, so tensors are views of the mapped file.
"""

import mmap as memory_map
from math import prod

import numpy as np

from . import pickle_machine
from .fit import WeightsError
from .pickle_machine import Object, View
from .safetensors import DTYPES, as_numbers
from .zip_directory import members

_HOLDERS = (View, Object, dict, list, tuple)
_DEEPEST, _MOST_VALUES, _LONGEST_NAME = 64, 1_000_000, 300  # real files have 10, 10,000 and 100
_MOST_USES = 8  # all tensors together may be so many times as large as the file


def load_torch(path, *, mmap=True, check=True):
    """{name: array} of all tensors in a file of torch.save or torch.jit.save.

    Names are those of state_dict(); where dicts, lists or objects lie in each other, the names on the way there are
    joined by dots. What is no tensor is left out. BF16 comes as float32, the same numbers.

    mmap     True: read-only views of the file, which take memory only when looked at
             False: arrays of their own
    check    compare every storage with its checksum, at 1 GB/s; torch can be told to write none, then say False
    raises   WeightsError for a file that is broken, that asks for code to be run, or whose tensors do not fit into it
    """
    whole = _mapped(path)
    archive = members(whole, path)
    root = _root(archive, path)
    where = f"{path}: {root}data.pkl"
    _check_byte_order(whole, archive.get(root + "byteorder"), path)
    pickle = _stored(archive, root + "data.pkl", path)
    pickle.check(whole, where)
    checked, arrays, size = set(), {}, 0
    for name, view in _tensors(pickle_machine.read(bytes(whole[pickle.start : pickle.stop]), where), where):
        if name in arrays:
            raise WeightsError(f"{where}: two tensors are called {name!r}")
        member = f"{root}data/{view.storage.key}"
        storage = _stored(archive, member, path)
        if check and member not in checked:
            storage.check(whole, f"{path}: {member}")
            checked.add(member)
        size += prod(n for n in view.shape if n) * DTYPES[view.storage.dtype].itemsize
        if size > _MOST_USES * len(whole):  # a number may be in many tensors, but not in any number of them
            shape = f"{view.shape}"[:80]
            raise WeightsError(f"{path}: tensor {name!r}: with its shape {shape} there are {size} bytes of tensors")
        array = _array(whole, storage, view, f"{path}: tensor {name!r}")
        arrays[name] = array if mmap else np.array(array)
    return arrays


def _mapped(path):
    """The bytes of a zip file, which take memory when looked at."""
    with open(path, "rb") as file:
        start = file.read(4)
        if start != b"PK\3\4":
            raise WeightsError(f"{path}: {_not_a_zip(start)}")
        return np.frombuffer(memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ), np.uint8)


def _root(archive, path):
    """The one folder that all members lie in, with a slash."""
    roots = [name.removesuffix("data.pkl") for name in archive if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise WeightsError(f"{path}: a zip file with {len(roots)} members */data.pkl, must be one: not of torch.save")
    return roots[0]


def _not_a_zip(start):
    if start[:1] == b"\x80":
        again = "torch.save(torch.load(OLD, weights_only=True), NEW)"
        return f"written as torch.save did before PyTorch 1.6; with PyTorch, write it again: {again}"
    return "is no zip file, as torch.save and torch.jit.save write them"


def _stored(archive, name, path):
    if name not in archive:
        raise WeightsError(f"{path}: has no member {name!r}, where its tensors say that they lie")
    if archive[name].crc < 0:
        raise WeightsError(
            f"{path}: {name!r} is compressed or encrypted, PyTorch stores it as it is: unzip, save again"
        )
    return archive[name]


def _check_byte_order(whole, member, path):
    order = b"little" if member is None else bytes(whole[member.start : min(member.stop, member.start + 10)])
    if order != b"little":
        raise WeightsError(f"{path}: its byte order is {order!r}, only b'little' can be read")


def _tensors(root, where):
    """Pairs of name and View, of all that lies in containers and objects, in their order."""
    todo, seen = [("", root, 0)], 0
    while todo:
        name, value, depth = todo.pop()
        if isinstance(value, View):
            yield name, value
        if isinstance(value, Object):
            pairs = [(None, value.state)]
        elif isinstance(value, dict):
            pairs = value.items()
        else:
            pairs = list(enumerate(value)) if isinstance(value, (list, tuple)) else ()
        parts = [(_joined(name, key), part) for key, part in pairs if isinstance(part, _HOLDERS)]
        seen += len(pairs)
        if depth == _DEEPEST or seen > _MOST_VALUES:
            raise WeightsError(f"{where}: values nested {_DEEPEST} deep, in a circle, or more than {_MOST_VALUES}")
        todo += [(_checked(path, where), part, depth + 1) for path, part in reversed(parts)]


def _joined(name, key):
    return name if key is None else f"{name}.{key}" if name else str(key)


def _checked(name, where):
    try:
        name.encode()
    except UnicodeEncodeError:
        raise WeightsError(f"{where}: the name {name[:100]!r} is no text") from None
    if len(name) > _LONGEST_NAME:
        raise WeightsError(f"{where}: the name {name[:100]!r}... is longer than {_LONGEST_NAME} characters")
    return name


def _array(whole, member, view, where):
    """The tensor as a view of the file's bytes."""
    storage, dtype, size = view.storage, DTYPES[view.storage.dtype], member.stop - member.start
    if size != storage.count * dtype.itemsize:
        raise WeightsError(
            f"{where}: data/{storage.key} has {size} bytes, must hold {storage.count} of {storage.dtype}"
        )
    if 0 in view.shape:
        return as_numbers(np.empty(view.shape, dtype), storage.dtype, where)
    numbers = whole[member.start : member.stop].view(dtype)[view.offset :]
    steps = [step * dtype.itemsize if n > 1 else 0 for n, step in zip(view.shape, view.strides, strict=True)]
    return as_numbers(
        np.lib.stride_tricks.as_strided(numbers, view.shape, steps, writeable=False), storage.dtype, where
    )
