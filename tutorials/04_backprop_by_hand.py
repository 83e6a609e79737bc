"""Tutorial 04: three derivatives by hand, softmax with cross-entropy, layer normalisation, attention."""

# %% [markdown]
# # 04 · Backpropagation by hand
#
# **Goal.** Derive the three derivatives that every transformer lives by, and write them in a few lines of NumPy.
# **You will see.** Each of them as a picture, and equal to the engine's in twelve digits or more.
# **Needs.** Tutorials 01 and 03. A pencil.
# **Time.** One second to run, an hour to read and try.
#
# An engine could differentiate all of this from `+`, `×` and `exp`. It would be right, and slow, and nobody would
# understand a transformer any better for it. Written by hand, each of the three says in one line what learning is
# about: *the guess minus the truth*, *what normalising has erased*, *who is to blame among those that were looked
# at*.

# %%
import numpy as np
from show import beside, heat, show

from minivl import Tensor, gradcheck, ops, trace

random = np.random.default_rng(0)


def apart(a, b):
    """The largest difference of two arrays."""
    return float(np.abs(a - b).max())


# %% [markdown]
# Two habits make it bearable. First: **the gradient of a thing has the shape of that thing**, always, so shapes tell
# you where a transpose belongs. Second: do it for *one number* `x_j`, collect everything that it moves, and only then
# look for the matrix that does it for all.
#
# ## 1 · Softmax and cross-entropy
#
# Scores z become shares p, and the loss of a row is how surprised we are by the truth, class y:
#
#     p_i = exp(z_i) / sum_k exp(z_k)          L = -log p_y = -z_y + log sum_k exp(z_k)
#
# Written like this there is hardly anything left to do. Move z_j a little. The first term moves only if j is y: that
# gives -1 there. The second moves by exp(z_j) / sum = p_j. With q for the row that is 1 at the truth and 0 elsewhere:
#
#     dL/dz = p - q
#
# A mean over B rows divides it by B. That is all of it.

# %%
z, truth = random.standard_normal((4, 6)) * 2, np.array([0, 3, 3, 5])


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))  # minus the largest: the same shares, and no overflow
    return e / e.sum(-1, keepdims=True)


p, q = softmax(z), np.eye(6)[truth]
dz = (p - q) / len(z)

scores = Tensor(z, requires_grad=True)
loss = ops.cross_entropy(scores, truth)
loss.backward()
print(f"loss {loss.item():.6f}, by hand {-np.log(p[np.arange(4), truth]).mean():.6f}")
print(f"cross-entropy: by hand and by minivl the gradients differ by {apart(dz, scores.grad):.1e}")
names = [f"row {i}" for i in range(4)]
show(beside(heat(p, names, title="p: the guess"), heat(q, title="q: the truth"), heat(p - q, title="p - q")), "04_ce")

# %% [markdown]
# Blue is pushed down, orange is pulled up. Each row of `p - q` adds up to 0: what one class wins, the others lose,
# in proportion to how much they were believed. And a row that is right and sure of it has a gradient of almost
# nothing. The logarithm of the loss has cancelled the exponential of the softmax: a model that is *surely wrong*
# learns at full speed. With a squared error it would not: there the gradient carries a factor p (1 - p), which is 0
# at both ends.
#
# ## 2 · Layer normalisation
#
# A vector x of C numbers is shifted to mean 0, stretched to variance 1, then scaled and shifted by learned w and b:
#
#     n = (x - mean) r,   r = 1 / sqrt(var + eps),   y = w n + b
#
# First the easy ones: db sums dy over all rows, dw sums dy n, and dn = dy w. Now x_j. It moves n in three ways:
#
#     by itself                n_j by r                          gives    r dn_j
#     through the mean         every n_i by -r / C               gives  - r mean(dn)
#     through the variance     var moves by 2 (x_j - mean) / C = 2 n_j / (r C), so r by -r^3 / 2 times that,
#                              and every n_i by -r n_i n_j / C   gives  - r n_j mean(dn n)
#
#     dx = r (dn - mean(dn) - n mean(dn n))

# %%
C = 8
x, w, b = random.standard_normal((5, C)) * 3 + 1, random.standard_normal(C), random.standard_normal(C)
dy = random.standard_normal((5, C))


def mean(a):
    return a.mean(-1, keepdims=True)


r = 1 / np.sqrt(mean((x - mean(x)) ** 2) + 1e-5)
n = (x - mean(x)) * r
dn = dy * w
dx = r * (dn - mean(dn) - n * mean(dn * n))
dw, db = (dy * n).sum(0), dy.sum(0)

X, W, B = (Tensor(a, requires_grad=True) for a in (x, w, b))
ops.layernorm(X, W, B).backward(dy)
norm_apart = max(apart(dx, X.grad), apart(dw, W.grad), apart(db, B.grad))
print(f"layernorm: by hand and by minivl the gradients differ by {norm_apart:.1e}")

# %% [markdown]
# Read the formula as geometry. Normalising has erased two things: where x lay (its mean) and how long it was (its
# variance). Moving x along either changes nothing in y. So the gradient must be silent about both directions, and
# that is what is subtracted: the part of dn along (1, 1, ..., 1), and the part along n.

