"""A CUDA kernel: softmax by a warp, and in one pass.

Thirty-two threads, one row. They cannot see each other's registers, but they can hand numbers around; and memory is so
much slower than arithmetic that a loop over the row is the unit in which a kernel is paid. First with three loops, then
with two: that is the idea on which flash attention stands. Everything runs on your own machine, without a GPU.

    three loops    largest, sum of exp(x - largest), result
    online         m' = max(m, x),  s' = s exp(m - m') + exp(x - m')          Milakov & Gimelshein 2018

You will need: C, a C++ compiler (g++ or clang++), tutorials 20 and 21. About 2 hours. `minivl ladder softmax` shows
what each rung gains.
"""

import numpy as np

from ..sheet import check, close, holds, scenario

FILES = ("minivl/ladder/softmax_3_warp.cu", "minivl/ladder/softmax_4_online.cu")
LEFT_OUT = (
    "minivl/ladder/softmax_[125]*.cu",
    "minivl/ladder/attention_*.cu",
    "minivl/ladder/contrastive_*.cu",
    "minivl/ladder/layernorm_*.cu",
    "minivl/ops/*.cu",
)
# What the runner needs. The lines of a submission are compiled, and cannot name a function of the system: see cut.py.
ALLOWED = ("ctypes.", "subprocess.", "os.posix_spawn", "os.fork", "os.exec", "descriptors")
_NAMES = ("ladder/softmax_3_warp", "ladder/softmax_4_online")
_broken = {}


def prepare():
    """Compiles both kernels, checked, and launches each once: afterwards nothing needs a compiler."""
    for name in _NAMES:
        try:
            _launch(name, np.zeros((1, 3), np.float32), 0)
        except _errors() as error:
            _broken[name] = str(error)


def _errors():
    from minivl.kernels import KernelError

    return KernelError, ValueError, TypeError, RuntimeError


def _launch(name, x, seed):
    from minivl import kernels

    y = np.full_like(x, np.nan)
    k = kernels.load(name, dtype="float32", mode="check", seed=seed)
    k.softmax(max(1, -(-len(x) // 4)), 128, (np.ascontiguousarray(x), y, *x.shape))
    return y


@scenario
def by_warp(x, seed):
    return _run(_NAMES[0], x, seed)


@scenario
def online(x, seed):
    return _run(_NAMES[1], x, seed)


def _run(name, x, seed):
    if name in _broken:
        raise RuntimeError(_broken[name])
    return _launch(name, x, int(seed))


def _softmax(x):
    e = np.exp(x.astype(float) - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


_SHAPES = ((1, 1), (3, 31), (5, 32), (9, 33), (4, 257))


def _right(run, random, kernel):
    for rows, C in _SHAPES:
        x = (3 * random.standard_normal((rows, C))).astype(np.float32)
        close(f"softmax of {rows} x {C}", run(kernel, x, seed=int(random.integers(99))), _softmax(x), 2e-6)


def _safe(run, random, kernel):
    x = (random.standard_normal((4, 70)) * 50).astype(np.float32)
    x[0] -= 5000
    x[1, ::7] += 3000
    y = run(kernel, x, seed=1)
    holds(np.isfinite(y).all(), "the result is not finite for large numbers")
    close("softmax of large numbers", y, _softmax(x), 1e-5)


@check("ex11.a", "y_i = exp(x_i - max x) / sum_j exp(x_j - max x)")
def warp_gives_softmax(run, random):
    """Lanes beyond the end of the row; a sum that only lane 0 knows; numbers left out when C is no multiple of 32."""
    _right(run, random, by_warp)


@check("ex11.a", "softmax(x) = softmax(x - c)")
def warp_does_not_overflow(run, random):
    _safe(run, random, by_warp)


@check("ex11.b", "m' = max(m, x),  s' = s exp(m - m') + exp(x - m')")
def online_gives_softmax(run, random):
    """A sum that is not scaled where the largest grows; lanes' sums added up before they have a largest in common."""
    _right(run, random, online)


@check("ex11.b", "softmax(x) = softmax(x - c)")
def online_does_not_overflow(run, random):
    _safe(run, random, online)


@check("ex11.b", "the row is read twice, not three times")
def online_reads_twice(run, random):
    """Three loops: right, and half as slow again."""
    x = random.standard_normal((4, 320)).astype(np.float32)
    reads = run(reads_of_x, x)
    holds(int(reads) <= 2 * x.size, f"x is read {int(reads) / x.size:.1f} times, must be read 2 times at most")


@scenario
def reads_of_x(x):
    """How many numbers the online kernel reads from memory."""
    if _NAMES[1] in _broken:
        raise RuntimeError(_broken[_NAMES[1]])
    from minivl import kernels

    with kernels.counting() as counts:
        _launch(_NAMES[1], x, 0)
    return np.array(sum(c.accesses for c in counts if c.space == "global" and c.kind == "read"))
