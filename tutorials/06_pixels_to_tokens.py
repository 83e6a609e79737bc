"""Tutorial 06: a picture becomes a row of tokens: patches, the way back, positions, and what raw patches know."""

# %% [markdown]
# # 06 · From pixels to tokens
#
# **Goal.** Cut a picture into tokens and join them again; know what is lost (nothing) and what is missing (where).
# **You will see.** A picture in patches, a map of positions, and patches that find their like in other pictures.
# **Needs.** Tutorial 03.
# **Time.** Two seconds to run, twenty minutes to read and try.
#
# A transformer reads a row of vectors. A text comes as a row; a picture does not. The answer of the vision
# transformer is almost rude: cut the picture into squares, write the pixels of each square one after another, and
# call that a word. Everything that a vision-language model knows about pictures begins with these few lines.

# %%
import numpy as np
from show import beside, curves, heat, show, stacked, to_picture

from minivl import Tensor, nn, ops
from minivl.data import scenes
from minivl.data.image import to_array

# %% [markdown]
# ## Scissors
#
# A picture is (3, 64, 64): colours, rows, columns. With patches of 8 there are 8 rows of patches and 8 columns. So
# split both axes in two, 64 = 8 x 8 (*which patch*, *which pixel in it*), bring the two "which patch" to the front,
# and flatten the rest.

# %%
P = 8
scene = next(s for s in scenes.candidates(1, "train", 40) if len(s.items) == 2)
picture = to_array(scenes.draw(scene, 64)).astype(np.float64)


