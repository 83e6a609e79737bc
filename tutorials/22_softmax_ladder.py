"""Tutorial 22: softmax five times, each faster than the one before, and why."""

# %% [markdown]
# # 22 · The softmax ladder
#
# **Goal.** Predict what a kernel asks of memory before you run it, and climb from the simplest to the shipped one.
# **You will see.** Sectors and requests of every rung as a picture, and your predictions beside them.
# **Needs.** Tutorials 20 and 21, a C++ compiler; no GPU.
# **Time.** Half a minute the first time, for the compiler; an hour to read.
#
# A softmax of a row needs its maximum, the sum of its exponentials, and one division for each number. That is hardly
# any arithmetic: what it costs is *memory*. The row must be read once and written once, and everything beyond that is
# waste. A ladder is a way to get rid of waste: one idea a rung, and a count that shows what it gained.

# %%
import sys

import numpy as np
from PIL import Image, ImageDraw
from show import COLOURS, FAST, GRID, show, text

from minivl import kernels
from minivl.ladder import TOLERANCE, caster, error, ladder

if kernels.compiler() is None:
    print("This tutorial compiles kernels for the CPU: install g++ or clang++, or set CXX to the command of one.")
    sys.exit()

table = ladder("softmax")
rows, C = table.cpu["rows"], table.cpu["C"]
rungs = [rung for rung in table.rungs if rung.dtype == "float32"]
for number, rung in enumerate(rungs, 1):
    print(f"{number}. {rung.name.removeprefix('ladder/')}: {rung.idea}")

# %% [slide]
# ## The rules of the count
#
# - A **request** is one instruction of a warp: up to 32 lanes ask at once.
# - Memory answers in **sectors** of 32 bytes: 8 numbers of float32.
# - 32 neighbours: 4 sectors. 32 numbers far apart: 32 sectors, and seven eighths of what was moved is thrown away.
# - The least for a softmax: every number read once and written once, **2 rows C / 8** sectors.

# %% [markdown]
# ## Predict first
#
# Take paper, and say for each rung how many sectors it asks for, as a multiple of the least. The texts are in
# minivl/ladder/softmax_*.cu, twenty lines each. Here are ours:
#
# 1. *naive*, a thread a row: three readings and a writing, each lane in a row of its own. A sector for each number:
#    4 rows C.
# 2. *block* a row: again three readings and a writing, but of neighbours: 4 rows C / 8.
# 3. *warp* a row: the same of global memory; the shared memory is what it saves, and its barriers.
# 4. *online*: maximum and sum in one reading. Two readings and a writing: 3 rows C / 8.
# 5. *vectors*: the same sectors, four numbers a lane. A row of 160 is two requests (128 and 32), where it was five.
# 6. what minivl ships keeps the row where it is quick to reach: 2 rows C / 8. There is nothing left to gain.

# %%
least = table.bytes(rows=rows, C=C, itemsize=4) // 32
predicted = [4 * rows * C, 4 * rows * C // 8, 4 * rows * C // 8, 3 * rows * C // 8, 3 * rows * C // 8, least]

sectors, requests, passes, errors = [], [], [], []
for rung in rungs:
    arrays = table.make(np.random.default_rng(0), caster(rung.dtype), rows=rows, C=C)
    with kernels.counting() as counts:
        errors.append(error(table, rung, arrays, mode="check"))
    sectors.append(sum(count.transactions for count in counts if count.space == "global"))
    requests.append(sum(count.requests for count in counts if count.space == "global"))
    passes.append(sum(count.transactions for count in counts if count.space == "shared"))

names = [rung.name.removeprefix("ladder/softmax_") for rung in rungs[:-1]] + ["shipped"]
print(f"{'rung':<12}{'predicted':>10}{'sectors':>9}{'x least':>9}{'requests':>10}{'shared':>8}{'error':>9}")
for row in zip(names, predicted, sectors, requests, passes, errors, strict=True):
    name, wanted, got, asked, shared, wrong = row
    print(f"{name:<12}{wanted:>10}{got:>9}{got / least:>9.2f}{asked:>10}{shared:>8}{wrong:>9.0e}")


# %%
def bars(groups, title):
    """Bars for each name: {what: numbers}, each what scaled by its own largest, with the number beside it."""
    high = 22 * len(groups) + 14
    picture = Image.new("RGB", (620, 40 + high * len(names)), "white")
    draw = ImageDraw.Draw(picture)
    text(draw, (10, 8), title)
    for i, name in enumerate(names):
        top = 36 + high * i
        text(draw, (92, top + 11 * len(groups)), name, anchor="rm")
        for j, (what, numbers) in enumerate(groups.items()):
            y, wide = top + 22 * j, 400 * numbers[i] / max(numbers)
            draw.rectangle([100, y + 2, 100 + wide, y + 19], fill=COLOURS[j])
            text(draw, (106 + wide, y + 4), f"{numbers[i]} {what}", size=11)
        draw.line([10, top + high - 7, 610, top + high - 7], fill=GRID)
    return picture


show(bars({"sectors": sectors, "requests": requests}, f"softmax of {rows} rows of {C}"), "22_ladder")

# %% [markdown]
# Look at the first step: sixteen times the least becomes twice the least by *who reads what*, without a line of
# arithmetic changed. It is the best bargain on any ladder.
#
# On a GPU a cache stands between: the second and third reading of a row may be answered by it, and the rungs are closer
# together than the counts. `minivl ladder softmax` measures times where there is a GPU. What counts tell is *why*.
#
# ## The online step
#
# How can one reading be enough for maximum and sum, when each term of the sum wants the maximum? Keep both for what has
# been seen so far, and when the maximum grows, scale the sum down. Tutorial 23 makes attention of it.

# %%
row = np.random.default_rng(1).standard_normal(C) * 4
largest, total, grown = -np.inf, 0.0, 0
for value in row:
    if value > largest:
        total, largest, grown = total * np.exp(largest - value), value, grown + 1
    total += np.exp(value - largest)
two_passes = np.exp(row - row.max()).sum()
print(f"online {total:.12f}, in two passes {two_passes:.12f}; the maximum grew {grown} times in {C} numbers")

# %% [markdown]
# ## A line at a time
#
# Where do the sectors of a kernel come from? `minivl ladder report NAME` tells it for each line of the source:

# %%
if not FAST:
    from minivl.ladder.show import report

    print(*report("softmax_1_naive"), sep="\n")

# %% [markdown]
# ## Exercises
#
# 1. Which of the counts change when C is 161? Predict, then run `table.make(..., C=161)` on rungs 1 to 4. Why does
#    rung 5 refuse?
# 2. Copy rung 3 to a file of your own and let a warp keep its numbers in registers between the passes, for rows of up
#    to 1024 numbers. How many sectors should it be?
# 3. Climb another one: `minivl ladder matmul`. There the bound changes on the way; on which rung? Then write a softmax
#    by a warp yourself, and one in one pass: `minivl exercise get ex11 my-ex11`.

# %%
assert sectors == predicted and sectors[-1] == least
assert 5 * requests[4] == 2 * requests[3] and sectors[4] == sectors[3]
assert passes[1] > 0 and passes[2] == 0
assert max(errors) <= TOLERANCE["float32"]
assert abs(total - two_passes) < 1e-12 * two_passes and 0 < grown < C // 4
