"""Fixtures that several tests share."""

import numpy as np
import pytest

from minivl import array


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def small_chunks(monkeypatch):
    """Arrays of a few numbers are cut and spread over threads as large ones are otherwise."""
    monkeypatch.setattr(array, "CHUNK_BYTES", 64)
    monkeypatch.setattr(array, "PRODUCT_FLOPS", 16)
    monkeypatch.setenv("MINIVL_THREADS", "3")
