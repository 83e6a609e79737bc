"""PyTorch's files: tensors come back as they were, and whatever else a file asks for is refused and not run.

The files here are put together by hand, instruction by instruction, so that these tests need no PyTorch.
"""

import os
import random as python_random
import struct
import time
import tracemalloc
import zipfile
import zlib
from operator import mul
from pathlib import Path

import numpy as np
import pytest

from minivl.weights import WeightsError, load_torch

# ---- pickles by hand -------------------------------------------------------------------------------------------------


def text(s):
    raw = s.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(n):
    raw = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_(*parts):
    return b"(" + b"".join(parts) + b"t"


def numbers(values):
    return tuple_(*map(number, values))


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def dict_(items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def persistent(kind="storage", storage="FloatStorage", key="0", count=b"K\x0c", more=b""):
    return tuple_(text(kind), name("torch", storage), text(key), text("cpu"), count, more) + b"Q"


def storage(key="0", count=12, kind="FloatStorage"):
    return persistent("storage", kind, key, number(count))


ORDERED = name("collections", "OrderedDict") + b")R"
REBUILD = name("torch._utils", "_rebuild_tensor_v2")


def tensor(shape=(3, 4), strides=(4, 1), offset=0, of=None, hooks=ORDERED):
    parts = (of or storage(), number(offset), numbers(shape), numbers(strides), b"\x89", hooks)
    return REBUILD + tuple_(*parts) + b"R"


def program(body):
    return b"\x80\x02" + body + b"."


NUMBERS = np.arange(12, dtype=np.float32)


def write(path, body, storages=None, **more):
    """A file as torch.save writes it, with `body` as what data.pkl does."""
    members = {"data.pkl": program(body), "byteorder": b"little", "version": b"3\n", **more}
    for key, array in ({"0": NUMBERS} if storages is None else storages).items():
        members[f"data/{key}"] = array.tobytes()
    with zipfile.ZipFile(path, "w") as file:
        for member, data in members.items():
            file.writestr(f"archive/{member}", data)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.pt"


# ---- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mmap", [True, False])
def test_views_of_a_storage_come_back_as_torch_shows_them(path, mmap):
    views = {
        "plain": ((3, 4), (4, 1), 0),
        "transposed": ((4, 3), (1, 4), 0),
        "a column": ((3,), (4,), 2),
        "every other": ((2, 2), (8, 2), 1),
        "stretched": ((5, 2), (0, 1), 4),
        "scalar": ((), (), 11),
        "empty": ((0, 4), (4, 1), 0),
        "one of one": ((1, 1), (2**60, 1), 3),
    }
    write(path, dict_({key: tensor(*view) for key, view in views.items()}))
    arrays = load_torch(path, mmap=mmap)
    for key, (shape, strides, offset) in views.items():
        want = np.array([NUMBERS[offset + sum(map(mul, i, strides))] for i in np.ndindex(*shape)]).reshape(shape)
        assert arrays[key].shape == shape and arrays[key].dtype == np.float32
        assert np.array_equal(arrays[key], want), key
    assert arrays["plain"].flags.writeable is not mmap
    assert mmap is np.shares_memory(arrays["plain"], arrays["transposed"])


@pytest.mark.parametrize(
    "kind, dtype",
    [("Double", "f8"), ("Float", "f4"), ("Half", "f2"), ("Long", "i8"), ("Int", "i4"), ("Short", "i2")]
    + [("Char", "i1"), ("Byte", "u1"), ("Bool", "?"), ("ComplexFloat", "c8")],
)
def test_every_kind_of_storage(path, kind, dtype):
    array = np.array([0, 1, 1, 0, 1, 0], dtype)
    write(path, dict_({"x": tensor((2, 3), (3, 1), of=storage("7", 6, f"{kind}Storage"))}), {"7": array})
    x = load_torch(path)["x"]
    assert x.dtype == array.dtype and np.array_equal(x, array.reshape(2, 3))


def test_bfloat16_comes_as_the_same_numbers_in_float32(path):
    want = np.array([1, -2.5, 3.140625, np.inf], np.float32)
    write(path, dict_({"x": tensor((4,), (1,), of=storage("0", 4, "BFloat16Storage"))}), {"0": want.view("<u2")[1::2]})
    assert np.array_equal(load_torch(path)["x"], want)


def test_containers_within_containers_are_named_by_the_way(path):
    step = number(7)
    inner = b"](" + tensor() + text("a word") + tuple_(tensor((), (), 5)) + b"e"
    notes = b"}" + text("_metadata") + ORDERED + b"sb"  # what a state_dict has beside its tensors
    parameter = name("torch._utils", "_rebuild_parameter") + tuple_(tensor(), b"\x88", ORDERED) + b"R"
    size = name("torch", "Size") + b"(" + numbers((2, 3)) + b"tR"
    state = ORDERED + b"(" + text("layer.weight") + parameter + b"u" + notes
    write(path, dict_({"step": step, "size": size, "list": inner, "state_dict": state}))
    arrays = load_torch(path)
    assert list(arrays) == ["list.0", "list.2.0", "state_dict.layer.weight"]
    assert arrays["list.2.0"] == 5


def test_the_newest_protocol_and_the_oldest_instructions_say_the_same(path):
    new = b"\x95\0\0\0\0\0\0\0\0}\x94\x8c\x01x" + name("torch._utils", "_rebuild_tensor_v2") + b"\x94"
    new += storage() + b"\x94K\0(K\x03K\x04t(K\x04K\x01t\x89}t0"  # made and thrown away
    new = dict_({"x": b"\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93\x94" + tensor()[len(REBUILD) :]})
    old = b"(d(lp0\n0V" + b"x\n" + tensor() + b"s"
    for body in (new, old):
        write(path, body)
        assert np.array_equal(load_torch(path)["x"], NUMBERS.reshape(3, 4))


def test_a_torchscript_archive_is_walked_and_not_run(path):
    def made(kind, **state):
        return name(f"__torch__.{kind}", kind.title()) + b")\x81" + dict_(state) + b"b"

    visual = made("visual", proj=tensor(), training=b"\x88", hook=b"N")
    sizes = name("torch.jit._pickle", "build_intlist") + b"(](K\x01K\x02et" + b"R"
    write(
        path, made("clip", visual=visual, logit_scale=tensor((), ()), sizes=sizes), **{"code/__torch__/clip.py": b"1/0"}
    )
    assert list(load_torch(path)) == ["visual.proj", "logit_scale"]


def test_code_that_is_compressed_is_in_nobodys_way(path):
    write(path, dict_({"x": tensor()}))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/code/model.py", "x = 1\n" * 100)
    assert list(load_torch(path)) == ["x"]


def test_lengths_of_64_bits(path):
    """Zip64, as torch.save writes it for every file: the lengths of 32 bits are all 2^32 - 1."""
    with zipfile.ZipFile(path, "w") as file:
        for member, data in (("data.pkl", program(dict_({"x": tensor()}))), ("data/0", NUMBERS.tobytes())):
            with file.open(f"a/{member}", "w", force_zip64=True) as out:
                out.write(data)
    raw = path.read_bytes()
    directory = raw.index(b"PK\1\2")
    out, at = raw[:directory], directory
    while raw[at : at + 4] == b"PK\1\2":  # the same directory, with the long lengths in an extra field
        fields = list(struct.unpack_from("<4s6H3L5H2L", raw, at))
        entry_name = raw[at + 46 : at + 46 + fields[10]]
        wide = struct.pack("<2H3Q", 1, 24, fields[9], fields[8], fields[16])
        at += 46 + fields[10] + fields[11] + fields[12]
        fields[8], fields[9], fields[11], fields[16] = 2**32 - 1, 2**32 - 1, len(wide), 2**32 - 1
        out += struct.pack("<4s6H3L5H2L", *fields) + entry_name + wide
    size = len(out) - directory
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, size, directory)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(out), 1)
    path.write_bytes(
        out + end + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    )
    assert np.array_equal(load_torch(path)["x"], NUMBERS.reshape(3, 4))