def cut(picture, P):
    """(3, H, W) -> (N, 3 P P), the patches row by row."""
    channels, H, W = picture.shape
    split = picture.reshape(channels, H // P, P, W // P, P)  # colour, row of patches, row in it, column, column in it
    return split.transpose(1, 3, 0, 2, 4).reshape(-1, channels * P * P)


def join(patches, P, H, W):
    """The way back."""
    split = patches.reshape(H // P, W // P, 3, P, P)
    return split.transpose(2, 0, 3, 1, 4).reshape(3, H, W)


patches = cut(picture, P)
back = join(patches, P, 64, 64)
print(f"{picture.shape} -> {patches.shape}, as many numbers; joined again, equal:", (back == picture).all())


# %%
def seen(array, scale):
    return to_picture(array.transpose(1, 2, 0), scale)


def apart(patches, P, side, gap=1, scale=3):
    """The patches in their places, with gaps between them."""
    step = P + gap
    paper = np.ones((3, side * step - gap, side * step - gap))
    for n, patch in enumerate(patches):
        i, j = divmod(n, side)
        paper[:, i * step : i * step + P, j * step : j * step + P] = patch.reshape(3, P, P)
    return seen(paper, scale)


random = np.random.default_rng(0)
shuffled = random.permutation(64)
show(beside(seen(picture, 3), apart(patches, P, 8), apart(patches[shuffled], P, 8)), "06_patches")

# %% [markdown]
# On the right are the same 64 patches in another order. To you it is another picture. To a transformer it is the
# *same* set of tokens (tutorial 08), until each is told where it stands.
#
# ## One matrix
#
# A patch of 192 numbers becomes a token of C by one matrix, the same for all. That is the whole "patch embedding",
# and it is a convolution whose window moves by its own width. `ops.patch_embed` does both, and its weight keeps the
# shape of a patch, (3, 8, 8, C), so that you can look at it.

# %%
C = 16
weight = random.standard_normal((3, P, P, C)) / np.sqrt(3 * P * P)
tokens = ops.patch_embed(Tensor(picture[None]), weight).numpy()[0]
by_hand = patches @ weight.reshape(-1, C)
window = ops.conv2d(Tensor(picture.transpose(1, 2, 0)[None]), weight.transpose(1, 2, 0, 3), stride=P).numpy()
print("tokens", tokens.shape, "by hand they differ by", f"{np.abs(tokens - by_hand).max():.0e}")
print("as a convolution by", f"{np.abs(window.reshape(-1, C) - tokens).max():.0e}")

# %% [markdown]
# How small should a patch be? Half the side means four times the tokens, and attention compares each with each:
# sixteen times the scores.

# %%
for side, p in ((32, 8), (64, 8), (224, 32), (224, 16), (224, 14), (336, 14)):
    n = (side // p) ** 2
    print(f"{side:>3} pixels in patches of {p:>2}: {n:>4} tokens, {n * n:>7} scores a head")

# %% [slide]
# ## Where
#
# So each token gets a *position*, a vector that is added to it. It may be learned, or be made of waves: sines and
# cosines of the row and of the column, from fast ones to slow ones. Why waves? Because then the dot product of two
# positions depends on how far apart they are, and on nothing else. Attention lives on dot products: it can ask for
# "the one on my left" everywhere alike.
#
# Each little map shows one place's dot product with all 64 places.

# %%
centres = ops.patch_centres((64, 64), (P, P)) / P  # in patches: neighbours are 1 apart
waves = nn.sin_cos(centres, 64)
near = waves @ waves.T
near = (near - near.min()) / (near.max() - near.min())
maps = [[heat(near[8 * i + j].reshape(8, 8), cell=14, numbers=False) for j in (0, 3, 5, 7)] for i in (0, 3, 7)]
show(stacked(*(beside(*row, gap=0) for row in maps), gap=0), "06_positions")
moved = [near[8 * i + j, 8 * i + j + 1] for i in range(8) for j in range(7)]  # each place and its right neighbour
print(f"each place with its right neighbour: from {min(moved):.6f} to {max(moved):.6f}")

# %% [markdown]
# ## What raw patches know
#
# Nothing is trained yet. Can a patch, as it is, find its like in other pictures? Take all patches whose middle lies
# in a thing, from 150 scenes, and for those of 20 scenes more look for the nearest by plain distance of pixels. A
# patch is right if what it finds has the same colour, or the same shape.


# %%
def gallery(chosen):
    """All patches that lie on a thing: (n, 192), and the colour and the shape of that thing."""
    vectors, labels = [], []
    for s in chosen:
        for patch, (y, x) in zip(cut(to_array(scenes.draw(s, 64)), P), (centres + 0.5 / P) / 8, strict=True):
            for item in s.items:
                if max(abs(x - item.x), abs(y - item.y)) < 0.6 * item.radius:
                    vectors.append(patch)
                    labels.append((item.colour, item.shape))
    return np.array(vectors), np.array(labels)


many = scenes.candidates(5, "train", 170)
known, known_labels = gallery(many[:150])
asked, asked_labels = gallery(many[150:])


def nearest(questions, answers):
    """The numbers of the answers, the nearest first, for each question."""
    distance = (questions**2).sum(1)[:, None] - 2 * questions @ answers.T + (answers**2).sum(1)
    return distance.argsort(axis=1)


found = nearest(asked, known)
right = (known_labels[found[:, 0]] == asked_labels).mean(0)
chance = (known_labels[None] == asked_labels[:, None]).mean((0, 1))
print(f"{len(asked)} patches ask {len(known)}")
for what, r, c in zip(("colour", "shape"), right, chance, strict=True):
    print(f"the nearest patch has the same {what:<7}{r:.0%} of the time; a patch drawn at random {c:.0%}")


# %%
def in_a_row(vectors):
    return beside(*(seen(v.reshape(3, P, P), 5) for v in vectors), gap=6)


some = random.choice(len(asked), 6, replace=False)
rows = [beside(in_a_row(asked[[i]]), in_a_row(known[found[i, :8]]), gap=24) for i in some]
show(stacked(*rows, gap=8), "06_nearest")

# %% [markdown]
# Left the question, then the eight that were found. Pixels know colour, and little of shape: what a shape is shows
# only when patches look at each other. That is what the layers are for.
#
# Does the matrix lose what the pixels knew? Here it is random, and makes 192 numbers into 16, 4 or 1. Distances
# survive that surprisingly well: a random projection is a fair witness, if it has some dozen numbers to testify
# with.

# %%
kept = {}
for C in (1, 2, 4, 8, 16, 32, 64):
    projection = random.standard_normal((192, C)) / np.sqrt(C)
    again = nearest(asked @ projection, known @ projection)[:, 0]
    kept[C] = (known_labels[again, 0] == asked_labels[:, 0]).mean()
widths = curves(
    {"same colour": list(kept.values())}, list(kept), "Colour found, over the width of a token", True, low=True
)
show(widths, "06_width")
print({C: round(float(share), 2) for C, share in kept.items()})

# %% [markdown]
# ## Exercises
#
# 1. Cut the picture into patches that overlap by half (`stride=4`). How many are there now? Why can `join` not be the
#    inverse any more, and what would be?
# 2. A clip is (3, F, H, W). Write `cut` for tubes of 2 frames, and compare with `ops.patch_embed` on five axes.
# 3. Take the mean colour out of every patch before you look for the nearest. What happens to colour, and what to
#    shape? Then write minivl's patches: `minivl exercise get ex05 my-ex05`.

# %%

assert (back == picture).all() and patches.shape == (64, 192)
assert np.abs(tokens - by_hand).max() < 1e-12 and np.abs(window.reshape(64, 16) - tokens).max() < 1e-12
assert max(moved) - min(moved) < 1e-12  # the neighbour is as near everywhere
of_shuffled = ops.patch_embed(Tensor(join(patches[shuffled], P, 64, 64)[None]), weight).numpy()[0]
assert np.abs(of_shuffled - by_hand[shuffled]).max() < 1e-12  # the same set of tokens
assert right[0] > 0.9 > 0.5 > right[1] and right[0] > 4 * chance[0]
assert kept[64] > 0.9 > kept[1]
