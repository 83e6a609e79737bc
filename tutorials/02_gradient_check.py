"""Tutorial 02: how to know that a derivative is right, without knowing what it is."""

# %% [markdown]
# # 02 · Is this derivative right?
#
# **Goal.** Check any derivative by evaluating the function twice, and know when not to believe the check.
# **You will see.** Why a smaller step is not a better one; what a kink does; six wrong derivatives caught, by place.
# **Needs.** Tutorial 01.
# **Time.** One second to run, half an hour to read and try.
#
# A wrong gradient does not crash. The loss goes down a little less well than it should, and you spend a week on the
# learning rate. So in this house no derivative is believed until it has been compared with something that cannot be
# wrong in the same way: the function itself, evaluated twice.

# %%
import numpy as np
from show import beside, curves, heat, show

from minivl import GradientError, Tensor, gradcheck, nn, op, ops

# %% [markdown]
# ## Two evaluations
#
# The derivative is the limit of `(f(x + eps) - f(x)) / eps`. A computer has no limits, only small steps, and one can
# do better with the same two evaluations by stepping to *both* sides. Taylor's series says how much better:
#
#     (f(x + eps) - f(x)) / eps              = f'(x) + eps/2 f''(x) + ...          one side: an error of order eps
#     (f(x + eps) - f(x - eps)) / (2 eps)    = f'(x) + eps^2/6 f'''(x) + ...       both: of order eps^2
#
# So make eps tiny? Look first.

# %%
steps = 10.0 ** np.arange(-12, 0.01, 0.25)
x, truth = 1.3, np.cos(1.3)  # the function is sin


def errors(dtype, both_sides):
    found = []
    for eps in steps.astype(dtype):
        right, left = np.sin(dtype(x) + eps), np.sin(dtype(x) - eps if both_sides else dtype(x))
        slope = (right - left) / (2 * eps if both_sides else eps)
        found.append(abs(float(slope) - truth) + 1e-17)
    return np.array(found)


error = {
    "float32, one side": errors(np.float32, False),
    "float32, both sides": errors(np.float32, True),
    "float64, one side": errors(np.float64, False),
    "float64, both sides": errors(np.float64, True),
}
best = {name: (steps[e.argmin()], e.min()) for name, e in error.items()}
for name, (eps, least) in best.items():
    print(f"{name:<22} least error {least:.0e}, at eps = {eps:.0e}")
show(
    curves(error, steps, "Error of the slope of sin, over eps", log_x=True, log_y=True, size=(640, 380), low=True),
    "02_eps",
)

# %% [markdown]
# Each curve is a valley. From the right it comes down with slope 1 (one side) or 2 (both): that is Taylor. Then it
# goes up again, in zigzags: `f(x + eps)` and `f(x - eps)` agree in ever more digits, their difference is made of the
# few last ones, and the division by eps makes the noise large. The noise is about u / eps, with u = 6e-8 or 1e-16.
# (Far left `x + eps` is x itself, and the slope 0.) Where u / eps meets eps^2 lies the bottom for both sides, near
# the cube root of u: 5e-3 for float32, 5e-6 for float64.
#
# There you have two rules of this house: **check in float64**, and **with steps around 1e-6**. In float32 the best
# that can be had is four or five digits, and a derivative that is wrong in the sixth would pass.
#
# ## One direction instead of a million
#
# A layer has a million numbers; two evaluations for each of them is too much. But along one random direction v two
# are enough, whatever the size of x:
#
#     (f(x + eps v) - f(x - eps v)) / (2 eps)     against     <gradient, v>
#
# One wrong entry of the gradient shows, since every entry is weighed by a number of its own. `gradcheck` does this
# along three directions, and only if one of them fails does it look for the place, by halving.
#
# That is for an f whose result is one number. If it is an array, `gradcheck` makes one number of it, the sum of
# the outputs times random weights u. So what it reports are slopes of that sum.

# %%
random = np.random.default_rng(0)
block = nn.Block(8, 2, 16, random)  # width 8, 2 heads, 16 numbers in the hidden layer: tutorial 10 takes it apart
for p in block.parameters():
    p.data = p.data.astype(np.float64)
tokens = random.standard_normal((2, 5, 8))
# The parameters are arguments so that they are moved too; the block finds them by itself, hence `*_`.
print("a whole transformer block:", gradcheck(lambda x, *_: block(x), tokens, *block.parameters()))
print("numbers checked:", tokens.size + block.num_parameters())

# %% [markdown]
# ## Wrong ones, caught
#
# Here is an op as minivl writes them, the square of each number over their mean, with the derivative right, and six
# other derivatives of the kind that people really write.


# %%
def squares(derivative):
    @op
    def squares_over_mean(x):
        """y = x^2 / mean(x)   for one row of numbers"""
        m = x.mean()
        return x * x / m, lambda d: derivative(x, d, m)

    return squares_over_mean


