"""Tutorial 05: what to do with a gradient: descent, momentum, AdamW, warm-up, clipping, decay."""

# %% [markdown]
# # 05 · Optimisers
#
# **Goal.** Know what each term of AdamW is for, by seeing what goes wrong without it.
# **You will see.** Paths into a narrow valley; a rate too large by a hair; a cliff, with and without clipping.
# **Needs.** Tutorial 01.
# **Time.** Three seconds to run, half an hour to read and try.
#
# The gradient says which way is up, *here*, and how steep. It says nothing about how far to go. Everything in this
# tutorial is about that one question, and two numbers are enough to show it: a valley in two dimensions, long in one
# direction and steep in the other.

# %%
import numpy as np
from PIL import Image, ImageDraw
from show import COLOURS, beside, curves, show, text

from minivl import Tensor
from minivl.optim import SGD, AdamW, clip_grad_norm, warmup_cosine

FLAT, STEEP = 1.0, 25.0  # how strongly the valley is curved, along and across
START = np.array([-4.0, 1.5])


def valley(x):
    """1/2 (x0^2 + 25 x1^2), lowest at 0."""
    return 0.5 * (x * x * np.array([FLAT, STEEP])).sum()


def descend(make, steps=60, loss=valley, start=START, clip=None, rate=None):
    """The path (steps + 1, 2) of an optimiser. rate(step): its learning rate; clip: the longest gradient."""
    x = Tensor(start.copy(), requires_grad=True)
    optimizer, path = make([x]), [start.copy()]
    for step in range(steps):
        optimizer.zero_grad()
        loss(x).backward()
        if clip:
            clip_grad_norm([x], clip)
        if rate:
            optimizer.lr = rate(step)
        optimizer.step()
        path.append(x.numpy().copy())
    return np.array(path)


