"""Tutorial 03: from numbers to arrays: broadcasting and its derivative, products, views, and what a graph keeps."""

# %% [markdown]
# # 03 · Tensors
#
# **Goal.** Read and predict shapes, forward and backward, without running anything.
# **You will see.** How a small array is stretched over a large one, and how its gradient is folded back.
# **Needs.** Tutorial 01; NumPy's `shape`, `sum(axis=...)` and `@`.
# **Time.** Two seconds to run, half an hour to read and try.
#
# In tutorial 01 every number was a node. A picture alone has 150,000 of them, so from here on a node is an array, and
# all of it is differentiated at once. Only one thing is really new, and most wrong gradients come from it: arrays of
# different shapes meet.

# %%
import tracemalloc

import numpy as np
from show import FAST, beside, heat, show

from minivl import Tensor, checkpoint, nn
from minivl.tensor import unbroadcast

random = np.random.default_rng(0)

# %% [markdown]
# ## Broadcasting
#
# Write the two shapes one above the other, **flush right**. Where one of them has nothing, put a 1. Where one has a 1
# and the other an n, the 1 is repeated n times. Anything else is an error.
#
#     tokens     (32, 50, 64)        pictures    (8, 3, 32, 32)       queries   (50, 1)
#     bias               (64,)       mean           (3,  1,  1)       keys          (7,)
#     result     (32, 50, 64)        result      (8, 3, 32, 32)       result    (50, 7)

# %%
EXAMPLES = [((32, 50, 64), (64,)), ((8, 3, 32, 32), (3, 1, 1)), ((50, 1), (7,)), ((4, 1), (1, 5)), ((2, 3), ())]
for a, b in EXAMPLES:
    print(f"{str(a):<18}{str(b):<12}->  {np.broadcast_shapes(a, b)}")

# %% [markdown]
# The third is the one that bites. Whoever means to compare 50 guesses `(50, 1)` with 50 truths `(50,)` gets a table
# of 50 x 50 differences, no error, and a model that learns the mean.

# %%
guess, truth = random.standard_normal((50, 1)), random.standard_normal(50)
wrong_loss, right_loss = ((guess - truth) ** 2).mean(), ((guess[:, 0] - truth) ** 2).mean()
print(f"{(guess - truth).shape}: {wrong_loss:.3f} instead of {right_loss:.3f}")

# %% [markdown]
# ## Its derivative
#
# Stretching an array means using each of its numbers many times. Tutorial 01 says what that does to a gradient: it
# *adds up* over the uses. So the derivative of repeating is summing, over just those axes that were stretched:
#
#     forward    (4, 1) -> (4, 5)   repeat along axis 1      backward   (4, 5) -> (4, 1)   sum along axis 1
#
# Below, a column (4, 1) times a row (1, 5). The gradient of each is a whole table at first, and is then folded back.

# %%
column = Tensor(np.array([[1.0], [2.0], [3.0], [4.0]]), requires_grad=True)
row = Tensor(np.array([[1.0, -1.0, 2.0, 0.5, 3.0]]), requires_grad=True)
table = column * row
arriving = np.round(random.uniform(-1, 1, table.shape), 1)
table.backward(arriving)
full = arriving * row.numpy()  # d(column) before it is folded: one number for each use
pictures = [heat(arriving, title="d(table) (4, 5)", cell=38), heat(full, title="for each use (4, 5)", cell=38)]
show(beside(*pictures, heat(column.grad, title="d(column)", cell=38)), "03_fold")


# %%
def fold(grad, shape):
    """The derivative of broadcasting: sums `grad` until it has `shape`."""
    while grad.ndim > len(shape):
        grad = grad.sum(0)  # axes in front, which the small array did not have
    for axis, n in enumerate(shape):
        if n == 1:
            grad = grad.sum(axis, keepdims=True)
    return grad


for a, b in EXAMPLES:
    result = np.broadcast_shapes(a, b)
    print(f"{str(result):<18}folds to {str(fold(np.ones(result), b).shape):<12}", end="")
    print(f"each number has {int(fold(np.ones(result), b).max())} uses")

# %% [markdown]
# In minivl this stands once, in `unbroadcast` (minivl/tensor.py), and the engine applies it to whatever a derivative
# returns. That is why `mul` can be written as `lambda d: (d * b, d * a)` without a word about shapes.
#
# ## Products of matrices
#
# C = A B. Learn no formula here: the gradient of A has the shape of A, it is made of dC and B, and shapes leave one
# way.
#
#     C (5, 3) = A (5, 4) B (4, 3)          dA (5, 4) = dC (5, 3) B^T (3, 4)          dB (4, 3) = A^T (4, 5) dC (5, 3)
#
# With more axes in front it is a stack of products, and a matrix that all of them share is broadcast: its gradient is
# a sum over the stack. Every weight in a network is such a matrix, shared by all tokens.

