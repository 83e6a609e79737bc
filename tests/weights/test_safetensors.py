"""safetensors: what is written comes back, what is broken is named, a kill leaves a whole file."""

import json
import os
import random as python_random
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from minivl.weights import DTYPES, WeightsError, load_safetensors, match, read_header, save_safetensors

SHAPES = [(), (0,), (1,), (7,), (0, 3), (3, 0, 2), (2, 3), (1, 1, 5), (2, 3, 4, 5)]
WRITABLE = [name for name in DTYPES if name != "BF16"]


def example(dtype, shape, seed=0):
    random = np.random.default_rng(seed)
    raw = random.integers(0, 2 if dtype.kind == "b" else 256, (*shape, dtype.itemsize), dtype=np.uint8)
    return raw.view(dtype).reshape(shape)


def write(path, header, data=b"", length=None):
    """A file by hand: `header` is bytes, or an object to be written as JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def same(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("name", WRITABLE)
def test_every_dtype_and_shape_comes_back(tmp_path, name, mmap):
    tensors = {f"{name} {shape}": example(DTYPES[name], shape) for shape in SHAPES}
    save_safetensors(tmp_path / "w", tensors)
    loaded = load_safetensors(tmp_path / "w", mmap=mmap)
    assert set(loaded) == set(tensors)
    for key, array in tensors.items():
        assert same(loaded[key], array), key


def test_layout_views_and_byte_order_do_not_matter(tmp_path):
    x = np.arange(24.0, dtype=np.float32).reshape(4, 6)
    tensors = {
        "transposed": x.T,
        "strided": x[::2, ::3],
        "backwards": x[::-1],
        "stretched": np.broadcast_to(x[0], (3, 6)),
        "big": x.astype(">f4"),
    }
    save_safetensors(tmp_path / "w", tensors)
    for name, array in load_safetensors(tmp_path / "w").items():
        assert array.dtype == np.float32
        assert np.array_equal(array, tensors[name]), name


def test_the_bytes_are_those_of_the_format(tmp_path):
    save_safetensors(tmp_path / "w", {"b": np.array([1, 2], np.uint8), "a": np.array([1.5], np.float32)}, {"step": "7"})
    raw = (tmp_path / "w").read_bytes()
    n = int.from_bytes(raw[:8], "little")
    assert n % 8 == 0
    assert raw[8 : 8 + n].rstrip(b" ") == (
        b'{"__metadata__":{"step":"7"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}'
    )
    assert raw[8 + n :] == b"\x00\x00\xc0\x3f\x01\x02"
    entries, metadata = read_header(tmp_path / "w")
    assert metadata == {"step": "7"}
    assert (entries["b"].dtype, entries["b"].shape) == ("U8", (2,))
    assert raw[entries["b"].start : entries["b"].stop] == b"\x01\x02"


def test_the_order_of_the_dict_does_not_change_the_file(tmp_path):
    tensors = {f"layer.{i}": example(DTYPES[name], (3, 5), i) for i, name in enumerate(WRITABLE)}
    save_safetensors(tmp_path / "a", tensors, {"x": "1", "y": "2"})
    save_safetensors(tmp_path / "b", dict(reversed(tensors.items())), {"y": "2", "x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert all(array.flags.aligned for array in load_safetensors(tmp_path / "a").values())


def test_names_of_any_text(tmp_path):
    tensors = {name: np.array([i]) for i, name in enumerate(["", " ", 'quo"te\\', "new\nline", "犬🐶", "\x00"])}
    save_safetensors(tmp_path / "w", tensors)
    assert {name: int(x[0]) for name, x in load_safetensors(tmp_path / "w").items()} == {
        n: int(x[0]) for n, x in tensors.items()
    }


def test_bfloat16_is_read_as_the_same_numbers_in_float32(tmp_path):
    numbers = np.array([0, -0.0, 1, -2.5, 3.140625, np.inf, -np.inf, np.nan, 2.0**-130], np.float32)
    upper = (numbers.view(np.uint32) >> 16).astype("<u2")
    write(tmp_path / "w", {"x": tensor("BF16", [9], [0, 18])}, upper.tobytes())
    for mmap in (True, False):
        x = load_safetensors(tmp_path / "w", mmap=mmap)["x"]
        assert x.dtype == np.float32
        assert np.array_equal(x, (upper.astype(np.uint32) << 16).view(np.float32), equal_nan=True)
        assert x[3] == -2.5 and x[4] == 3.140625


def test_mapped_arrays_are_read_only_and_own_arrays_are_not(tmp_path):
    save_safetensors(tmp_path / "w", {"x": np.zeros(4, np.float32)})
    with pytest.raises(ValueError, match="read-only"):
        load_safetensors(tmp_path / "w")["x"][0] = 1
    load_safetensors(tmp_path / "w", mmap=False)["x"][0] = 1


def test_mapped_arrays_outlive_the_file_that_they_came_from(tmp_path):
    save_safetensors(tmp_path / "w", {"x": np.full(4, 1.0, np.float32)})
    old = load_safetensors(tmp_path / "w")["x"]
    save_safetensors(tmp_path / "w", {"x": np.full(4, 2.0, np.float32)})
    assert old.tolist() == [1, 1, 1, 1]
    assert load_safetensors(tmp_path / "w")["x"].tolist() == [2, 2, 2, 2]


def test_no_tensors_at_all(tmp_path):
    save_safetensors(tmp_path / "w", {}, {"only": "words"})
    assert load_safetensors(tmp_path / "w") == {}
    assert read_header(tmp_path / "w") == ({}, {"only": "words"})


@pytest.mark.parametrize(
    "tensors, metadata, message",
    [
        ({"x": [1, 2]}, None, "'x' is a list, must be an array"),
        ({"x": np.float32(1)}, None, "'x' is a float32, must be an array"),
        ({"x": np.array(["a"])}, None, "'x' has dtype <U1"),
        ({"x": np.array([None])}, None, "'x' has dtype object"),
        ({1: np.zeros(1)}, None, "the name 1, must be a text"),
        ({"__metadata__": np.zeros(1)}, None, "other than __metadata__"),
        ({"x": np.zeros(1)}, {"step": 7}, "must be texts by name"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path, tensors, metadata, message):
    with pytest.raises(TypeError, match=message):
        save_safetensors(tmp_path / "w", tensors, metadata)
    assert list(tmp_path.iterdir()) == []


A, B = tensor(), tensor(offsets=[4, 8])
MALFORMED = {
    "nothing": (b"", None, "0 bytes, too short"),
    "half a length": (b"\x01\x00\x00", None, "3 bytes, too short"),
    "absurd length": (b"{}", (2**63, b""), "header of 9223372036854775808 bytes in a file of 10"),
    "length past the end": (b"{}", (3, b""), "header of 3 bytes in a file of 10"),
    "empty header": (b"", (0, b""), "does not begin with {"),
    "not JSON": (b"{'x': 1}", b"", "header of 8 bytes at byte 8 cannot be read"),
    "not UTF-8": (b'{"\xff": 1}', b"", "cannot be read"),
    "a list": (b"[]", b"", "does not begin with {"),
    "text behind the object": (b"{} {}", b"", "cannot be read"),
    "nested without end": (b'{"x":' + b"[" * 100_000, b"", "cannot be read"),
    "a number of 5,000 digits": (b'{"x":' + b"9" * 5000 + b"}", b"", "x|digits"),
    "the same name twice": (b'{"x": %s, "x": %s}' % ((json.dumps(A).encode(),) * 2), b"abcd", "'x' stands there twice"),
    "the same key twice": (b'{"x": {"dtype": "U8", "dtype": "I8"}}', b"", "'dtype' stands there twice"),
    "metadata not text": ({"__metadata__": {"a": 1}}, b"", "__metadata__ must be an object of texts"),
    "metadata a list": ({"__metadata__": []}, b"", "__metadata__ must be an object of texts"),
    "a tensor that is a number": ({"x": 3}, b"", "'x': must have dtype, shape and data_offsets, got 3"),
    "no offsets": ({"x": {"dtype": "F32", "shape": [1]}}, b"abcd", "'x': must have dtype, shape and data_offsets"),
    "unknown dtype": ({"x": tensor("F4")}, b"abcd", "'x': dtype 'F4' is not known; known are BOOL, U8"),
    "dtype a list": ({"x": tensor(["F32"])}, b"abcd", "dtype .* is not known"),
    "negative length": ({"x": tensor(shape=[-1])}, b"abcd", r"'x': shape \[-1\]"),
    "length a float": ({"x": tensor(shape=[1.0])}, b"abcd", r"shape \[1.0\]"),
    "length a boolean": ({"x": tensor(shape=[True])}, b"abcd", r"shape \[True\]"),
    "shape a number": ({"x": tensor(shape=1)}, b"abcd", "shape 1 is no list"),
    "huge axis beside an empty one": ({"x": tensor(shape=[0, 2**62, 2**62], offsets=[0, 0])}, b"", "'x': shape"),
    "33 axes": ({"x": tensor(shape=[1] * 33)}, b"abcd", "at most 32"),
    "shape does not fill the bytes": ({"x": tensor(shape=[2])}, b"abcd", r"'x': F32 \[2\] takes 8 bytes"),
    "huge shape": ({"x": tensor(shape=[2**40])}, b"abcd", "takes 4398046511104 bytes"),
    "negative offset": ({"x": tensor(offsets=[-4, 0])}, b"abcd", "must be .start, stop."),
    "offsets backwards": ({"x": tensor(offsets=[4, 0])}, b"abcd", "must be .start, stop."),
    "three offsets": ({"x": tensor(offsets=[0, 4, 8])}, b"abcd", "must be .start, stop."),
    "huge but consistent": ({"x": tensor("U8", [2**40], [0, 2**40])}, b"abcd", "the file is cut off"),
    "cut off": ({"x": A}, b"abc", "'x' ends at byte .*, the file at byte .*: the file is cut off"),
    "bytes at the end": ({"x": A}, b"abcde", "bytes at its end belong to no tensor"),
    "bytes and no tensor": ({}, b"a", "the header ends at byte 10, the file at byte 11"),
    "overlap": ({"x": A, "y": A}, b"abcd", "'y' at byte .* overlaps tensor 'x'"),
    "hole": ({"x": A, "y": tensor(offsets=[8, 12])}, b"abcdefghijkl", "'y' at byte .* leaves a gap behind tensor 'x'"),
    "hole in front": ({"y": B}, b"abcdefgh", "'y' at byte .* leaves a gap behind the header"),
    "BOOL of 2": ({"x": tensor("BOOL", [2], [0, 2])}, b"\x01\x02", "'x': BOOL with bytes other than 0 and 1"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_named_for_what_it_is(tmp_path, case):
    header, data, message = MALFORMED[case]
    if data is None:
        (tmp_path / "w").write_bytes(header)
    elif isinstance(data, tuple):
        write(tmp_path / "w", header, data[1], length=data[0])
    else:
        write(tmp_path / "w", header, data)
    for mmap in (True, False):
        tracemalloc.start()
        try:
            with pytest.raises(WeightsError, match=message) as error:
                load_safetensors(tmp_path / "w", mmap=mmap)
            assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
        finally:
            tracemalloc.stop()
        assert str(tmp_path / "w") in str(error.value)
        assert len(str(error.value)) < 500 + len(str(tmp_path))


def test_a_fuzzed_file_is_read_as_it_says_or_refused(tmp_path):
    """600 files with bytes changed, cut out, put in or copied: either every byte is accounted for, or WeightsError."""
    save_safetensors(
        tmp_path / "w",
        {"a": example(np.dtype("f4"), (3, 4)), "b.c": example(np.dtype("?"), (5,)), "": example(np.dtype("i8"), ())},
        {"step": "12"},
    )
    valid = (tmp_path / "w").read_bytes()
    n = 8 + int.from_bytes(valid[:8], "little")
    random = python_random.Random(0)
    refused = 0
    for round in range(600):
        raw = bytearray(valid)
        for _ in range(random.choice([1, 1, 1, 2, 5])):
            at = random.randrange(n if random.random() < 0.8 else len(raw)) % max(1, len(raw))
            action = random.randrange(6)
            if action == 0:
                raw[at : at + 1] = bytes([random.randrange(256)])
            elif action == 1:
                raw[at : at + 1] = random.choice(b'0123456789"[]{},:-e. ').to_bytes(1, "little")
            elif action == 2:
                del raw[at : at + random.randrange(1, 9)]
            elif action == 3:
                raw[at:at] = bytes(random.randrange(256) for _ in range(random.randrange(1, 9)))
            elif action == 4:
                raw[at:at] = raw[random.randrange(len(raw) + 1) :][:40]
            else:
                del raw[max(8, at) :]
        (tmp_path / "w").write_bytes(raw)
        for mmap in (True, False):
            try:
                loaded = load_safetensors(tmp_path / "w", mmap=mmap)
            except WeightsError:
                refused += 1
            else:
                text = 8 + int.from_bytes(raw[:8], "little")
                assert sum(array.nbytes for array in loaded.values()) == len(raw) - text, round
                assert all(array.tobytes() in raw[text:] for array in loaded.values()), round
    assert 600 < refused < 1200  # most, not all: a changed number or letter is another valid file


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "w"
    save_safetensors(path, {"x": np.zeros(3)})
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_safetensors(path, {"x": np.ones(3)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


ENDLESS_WRITER = """
import sys, numpy as np
from minivl.weights import save_safetensors
for i in range(10**9):
    save_safetensors(sys.argv[1], {name: np.full(50_000, i, np.int64) for name in "ab"}, {"round": str(i)})
    print(i, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a thing of POSIX")
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    path = tmp_path / "w"
    writer = subprocess.Popen([sys.executable, "-c", ENDLESS_WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    for _ in range(python_random.Random(1).randrange(3, 8)):
        written = int(writer.stdout.readline())
    writer.kill()
    writer.communicate()
    _, metadata = read_header(path)
    assert int(metadata["round"]) >= written
    for array in load_safetensors(path).values():
        assert np.array_equal(array, np.full(50_000, int(metadata["round"])))
    save_safetensors(path, {"x": np.zeros(1)})  # a file left half written is no obstacle
    assert list(tmp_path.iterdir()) == [path]


def test_match_names_every_fault():
    match({"a": (2, 3), "b": ()}, {"b": (), "a": [2, 3]})
    with pytest.raises(WeightsError) as error:
        match({"a": (2, 3), "b": (4,), "c": ()}, {"a": (3, 2), "b": (4,), "d": (1,), "e": (1,)})
    assert str(error.value) == (
        "weights do not fit: 1 missing: c; 2 unexpected: d, e; 1 misshapen: a (3, 2) where (2, 3) is expected"
    )
    with pytest.raises(WeightsError, match="25 missing: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 15 more$"):
        match({str(i): () for i in range(25)}, {})


@pytest.mark.peer
def test_the_reference_implementation_writes_the_same_bytes_and_reads_ours(tmp_path):
    peer = pytest.importorskip("safetensors.numpy", reason="needs the peers extra")
    tensors = {
        f"{name}.{shape}": example(DTYPES[name], shape) for name in WRITABLE if name != "C64" for shape in SHAPES
    }
    save_safetensors(tmp_path / "ours", tensors, {"step": "7"})
    peer.save_file(tensors, tmp_path / "theirs", {"step": "7"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    theirs = peer.load_file(tmp_path / "ours")
    assert all(same(theirs[name], array) for name, array in tensors.items())


@pytest.mark.peer
def test_bfloat16_of_the_reference_implementation(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the peers extra")
    peer = pytest.importorskip("safetensors.torch", reason="needs the peers extra")
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    peer.save_file({"x": x}, tmp_path / "w")
    assert np.array_equal(load_safetensors(tmp_path / "w")["x"], x.float().numpy())