# %%
along_shift, along_stretch = abs(dx.sum(-1)).max(), abs((dx * n).mean(-1)).max()
print(f"dx along a shift: {along_shift:.1e}; along a stretch: {along_stretch:.1e} (eps keeps it from being 0)")
show(beside(heat(dn, title="dn arrives", cell=36), heat(dx / r, title="dx / r goes on", cell=36)), "04_layernorm")

# %% [markdown]
# ## 3 · Attention
#
# Four steps forward, for T questions and M answers of width d:
#
#     S = Q K^T / sqrt(d)    (T, M)        A = softmax(S)  (T, M)        O = A V   (T, d)
#
# And four steps back, each with nothing but shapes to go by. O = A V is a product of matrices:
#
#     dV = A^T dO    (M, T)(T, d)          dA = dO V^T   (T, d)(d, M)
#
# The softmax: from dp_i/dz_j = p_i (1 if i = j else 0) - p_i p_j, a row of dA becomes
#
#     dS = A (dA - sum_k A_k dA_k)
#
# and the scores are a product again: dQ = dS K / sqrt(d), dK = dS^T Q / sqrt(d).

# %%
T, M, d = 5, 7, 4
Q, K, V = (random.standard_normal((rows, d)) for rows in (T, M, M))
dO = random.standard_normal((T, d))

A = softmax(Q @ K.T / np.sqrt(d))
out = A @ V
dV, dA = A.T @ dO, dO @ V.T
dS = A * (dA - (A * dA).sum(-1, keepdims=True))
dQ, dK = dS @ K / np.sqrt(d), dS.T @ Q / np.sqrt(d)

tensors = [Tensor(a[None, None], requires_grad=True) for a in (Q, K, V)]  # (B, H, T, d), with one of each
ops.attention(*tensors).backward(dO[None, None])
attention_apart = max(apart(by_hand, t.grad[0, 0]) for by_hand, t in zip((dQ, dK, dV), tensors, strict=True))
print(f"attention: by hand and by minivl the gradients differ by {attention_apart:.1e}")
show(
    beside(heat(A, title="A: who looks at whom", cell=36), heat(dS, title="dS: orange wants more", cell=36)),
    "04_attn",
)

# %% [markdown]
# `dA` says of each value how much the loss would rise if it were looked at more; the sum, how much it would rise for
# the average that the query got. So a score is lowered if its value was *worse than what the query got anyway*
# (blue), and raised if better (orange): each row of dS adds up to 0, as in `p - q`.
#
# One identity more, and it is the one on which FlashAttention rests. The sum over all M keys is a sum over d numbers:
#
#     sum_k A_k dA_k = sum_k A_k <dO, V_k> = <dO, sum_k A_k V_k> = <dO, O>
#
# So the backward pass can take the keys block by block and never hold a row of A as a whole.

# %%
blockwise = (dO * out).sum(-1, keepdims=True)
print(f"sum A dA and <dO, O> differ by {apart((A * dA).sum(-1, keepdims=True), blockwise):.1e}")

# %% [markdown]
# ## Why by hand, if the engine can do it?
#
# Because it can do it *in more steps*. Here is a layer normalisation out of small ops, and what they write,
# all of which waits in memory until backward comes:


# %%
def small_steps(x, w, b):
    centred = x - x.mean(-1, keepdims=True)
    return centred / ((centred * centred).mean(-1, keepdims=True) + 1e-5).sqrt() * w + b


for t in (X, W, B):
    t.grad = None
with trace() as many:
    y = small_steps(X, W, B)
with trace() as one:
    ops.layernorm(X, W, B)
y.backward(dy)
print(f"{len(many)} ops instead of {len(one)}, {sum(r.bytes for r in many)} bytes written instead of {one[0].bytes}")
print(f"and the same gradients: they differ by {apart(X.grad, dx):.1e}")

# %% [markdown]
# ## Exercises
#
# 1. Derive the gradient of `v / |v|`, which CLIP does to every embedding. Which direction is erased? Compare with
#    `ops.normalize`.
# 2. Label smoothing takes s from the truth and gives s / V to every class. What becomes of `p - q`, and at which
#    p is it 0? Why does the largest score then stop growing?
# 3. RMSNorm leaves the mean alone. Strike from the derivation what it no longer needs, and compare with
#    `ops.rmsnorm`. Then write the first two derivatives of this page into minivl: `minivl exercise get ex03 my-ex03`
#    for softmax and cross-entropy, `minivl exercise get ex04 my-ex04` for layer normalisation.

# %%

assert apart(dz, scores.grad) < 1e-12
assert norm_apart < 1e-12
assert attention_apart < 1e-12
assert np.abs((p - q).sum(-1)).max() < 1e-12 and np.abs(dS.sum(-1)).max() < 1e-12
assert along_shift < 1e-12 and along_stretch < 1e-4
assert apart((A * dA).sum(-1, keepdims=True), blockwise) < 1e-12
assert apart(X.grad, dx) < 1e-12 and len(many) > 5 * len(one)
assert gradcheck(small_steps, X, W, B)
