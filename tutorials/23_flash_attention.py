"""Tutorial 23: from a softmax in one pass to flash attention."""

# %% [markdown]
# # 23 · From online softmax to flash attention
#
# **Goal.** Derive the algorithm that made long sequences affordable, in twenty lines of NumPy.
# **You will see.** A maximum and a sum that are corrected as they go, tiles, and how memory stops growing with T².
# **Needs.** Tutorials 08 and 22. A C++ compiler for the last section only.
# **Time.** A few seconds, and an hour to read with paper beside you.
#
# Attention of T tokens to each other has a table of T² scores. For T = 16,384 and 16 heads of 64 that is 16 GiB in
# float32, for an output of 64 MiB. The table is needed only on the way. Flash attention (Dao et al. 2022, arXiv
# 2205.14135) never writes it down.

# %%
import sys

import numpy as np
from PIL import Image, ImageDraw
from show import COLOURS, FAST, beside, curves, show, text

from minivl import Tensor, kernels, no_grad, ops

# %% [markdown]
# ## Why there is a maximum at all
#
# softmax(x) = exp(x) / sum exp(x). In float32, exp(89) is infinite. Subtract anything from all of x, and nothing
# changes; subtract the maximum, and no exponent is above 0.

# %%
x = np.array([100.0, 99.0, 98.0], np.float32)
with np.errstate(over="ignore", invalid="ignore"):
    naive = np.exp(x) / np.exp(x).sum()
safe = np.exp(x - x.max()) / np.exp(x - x.max()).sum()
print("without", naive, "  with", safe.round(4))

# %% [slide]
# ## One pass: carry (m, s), and correct
#
# Seen so far: the maximum m, and s = sum of exp(x - m). A new number x, with m' = max(m, x):
#
# **s' = s · exp(m - m') + exp(x - m')**
#
# Two heaps that were seen apart are joined in the same way:
#
# **(m, s) + (m', s') = (M, s · exp(m - M) + s' · exp(m' - M))**, with M = max(m, m')
#
# That is associative. So it does not matter how the row is cut up: into numbers, tiles, lanes or blocks.

# %%
random = np.random.default_rng(0)
row = np.sort(random.standard_normal(48))[random.permutation(48)] * 3


def heap(x):
    return x.max(), np.exp(x - x.max()).sum()


def joined(a, b):
    m = max(a[0], b[0])
    return m, a[1] * np.exp(a[0] - m) + b[1] * np.exp(b[0] - m)


state, ms, ss = (row[0], 1.0), [], []
for number in row[1:]:
    state = joined(state, (number, 1.0))
    ms.append(state[0])
    ss.append(state[1])
halves = joined(heap(row[:31]), heap(row[31:]))
thirds = joined(heap(row[:5]), joined(heap(row[5:20]), heap(row[20:])))
print("at once", heap(row), " one by one", state, " in halves", halves, " in thirds", thirds)
show(
    beside(curves({"maximum": ms}, title="m so far", size=(400, 240)), curves({"sum": ss}, size=(400, 240), title="s")),
    "23_online",
)

# %% [markdown]
# The sum falls wherever the maximum grows: that is the correction. At the end both are what they must be.
#
# ## Averages can be corrected, too
#
# Attention does not want the shares but the average of values weighted by them: o = sum p v / sum p. So carry the
# weighted *sum* of the values along, correct it by the same factor, and divide once at the end. Each heap is now (m, s,
# o), and no share is ever kept.

# %%


