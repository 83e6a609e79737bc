"""Transactions as counted by check mode, against the same numbers worked out on paper."""

from pathlib import Path

import numpy as np
import pytest

from minivl import kernels

pytestmark = pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
PATTERNS = Path(__file__).parent / "cu" / "patterns.cu"


def counted(kernel, grid, block, *arguments, shared_mem=0):
    """{(space, kind): [Count, ...]} of one launch, in the order of the lines."""
    found = {}
    with kernels.counting() as counts:
        getattr(kernels.load(PATTERNS, mode="check"), kernel)(grid, block, arguments, shared_mem=shared_mem)
    for count in counts:
        found.setdefault((count.space, count.kind), []).append(count)
    return found


def f(n):
    return np.zeros(n, np.float32)


@pytest.mark.parametrize(("stride", "sectors"), [(0, 1), (1, 4), (2, 8), (8, 32), (33, 32)])
def test_sectors_of_a_strided_read(stride, sectors):
    found = counted("strided", 3, 64, f(192 * 33 + 1), f(192), stride)
    (read,), (write,) = found["global", "read"], found["global", "write"]
    assert (read.accesses, read.requests, read.transactions) == (192, 6, 6 * sectors)
    assert read.ideal == 6 * (1 if stride == 0 else 4)
    assert (write.requests, write.transactions, write.ideal) == (6, 24, 24)
    assert read.place == write.place == "patterns.cu:8"


def test_16_bytes_are_one_request():
    found = counted("four_at_once", 1, 64, f(256), f(256))
    lines = 1 if "clang" in str(kernels.compiler()) else 2  # clang++ splits a float4, which is in the second line
    for kind in ("read", "write"):
        counts = found["global", kind][:lines]
        assert [(c.requests, c.transactions, c.ideal) for c in counts] == [(2, 32, 32)] * lines
        assert [(c.file, c.line) for c in counts] == [("patterns.cu", 13), ("patterns.cu", 14)][:lines]
        assert "(numbers.cuh:" in counts[0].place


@pytest.mark.parametrize(("kernel", "passes"), [("transposed", 32), ("transposed_padded", 1)])
def test_conflicts_of_banks(kernel, passes):
    found = counted(kernel, 1, (32, 32), f(1024), f(1024))
    (read,), (write,) = found["shared", "read"], found["shared", "write"]
    assert (read.requests, read.transactions, read.ideal) == (32, 32 * passes, 32)
    assert (write.requests, write.transactions, write.ideal) == (32, 32, 32)


@pytest.mark.parametrize(("padding", "passes"), [(0, 16), (8, 4)])
def test_conflicts_of_ldmatrix(padding, passes):
    found = counted("matrices", 1, 32, f(32), padding, shared_mem=16 * (32 + padding) * 2)
    (read,) = found["shared", "read"]
    assert (read.accesses, read.requests, read.transactions, read.ideal) == (32, 1, passes, 4)


def test_nothing_is_counted_outside_and_in_fast_mode():
    with kernels.counting() as counts:
        kernels.load(PATTERNS).strided(1, 32, (f(32), f(32), 1))
    kernels.load(PATTERNS, mode="check").strided(1, 32, (f(32), f(32), 1))
    assert counts == []


def test_arrays_lie_as_they_would_on_a_gpu():
    """What is allocated begins at a multiple of 512 bytes, a part of it where it begins."""
    for first, sectors in ((0, 4), (1, 5), (8, 4)):
        (read,) = counted("strided", 1, 32, f(64)[first:], f(32), 1)["global", "read"]
        assert read.transactions == sectors
