"""What CuPy is asked for. That it then computes the same is for the tests marked `gpu`."""

import types

import pytest

from minivl import kernels
from minivl.kernels import gpu


@pytest.mark.parametrize(
    ("name", "dtype", "options"),
    [
        ("moe", "float32", ("--std=c++17",)),
        ("ladder/matmul_7_wgmma", "bfloat16", ("--std=c++17", "-arch=sm_90a")),  # sm_90 has not its instructions
    ],
)
def test_a_file_that_names_an_architecture_of_its_own_is_compiled_for_it(name, dtype, options):
    asked = []

    class RawModule:
        def __init__(self, code, options):
            asked.append((code, options))

        def get_function(self, name):
            return name

    text = kernels.load(name, dtype=dtype).text
    assert gpu.Library(text)._function(types.SimpleNamespace(RawModule=RawModule), "f") == "f"
    assert asked == [(text, options)]