# %%
def landscape(paths, loss, size=(430, 260), wide=5.0, high=2.2, title=""):
    """The loss as shades, darker where lower, and the paths on it."""
    w, h = size
    grid = np.stack(np.meshgrid(np.linspace(-wide, wide, w), np.linspace(high, -high, h)), -1)
    values = np.array([[loss(Tensor(p)).item() for p in row[::5]] for row in grid[::5]])
    bands = np.floor(np.log2(values.clip(0, 60) + 0.05) * 1.5)
    shade = 150 + 100 * (bands - bands.min()) / np.ptp(bands)
    picture = Image.fromarray(np.repeat(shade[..., None], 3, -1).astype(np.uint8)).resize(size, Image.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for (name, path), colour in zip(paths.items(), COLOURS, strict=False):
        points = [((x + wide) / (2 * wide) * w, (high - y) / (2 * high) * h) for x, y in path.clip(-1e3, 1e3)]
        draw.line(points, fill=colour, width=2)
        for x, y in points:
            draw.ellipse([x - 2, y - 2, x + 2, y + 2], fill=colour)
        text(draw, (w - 8, h - 22 - 16 * list(paths).index(name)), name, anchor="ra", fill=colour)
    text(draw, (8, 6), title)
    return picture


# %% [markdown]
# ## Plain descent, and its one number
#
# `x = x - lr g`. Along a direction of curvature c the gradient is c x, so each step multiplies x by `1 - lr c`. That
# shrinks as long as `lr < 2 / c`, and the *steepest* direction sets the limit for all: here 2 / 25 = 0.08. At 0.07
# the path zigzags across the valley while it crawls along it; at 0.082 it leaves for good.

# %%
plain = {f"lr {lr}": descend(lambda p, lr=lr: SGD(p, lr=lr)) for lr in (0.01, 0.07, 0.082)}
for name, path in plain.items():
    print(f"SGD, {name:<9} after 60 steps {valley(Tensor(path[-1])).item():10.2e}")
pictures = [landscape({name: path[:20]}, valley, size=(290, 180)) for name, path in plain.items()]
show(beside(*pictures, gap=8), "05_plain")

# %% [markdown]
# ## Momentum
#
# `v = 0.8 v + g`, `x = x - lr v`. A ball instead of a walker. Across the valley the gradients change their sign and
# cancel in v; along it they agree and add up, to 1 / (1 - 0.8) = 5 times the step.
#
# ## Adam
#
# Divide by the size that the gradient usually has, *for each number by itself*: steep and flat directions then take
# steps of the same length, about lr. With running means m of g and s of g²:
#
#     m = b1 m + (1 - b1) g          s = b2 s + (1 - b2) g^2          x = x - lr m' / (sqrt(s') + eps)
#
# m and s start at 0 and are too small at first; `'` divides by 1 - b^t to make up for that. Without it the first step
# would be (1 - b1) / sqrt(1 - b2) times as long: with the usual 0.9 and 0.999, three times.

# %%
rivals = {
    "SGD": descend(lambda p: SGD(p, lr=0.04)),
    "momentum": descend(lambda p: SGD(p, lr=0.04, momentum=0.8)),
    "AdamW": descend(lambda p: AdamW(p, lr=0.3, betas=(0.9, 0.99), weight_decay=0)),
}
losses = {name: [valley(Tensor(x)).item() for x in path] for name, path in rivals.items()}
line = curves(losses, title="Loss over steps", log_y=True, size=(430, 300))
show(beside(landscape(rivals, valley, title="Three of them"), line), "05_rivals")
for name, found in losses.items():
    print(f"{name:<9} below 0.01 after {next((i for i, v in enumerate(found) if v < 0.01), 'more than 60')} steps")


# %% [markdown]
# Momentum wins here, and this is no accident: a valley with one steep and one flat direction is what it is made for.
# Adam's steps stay about as long as lr, so it circles around the bottom until the rate falls. What it is made for is
# that *nobody knows the scales*. Multiply the loss by 1000: plain descent flies off, Adam does not even notice.


# %%
def loud(x):
    return valley(x) * 1000.0


def adam(p):
    return AdamW(p, lr=0.3, weight_decay=0)


apart = np.abs(descend(adam, 20) - descend(adam, 20, loud)).max()
gone = np.abs(descend(lambda p: SGD(p, lr=0.04), 20, loud)[-1]).max()
print(f"the loss times 1000: AdamW's path changes by {apart:.0e}; SGD is at {gone:.0e}")

# %% [markdown]
# A transformer has embeddings that meet a gradient once in a thousand steps, and norms that meet one always. That is
# why the field takes Adam, and pays for it with two numbers more for each weight.
#
# ## Cliffs, and clipping
#
# Losses of networks have walls: places where the gradient is a thousand times what it is around them. One step from
# there, and everything learned is gone. Clipping shortens the gradient, if it is longer than allowed, and keeps its
# direction.


# %%
def cliff(x):
    """A gentle slope to the right, and a wall of e^(20 (x1 - 1.2)) above."""
    return 0.1 * (x * x).sum() + ((x[1] - 1.2) * 20.0).exp() * 0.1


def walker(p):
    return SGD(p, lr=0.3)


falls = {name: descend(walker, 30, cliff, clip=clip) for name, clip in (("no clipping", None), ("clipped", 1.0))}
for name, path in falls.items():
    print(f"{name:<12} after one step at {path[1].round(2)}, after thirty at {path[-1].round(2)}")
show(landscape(falls, cliff, wide=6, high=2.2, title="A wall"), "05_cliff")

# %% [markdown]
# ## Warm-up
#
# Adam divides by a size that it has seen. After *one* gradient it knows one number, and s' is exactly g²: the first
# step is lr long, however accidental the gradient was. Later m averages the accidents away, and steps get shorter.
# So the first steps are the longest, and the least considered. Warm-up lets the rate rise from 0 while the means
# fill; later it falls again, to settle: `warmup_cosine`. Here are 500 numbers whose gradients are nothing but noise.
# How long are their steps?

# %%
TOTAL = 200
rate = [warmup_cosine(step, peak=0.3, warmup=20, total=TOTAL) for step in range(TOTAL)]


def steps_of_noise(schedule):
    """The mean length of AdamW's steps, one after another, as a part of the peak rate, when gradients are noise."""
    random, x = np.random.default_rng(0), Tensor(np.zeros(500), requires_grad=True)
    optimizer, lengths = adam([x]), []
    for optimizer.lr in schedule:
        before, x.grad = x.numpy().copy(), random.standard_normal(500)
        optimizer.step()
        lengths.append(np.abs(x.numpy() - before).mean() / 0.3)
    return lengths


noise = {"constant rate": steps_of_noise([0.3] * TOTAL), "warm-up, cosine": steps_of_noise(rate)}
left = curves({"learning rate": rate}, title="Warm-up, then a cosine", size=(430, 280))
show(beside(left, curves(noise, title="Length of a step made of noise", size=(430, 280))), "05_warmup")
for name, lengths in noise.items():
    print(f"{name:<16} steps 1, 20, 200, of the peak rate: {lengths[0]:.2f}, {lengths[19]:.2f}, {lengths[199]:.2f}")

# %% [markdown]
# ## Weight decay, and the W
#
# Decay pulls every weight towards 0, so that only what the data asks for again and again stays large. Add it to the
# *gradient*, as an L2 penalty, and Adam divides it by the size of the gradient: weights with large gradients would
# hardly decay. AdamW takes it out of that fraction: `x = x (1 - lr decay)`, for all alike.

# %%
weights = Tensor(np.array([3.0, 3.0]), requires_grad=True)
optimizer = AdamW([weights], lr=0.01, weight_decay=0.5)
for step in range(200):
    weights.grad = np.array([100.0, 0.01]) * (-1) ** step  # one with loud, one with quiet gradients, both of no use
    optimizer.step()
print("after 200 steps of decay:", weights.numpy().round(2), "of 3; by decay alone", round(3 * (1 - 0.005) ** 200, 2))

# %% [markdown]
# ## Exercises
#
# 1. What is the best rate of plain descent in this valley? Derive it from the two factors `1 - lr c`, and try it.
#    What is the best that momentum can do?
# 2. Turn the valley by 45 degrees (x0 + x1 in place of x0, x0 - x1 in place of x1). Who does not notice, and who
#    does? What does Adam assume about the axes?
# 3. Write Adam in ten lines of NumPy, with the two corrections, and compare with `minivl.optim.AdamW` to twelve
#    digits (minivl/optim.py, `adamw`). Then leave out the corrections, and draw the first twenty steps.

# %%

assert valley(Tensor(plain["lr 0.082"][-1])).item() > valley(Tensor(START)).item()  # beyond 2 / 25
assert valley(Tensor(plain["lr 0.07"][-1])).item() < 0.1
assert losses["momentum"][60] < 0.1 * losses["SGD"][60]
assert np.allclose(np.abs(rivals["AdamW"][1] - START), 0.3, atol=1e-6)  # lr each way
assert apart < 1e-5 and gone > 1e6
assert np.abs(falls["no clipping"][1]).max() > 100 and np.abs(falls["clipped"]).max() < 5
assert noise["constant rate"][0] > 0.99 > 0.35 > noise["constant rate"][-1]  # the first steps are the longest
assert max(noise["warm-up, cosine"]) < 0.35
assert np.allclose(weights.numpy()[0], weights.numpy()[1], atol=1e-4)
