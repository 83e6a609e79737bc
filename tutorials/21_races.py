"""Tutorial 21: races, which are wrong only sometimes, and how to see them every time."""

# %% [markdown]
# # 21 · Races and how to see them
#
# **Goal.** Know what a race is, why a test does not find it, and how to find it nevertheless.
# **You will see.** A kernel that is right in sixteen orders of its threads and still wrong; both lines of each race.
# **Needs.** Tutorial 20, a C++ compiler; no GPU.
# **Time.** Ten seconds to run, three quarters of an hour to read and try.
#
# Threads of a block share memory, and nobody says in which order they run. Where one writes and another reads, and
# nothing makes one of them wait, the result depends on who comes first. It is right on your machine, for weeks.

# %%
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from show import show, text

from minivl import kernels

if kernels.compiler() is None:
    print("This tutorial compiles kernels for the CPU: install g++ or clang++, or set CXX to the command of one.")
    sys.exit()

# %% [slide]
# ## What a race is
#
# Two threads touch one place in memory, at least one of them writes, and **nothing orders the two**.
#
# Order is made by barriers (`__syncthreads`, `__syncwarp`) and by atomic operations. It is *not* made by
#
# - the order in which the lines stand,
# - being in one warp,
# - having been right a thousand times.

# %% [markdown]
# ## Five kernels, each wrong in one way
#
# Read each of them before you go on, and say which two lines do not go together.

# %%
SOURCE = """// races.cu: each of them wrong in one way.
// dtypes: float32
extern "C" __global__ void swapped(const float* x, float* y) {
    __shared__ float s[64];
    int i = threadIdx.x;
    s[i] = x[i];
    y[i] = s[i ^ 1];
}

extern "C" __global__ void loop(const float* x, float* y, int n) {
    __shared__ float s[64];
    int i = threadIdx.x;
    for (int k = 0; k < n; k++) {
        s[i] = x[k * 64 + i];
        __syncthreads();
        y[k * 64 + i] = s[63 - i];
    }
}

extern "C" __global__ void warp_tree(const float* x, float* y) {
    __shared__ float s[32];
    int i = threadIdx.x;
    s[i] = x[i];
    __syncwarp();
    for (int half = 16; half > 0; half /= 2)
        if (i < half) s[i] += s[i + half];
    if (i == 0) y[0] = s[0];
}

extern "C" __global__ void total(const float* x, float* y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[0] += x[i];
}

extern "C" __global__ void early(const float* x, float* y, int n) {
    __shared__ float s[64];
    int i = threadIdx.x;
    if (i >= n) return;
    s[i] = x[i];
    __syncthreads();
    y[i] = s[n - 1 - i];
}
"""
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "races.cu"
path.write_text(SOURCE, encoding="utf-8")
x = np.arange(256, dtype=np.float32)
LAUNCHES = {  # kernel: grid, block, arguments but for y, what y must be
    "swapped": (1, 64, (x[:64],), x[:64].reshape(32, 2)[:, ::-1].ravel()),
    "loop": (1, 64, (x,), x.reshape(4, 64)[:, ::-1].ravel()),
    "warp_tree": (1, 32, (x[:32],), x[:32].sum(keepdims=True)),
    "total": (4, 64, (x,), x.sum(keepdims=True)),
    "early": (1, 64, (x[:40],), x[:40][::-1]),
}


def launch(name, file=path, **options):
    grid, block, given, wanted = LAUNCHES[name]
    y = np.zeros(len(wanted), np.float32)
    last = (4,) if name == "loop" else (40,) if name == "early" else ()
    getattr(kernels.load(file, **options), name)(grid, block, (*given, y, *last))
    return np.array_equal(y, wanted)


# %% [markdown]
# ## It works on my machine
#
# The CPU runner takes the threads in turn; `seed` draws another order. Each order is one that a GPU may choose, too.
# Run each kernel with sixteen of them and count how often it is right. (The last is left out, it ends well in none: 40
# of its threads wait at a barrier that 24 never reach. On a GPU that is undefined; often it hangs.)

# %%
right = {}
for name in ("swapped", "loop", "warp_tree", "total"):
    right[name] = sum(launch(name, seed=seed) for seed in range(16))
    print(f"{name:<10} right with {right[name]:>2} of 16 orders")

# %% [markdown]
# Three are found by any test. `total` is always right here, and still it is wrong: on the runner a thread goes on until
# it meets a barrier, so that nobody comes between its reading and its writing; on a GPU many threads read the same old
# number. A test asks *is the result right*; the question that finds a race is *could it have been another*.
#
# ## Check mode
#
# `mode="check"` remembers of every place in memory who wrote and read it last, and since which barrier. Whatever the
# order of the run was, it reports two accesses that nothing had put in order, with both lines.

