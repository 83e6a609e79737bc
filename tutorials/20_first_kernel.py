"""Tutorial 20: your first CUDA kernel, without a GPU."""

# %% [markdown]
# # 20 · Your first kernel
#
# **Goal.** Write two CUDA kernels, a sum of vectors and a sum of rows, and run them on the CPU.
# **You will see.** Which thread gets which number, what a warp asks of memory, and an index that runs past the end.
# **Needs.** Tutorial 03; a little C. A C++ compiler (g++ or clang++); no GPU.
# **Time.** Ten seconds to run, an hour to read and try.
#
# A GPU is a machine for doing one small thing a million times at once. You write the small thing, as a function in C:
# a *kernel*. You say how many *threads* shall run it. Each of them asks which one it is, and takes its share.

# %%
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from show import COLOURS, heat, show, text

from minivl import kernels

if kernels.compiler() is None:
    print("This tutorial compiles kernels for the CPU: install g++ or clang++, or set CXX to the command of one.")
    sys.exit()

folder = tempfile.TemporaryDirectory()


def written(name, source):
    """The kernels of a text of ours, as functions: the text is written to a file and loaded."""
    path = Path(folder.name) / f"{name}.cu"
    path.write_text(source, encoding="utf-8")
    return path


# %% [slide]
# ## Grid, block, thread
#
# ```
# grid  = all blocks of a launch       gridDim.x   how many blocks
# block = threads that can meet        blockDim.x  how many threads, blockIdx.x which block
# thread                               threadIdx.x which one in its block
#
# int i = blockIdx.x * blockDim.x + threadIdx.x;     who am I, among all?
# ```
#
# 32 neighbouring threads are a **warp**: they ask memory together.

# %% [markdown]
# ## A sum of two vectors
#
# One thread for each number. There are as many threads as blocks times threads of a block, so the last block has
# some too many: hence the `if`.