def test_mapped_tensors_take_no_memory_of_their_own(path):
    big = np.zeros(5_000_000, np.float32)
    write(path, dict_({"x": tensor((1000, 5000), (1, 1000), of=storage("0", big.size))}), {"0": big})
    tracemalloc.start()
    x = load_torch(path)["x"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert x.shape == (1000, 5000) and peak < 2_000_000


# ---- what is refused -------------------------------------------------------------------------------------------------


def call(module, attribute, *arguments, op=b"R"):
    return name(module, attribute) + tuple_(*map(text, arguments)) + op


MAKE = "touch HACKED"
HOSTILE = {
    "os.system": (call("os", "system", MAKE), r"byte 2: asks for os\.system, which no tensor needs; nothing of it was"),
    "posix.system": (call("posix", "system", MAKE), r"asks for posix\.system"),
    "eval": (call("builtins", "eval", "__import__('os').mkdir('HACKED')"), r"asks for builtins\.eval"),
    "eval of Python 2": (call("__builtin__", "eval", "open('HACKED', 'w')"), r"asks for __builtin__\.eval"),
    "getattr": (call("builtins", "getattr", "x", "y"), r"asks for builtins\.getattr"),
    "in a value": (dict_({"x": tensor(), "y": call("os", "mkdir", "HACKED")}), r"asks for os\.mkdir"),
    "in a state": (ORDERED + call("os", "mkdir", "HACKED") + b"b", r"asks for os\.mkdir"),
    "in the hooks": (tensor(hooks=call("os", "mkdir", "HACKED")), r"asks for os\.mkdir"),
    "thrown away": (call("os", "mkdir", "HACKED") + b"0" + dict_({"x": tensor()}), r"asks for os\.mkdir"),
    "in the storage": (tuple_(text("storage"), name("os", "system")) + b"Q", r"asks for os\.system"),
    "STACK_GLOBAL": (text("os") + text("system") + b"\x93" + tuple_(text(MAKE)) + b"R", r"asks for os\.system"),
    "STACK_GLOBAL, hidden": (text("collections OrderedDict") + text("x") + b"\x93)R", r"asks for collections\.Ordered"),
    "STACK_GLOBAL of numbers": (b"K\x01K\x02\x93", "expects a str on the stack, finds a int"),
    "INST": (b"(" + text(MAKE) + b"ios\nsystem\n", r"the instruction INST of os\.system is none that tensors need"),
    "OBJ": (b"(" + name("subprocess", "Popen") + text(MAKE) + b"o", r"asks for subprocess\.Popen"),
    "OBJ of what is known": (b"(" + name("collections", "OrderedDict") + b"o", "the instruction OBJ is none"),
    "NEWOBJ": (call("subprocess", "Popen", MAKE, op=b"\x81"), r"asks for subprocess\.Popen"),
    "NEWOBJ of what is known": (name("torch", "FloatStorage") + b")\x81", r"makes a torch\.FloatStorage"),
    "NEWOBJ_EX": (name("collections", "OrderedDict") + b")}\x92", "the instruction NEWOBJ_EX is none"),
    "BUILD of a class": (name("__torch__.m", "M") + b"}b", "sets attributes of a Name"),
    "BUILD of a list": (b"]}b", "sets attributes of a list"),
    "a class that is called": (name("__torch__.m", "M") + b")R", r"calls __torch__\.m\.M, which is no function"),
    "a class with arguments": (name("__torch__.m", "M") + b"K\x01\x85\x81", r"makes a __torch__\.m\.M"),
    "a storage that is called": (name("torch", "FloatStorage") + b")R", r"calls torch\.FloatStorage"),
    "a text that is called": (text("os.system") + b")R", "expects a Name on the stack, finds a str"),
    "torch.load again": (call("torch", "load", "HACKED"), r"asks for torch\.load"),
    "a name within a name": (name("collections", "OrderedDict.fromkeys") + b")R", r"asks for collections\.OrderedD"),
    "a name with tricks": (text("os\x1b[2J") + text("system\u202e") + b"\x93", r"asks for os.*system"),
    "EXT1": (b"\x82\x01", "the instruction EXT1 is none that tensors need"),
    "EXT4": (b"\x84\x01\0\0\0", "the instruction EXT4 is none"),
    "PERSID": (b"Pstorage\n", "the instruction PERSID of storage is none"),
    "a set": (b"\x8f", "the instruction EMPTY_SET is none"),
    "a buffer": (b"\x97", "the instruction NEXT_BUFFER is none"),
    "OrderedDict of pairs": (name("collections", "OrderedDict") + b"K\x01\x85R", "an OrderedDict with arguments"),
    "Size of a number": (name("torch", "Size") + b"K\x01\x85R", "a torch.Size that is not made of one sequence"),
    "a typed nothing": (name("torch.jit._pickle", "build_intlist") + b")R", "a typed container"),
    "a parameter of a text": (
        name("torch._utils", "_rebuild_parameter") + tuple_(text("x"), b"\x88", ORDERED) + b"R",
        "a parameter that is not made of a tensor",
    ),
    # persistent ids of odd shape
    "persistent text": (text("storage") + b"Q", "a persistent object that is no storage"),
    "persistent call": (persistent("module"), "a persistent object that is no storage"),
    "too long": (persistent(more=b"N"), "a persistent object that is no storage"),
    "count a boolean": (persistent(count=b"\x88"), "a persistent object that is no storage"),
    "negative count": (storage(count=-1), r"a storage of -1 numbers of type torch\.FloatStorage"),
    "a storage of sizes": (persistent(storage="Size"), r"a storage of 12 numbers of type torch\.Size"),
    "unknown storage": (storage(kind="QInt8Storage"), r"asks for torch\.QInt8Storage"),
    # tensors that point outside
    "one too many": (dict_({"x": tensor((3, 4), (4, 1), 1)}), "reaches to number 12 of a storage of 12"),
    "far outside": (dict_({"x": tensor((2,), (2**62,))}), "reaches to number 4611686018427387904 of a storage of 12"),
    "negative offset": (dict_({"x": tensor(offset=-1)}), "no whole numbers from 0 on"),
    "negative stride": (dict_({"x": tensor((3,), (-1,), 5)}), "no whole numbers from 0 on"),
    "negative length": (dict_({"x": tensor((-3,), (1,))}), "no whole numbers from 0 on"),
    "shape and strides apart": (dict_({"x": tensor((3, 4), (1,))}), "2 axes with 1 strides"),
    "33 axes": (dict_({"x": tensor((1,) * 33, (1,) * 33)}), "33 axes"),
    "absurdly stretched": (dict_({"x": tensor((2**40,), (0,))}), r"'x': with its shape \(1099511627776,\) there"),
    "absurdly empty": (dict_({"x": tensor((0, 2**62, 2**62), (0, 0, 0))}), "with its shape .0, 4611686018427387904"),
    "a little, very often": (
        b"](" + tensor((900,), (0,)) + b"q\x09" + b"h\x09" * 20_000 + b"e",
        "there are .* bytes of tensors",
    ),
    "a length a list": (REBUILD + tuple_(storage(), b"K\0]]", b"\x89", ORDERED) + b"R", "no whole numbers"),
    "a tensor of a text": (REBUILD + tuple_(text("x"), b"K\0))", b"\x89", ORDERED) + b"R", "not made of storage"),
    "storage that is not there": (dict_({"x": tensor(of=storage("1"))}), r"has no member 'archive/data/1'"),
    "storage elsewhere": (dict_({"x": tensor(of=storage("../x"))}), r"has no member 'archive/data/\.\./x'"),
    "storage too short": (dict_({"x": tensor(of=storage(count=13))}), "data/0 has 48 bytes, must hold 13 of F32"),
    "storage of another kind": (dict_({"x": tensor(of=storage(kind="DoubleStorage"))}), "must hold 12 of F64"),
    # the machine itself
    "empty stack": (b"0", "takes from an empty stack"),
    "nothing left": (b"N0", "takes from an empty stack"),
    "no mark": (b"t", "there is no mark"),
    "across a mark": (b"N(0", "takes from an empty stack"),
    "memo never made": (b"h\x07", "entry 7 of the memo is used and was never made"),
    "memo of nothing": (b"q\x07", "takes from an empty stack"),
    "append to a text": (text("x") + b"Na", "expects a list on the stack, finds a str"),
    "item of a list": (b"]NNs", "expects a dict on the stack, finds a list"),
    "odd items": (b"}(Nu", "a dict with a key that has no value"),
    "a list as a key": (b"}]Ns", "a dict with a list as a key"),
    "a number of 100 bytes": (b"\x8a\x64" + b"\x7f" * 100, "a whole number of more than 64 bits"),
    "digits without end": (b"L" + b"9" * 100_000 + b"L\n", "more than 64 bits|broken one"),
    "no such instruction": (b"\xff", "not a pickle, or a broken one"),
    "a text past the end": (b"X\xff\xff\xff\x7fx", "not a pickle, or a broken one"),
    "bytes of 2^62": (b"\x8e" + struct.pack("<Q", 2**62) + b"x", "not a pickle, or a broken one"),
    "a name that is no text": (dict_({"\ud800": tensor()}), "the name '.ud800' is no text"),
    "a name without end": (dict_({"x" * 400: tensor()}), "is longer than 300 characters"),
    "in a circle": (b"]q\0h\0a", "in a circle"),
    "in a circle of objects": (name("__torch__.m", "M") + b")\x81q\0h\0b", "in a circle"),
    "the same name twice": (dict_({"a.b": tensor(), "a": dict_({"b": tensor()})}), "two tensors are called 'a.b'"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_pickle_is_named_and_nothing_of_it_runs(path, case, monkeypatch):
    body, message = HOSTILE[case]
    write(path, body)
    monkeypatch.chdir(path.parent)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=message) as error:
            load_torch(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
    said = str(error.value)
    assert str(path) in said and len(said) < 400 + len(str(path)) and said.isprintable()
    assert os.listdir() == ["w.pt"]


@pytest.mark.parametrize(
    "body", [b"N", b"\x88", storage(), name("torch", "Size"), name("__torch__.m", "M") + b")\x81K\x01b"]
)
def test_what_holds_no_tensor_gives_none(path, body):
    write(path, body)
    assert load_torch(path) == {}


def test_a_pickle_that_stops_early_or_late(path):
    for body in (b"", program(b"")[:-1], b"\x80\x02"):
        write(path, b"", **{"data.pkl": body})
        with pytest.raises(WeightsError, match=r"data\.pkl: not a pickle, or a broken one"):
            load_torch(path)
    write(path, b"", **{"data.pkl": program(dict_({"x": tensor()})) + b"cos\nsystem\n)R."})
    assert list(load_torch(path)) == ["x"]  # what stands behind the end is never reached


def laughs(levels):
    """A list that holds ten times a list that holds ten times a list ...: 10^levels in a few bytes."""
    body = b"]q\0"
    for i in range(levels):
        body += b"](" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 9 + b"eq" + bytes([i + 1])
    return body


@pytest.mark.slow
@pytest.mark.parametrize(
    "body", [laughs(12), b"](" + b"]" * 200_000 + b"e", b"N" * 1_100_000], ids=["laughs", "many", "long"]
)
def test_little_that_stands_for_much_is_refused_in_a_moment(path, body):
    write(path, body)
    start = time.perf_counter()
    if len(body) == 200_003:  # large, and allowed
        assert load_torch(path) == {}
    else:
        with pytest.raises(WeightsError, match="nested|more than 1000000 instructions"):
            load_torch(path)
    assert time.perf_counter() - start < 20


# ---- the archive -----------------------------------------------------------------------------------------------------


def with_directory(path, change):
    """The file with its zip directory changed: change(list of fields of the first entry)."""
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\1\2")
    fields = list(struct.unpack_from("<4s6H3L5H2L", raw, at))
    change(fields)
    struct.pack_into("<4s6H3L5H2L", raw, at, *fields)
    path.write_bytes(raw)


def field(place, value):
    return lambda fields: fields.__setitem__(place, value)


DIRECTORIES = {
    "compressed": (field(4, 8), r"'archive/data\.pkl' is compressed or encrypted"),
    "encrypted": (field(3, 1), r"'archive/data\.pkl' is compressed or encrypted"),
    "larger than it is stored": (field(9, 2**31), "is compressed or encrypted"),
    "outside": (field(16, 2**31), "is cut off"),
    "elsewhere": (field(16, 7), "does not lie where the directory says"),
    "a wrong checksum": (field(7, 1), r"data\.pkl: its bytes do not have the checksum"),
    "no signature": (field(0, b"PK\1\3"), "the directory of this zip file is broken at entry 1"),
    "a long name": (field(10, 60_000), "broken at entry|cut off"),
}


@pytest.mark.parametrize("case", DIRECTORIES)
def test_a_directory_that_lies_is_found_out(path, case):
    change, message = DIRECTORIES[case]
    write(path, dict_({"x": tensor()}))
    with_directory(path, change)
    with pytest.raises(WeightsError, match=message):
        load_torch(path)


def test_a_bomb_is_not_unpacked(path):
    write(path, dict_({"x": tensor(of=storage("big", 2**28))}))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.writestr("archive/data/big", bytes(2**24))
    tracemalloc.start()
    with pytest.raises(WeightsError, match="'archive/data/big' is compressed or encrypted"):
        load_torch(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_twice_none_or_of_two_roots(path):
    write(path, dict_({"x": tensor()}))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/data/0", NUMBERS.tobytes())
    with pytest.raises(WeightsError, match="'archive/data/0' stands there twice"):
        load_torch(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme", "x")
    with pytest.raises(WeightsError, match=r"0 members \*/data\.pkl, must be one: not of torch\.save"):
        load_torch(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", "N.")
        file.writestr("b/data.pkl", "N.")
    with pytest.raises(WeightsError, match="2 members"):
        load_torch(path)


def test_members_that_share_bytes_are_refused(path):
    write(path, dict_({"x": tensor()}))
    raw = bytearray(path.read_bytes())
    first = raw.index(b"PK\1\2")
    second = raw.index(b"PK\1\2", first + 4)
    offset = struct.unpack_from("<L", raw, first + 42)[0]
    struct.pack_into("<L", raw, second + 42, offset)
    path.write_bytes(raw)
    with pytest.raises(WeightsError, match="inside the member before it"):
        load_torch(path)


def test_a_damaged_storage_is_found_unless_nobody_looks(path):
    write(path, dict_({"x": tensor()}))
    raw = bytearray(path.read_bytes())
    raw[raw.index(NUMBERS.tobytes()) + 3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(WeightsError, match=r"archive/data/0: its bytes do not have the checksum"):
        load_torch(path)
    assert load_torch(path, check=False)["x"].shape == (3, 4)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no zip file, as torch.save"),
        (b"PK\3\4", "no directory at its end: it is cut off"),
        (
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
            r"before PyTorch 1\.6; with PyTorch, write it again: torch\.save",
        ),
        (b"version https://git-lfs", "no zip file"),
        (b"PK\3\4" + b"PK\5\6" + b"\xff" * 18, "one of several parts|cannot be"),
    ],
)
def test_other_files_are_told_apart(path, content, message):
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_torch(path)


def test_names_of_members_do_nothing_to_a_terminal(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a\x1b[2J/data.pkl", "N.")
    with pytest.raises(WeightsError, match="broken at entry 1"):
        load_torch(path)


def test_the_other_byte_order_is_refused(path):
    write(path, dict_({"x": tensor()}), byteorder=b"big")
    with pytest.raises(WeightsError, match="its byte order is b'big'"):
        load_torch(path)


# ---- and whatever else can be in a file ------------------------------------------------------------------------------


def mutated(raw, random):
    raw = bytearray(raw)
    for _ in range(random.choice([1, 1, 1, 2, 5])):
        at, action = random.randrange(max(1, len(raw))), random.randrange(5)
        if action == 0:
            raw[at : at + 1] = bytes([random.randrange(256)])
        elif action == 1:
            raw[at : at + 1] = random.choice(b"()tuqhRQbNc.\x80\x81\x85\x86\x89\x93\x94]}se").to_bytes(1, "little")
        elif action == 2:
            del raw[at : at + random.randrange(1, 9)]
        elif action == 3:
            raw[at:at] = bytes(random.randrange(256) for _ in range(random.randrange(1, 9)))
        else:
            raw[at:at] = raw[random.randrange(len(raw) + 1) :][:60]
    return bytes(raw)


VALID = dict_(
    {"x": tensor() + b"q\x01", "y": b"h\x01", "z": tensor((), (), 5), "deep": b"](" + tensor((2,), (3,)) + b"Ne"}
)


def test_a_fuzzed_file_says_the_same_or_is_refused(path):
    """400 files with bytes changed, cut out, put in or copied: every number is as it was, or WeightsError."""
    raw, want = write(path, VALID).read_bytes(), load_torch(path)
    random, same = python_random.Random(0), 0
    tracemalloc.start()
    for round in range(400):
        path.write_bytes(mutated(raw, random))
        try:
            found = load_torch(path)
        except WeightsError:
            continue
        same += 1
        assert found.keys() == want.keys() and all(np.array_equal(found[k], want[k]) for k in want), round
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert 10 < same < 250  # what is changed is often a date, or the checksum of the version


def test_a_fuzzed_pickle_gives_numbers_of_the_file_or_is_refused(path):
    """400 pickles likewise, with the checksum they then need: what comes out is of the storage, whatever its shape."""
    valid, random, read = program(VALID), python_random.Random(1), 0
    known = {*NUMBERS.tolist()}
    tracemalloc.start()
    for round in range(400):
        write(path, b"", **{"data.pkl": mutated(valid, random)})
        try:
            found = load_torch(path)
        except WeightsError:
            continue
        read += 1
        assert all(known.issuperset(array.ravel().tolist()) for array in found.values()), round
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert 5 < read < 200


def test_checksums_are_those_of_zip(path):
    write(path, dict_({"x": tensor()}))
    with zipfile.ZipFile(path) as file:
        assert zlib.crc32(NUMBERS.tobytes()) == file.getinfo("archive/data/0").CRC


# ---- and what PyTorch itself wrote -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["torch_save", "torch_script"])
def test_files_that_pytorch_wrote(kind):
    """Made by tests/golden/make_torch_files.py with PyTorch 2.13."""
    golden = Path(__file__).parent.parent / "golden"
    arrays, kept = load_torch(golden / f"{kind}.pt"), np.load(golden / f"{kind}.npz", allow_pickle=False)
    assert set(arrays) == set(kept.files) and len(arrays) > 6
    for name in kept.files:
        assert arrays[name].dtype == kept[name].dtype and np.array_equal(arrays[name], kept[name]), name
