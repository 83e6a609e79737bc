"""Tutorial 09: the atlas of masks, each proved by gradients that are exactly zero."""

# %% [markdown]
# # 09 · Who may look at whom
#
# **Goal.** Know every attention mask that vision-language models use, and how to prove that one of them holds.
# **You will see.** The masks of eleven papers side by side, CLIP to PaLI; a model that cheats without one.
# **Needs.** Tutorial 08.
# **Time.** Five seconds to run, half an hour to read and try.
#
# Take the attention layers of CLIP, CoCa, MaMMUT and BEiT-3 and lay them next to each other: they are the same
# layer. What tells these models apart is a table of yes and no, *who may look at whom*. It is the cheapest part of a
# model and the easiest to get wrong, because a wrong mask does not crash. It makes the loss better.

# %%
import numpy as np
from PIL import Image, ImageDraw
from show import FAST, GRID, PAPER, beside, curves, show, stacked, text

from minivl import Tensor, masks, nn, ops
from minivl.mask_atlas import LETTERS, PLATES
from minivl.optim import AdamW

# %% [slide]
# ## One table
#
# A mask is an array of booleans: a row for each token that asks (the *query*), a column for each that is asked (the
# *key*), True = may look. `masks.draw` writes `x` and `.`. Here is the most famous of all, *causal*: a word sees
# itself and what came before.

# %%
print(masks.draw(masks.causal(5)))

# %% [markdown]
# Masks are made of masks: `&` and `|` are all the algebra there is. A batch of sentences of different lengths is
# filled up with pads, and nobody may look at a pad. That is a question about columns only, so `padding` gives one row
# a sentence and leaves the rest to broadcasting. Both at once, for sentences of 2 and of 4 words:

# %%
both = masks.causal(4) & masks.padding([2, 4], 4)
print(masks.padding([2, 4], 4).shape, "&", masks.causal(4).shape, "->", both.shape)
print(masks.draw(both))

# %% [markdown]
# ## What a mask does, and what it must not do
#
# Inside the layer a score that is not allowed becomes minus infinity, so its share after the softmax is `exp(-inf)`,
# which is 0: not small, but zero. Then its derivative is zero as well, to the last bit. That gives a test for masks
# which no other bug can fool: **ask one token for its output, go backward, and see whose gradient is exactly 0.**
#
# `reach` does this for each query in turn. What is asked (`memory`) goes in as a tensor of its own: a token always
# knows what it asks, so the question must not count as looking at oneself.

# %%
C, random = 16, np.random.default_rng(0)
layer = nn.MultiHeadAttention(C, 2, random)


def reach(mask):
    """How far the output of query i moves with key j, (queries, keys): the length of d(output i) / d(memory j)."""
    queries, keys = mask.shape
    x, table = Tensor(random.standard_normal((1, queries, C))), np.zeros(mask.shape)
    where = random.standard_normal((1, queries, C))  # any direction will do: we only ask what is 0
    values = random.standard_normal((1, keys, C))
    for i in range(queries):
        memory = Tensor(values, requires_grad=True)
        (layer(x, memory=memory, mask=mask)[0, i] * where[0, i]).sum().backward()
        table[i] = np.sqrt((memory.grad[0] ** 2).sum(-1))
    return table


table = reach(masks.causal(4))
print(np.array2string(table, precision=3, suppress_small=True))

# %% [markdown]
# ## The atlas
#
# [mask_atlas.py](../minivl/mask_atlas.py) has the masks of eleven papers, each part of a model as small as it can be
# drawn, and why it is so. What is built in minivl is tested against them; of the others each says from where it is
# known. Each drawing below is not the mask: it is what `reach` measured. Blue is a gradient, the darker the larger; `0`
# is a gradient of exactly zero, and each of them stands where the mask says no. First what the letters mean.

# %%
for letter, what in LETTERS.items():
    print(f"{letter}  {what}")
print()
measured = [reach(plate.mask) for plate in PLATES]
for plate, table in zip(PLATES, measured, strict=True):
    name, allowed, zeros = f"{plate.paper}, {plate.part}", int(plate.mask.sum()), int((table == 0).sum())
    print(f"{name:<48}{allowed:>3} of {plate.mask.size:>3} allowed; gradients of 0: {zeros:>2}")


