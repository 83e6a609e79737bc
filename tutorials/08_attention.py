"""Tutorial 08: attention, from a dictionary that answers in shares to many heads."""

# %% [markdown]
# # 08 · Attention
#
# **Goal.** Understand the one formula, softmax(q kᵀ / sqrt(d)) v: what each letter is for, and why the root.
# **You will see.** Words looking at a picture; shares that freeze as vectors grow; what two heads do that one cannot.
# **Needs.** Tutorials 03 and 04; a dot product.
# **Time.** Two seconds to run, half an hour to read and try.
#
# A dictionary has keys and values. Ask it for a key, and either you get the value, or nothing. That cannot be
# learned: between "nothing" and "all of it" there is no slope to go along. Attention is a dictionary with slopes. It
# compares your *query* with every key, and gives you some of each value: much of those whose keys are close.

# %%
import numpy as np
from PIL import Image, ImageDraw
from show import beside, curves, heat, show, text

from minivl import Tensor, nn, ops
from minivl.data import heat as over_picture
from minivl.data import scenes

# %% [markdown]
# ## By hand
#
# Three things in a dictionary, and two questions. A key is a vector that says what a thing is like; how well a query
# fits it is their dot product.

# %%
K = np.array([[4.0, 0.0], [0.0, 4.0], [-4.0, 0.0]])  # the keys: to the right, up, to the left
V = np.array([[10.0], [20.0], [30.0]])  # the values: one number each
Q = np.array([[1.0, 0.0], [1.0, 1.0]])  # "to the right?" and "right or up?"


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


A = softmax(Q @ K.T / np.sqrt(2))  # each row a question, its shares add up to 1
print("shares\n", A.round(3), "\nanswers", (A @ V).ravel().round(2))

# %% [markdown]
# The first question gets nearly all of the first value, the second half of each of two. That is the whole of it. In
# minivl the same stands in `ops.attention` with two axes more, B for the batch and H for heads:

# %%
q, k, v = (Tensor(a[None, None]) for a in (Q, K, V))
by_op = ops.attention(q, k, v).numpy()[0, 0]
print("ops.attention", by_op.ravel().round(2))

# %% [markdown]
# ## Words look at a picture
#
# Nothing is trained in this tutorial, and still we can watch. Cut a picture into patches, and let the key of a patch
# be its colour: how much redder, greener, bluer it is than the picture is on average. Let the query of a word be the
# colour that it names. Then "red" finds what is red.

# %%
scene = next(s for s in scenes.candidates(3, "train", 60) if {i.colour for i in s.items} == {"red", "blue"})
picture = scenes.draw(scene, 128)
caption = scenes.captions(scene)[0]
pixels = np.asarray(picture, float) / 255
side, patch = 16, 8
patches = pixels.reshape(side, patch, side, patch, 3).mean((1, 3)).reshape(-1, 3)  # (256, 3): a patch's colour
keys = patches - patches.mean(0)


def query(colour):
    q = np.array(scenes.COLOURS[colour]) / 255 - patches.mean(0)
    return q / np.linalg.norm(q)


looks = {colour: softmax(20 * query(colour) @ keys.T) for colour in ("red", "blue")}


def titled(picture, words):
    framed = Image.new("RGB", (picture.width, picture.height + 24), "white")
    framed.paste(picture, (0, 24))
    text(ImageDraw.Draw(framed), (0, 4), words)
    return framed


row = [titled(picture.resize((192, 192)), caption)]
row += [titled(over_picture(picture, w.reshape(side, side), size=192), f'"{c}" looks') for c, w in looks.items()]
show(beside(*row), "08_words_look")


# %%
def inside(colour):
    """The share of a word's attention that falls on the thing of that colour, and that thing's share of the area."""
    item = next(i for i in scene.items if i.colour == colour)
    places = (np.arange(side) + 0.5) / side
    here = (abs(places[:, None] - item.y) < item.radius) & (abs(places[None] - item.x) < item.radius)
    return looks[colour].reshape(side, side)[here].sum(), here.mean()


for colour in looks:
    print('"{}": {:.0%} of the look on {:.0%} of the picture'.format(colour, *inside(colour)))

# %% [markdown]
# In a trained model queries and keys are not colours that we chose, but `x W_Q` and `m W_K`, learned. The picture at
# the top of the README is made by the very same function from CoCa's weights.
#
# ## Why the root of d
#
# The dot product of two random vectors of d numbers has a standard deviation of sqrt(d). So the wider the vectors,
# the larger the scores, and a softmax of large scores gives everything to one key. We measure that by the *entropy*
# of the shares: log 64 = 4.16 where all of 64 keys count alike, 0 where one gets it all. And we look at what is left
# of the derivative, the sum of p (1 - p) over the keys: a softmax that is sure does not learn.

