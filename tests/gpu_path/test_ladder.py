"""What `minivl ladder` prints on a GPU, on the stand-in: the lines, not the times in them."""

import dataclasses
import sys

import pytest
from stand_in_cupy import instead_of_cupy

from minivl import kernels
from minivl.ladder import ladder, show, softmax


@pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
def test_every_rung_is_timed_and_compared_with_cupy(monkeypatch):
    small = dataclasses.replace(ladder("softmax"), gpu={"rows": 4, "C": 40})
    monkeypatch.setattr(softmax, "LADDER", small)
    monkeypatch.setattr(show, "_copy_rate", lambda cupy: 1e9)
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    with instead_of_cupy():
        title, head, *rows = show.climb("softmax", "cuda")
    assert title == "softmax: rows 4, C 40" and head.split() == ["rung", "dtype", "ms", "GB/s", "of", "peak"]
    named = [(rung.name.removeprefix("ladder/"), rung.dtype) for rung in small.rungs]
    assert [tuple(row.split()[:2]) for row in rows] == [*named, ("CuPy", "float32")]
    assert all(float(row.split()[2]) > 0 and row.endswith("%") for row in rows)
