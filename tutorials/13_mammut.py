"""Tutorial 13: MaMMUT, one decoder whose weights are all used twice."""

# %% [markdown]
# # 13 · MaMMUT: one decoder, two masks
#
# **Goal.** See how one set of weights serves two losses, and measure whether the two pull in one direction.
# **You will see.** Both passes' tables of who moves whom, and the cosine of two gradients while the model learns.
# **Needs.** Tutorials 09 and 12.
# **Time.** About a minute to run, three quarters of an hour to read.
#
# CoCa cuts its decoder in half. MaMMUT (Kuo et al. 2023) does not: *all* of the decoder's layers read a text to compare
# it, and all of them write. That wants two passes, for a text to be compared should be read whole, and one to be
# written must not see its future.

# %%
import numpy as np
from show import FAST, beside, curves, heat, show

from minivl import optim
from minivl.data import Batches, open_source
from minivl.models.mammut import Config, MaMMUT
from minivl.tokenizers import ByteLevelBPE

source = open_source("scenes:60" if FAST else "scenes:4000", seed=0)
tokenizer = ByteLevelBPE.train([caption for example in source.examples() for caption in example.captions], 400)
specials = {f"{name}_token": getattr(tokenizer, f"{name}_id") for name in ("pad", "start", "end")}
config = Config.tiny(vocabulary=tokenizer.vocab_size, width=64, **specials)
model = MaMMUT(config, np.random.default_rng(0))
model.tokenizer = tokenizer

# %% [slide]
# ## The same weights, twice
#
# | | pass A: compare | pass B: write |
# |---|---|---|
# | self-attention | everybody sees everybody | causal |
# | cross-attention | skipped | to the picture |
# | out | the mean over the words: the text embedding | the next word |
# | loss | focal contrast | captioning |
#
# The gradients of both passes add up in the shared weights: **∇L = ∇L_foc + ∇L_cap**.

# %% [markdown]
# ## Two masks, proved
#
# As in tutorial 12: whose position vector moves which output? An exact zero is a proof.

# %%
texts, lengths = model.tokenize(["a red circle", "a red circle above a blue square"])
random = np.random.default_rng(1)
batch = {"image": random.standard_normal((2, 3, 32, 32)).astype(np.float32), "text": texts, "lengths": lengths}
probe = random.standard_normal(config.width).astype(np.float32)


def reach(name, place):
    """How much an output of the first text moves with what stands at each place: (T,)."""
    model.zero_grad()
    (model(batch)[name][0, place] * probe).sum().backward()
    return np.linalg.norm(model.position.grad, axis=-1)


n = int(lengths[0])
pass_a = np.stack([reach("words", t) for t in range(n)])
pass_b = np.stack([reach("decoded", t) for t in range(n)])
words = ["start", *(tokenizer.decode(texts[0, t : t + 1]).strip() for t in range(1, n - 1)), "end"]
tables = [
    heat((table[:, : n + 2] > 0).astype(float), words, range(n + 2), title, numbers=False)
    for table, title in ((pass_a, "pass A: compare"), (pass_b, "pass B: write"))
]
show(beside(*tables), "13_two_masks")

# %% [markdown]
# On the left every word moves every word, and no pad does. On the right is the triangle. It is one object,
# `model.decoder`, that did both: only the mask and the memory are others.
#
# ## Gradients add up
#
# Backward through the sum of two losses must give the sum of their gradients; that follows from calculus. Here it even
# holds *bit for bit* in the decoder. Each pass adds one term to a weight's gradient, and of two floating-point numbers
# the sum does not depend on the order. (Of three it does.)
#
# In the image tower the same holds only nearly. It is gone through once, with the sum of what both losses sent:
# `W (a + b)` is rounded in other places than `W a + W b`.

# %%


def gradients(*losses):
    """Gradients of each parameter, after going backward from each of the losses in turn."""
    model.zero_grad()
    for loss in losses:
        loss().backward()
    return {name: p.grad.copy() for name, p in model.named_parameters() if p.grad is not None}


def loss_of(name):
    return lambda: model(batch)[name]


