"""Devices, and work that is spread over threads: complete, in order, once each, and the same bits on any number."""

import os
import sys
import threading
import time

import numpy as np
import pytest

from minivl import Tensor, array, blas


@pytest.fixture(params=["1", "2", "4"])
def threads(request, monkeypatch):
    monkeypatch.setenv("MINIVL_THREADS", request.param)
    return int(request.param)


# ---- devices ---------------------------------------------------------------------------------------------------------


def test_numpy_arrays_are_on_the_cpu():
    x = np.ones(2)
    assert array.array_module(x) is np and array.device_of(x) == "cpu" and not array.on_gpu(x)
    assert array.to_device(x, "cpu") is x
    with pytest.raises(ValueError, match="device: got 'tpu', must be 'cpu' or 'cuda'"):
        array.to_device(x, "tpu")


def test_without_cupy_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # what an import of something that is not installed meets
    with pytest.raises(ModuleNotFoundError, match=r"needs CuPy, which is not installed: pip install 'minivl\[cuda\]'"):
        Tensor([1.0]).to("cuda")


# ---- how many threads ------------------------------------------------------------------------------------------------


def test_cores(monkeypatch):
    monkeypatch.setenv("MINIVL_THREADS", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert array.cores() == 3
    monkeypatch.delenv("MINIVL_THREADS")
    assert array.cores() == 5
    monkeypatch.setenv("MINIVL_THREADS", "")
    assert array.cores() == 5
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= array.cores() <= os.cpu_count()


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²"])
def test_bad_numbers_of_threads(monkeypatch, value):
    monkeypatch.setenv("MINIVL_THREADS", value)
    with pytest.raises(
        ValueError, match=f"MINIVL_THREADS: got '{value}', must be a whole number of threads, at least 1"
    ):
        array.parallel(lambda chunk: None, [1, 2])


# ---- parallel --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 3, 100])
def test_every_chunk_once(threads, n):
    done = []
    array.parallel(done.append, range(n))
    assert sorted(done) == list(range(n))


def test_threads_work_at_the_same_time(threads):
    """Each of `threads` chunks waits for all the others to have begun."""
    together = threading.Barrier(threads)
    array.parallel(lambda chunk: together.wait(10), range(threads))


def test_an_exception_comes_out(threads):
    done = []

    def body(chunk):
        done.append(chunk)
        if chunk == 3:
            raise KeyError("chunk 3")

    with pytest.raises(KeyError, match="chunk 3"):
        array.parallel(body, range(1000))
    assert len(done) < 1000, "nobody starts on the rest"
    array.parallel(done.append, range(10))  # and the threads are still there


def test_calls_within_calls(threads):
    done = []
    array.parallel(lambda i: array.parallel(lambda j: done.append((i, j)), range(5)), range(5))
    assert sorted(done) == [(i, j) for i in range(5) for j in range(5)]


def test_a_call_within_a_call_stays_in_its_thread(threads):
    def body(chunk):
        here, seen = threading.get_ident(), []
        array.parallel(lambda c: (time.sleep(0.001), seen.append(threading.get_ident())), range(4))
        assert seen == [here] * 4

    array.parallel(body, range(4))


def test_calls_from_several_threads(threads):
    results = {}

    def work(name):
        for _ in range(20):
            done = []
            array.parallel(done.append, range(30))
            results.setdefault(name, []).append(sorted(done) == list(range(30)))

    callers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for c in callers:
        c.start()
    for c in callers:
        c.join(60)
    assert all(all(r) and len(r) == 20 for r in results.values()) and len(results) == 4


def test_work_for_later(threads):
    """Begun in the order in which it was given, done once, and waited for only by who asks for it."""
    here, seen = threading.get_ident(), []
    waits = [array.later(lambda n=n: seen.append(threading.get_ident()) or n * n) for n in range(20)]
    array.parallel(lambda chunk: None, range(4))  # while others of it are under way
    assert [wait() for wait in waits] == [n * n for n in range(20)] and len(seen) == 20
    assert [wait() for wait in waits] == [n * n for n in range(20)] and len(seen) == 20
    assert threads > 1 or set(seen) == {here}


def test_an_error_of_later_work_comes_out(threads):
    """Where it is waited for or, if it was done at once, there."""
    with pytest.raises(IndexError):
        array.later(lambda: [][0])()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork(monkeypatch):
    monkeypatch.setenv("MINIVL_THREADS", "3")
    barrier = threading.Barrier(3)
    array.parallel(lambda chunk: barrier.wait(10), range(3))  # the parent has threads that the child will not have
    child = os.fork()
    if child == 0:
        code = 1
        try:
            again = threading.Barrier(3)
            array.parallel(lambda chunk: again.wait(10), range(3))
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child never finished")
    assert os.waitstatus_to_exitcode(status) == 0
    barrier.reset()
    array.parallel(lambda chunk: barrier.wait(10), range(3))


@pytest.mark.parametrize("error", [False, True])
def test_blas_has_one_thread_inside_and_as_many_as_before_outside(threads, error):
    blas_threads, set_threads = blas.threads()
    if blas_threads is None:
        pytest.skip("NumPy's BLAS is not an OpenBLAS of its own, and cannot be told how many threads to use")
    before, seen = blas_threads(), []
    set_threads(2)

    def body(chunk):
        seen.append(blas_threads())
        array.parallel(lambda c: seen.append(blas_threads()), range(2))
        seen.append(blas_threads())
        if error:
            raise ZeroDivisionError

    try:
        try:
            array.parallel(body, range(4))
        except ZeroDivisionError:
            assert error
        end = time.monotonic() + 5  # a helper may leave a moment after the work is done
        while blas_threads() != 2 and time.monotonic() < end:
            time.sleep(0.001)
        assert set(seen) == {1} and blas_threads() == 2
    finally:
        set_threads(before)


# ---- rows and elements -----------------------------------------------------------------------------------------------


def test_slices():
    assert array.slices(7, 3) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert array.slices(6, 3) == [slice(0, 3), slice(3, 6)]
    assert array.slices(0, 3) == []


@pytest.mark.parametrize("chunk_bytes", [1, 64, 1 << 17])
def test_rowwise(random, monkeypatch, threads, chunk_bytes):
    monkeypatch.setattr(array, "CHUNK_BYTES", chunk_bytes)
    x, y = random.standard_normal((4, 5, 3)), random.standard_normal((4, 5, 2))

    def formula(x, y):
        assert x.ndim == y.ndim == 2 and len(x) == len(y)
        return x * 2, y[:, :1], x.sum(0), (y * y).sum()

    double, first, total, squares = array.rowwise(formula, x, y, sums=2)
    np.testing.assert_array_equal(double, x * 2)
    np.testing.assert_array_equal(first, y[..., :1])
    np.testing.assert_allclose(total, x.sum((0, 1)), rtol=1e-13)
    np.testing.assert_allclose(squares, (y * y).sum(), rtol=1e-13)
    np.testing.assert_array_equal(array.rowwise(np.negative, x), -x)
    np.testing.assert_allclose(array.sum_rows(x.reshape(20, 3)), x.reshape(20, 3).sum(0), rtol=1e-13)


def test_sums_do_not_depend_on_who_is_first(monkeypatch):
    monkeypatch.setattr(array, "CHUNK_BYTES", 8)
    x = np.array([[1e16], [1.0], [-1e16], [1.0]])
    total = array.sum_rows(x)
    monkeypatch.setattr(array, "parallel", lambda body, chunks: [body(c) for c in list(chunks)[::-1]])
    assert array.sum_rows(x) == total


@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (0, 4)])
def test_elementwise(random, monkeypatch, threads, shape):
    monkeypatch.setattr(array, "CHUNK_BYTES", 16)
    x = random.standard_normal(shape)
    np.testing.assert_array_equal(array.elementwise(np.add, x, x), 2 * x)
    larger, smaller = array.elementwise(lambda x: (x + 1, x - 1), x)
    np.testing.assert_array_equal(larger, x + 1)
    np.testing.assert_array_equal(smaller, x - 1)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (300, 3, 2), (2, 3, 300), (200, 4, 300), (0, 3, 2), (3, 0, 2), (3, 2, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matmul_in_pieces(random, monkeypatch, threads, sizes, dtype):
    monkeypatch.setattr(array, "PRODUCT_FLOPS", 1)
    M, K, N = sizes
    a, b, bias = (random.standard_normal(s).astype(dtype) for s in ((M, K), (K, N), (N,)))
    out = array.matmul(a, b, bias)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, a.astype("d") @ b + bias, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-5)
    np.testing.assert_allclose(array.matmul(a.T.copy().T, b.T.copy().T), a @ b, rtol=1e-4, atol=1e-5)


def test_large_products_have_the_same_bits_on_any_number_of_threads(random, monkeypatch):
    a, b = (random.standard_normal(s).astype(np.float32) for s in ((700, 96), (96, 530)))
    stack = random.standard_normal((3, 4, 64, 64)).astype(np.float32)
    seen = set()
    for threads in ("1", "2", "4"):
        monkeypatch.setenv("MINIVL_THREADS", threads)
        products = array.matmul(a, b), array.matmul(b.T, a.T), (Tensor(stack) @ Tensor(stack)).data
        seen.add(b"".join(p.tobytes() for p in products))
    assert len(seen) == 1