# %%
ADD = """// add.cu: z = x + y, one thread for each number.
// dtypes: float32
extern "C" __global__ void add(const float* x, const float* y, float* z, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) z[i] = x[i] + y[i];
}
"""
add = kernels.load(written("add", ADD))
random = np.random.default_rng(0)
n, threads = 1000, 128
x, y = random.standard_normal((2, n)).astype(np.float32)
z = np.empty_like(x)
blocks = -(-n // threads)  # divided and rounded up
add.add(blocks, threads, (x, y, z, n))
print(f"{blocks} blocks of {threads} threads for {n} numbers; as NumPy says: {np.array_equal(z, x + y)}")

# %% [markdown]
# The text is compiled by your C++ compiler, with CUDA's words explained to it, and the threads run one after another.
# Give it CuPy arrays in place of NumPy's, and the same text runs on a GPU. Its signature is read, so a wrong argument
# is told before anything happens:

# %%
try:
    add.add(blocks, threads, (x, y.astype(np.float64), z, n))
except (TypeError, ValueError) as error:
    told = str(error)
    print(told)

# %% [markdown]
# ## Past the end
#
# Without the `if`, 24 threads have no number. In C they read and write what stands there, and mostly nothing happens:
# today. `mode="check"` looks at every access.

# %%
careless = written("careless", ADD.replace("if (i < n) ", ""))
try:
    kernels.load(careless, mode="check").add(blocks, threads, (x, y, z, n))
except kernels.KernelError as error:
    past = str(error)
    print(past)

# %% [markdown]
# ## A sum of rows
#
# Now the threads must work together: a row has one sum. The simplest way is one thread for each row.

# %%
ROWS = """// rows.cu: y[r] = the sum of row r of x (rows, C).
// dtypes: float32
extern "C" __global__ void thread_a_row(const float* x, float* y, int rows, int C) {
    int r = blockIdx.x * blockDim.x + threadIdx.x;
    if (r >= rows) return;
    float sum = 0;
    for (int i = 0; i < C; i++) sum += x[r * C + i];
    y[r] = sum;
}

// One warp for each row: lane 0 takes numbers 0, 32, 64, ..., lane 1 takes 1, 33, 65, ...
extern "C" __global__ void warp_a_row(const float* x, float* y, int rows, int C) {
    int r = blockIdx.x, lane = threadIdx.x;
    float sum = 0;
    for (int i = lane; i < C; i += 32) sum += x[r * C + i];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffff, sum, step);
    if (lane == 0) y[r] = sum;
}
"""
rows, C = 64, 96
table, sums = random.standard_normal((rows, C)).astype(np.float32), {}
summed = kernels.load(written("rows", ROWS), mode="check")
asked = {}
for name, grid, block in (("thread_a_row", 2, 32), ("warp_a_row", rows, 32)):
    sums[name] = np.zeros(rows, np.float32)
    with kernels.counting() as counts:
        getattr(summed, name)(grid, block, (table, sums[name], rows, C))
    asked[name] = [count for count in counts if count.kind == "read"][0]
    print(f"{name:<14} largest error {np.abs(sums[name] - table.sum(1)).max():.1e}")

# %% [markdown]
# The second needs the lanes to hand each other numbers. `__shfl_xor_sync(mask, v, step)` gives each lane the `v` of the
# lane whose number differs in one bit. After steps of 16, 8, 4, 2 and 1 each lane has the sum of all 32: five
# additions, not thirty-one. Here for eight lanes:

# %%
values = np.arange(1, 9)
butterfly = [values]
for step in (4, 2, 1):
    values = values + values[np.arange(8) ^ step]
    butterfly.append(values)
named = ["at first", "step 4", "step 2", "step 1"]
show(heat(butterfly, named, [f"lane {i}" for i in range(8)], "who has which sum", cell=52), "20_butterfly")

# %% [markdown]
# ## What a warp asks of memory
#
# Both kernels do the same additions. But memory is fetched in *sectors* of 32 bytes, eight numbers. When the 32 lanes
# of a warp read 32 neighbours, that is 4 sectors, all of which is used. When each lane reads in a row of its own, it
# is 32 sectors for the same 32 numbers.

# %%
for name, count in asked.items():
    print(f"{name:<14}{count.requests:>5} requests, {count.transactions / count.requests:4.0f} sectors for each")


def which_lane(name):
    """The first request of a warp: which lane reads which number of the table."""
    picture = Image.new("RGB", (470, 160), "white")
    draw = ImageDraw.Draw(picture)
    text(draw, (10, 4), name)
    for r in range(8):
        for i in range(32):
            lane = i if name == "warp_a_row" and r == 0 else r if name == "thread_a_row" and i == 0 else None
            box = [10 + 14 * i, 26 + 16 * r, 22 + 14 * i, 40 + 16 * r]
            draw.rectangle(box, fill=COLOURS[lane % 6] if lane is not None else "#eeeeee")
    return picture


for name in sums:
    show(which_lane(name), f"20_{name}")

# %% [markdown]
# Rows are rows of the table, eight of them are drawn, and a colour is a lane. This one difference is the first rung of
# nearly every ladder of optimisation (tutorial 22), and it is called *coalescing*.
#
# ## Exercises
#
# 1. Write a kernel for `z = a x + y` with a number `a`, and one that adds a vector to each row of a table. Which index
#    does the vector need?
# 2. Let one block of 128 threads sum a row: four warps, each with a sum, and then? You will need `__shared__` memory
#    and `__syncthreads()`; run it in check mode, and go on with tutorial 21 when it complains.
# 3. Sum the columns of a table. Is one thread for each column good or bad, and why is it the other way round than for
#    rows? Count before you believe.

# %%
assert np.array_equal(z, x + y)
assert "float64" in told and "out of bounds" in past and "careless.cu:5" in past
assert all(np.abs(s - table.sum(1)).max() < 1e-4 for s in sums.values())
assert set(butterfly[-1]) == {36}
assert asked["thread_a_row"].transactions == 32 * asked["thread_a_row"].requests
assert asked["warp_a_row"].transactions == 4 * asked["warp_a_row"].requests
folder.cleanup()