focal, caption = gradients(loss_of("contrastive_loss")), gradients(loss_of("caption_loss"))
together = gradients(loss_of("loss"))
shared = sorted(name for name in focal.keys() & caption.keys() if name.startswith("decoder"))
same_bits = sum(np.array_equal(together[name], focal[name] + caption[name]) for name in shared)
tower = [name for name in focal.keys() & caption.keys() if name.startswith("vit")]
sums = {name: focal[name] + caption[name] for name in tower}
apart = max(np.abs(together[name] - sums[name]).max() for name in tower) / max(np.abs(g).max() for g in sums.values())
print(f"decoder: {same_bits} of {len(shared)} shared arrays have the very bits of the sum")
print(f"image tower: at most {apart:.1e} apart, as a part of the largest")
only = {name.split(".")[1] for name in caption.keys() - focal.keys() if name.startswith("decoder")}
print("of the decoder, only writing teaches:", *only)

# %% [markdown]
# ## Do the two losses want the same?
#
# Two gradients in the same weights may agree (cosine 1), know nothing of each other (0), or undo each other (-1). In a
# space of many thousand numbers, two random directions have a cosine of almost 0: its standard deviation is one over
# the root of the dimension. So a small number may still be many times what chance would give.

# %%
steps = 3 if FAST else 200
every = 1 if FAST else 20
size = 8 if FAST else 64
optimizer = optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
cosines, losses, at = [], {"focal": [], "caption": []}, []


def flat(found):
    return np.concatenate([found[name].ravel() for name in shared]).astype(np.float64)


def cosine(a, b):
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


with Batches(source, tokenizer, size, config.context, 32, config.image_mean, config.image_std) as batches:
    for step in range(steps):
        batch = next(batches)
        if step % every == 0:
            a, b = flat(gradients(loss_of("contrastive_loss"))), flat(gradients(loss_of("caption_loss")))
            cosines.append(cosine(a, b))
            at.append(step)
        model.zero_grad()
        out = model(batch)
        out["loss"].backward()
        optimizer.lr = optim.warmup_cosine(step, 2e-3, steps // 10, steps)
        optimizer.step()
        losses["focal"].append(out["contrastive_loss"].item())
        losses["caption"].append(out["caption_loss"].item())
chance = len(a) ** -0.5
lines = {"cosine": cosines, "0": np.zeros(len(at)), "+ chance": np.full(len(at), chance)}
show(beside(curves(losses, title="losses"), curves(lines, at, "cosine of the two gradients")), "13_cosine")
print(f"cosines from {min(cosines):.3f} to {max(cosines):.3f}; two random directions: 0 ± {chance:.4f}")

# %% [markdown]
# Neither the same nor opposite: most of what one loss asks for leaves the other alone. That is why one decoder *can*
# do both. Batches are small here, and so part of what you see is noise: two batches' gradients of the *same* loss have
# a cosine below 1, too (exercise 2).
#
# ## Why everybody may look at everybody
#
# Compare pass A with a causal one, which is what CoCa does and the paper's ablation, too. In a causal pass the first
# word's vector knows only the first word; the mean over words is then a mean of half-read sentences.

# %%
causal = MaMMUT(Config.tiny(vocabulary=400, width=64, contrast_pass="causal", **specials), np.random.default_rng(0))
texts, lengths = model.tokenize(["a red circle", "a red square"])
spread = {}
for name, one in (("bidirectional", model), ("causal", causal)):
    # Each by itself: side by side in one product, equal rows may be rounded differently.
    circle, square = (one.read(texts[i : i + 1], lengths[i : i + 1])[0].numpy()[0] for i in range(2))
    spread[name] = float(np.abs(circle[1] - square[1]).max())
print(f'the vector of "a" in "a red circle" and in "a red square" differs by {spread}')

# %% [markdown]
# ## Exercises
#
# 1. Change `caption_weight` to 0.25 and to 4. What becomes of the two losses, and of the cosine?
# 2. Measure the cosine layer by layer, and that of one loss on two batches beside it. Where do the two losses agree
#    most, in the first layers or the last? Say first what you expect, and why.
# 3. Write the two passes yourself: `minivl exercise get ex10 my-ex10`.

# %%
assert (pass_a[:, :n] > 0).all() and (pass_a[:, n:] == 0).all()
assert all((pass_b[t, t + 1 :] == 0).all() and (pass_b[t, : t + 1] > 0).all() for t in range(n))
assert same_bits == len(shared) and apart < 1e-4 and only == {"cross"}
assert spread["causal"] == 0 and spread["bidirectional"] > 0
assert max(abs(c) for c in cosines) < 0.9
assert losses["caption"][-1] < losses["caption"][0]