def right(x, d, m):
    return 2 * x * d / m - (d * x * x).sum() / (m * m * x.size)


def one_entry(x, d, m):
    dx = right(x, d, m)
    dx[3] *= 1.001
    return dx


WRONG = {
    "forgot the 2": lambda x, d, m: x * d / m - (d * x * x).sum() / (m * m * x.size),
    "forgot that the mean moves": lambda x, d, m: 2 * x * d / m,
    "plus for minus": lambda x, d, m: 2 * x * d / m + (d * x * x).sum() / (m * m * x.size),
    "sum for mean": lambda x, d, m: 2 * x * d / m - (d * x * x).sum() / (m * m),
    "forgot the d that arrives": lambda x, d, m: 2 * x / m - (x * x).sum() / (m * m * x.size),
    "one entry, by a thousandth": one_entry,
}
numbers = random.uniform(1, 2, 6)
assert gradcheck(squares(right), numbers)
caught = {}
for name, derivative in WRONG.items():
    try:
        gradcheck(squares(derivative), numbers)
    except GradientError as error_found:
        caught[name] = error_found
        print(f"{name:<28}{error_found}")

# %% [markdown]
# The message says where: the last one is wrong at index 3 only, by a thousandth, and has been found there. And read
# the *ratio*. Where the derivative is a single term, 0.5 is a forgotten 2, -1 a sign, and 6 a mean over six that
# became a sum; here a second term blurs it, but 0.509 still smells of a 2.
#
# ## The whole gradient as a picture
#
# For a small function one may also do it the slow way, number by number, and look. Left what `forgot that the mean
# moves` claims, in the middle what is true: d(output i)/d(input j). What is missing is the same all along a row: each
# number moves every output through the mean, its own as well.

# %%
eye = np.eye(6)


def claimed(derivative):
    return np.stack([derivative(numbers, eye[i], numbers.mean()) for i in range(6)])


def true_by_differences(f, eps=1e-6):
    return np.stack([(f(numbers + eps * e) - f(numbers - eps * e)) / (2 * eps) for e in eye], axis=1)


truth_table = true_by_differences(lambda x: x * x / x.mean())
naive = claimed(WRONG["forgot that the mean moves"])
tables = {"claimed": naive, "true": truth_table, "claimed - true": naive - truth_table}
show(beside(*(heat(t, title=name, cell=40, top=np.abs(naive).max()) for name, t in tables.items())), "02_jacobian")

# %% [markdown]
# ## Kinks
#
# `relu` has a corner at 0. There is no derivative there; an engine says 0 or 1 by convention, a step to both sides (a
# *central difference*) says 0.5, and neither is wrong. The same happens if eps steps *across* a corner nearby.

# %%
corner = Tensor(np.zeros(1), requires_grad=True)
ops.relu(corner).sum().backward()
slope = (ops.relu(Tensor(np.full(1, 1e-6))).item() - ops.relu(Tensor(np.full(1, -1e-6))).item()) / 2e-6
print(f"relu at 0: minivl says {corner.grad[0]}, the difference says {slope}")
print("away from the corner:", gradcheck(ops.relu, np.array([-0.5, 0.3, 2.0])))
try:
    gradcheck(ops.relu, np.array([-0.5, 0.0, 2.0]))
    at_corner = "passed"
except GradientError as message:
    at_corner = str(message)
    print("at the corner:", message)

# %% [markdown]
# (It expected -0.066, half of the weight -0.132 that this output had drawn.) So a check that fails is not always a
# wrong derivative. Ask for the index, look at the number that stands there, and if it lies on a corner, check
# somewhere else. The other way round a check can also be fooled: by a function that
# draws random numbers (dropout must draw the same ones twice) and by one that is constant along every direction that
# you tried. Three directions, and entries kept away from 0, make that unlikely.
#
# ## Exercises
#
# 1. Draw the valleys for exp at x = 10 and for sin at x = 1000. Which of them moved, and why? What should eps be for
#    an x that is large?
# 2. There is a step without any valley: with a *complex* x, `f(x + i eps).imag / eps` has no difference of neighbours
#    in it. Try it with sin and eps = 1e-200. Why can minivl not simply use this?
# 3. Write a wrong derivative that `gradcheck` does not catch. How far must you go? Then write the check itself:
#    `minivl exercise get ex02 my-ex02`.

# %%

assert best["float64, both sides"][1] < 1e-9 < 1e-6 < best["float32, both sides"][1] * 10
assert 1e-7 < best["float64, both sides"][0] < 1e-3 and best["float32, both sides"][0] > 1e-4
assert all(e[0] > 100 * e.min() and e[-1] > 100 * e.min() for e in error.values())  # valleys: both ends lie high
assert set(caught) == set(WRONG)
assert caught["one entry, by a thousandth"].index == (3,)
assert "index (1,)" in at_corner
assert np.abs(claimed(right) - truth_table).max() < 1e-8 < 0.05 < np.abs(naive - truth_table).max()
