"""What a kernel takes, and one clear error for each thing that may be wrong with what it is given."""

import sys
import types

import numpy as np
import pytest

from minivl.kernels import signature

TEXT = """
#define NOT_A_KERNEL(x) x
template <class V> __device__ V helper(V a, V b) { return a + b; }
/* extern "C" __global__ void commented(int n) {} */
extern "C" __global__ void declared(const float* x);
extern "C" __global__ void __launch_bounds__(128, 2) first(const T* __restrict__ x, T* y, /* (in, out) */
                                                           const A *w /* or null */, int n, float eps) {
}
extern "C" __global__
void second(unsigned long long seed, const bool* mask, T* const* all, float4* v, A scale, T last, bool causal,
            uint8_t small, size_t big, const __nv_bfloat16* __restrict__ b)
{
    if (seed) { }
}
extern "C" __launch_bounds__(64) __global__ void third() {}
"""


def f(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def parsed(dtype="float32"):
    return signature.signatures(TEXT, dtype)


def test_kernels_are_found_and_nothing_else():
    assert list(parsed()) == ["first", "second", "third"]


def test_a_signature_says_what_is_wanted():
    x, y, w, n, eps = parsed("bfloat16")["first"].parameters
    assert [p.name for p in (x, y, w, n, eps)] == ["x", "y", "w", "n", "eps"]
    assert [p.dtype for p in (x, y, w, n, eps)] == ["bfloat16", "bfloat16", "float32", "int32", "float32"]
    assert [p.const for p in (x, y, w)] == [True, False, True]
    assert [p.optional for p in (x, y, w)] == [False, False, True]
    assert x.declared == "const T*" and n.declared == "int"
    second = {p.name: p for p in parsed("float64")["second"].parameters}
    assert second["seed"].dtype == "uint64" and second["mask"].dtype == "bool" and second["small"].dtype == "uint8"
    assert (second["all"].pointers, second["all"].dtype, second["all"].const) == (2, "float64", False)
    assert (second["v"].dtype, second["v"].lanes) == ("float32", 4)
    assert (second["scale"].dtype, second["last"].dtype, second["b"].dtype) == ("float64", "float64", "bfloat16")
    assert parsed()["third"].parameters == ()


@pytest.mark.parametrize(
    "parameter", ["const void* x", "std::vector<float> x", "float** const* x", "struct S s", "half* h"]
)
def test_a_parameter_that_nothing_can_be_given_for_is_an_error(parameter):
    with pytest.raises(ValueError, match="wrong: . is '.*', which no array or number can be given for"):
        signature.signatures(f'extern "C" __global__ void wrong({parameter}) {{}}', "float32")


GOOD = (f(4), f(4), f(4), 4, 1e-5)


def changed(i, value):
    return (*GOOD[:i], value, *GOOD[i + 1 :])


def read_only():
    x = f(4)
    x.flags.writeable = False
    return x


def unaligned():
    return np.zeros(17, np.uint8)[1:].view(np.float32)


def on_a_gpu():
    """What looks like an array of CuPy, of which `on_gpu` asks only where its type comes from."""
    kind = type("ndarray", (), {"__module__": "cupy"})
    array = kind()
    array.dtype, array.flags, array.shape, array.size = (
        np.dtype("f4"),
        types.SimpleNamespace(c_contiguous=True),
        (4,),
        4,
    )
    return array


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (GOOD[:4], TypeError, "first: got 4 arguments, must be 5: x, y, w, n, eps"),
        (changed(0, [1.0]), TypeError, "first: x is a list, must be an array of float32"),
        (changed(0, None), TypeError, "first: x is None, must be an array of float32"),
        (changed(2, 3.5), TypeError, "first: w is 3.5, must be an array of float32, or None"),
        (changed(0, f(4, dtype=np.float64)), TypeError, "first: x is an array of float64, must be of float32"),
        (changed(1, f(4, dtype=np.int32)), TypeError, "first: y is an array of int32, must be of float32"),
        (changed(0, f(4, 4).T), ValueError, r"first: x of shape \(4, 4\) has strides \(4, 16\), must be C-contiguous"),
        (changed(0, f(8)[::2]), ValueError, "first: x of shape .* must be C-contiguous"),
        (changed(1, read_only()), ValueError, "first: y is not writeable .* must be"),
        (changed(0, unaligned()), ValueError, "first: x is not aligned to its numbers, must be"),
        (changed(0, on_a_gpu()), ValueError, "first: y is a NumPy array, must be CuPy like the others"),
        (changed(1, on_a_gpu()), ValueError, "first: x is a NumPy array, must be CuPy like the others"),
        (changed(3, 2.0), TypeError, "first: n is 2.0, must be a whole number: int"),
        (changed(3, "4"), TypeError, "first: n is '4', must be a number: int"),
        (changed(3, f(1)), TypeError, "first: n is a ndarray, must be a number: int"),
        (changed(3, 1 << 31), ValueError, "first: n is 2147483648, must be within -2147483648 and 2147483647: int"),
        (changed(3, np.uint64(1 << 40)), ValueError, "first: n is 1099511627776, must be within"),
        (changed(4, 1e39), ValueError, "first: eps is 1e[+]39, must be within the range of float32: float"),
        (changed(4, 1j), TypeError, "first: eps is a complex, must be a number: float"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch, arguments, kind, said):
    monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
    with pytest.raises(kind, match=f"^{said}"):
        parsed()["first"].values(arguments)


def test_arguments_become_what_the_kernel_declares():
    gpu, values = parsed()["first"].values((read_only(), GOOD[1], None, np.int64(7), 1))
    assert not gpu and values[2] is None
    assert values[1] is GOOD[1]  # no copy
    assert [type(value) for value in values[3:]] == [np.int32, np.float32]
    assert parsed()["first"].values((*GOOD[:4], float("inf")))[1][4] == np.inf


SECOND = (1 << 63, f(2, dtype=bool), [f(2), f(3)], f(8), 2.5, 1.0, True, 255, 0, f(4, dtype=np.uint16))


def test_every_kind_of_number():
    values = parsed("float32")["second"].values(SECOND)[1]
    kinds = [np.uint64, np.ndarray, list, np.ndarray, np.float32, np.float32, np.bool_, np.uint8, np.uint64, np.ndarray]
    assert [type(value) for value in values] == kinds
    arguments = (*SECOND[:2], [f(2, dtype=np.uint16)], *SECOND[3:])
    last = parsed("bfloat16")["second"].values(arguments)[1][5]
    assert last == 0x3F80 and last.dtype == np.uint16  # the bits of 1.0


@pytest.mark.parametrize(
    ("i", "value", "said"),
    [
        (0, -1, "seed is -1, must be within 0 and 18446744073709551615"),
        (2, f(2), "all is a ndarray, must be a list of arrays of float32"),
        (2, [], "all is a list, must be a list of arrays"),
        (2, [f(2), None], r"all\[1\] is None, must be an array of float32"),
        (3, f(7), "v has 7 numbers, must be a multiple of 4: float4[*]"),
        (6, 2, "causal is 2, must be True or False"),
        (7, 256, "small is 256, must be within 0 and 255"),
    ],
)
def test_what_is_wrong_is_named_for_other_kinds(i, value, said):
    with pytest.raises((TypeError, ValueError), match=f"^second: {said}"):
        parsed()["second"].values((*SECOND[:i], value, *SECOND[i + 1 :]))