def flash(q, k, v, tile=16, watch=None):
    """softmax(q k^T / sqrt(D)) v for q (Tq, D), k and v (Tk, D); never more than tile x tile scores at a time."""
    out, log_sum = np.empty((len(q), v.shape[1])), np.empty(len(q))
    for i in range(0, len(q), tile):  # a tile of queries: on a GPU a block, all of them at once
        mine = q[i : i + tile] / np.sqrt(q.shape[1])
        m, s, o = np.full(len(mine), -np.inf), np.zeros(len(mine)), np.zeros((len(mine), v.shape[1]))
        for j in range(0, len(k), tile):  # past it go the tiles of keys and values
            scores = mine @ k[j : j + tile].T
            top = np.maximum(m, scores.max(1))
            p, shrink = np.exp(scores - top[:, None]), np.exp(m - top)
            s = s * shrink + p.sum(1)
            o = o * shrink[:, None] + p @ v[j : j + tile]
            m = top
            if watch is not None:
                watch.append((i // tile, j // tile, scores.size))
        out[i : i + tile], log_sum[i : i + tile] = o / s[:, None], m + np.log(s)
    return out, log_sum


T, D = 70, 32
q, k, v = random.standard_normal((3, T, D)) * 2
scores = q @ k.T / np.sqrt(D)
shares = np.exp(scores - scores.max(1, keepdims=True))
table = shares / shares.sum(1, keepdims=True)
steps = []
by_tiles, log_sum = flash(q, k, v, watch=steps)
apart = np.abs(by_tiles - table @ v).max()
print(
    f"tiles against the whole table: at most {apart:.1e} apart; {max(n for *_, n in steps)} scores at a time of {T * T}"
)


# %%
def order(steps, cell=40):
    """The table of scores with the tile's number in the order in which they come; one row of tiles is one block."""
    n = max(i for i, _, _ in steps) + 1
    picture = Image.new("RGB", (n * cell + 120, n * cell + 40), "white")
    draw = ImageDraw.Draw(picture)
    text(draw, (10, 8), "queries down, keys across")
    for number, (i, j, _) in enumerate(steps):
        box = [10 + j * cell, 32 + i * cell, 10 + (j + 1) * cell - 2, 32 + (i + 1) * cell - 2]
        draw.rectangle(box, fill=COLOURS[i % 6])
        text(draw, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), str(number), anchor="mm", fill="white")
    for i in range(n):
        text(draw, (16 + n * cell, 32 + i * cell + cell / 2), f"block {i}", anchor="lm")
    return picture


show(order(steps), "23_tiles")

# %% [markdown]
# A colour is a block of threads. It keeps its queries, m, s and o at hand, and lets the keys and values go past.
#
# ## What is saved
#
# Arithmetic? None: the same products, and a few more exponentials. Memory: the table of T² against q, k, v and the
# output, 4 T D. And *traffic*, which is what made it fast: the table is not written and read again.

# %%
lengths = 2 ** np.arange(8, 17)
lines = {"the table, T x T": lengths**2 * 4.0, "q, k, v and out": 4 * lengths * 64 * 4.0}
show(curves(lines, lengths, "bytes for one head of 64, over T", log_x=True, log_y=True), "23_memory")

# %% [markdown]
# ## Backward without the table
#
# Going backward wants the shares again. They are worked out a second time, tile by tile: p = exp(score - L), with
# L = m + log s, *one number for each query* kept from the way forward. And the derivative of the softmax,
# dS = p (dP - sum p dP), wants for each query the sum of p dP. That is dO · O, without any table: for sum over j of
# p_j (dO · v_j) = dO · (sum over j of p_j v_j) = dO · O.

# %%
dout = random.standard_normal((T, D))
again = np.exp(scores - log_sum[:, None])
with_table = (table * (dout @ v.T)).sum(1)
without = (dout * by_tiles).sum(1)
ds = again * (dout @ v.T - without[:, None])
dq, dk, dv = ds @ k / np.sqrt(D), ds.T @ q / np.sqrt(D), again.T @ dout
tensors = [Tensor(a[None, None], requires_grad=True) for a in (q, k, v)]
(ops.attention(*tensors) * dout[None, None]).sum().backward()
wrong = max(np.abs(mine - tensor.grad[0, 0]).max() for mine, tensor in zip((dq, dk, dv), tensors, strict=True))
print(
    f"dO · O against the sum of p dP: {np.abs(with_table - without).max():.1e};  gradients against minivl: {wrong:.1e}"
)

# %% [markdown]
# ## The shipped kernel
#
# `minivl/ops/attention.cu` is what you have just written: tiles of 64 queries or 32, all that meet in shared memory,
# (m, s, o) in registers. Within `kernels.on_cpu()` the very same text runs here, and on a GPU without being asked.

# %%
assert not np.isfinite(naive).all() and np.isfinite(safe).all()
assert np.allclose(state, heap(row)) and np.allclose(halves, heap(row)) and np.allclose(thirds, heap(row))
assert apart < 1e-12 and wrong < 1e-12 and np.abs(with_table - without).max() < 1e-11
assert max(n for *_, n in steps) == 16 * 16
if kernels.compiler() is None:
    print("The last section runs a CUDA kernel on the CPU: install g++ or clang++, or set CXX to the command of one.")
    sys.exit()

by_kernel = {}
for mode in ("fast",) if FAST else ("fast", "check"):
    singles = [Tensor(a[None, None].astype(np.float32)) for a in (q, k, v)]
    with no_grad(), kernels.on_cpu(mode=mode):
        by_kernel[mode] = ops.attention(*singles).numpy()[0, 0]
    print(f"kernel, mode {mode}: at most {np.abs(by_kernel[mode] - by_tiles).max():.1e} from the NumPy above")

# %% [markdown]
# Float32 has seven digits; so much is left of them.
#
# ## Exercises
#
# 1. Give `flash` a causal mask. Which tiles need no work at all, and what part of all is that for long sequences?
# 2. Start `m` at 0 in place of minus infinity. For which inputs does it go wrong? And what happens to a query that may
#    attend to nothing, in your `flash` and in `ops.attention`?
# 3. Read minivl/ladder/attention_1_naive.cu to attention_3_online.cu, and find (m, s, o) in the third. What does it
#    lack that the shipped kernel has?

# %%
assert all(np.abs(found - by_tiles).max() < 1e-5 for found in by_kernel.values())