# %%
def page(name, rows, columns, table, cell=20, wide=236):
    """One drawing of the atlas: blue where a gradient flows, 0 where none does."""
    picture = Image.new("RGB", (wide, 52 + len(rows) * cell), PAPER)
    draw = ImageDraw.Draw(picture)
    text(draw, (8, 4), name)
    for j, letter in enumerate(columns):
        text(draw, (32 + (j + 0.5) * cell, 41), letter, anchor="ms", fill="#606060")
    for i, letter in enumerate(rows):
        text(draw, (26, 44 + (i + 0.5) * cell), letter, anchor="rm", fill="#606060")
        for j in range(len(columns)):
            x, y, share = 32 + j * cell, 44 + i * cell, (table[i, j] / table.max()) ** 0.5
            shade = tuple(int(215 - share * (215 - c)) for c in (0, 90, 160)) if table[i, j] else PAPER
            draw.rectangle([x, y, x + cell, y + cell], fill=shade, outline=GRID)
            if table[i, j] == 0:
                text(draw, (x + cell / 2, y + cell / 2), "0", size=11, anchor="mm", fill="#b0b0b0")
    return picture


def heading(words, wide=236 * 4):
    picture = Image.new("RGB", (wide, 26), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.line([8, 2, wide, 2], fill=GRID)
    text(draw, (8, 8), words, size=16)
    return picture


rows = []
for paper in dict.fromkeys(plate.paper for plate in PLATES):
    own = [(plate, table) for plate, table in zip(PLATES, measured, strict=True) if plate.paper == paper]
    rows += [
        heading(paper),
        beside(*(page(plate.part, plate.rows, plate.columns, table) for plate, table in own), gap=0),
    ]
show(stacked(*rows, gap=6), "09_atlas")

# %% [markdown]
# Read it slowly; eight ideas are in it, and why a part is as it is, `PLATES` tells for each.
#
# - **CLIP** reads its text causally although it never writes a word. Pads come last, so no word can see one.
# - **CoCa** wants one vector for a sentence *and* its words for the decoder from a single pass. So the class token
#   stands last: it sees all words, no word sees it, and it can be cut off without a trace.
# - **MaMMUT** uses one decoder twice. Pass A, for contrast: every word sees every word, and nothing else is there.
#   Pass B, to write: causal, with a look at the picture. The weights are the same; only the table changes.
# - **M6** and **BEiT-3** put picture and words into one row. A picture sees itself, words see the picture and their
#   own past: a *prefix*. No cross-attention is needed, and another task is another source, not another model.
# - **OFA** and **PaLI** have an encoder that sees everything and a decoder that is causal. The decoder's second look,
#   at the encoder, is one table more, and the pads of the source are forbidden in it as well.
# - **OmniVL** cuts a clip twice: first in time, then in space. Neither table reaches everything; both in turn do.
# - **FLAVA** and **BEiT-3** hide what is to be guessed. That is *not* a mask of attention: a hidden patch is another
#   vector, and everybody may look at it. And experts, in BEiT-3 or in the in-context decoder, are chosen for each
#   token by itself, which is no question of who looks at whom either.
# - The **rows of pads** are not empty: a pad looks at words, and nobody looks at it. Rows cost nothing; columns leak.
#   (ERNIE-ViL empties the rows too.)
#
# ## Many layers: masks multiply
#
# Token i sees j, and j has seen k one layer below. So after two layers i has seen k: reach is the product of the
# tables (with a 1 on the diagonal, for the residual stream). A causal mask times itself is causal again. A *window*,
# in which each word sees itself and two before it, grows: that is how deep models with narrow windows see far.

# %%
T = 9
window = masks.causal(T) & ~np.tri(T, T, -3, dtype=bool)
through = [window]
for _ in range(2):
    through.append(through[-1] @ window)


def reach_of_stack(layers, mask):
    """As `reach`, for whole blocks one above the other; here the question does count, for it is in the stream."""
    stack = nn.Transformer(layers, C, 2, 2 * C, np.random.default_rng(1))
    start, table = random.standard_normal((1, len(mask), C)), np.zeros(mask.shape)
    for i in range(len(mask)):
        x = Tensor(start, requires_grad=True)
        (stack(x, mask=mask)[0, i] * start[0, i]).sum().backward()
        table[i] = np.sqrt((x.grad[0] ** 2).sum(-1))
    return table


deep = [reach_of_stack(layers, window) for layers in (1, 2, 3)]
windows = [page(f"window of 3, {n} layer{'s' * (n > 1)}", "w" * T, "w" * T, t, 18) for n, t in enumerate(deep, 1)]
show(beside(*windows), "09_depth")

# %% [markdown]
# ## What happens without one
#
# Let a model predict the next of six letters drawn at random, out of an alphabet of eight. Nobody can: the best
# possible loss is log 8 = 2.08. Then forget the mask.


# %%
def learn(mask, steps, V=8, T=6, width=24):
    random = np.random.default_rng(2)
    letters, places = nn.Embedding(V, width, random, std=0.5), nn.Embedding(T, width, random, std=0.5)
    stack, out = nn.Transformer(1, width, 1, width, random), nn.Linear(width, V, random, scale=0.1)
    optimizer = AdamW([p for m in (letters, places, stack, out) for p in m.parameters()], lr=1e-2, weight_decay=0)
    losses = []
    for _ in range(steps):
        sequence = random.integers(V, size=(64, T + 1))
        x = letters(sequence[:, :-1]) + places(np.arange(T))
        loss = ops.cross_entropy(out(stack(x, mask=mask)), sequence[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


steps = 120 if FAST else 400
honest, cheating = learn(masks.causal(6), steps), learn(masks.bidirectional(6), steps)
print(f"after {steps} steps: causal {honest[-1]:.2f}, at best {np.log(8):.2f}; without a mask {cheating[-1]:.2f}")
show(curves({"causal": honest, "no mask": cheating}, title="Loss on letters that nobody can predict"), "09_cheating")

# %% [markdown]
# The model without a mask is wonderful in training and worthless in use: it has learned to read the answer off its
# neighbour on the right. Only the last place has none, and pays log 8 alone; so the loss ends at log 8 / 6 = 0.35.
# Whenever a captioning loss looks too good, ask for gradients first.
#
# ## A query that may see nothing
#
# In an empty text all keys are pads. A softmax over nothing is 0/0; here it is 0, and no NaN goes round the model.

# %%
nothing = ops.attention(*(Tensor(random.standard_normal((1, 1, 2, 4))) for _ in range(3)), np.zeros((2, 2), bool))
print("a query that sees nothing gets", nothing.numpy().ravel()[:4])

# %% [markdown]
# ## Exercises
#
# 1. Two pictures and a text in one row: both pictures see only themselves, the text sees both pictures and its own
#    past. Make the mask from those above with `&` and `|`, and prove it by `reach`.
# 2. Fill the pads of a sentence with other words. Which outputs change under each mask of the atlas? Predict it from
#    the drawing, then look, bit by bit.
# 3. In MaMMUT's pass A, is the mean over all places of the output right? What must be left out, and does a mask do
#    it? Then write the masks yourself: `minivl exercise get ex07 my-ex07`. What the two passes share: `ex10`.

# %%

for plate, table in zip(PLATES, measured, strict=True):
    assert ((table != 0) == plate.mask).all(), plate  # a gradient exactly where it is allowed, and 0.0 elsewhere
assert len({plate.paper for plate in PLATES}) == 11
sees = {(plate.paper, plate.part): table != 0 for plate, table in zip(PLATES, measured, strict=True)}
past = np.tri(5, dtype=bool)  # and the masks are what the text above says they are
assert np.array_equal(sees["CLIP", "text"], past) and np.array_equal(sees["MaMMUT", "pass B: write"], past)
assert sees["CoCa", "text, lower half"][-1].tolist() == [True, True, True, False, False, True]
assert not sees["CoCa", "text, lower half"][:-1, 3:].any() and not sees["CoCa", "text, upper half"][:, 3:].any()
assert sees["MaMMUT", "pass A: compare"][:, :3].all() and not sees["MaMMUT", "pass A: compare"][:, 3:].any()
source, target = np.split(sees["M6", "picture to text"], [4])
assert source[:, :4].all() and not source[:, 4:].any()
assert target[:, :4].all() and np.array_equal(target[:, 4:], np.tri(3))
assert not sees["OFA", "decoder at encoder"][:, -1].any() and sees["OFA", "decoder at encoder"][:, :-1].all()
assert not (sees["OmniVL", "clip, in time"] & ~np.eye(6, dtype=bool))[:2, :2].any()
assert (masks.block(2, 2, 2) @ sees["OmniVL", "clip, in time"]).all()  # in time, then in space: everything
assert sees["FLAVA", "picture"].all()  # a hidden patch is seen like any other
assert all(((table != 0) == seen).all() for table, seen in zip(deep, through, strict=True))
assert ((reach_of_stack(2, masks.prefix(2, 3)) != 0) == masks.prefix(2, 3)).all()  # a prefix stays one, however deep
assert min(honest) > 0.95 * np.log(8) and cheating[-1] < 0.3 * np.log(8)  # all but 1/6 is copied
assert not nothing.numpy().any()
