"""Tutorial 01: autograd for single numbers, written here, and then found again in minivl."""

# %% [markdown]
# # 01 · Autograd, one number at a time
#
# **Goal.** Write an engine that differentiates anything made of +, × and exp, in forty lines.
# **You will see.** A graph with its values and gradients, the order in which gradients flow, and why they add up.
# **Needs.** The chain rule. No NumPy yet.
# **Time.** Two seconds to run, half an hour to read and try.
#
# Training is asking a function of a million numbers: *if I move this one a little, what becomes of the loss?*
# Nobody wants to work that out by hand a million times. It turns out that nobody has to: every step of a
# computation knows its own small derivative, and the chain rule joins them.

# %%
import math

from PIL import Image, ImageDraw
from show import show, text

from minivl import Tensor

# %% [slide]
# ## A number that remembers where it came from
#
# A `Number` has a value, the numbers that it was computed from, and for each of these the *local* derivative: how
# much the result moves when that input moves. For `c = a * b` it is `b` for `a`, and `a` for `b`. That is all of
# calculus that the engine ever needs.


# %%
class Number:
    born = 0

    def __init__(self, value, sources=(), slopes=(), name=""):
        self.value, self.sources, self.slopes, self.name = value, sources, slopes, name
        self.grad = 0.0
        Number.born += 1
        self.number = Number.born  # the younger, the larger: a result is younger than what it was computed from

    def __add__(self, other):
        return Number(self.value + other.value, (self, other), (1.0, 1.0), "+")

    def __mul__(self, other):
        return Number(self.value * other.value, (self, other), (other.value, self.value), "*")

    def exp(self):
        y = math.exp(self.value)
        return Number(y, (self,), (y,), "exp")

    def backward(self):
        self.grad = 1.0
        for node in sorted(ancestors(self), key=lambda n: -n.number):
            for source, slope in zip(node.sources, node.slopes, strict=True):
                source.grad += slope * node.grad  # the chain rule; += because there may be other paths


def ancestors(node):
    found, todo = {node}, [node]
    while todo:
        for source in todo.pop().sources:
            if source not in found:
                found.add(source)
                todo.append(source)
    return found


# %% [markdown]
# ## Watch it work
#
# Take `y = x·x·w + exp(x)` at x = 1.5, w = 2. On paper: dy/dx = 2xw + eˣ and dy/dw = x².

# %%
x, w = Number(1.5, name="x"), Number(2.0, name="w")
y = x * x * w + x.exp()
y.backward()
print(f"y = {y.value:.4f}   dy/dx = {x.grad:.4f}, on paper {2 * 1.5 * 2 + math.exp(1.5):.4f}   dy/dw = {w.grad:.4f}")


# %%
def drawn(y):
    """The graph, oldest left: value above, gradient below each node."""
    nodes = sorted(ancestors(y), key=lambda n: n.number)
    depth = {}
    for n in nodes:
        depth[n] = 1 + max((depth[s] for s in n.sources), default=-1)
    columns = {d: [n for n in nodes if depth[n] == d] for d in depth.values()}
    place = {n: (70 + 130 * d, 60 + 90 * i) for d, column in columns.items() for i, n in enumerate(column)}
    size = 140 + 130 * max(columns), 60 + 90 * max(map(len, columns.values()))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for n in nodes:
        for i, s in enumerate(n.sources):
            (a, b), (c, d) = place[s], place[n]
            apart = 10 * (n.sources[:i].count(s) - (n.sources.count(s) - 1) / 2)  # used twice: two lines
            draw.line([a, b + apart, c, d + apart], fill="#9a9a9a", width=2)
    for n in nodes:
        (a, b) = place[n]
        draw.ellipse([a - 22, b - 22, a + 22, b + 22], fill="#e8f1f8", outline="#0072b2", width=2)
        text(draw, (a, b), n.name, anchor="mm")
        text(draw, (a, b - 26), f"{n.value:.3g}", anchor="md", size=12)
        text(draw, (a, b + 26), f"d {n.grad:.3g}", anchor="ma", size=12, fill="#d55e00")
    return picture


show(drawn(y), "01_graph")

# %% [markdown]
# Above each node its value, below it its gradient. Follow `x`: three edges leave it (two of them to the first `*`, for
# it is both factors of x·x), and its gradient is the sum of what comes back along them: 3 + 3 + 4.48. That `+=` is
# the line that is forgotten most often.
#
# ## Why the order matters
#
# `backward` goes from the youngest node to the oldest. A node must not pass its gradient on before all of it has
# arrived, and since a result is always younger than what it was computed from, "youngest first" is enough: no
# sorting of graphs, no recursion. Here is what happens otherwise. (The gradients are set back to 0 first, since a
# second `backward` adds to what the first has left. In PyTorch that is what `zero_grad` is for.)


# %%
def backward_oldest_first(y):
    for n in ancestors(y):
        n.grad = 0.0
    y.grad = 1.0
    for node in sorted(ancestors(y), key=lambda n: n.number):
        for source, slope in zip(node.sources, node.slopes, strict=True):
            source.grad += slope * node.grad


backward_oldest_first(y)
wrong = x.grad
print(f"oldest first: dy/dx = {wrong:.4f}, which is nothing at all")

# %% [markdown]
# `x` was dealt with first, `y` last: each node passed on the 0 that it had, before anything had come to it.
#
# ## The same in minivl
#
# `minivl.Tensor` does this with arrays for numbers, and with derivatives that are functions rather than slopes. The
# loop is in `Tensor.backward` (minivl/tensor.py): look for `youngest`.

# %%
a, b = Tensor(1.5, requires_grad=True), Tensor(2.0, requires_grad=True)
c = a * a * b + a.exp()
c.backward()
print(f"minivl: {c.item():.4f}, {float(a.grad):.4f}, {float(b.grad):.4f}")

# %% [markdown]
# ## Deep graphs
#
# A network of a thousand layers is a graph of a thousand steps. Recursion would run out of stack; the loop does not
# mind.

# %%
deep = Number(1.0)
z = deep
for _ in range(5000):
    z = z + deep
z.backward()

# %% [markdown]
# ## Exercises
#
# 1. Give `Number` a division and a logarithm. Check them against a difference of two evaluations.
# 2. Replace `+=` by `=` in `backward`. Which of the gradients above are still right, and why just these?
# 3. Count how often each node is visited in `y = x; y = y + y` thirty times over. How often would a walk along every
#    path visit it? Then write the loop of minivl itself: `minivl exercise get ex01 my-ex01`, parts a and c. (Part b
#    is tutorial 03.)

# %%

for n in ancestors(y):
    n.grad = 0.0
y.backward()
assert abs(x.grad - (6 + math.exp(1.5))) < 1e-12 and abs(w.grad - 2.25) < 1e-12
assert abs(float(a.grad) - x.grad) < 1e-5 and abs(float(b.grad) - w.grad) < 1e-6
assert wrong != x.grad
assert deep.grad == 5001