# %%
X, W = Tensor(random.standard_normal((32, 50, 8)), True), Tensor(random.standard_normal((8, 6)), True)
Y = X @ W
dY = random.standard_normal(Y.shape)
Y.backward(dY)
by_loops = sum(np.outer(X.numpy()[b, t], dY[b, t]) for b in range(32) for t in range(50))
print("x W:", X.shape, "@", W.shape, "->", Y.shape, "  dW", W.grad.shape, "= a sum over 1600 tokens")
print("by loops, the same to", f"{np.abs(W.grad - by_loops).max():.0e}")

# %% [markdown]
# ## Views and picking
#
# A reshape or a transpose moves nothing: it is the same memory, read in another order. So its derivative is the way
# back. *Picking* is another matter. A row may be picked twice, then it has been used twice, and its gradients add up.
# That is what an embedding is: the word "a" stands in every caption, and learns from all of them.

# %%
memory = Tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)
turned = memory.T
print("turned over, it shares its memory:", np.shares_memory(turned.numpy(), memory.numpy()))
picked = memory[np.array([0, 0, 0, 2])]
picked.sum().backward()
print("rows 0, 0, 0, 2 picked; gradients by row:", memory.grad[:, 0])

# %% [markdown]
# What `x[i] = ...` would do to all this: the number that a derivative has kept is no longer the number that was used.
# PyTorch counts versions to find out; minivl refuses, and says what to do instead.

# %%
try:
    memory[0] = 1.0
except TypeError as refused:
    print(str(refused)[:95], "...")

# %% [markdown]
# ## What a graph keeps
#
# Each step keeps what its derivative will ask for, until backward has passed. This is why training takes several
# times the memory of running, and why a graph is used up by `backward`. A *checkpoint* keeps only the input of a
# piece, and computes the piece again when the gradients come by: half again as much work, a fraction of the memory,
# and the same gradients to the last bit.

# %%
blocks = [nn.Block(64, 4, 256, random) for _ in range(4 if FAST else 8)]
tokens = random.standard_normal((8, 64, 64)).astype(np.float32)


def peak(kept):
    """The most memory, in MB, of one forward and backward pass, and a gradient."""
    tracemalloc.start()
    x = Tensor(tokens, requires_grad=True)
    y = x
    for block in blocks:
        y = block(y) if kept else checkpoint(block, y)
    y.sum().backward()
    most = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return most, x.grad


(all_of_it, grad), (checkpointed, grad_again) = peak(True), peak(False)
print(f"{len(blocks)} blocks: {all_of_it:.0f} MB with all kept, {checkpointed:.0f} MB with checkpoints")
print("the same bits:", np.array_equal(grad, grad_again))

# %% [markdown]
# ## Exercises
#
# 1. For each of these say shape and gradient shapes before you run it, or that it is an error: (5, 1, 4) + (3, 1);
#    (6, 7) @ (7, 2); (2, 3, 4) @ (4, 5); mean over axis 1 of (2, 3, 4), subtracted from what it was taken of.
# 2. `x.mean()` of 1000 numbers: what is the gradient of each? And of `x.max()`, if two of them are largest? See what
#    `ops.max` decides, and find out whether PyTorch decides the same.
# 3. Write `y = (x - x.mean(0)) / x.std(0)` with small ops, and fold each gradient by hand, with `fold` above. Then
#    write the engine's own: `minivl exercise get ex01 my-ex01`, part b is this page.

# %%

for a, b in EXAMPLES:
    grad_of_result = random.standard_normal(np.broadcast_shapes(a, b))
    assert np.allclose(fold(grad_of_result, b), unbroadcast(grad_of_result, b), rtol=1e-10, atol=1e-10)
    assert fold(grad_of_result, a).shape == a
assert np.allclose(column.grad, full.sum(1, keepdims=True), atol=1e-12)
assert np.allclose(row.grad, (arriving * column.numpy()).sum(0), atol=1e-12)
assert np.abs(W.grad - by_loops).max() < 1e-9 and np.allclose(X.grad, dY @ W.numpy().T)
assert memory.grad[:, 0].tolist() == [3.0, 0.0, 1.0]
assert wrong_loss != right_loss and (guess - truth).shape == (50, 50)
assert checkpointed < 0.7 * all_of_it and np.array_equal(grad, grad_again)