# %%
found = {}
for name in LAUNCHES:
    try:
        launch(name, mode="check")
    except kernels.KernelError as error:
        found[name] = str(error)
        print(found[name], "\n")


def lines_of(message):
    """The numbers of the lines that a message names."""
    return sorted({int(n) for n in re.findall(r"races\.cu:(\d+)", message)})


def listing(name, message):
    """A kernel's text as a picture, with the lines of a message marked."""
    every, marked = SOURCE.splitlines(), lines_of(message)
    begin = next(i for i, line in enumerate(every) if f" {name}(" in line)
    end = next(i for i in range(begin, len(every)) if every[i] == "}")
    picture = Image.new("RGB", (600, 18 * (end - begin + 1) + 34), "white")
    draw = ImageDraw.Draw(picture)
    text(draw, (8, 6), message.partition(": ")[2].partition(": ")[2].split(",")[0], size=12, fill="#d55e00")
    for row, i in enumerate(range(begin, end + 1)):
        y = 28 + 18 * row
        if i + 1 in marked:
            draw.rectangle([0, y, 600, y + 17], fill="#ffe3cc")
        text(draw, (30, y + 1), str(i + 1), size=12, anchor="ra", fill="#8a8a8a")
        indent = len(every[i]) - len(every[i].lstrip())
        text(draw, (42 + 6 * indent, y + 1), every[i].strip(), size=12)
    return picture


for name in ("swapped", "loop", "warp_tree"):
    show(listing(name, found[name]), f"21_{name}")

# %% [markdown]
# ## Mended
#
# - `swapped` wants a barrier between writing and reading.
# - `loop` wants a *second* one, behind the reading: without it the next round overwrites what others still read.
#   This is the barrier that is forgotten most often.
# - `warp_tree`: lanes of a warp have not run in step since 2017. A `__syncwarp()` in each round.
# - `total`: `atomicAdd`, or better one sum for each block and one atomic addition of it.
# - `early`: nobody leaves before the last barrier; the `if` goes round the work.

# %%
MENDED = [
    ("    s[i] = x[i];\n    y[i] = s[i ^ 1];", "    s[i] = x[i];\n    __syncthreads();\n    y[i] = s[i ^ 1];"),
    ("        y[k * 64 + i] = s[63 - i];", "        y[k * 64 + i] = s[63 - i];\n        __syncthreads();"),
    (
        "    for (int half = 16; half > 0; half /= 2)\n        if (i < half) s[i] += s[i + half];",
        "    for (int half = 16; half > 0; half /= 2) {\n        if (i < half) s[i] += s[i + half];\n"
        "        __syncwarp();\n    }",
    ),
    ("    y[0] += x[i];", "    atomicAdd(y, x[i]);"),
    ("    if (i >= n) return;\n    s[i] = x[i];", "    if (i < n) s[i] = x[i];"),
    ("    y[i] = s[n - 1 - i];", "    if (i < n) y[i] = s[n - 1 - i];"),
]
mended_source = SOURCE
for wrong, cure in MENDED:
    assert wrong in mended_source
    mended_source = mended_source.replace(wrong, cure)
mended = Path(folder.name) / "mended.cu"
mended.write_text(mended_source, encoding="utf-8")
silent = {name: [launch(name, mended, mode="check", seed=seed) for seed in (None, 1, 2)] for name in LAUNCHES}
print("check mode is silent, and the results are right:", {name: all(those) for name, those in silent.items()})

# %% [markdown]
# Is the mended `total` always the same to the last bit? No: additions of floats do not associate, and atomic ones come
# in any order. (Here the numbers are whole and small, so it is.) That is not a race but it is not repeatable either,
# and it is why minivl's kernels add in a fixed order.
#
# ## Exercises
#
# 1. In the mended `warp_tree`, the lanes that do not add wait at `__syncwarp()`, too. Move it *into* the `if`. What
#    does check mode say, and why is that another mistake than the race?
# 2. Write the sum of a block of 256 threads by a tree in shared memory. Take out one barrier at a time, and see whether
#    each is noticed. Is there one that you do not need?
# 3. Look at `block_reduce` in minivl/kernels/include/reduce.cuh: it has two barriers. Which of `swapped` and `loop` is
#    each of them there for?

# %%
assert right["swapped"] < 16 and right["loop"] < 16 and right["warp_tree"] < 16 and right["total"] == 16
assert set(found) == set(LAUNCHES)
assert all("race" in found[name] for name in ("swapped", "loop", "warp_tree", "total"))
assert "divergence" in found["early"]
assert lines_of(found["swapped"]) == [6, 7] and lines_of(found["loop"]) == [14, 16]
assert all(all(those) for those in silent.values())
folder.cleanup()