# %%
random = np.random.default_rng(0)
widths = 2 ** np.arange(1, 11)
entropy, slope = {"scores / sqrt(d)": [], "scores": []}, {"scores / sqrt(d)": [], "scores": []}
for d in widths:
    scores = random.standard_normal((200, d)) @ random.standard_normal((64, d)).T
    for name, scaled in (("scores / sqrt(d)", scores / np.sqrt(d)), ("scores", scores)):
        p = softmax(scaled)
        entropy[name].append(-(p * np.log(p + 1e-300)).sum(-1).mean())
        slope[name].append((p * (1 - p)).sum(-1).mean())
print("d      entropy, scaled and not     slope, scaled and not")
for i, d in enumerate(widths):
    print(f"{d:<7}{entropy['scores / sqrt(d)'][i]:>8.2f}{entropy['scores'][i]:>8.2f}", end="")
    print(f"{slope['scores / sqrt(d)'][i]:>20.3f}{slope['scores'][i]:>8.3f}")
entropies = curves(entropy, widths, "Entropy of the shares, over d", log_x=True, size=(430, 280))
show(beside(entropies, curves(slope, widths, "sum p(1 - p), over d", log_x=True, size=(430, 280))), "08_root_of_d")

# %% [markdown]
# With the root, nothing depends on the width any more: the same learning rate will do for all of them.
#
# ## Many heads
#
# One head gives one average. Ask it for two things at once and you get what lies between them. Let the values be
# *places* in our picture, and look for a query that fits the red thing and the blue thing equally well, 1 each.

# %%
places = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)  # x, y of each patch
truth = {i.colour: np.array([i.x, i.y]) * side - 0.5 for i in scene.items}
colours = np.array([i.rgb for i in scene.items]) / 255 - patches.mean(0)
either = np.linalg.pinv(colours) @ np.ones(2)
one_head = softmax(20 * either @ keys.T) @ places
two_heads = {c: looks[c] @ places for c in looks}
for colour in looks:
    print(f"{colour:<5} is at {truth[colour].round(1)}; its own head says {two_heads[colour].round(1)}")
print("one head asked for both says", one_head.round(1), "where there is neither")

# %% [markdown]
# So a layer has several heads, each with a part of the width: H heads of D = C / H numbers. They cost nothing: the
# matrices have the same size, they are only read in strips.

# %%
layers = {H: nn.MultiHeadAttention(48, H, np.random.default_rng(1)) for H in (1, 3, 12)}
print({f"{H} heads": layer.num_parameters() for H, layer in layers.items()})
x = Tensor(random.standard_normal((1, 6, 48)))
weights = layers[3].weights(x).numpy()[0]
show(beside(*(heat(w, title=f"head {h}", cell=36, top=1) for h, w in enumerate(weights))), "08_heads")

# %% [markdown]
# Each head has shares of its own, and each row of them adds up to 1. (Nothing is learned here, so they mean nothing
# yet; in `minivl explain` you can look at those of a trained model.)
#
# ## What attention does not know
#
# Nowhere does the formula say *where* a key stands. Shuffle the keys, and the values with them, and every answer is
# the same. To attention a sentence is a bag of words, until positions are added to them, which is done before the
# first layer (tutorial 06).

# %%
shuffled = random.permutation(6)
ordered, bag = layers[3](x).numpy(), layers[3](x, memory=Tensor(x.numpy()[:, shuffled])).numpy()
print("largest change of any answer, keys shuffled:", abs(ordered - bag).max())

# %% [markdown]
# ## Exercises
#
# 1. Multiply the scores by 1, 5, 20 and 100 before the softmax, and look at the pictures again. What is the look at a
#    factor of 0? Where will you meet this number again, in CLIP?
# 2. Add to each patch's key its place, and to "red" the wish to be on the left. Can a single dot product mean "red
#    *and* left"? Can it mean "red *or* left"?
# 3. A sequence of T tokens has T² scores. How many are there for a picture of 1024 x 1024 in patches of 14, and
#    how much memory is that? Find in minivl/ops/attention.py how few of them are held at a time.

# %%

assert np.allclose(A.sum(-1), 1) and np.abs(by_op - A @ V).max() < 1e-12
assert all(share > 4 * area for share, area in map(inside, looks))
assert entropy["scores"][-1] < 0.5 and slope["scores"][-1] < 0.2
assert min(entropy["scores / sqrt(d)"]) > 3.3 and np.ptp(slope["scores / sqrt(d)"]) < 0.1
assert all(np.linalg.norm(two_heads[c] - truth[c]) < 1.5 for c in looks)
assert min(np.linalg.norm(one_head - truth[c]) for c in looks) > 2.5
assert len({layer.num_parameters() for layer in layers.values()}) == 1
assert np.abs(ordered - bag).max() < 1e-12
