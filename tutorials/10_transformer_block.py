"""Tutorial 10: the transformer block, what flows through it, and a small language model made of two of them."""

# %% [markdown]
# # 10 · The transformer block
#
# **Goal.** Build a block out of what tutorials 03 to 09 have made, and let a stack of them learn to write.
# **You will see.** The residual stream; why the norm stands beside it; captions that grow out of noise.
# **Needs.** Tutorials 04, 07, 08 and 09.
# **Time.** Ten seconds to run, half an hour to read and try.
#
# Everything is there: tokens, attention, masks, a norm, an engine. A transformer block is how they are put together,
# and it is short. This tutorial ends with a model that writes captions it was never shown. It has no eyes yet; those
# come with CoCa (tutorial 12). But the hand that writes is the same.

# %%
import numpy as np
from PIL import Image, ImageDraw
from show import FAST, beside, curves, show, text

from minivl import Tensor, masks, nn, no_grad, ops
from minivl.data import scenes
from minivl.generate import generate
from minivl.optim import AdamW, clip_grad_norm, decay_groups, warmup_cosine
from minivl.tokenizers import ByteLevelBPE

# %% [markdown]
# ## One block, by hand
#
# A token goes through a block on a straight road, the *residual stream*. Twice it makes a detour, and what it found
# there is **added** to it:
#
#     x = x + attend(norm(x))      tokens look at each other
#     x = x + mlp(norm(x))         each token thinks for itself: a wide layer, GELU, and back
#
# Attention is the only place where tokens meet. The MLP, with two thirds of the numbers, is where each of them works.

# %%
C, random = 32, np.random.default_rng(0)
block = nn.Block(C, 4, 4 * C, random)
x = Tensor(random.standard_normal((2, 6, C)))
mask = masks.causal(6)

road = x + block.attend(block.norm1(x), mask=mask)
road = road + block.mlp(block.norm2(road))
by_hand = np.abs(road.numpy() - block(x, mask=mask).numpy()).max()
print("by hand and by nn.Block they differ by", by_hand)
sizes = {name: getattr(block, name).num_parameters() for name in ("attend", "mlp")}
print("numbers:", sizes)

# %% [markdown]
# ## Why a road, and why a norm
#
# Stack 24 blocks in four ways: as above (`pre norm`); with the norm on the road, behind the sum, as the first
# transformers had it (`post norm`); without a road (`norm only`); without either (`bare`). Nothing is trained. We
# ask two things. How large is the gradient that comes back to each block, if one of length 1 sets out at the end?
# And how alike are the tokens in front of each block: the mean cosine between them, 1 if all say the same?

# %%
DEPTH = 24
WAYS = {
    "pre norm": lambda b, x: b(x),
    "post norm": lambda b, x: b.norm2((y := b.norm1(x + b.attend(x))) + b.mlp(y)),
    "norm only": lambda b, x: b.mlp(b.norm2(b.attend(b.norm1(x)))),
    "bare": lambda b, x: b.mlp(b.attend(x)),
}


def stacked_up(step):
    """The length of the gradient, and how alike the tokens are, in front of each of the blocks."""
    random = np.random.default_rng(1)
    x, gauges, alike = Tensor(random.standard_normal((1, 8, C))), [], []
    for _ in range(DEPTH):
        gauges.append(Tensor(np.zeros(x.shape), requires_grad=True))  # adds nothing, and is told the gradient
        directions = x.numpy()[0] / np.linalg.norm(x.numpy()[0], axis=-1, keepdims=True)
        alike.append(((directions @ directions.T).sum() - 8) / 56)
        x = step(nn.Block(C, 4, 4 * C, random), x + gauges[-1])
    sent = random.standard_normal(x.shape)
    x.backward(sent / np.linalg.norm(sent))
    return [float(np.linalg.norm(g.grad)) for g in gauges], alike


measured = {name: stacked_up(step) for name, step in WAYS.items()}
for name, (arrived, alike) in measured.items():
    print(f"{name:<10} gradient at the first block {arrived[0]:8.1e};  cosine of tokens at the last {alike[-1]:6.3f}")
numbers, half = np.arange(1, DEPTH + 1), (430, 300)
gradients = {name: arrived for name, (arrived, _) in measured.items()}
cosines = {name: alike for name, (_, alike) in measured.items()}
left = curves(gradients, numbers, "Gradient in front of block n", log_y=True, size=half, low=True)
show(beside(left, curves(cosines, numbers, "How alike tokens are", size=half, low=True)), "10_road")

# %% [markdown]
# Read the left picture from the right, where the gradient sets out. *Bare*, it is multiplied by something small at
# every step, and what is left is nothing. A norm mends that, and still nothing could be learned: attention takes
# averages, averages of averages are all the same, and after three blocks so are the tokens. A road keeps them apart:
# each carries on what it was, and adds to it. But a norm *on* the road shrinks what it was, at every step; after a
# dozen the tokens are alike again. With the norm beside the road nothing stands in the way, neither of what a token
# was nor of the gradient: the derivative of `x + f(x)` is `1 + f'(x)`, and the 1 goes from the loss down to the
# pixels.
#
# ## Something to learn
#
# Captions of drawn scenes, some thirty words in a grammar. A language model predicts each token from those before it:
# the causal mask makes a sentence of T tokens into T - 1 exercises at once.

# %%
captions = [scenes.captions(s)[i % 3] for i, s in enumerate(scenes.candidates(0, "train", 300 if FAST else 900))]
known = set(captions)
tokenizer = ByteLevelBPE.train(captions, vocab_size=360)
ids, lengths = tokenizer(captions)
print(f"{len(captions)} captions of up to {ids.shape[1]} tokens, {tokenizer.vocab_size} different ones")


class Writer(nn.Module):
    """Tokens (B, T) -> logits (B, T, V) of the next: embedding, positions, blocks, and the way out."""

    def __init__(self, V, T, C, H, layers, random):
        self.words, self.places = nn.Embedding(V, C, random), nn.Embedding(T, C, random)
        self.blocks = nn.Transformer(layers, C, H, 4 * C, random)
        self.out = nn.Linear(C, V, random, scale=0.1)

    def forward(self, ids):
        T = ids.shape[1]
        x = self.words(ids) + self.places(np.arange(T))
        return self.out(self.blocks(x, mask=masks.causal(T)))


writer = Writer(tokenizer.vocab_size, ids.shape[1], 48, 4, 2, np.random.default_rng(2))
print(f"{writer.num_parameters()} numbers to learn")

# %% [markdown]
# ## Learn, and write as you learn
#
# Every so often it writes captions, of which three are shown: it is given the start, and one token after another is
# drawn from what it predicts. `scenes.parse` knows the grammar, and says whether a caption means anything.


# %%
def written(n, random, temperature=0.7):
    """n captions, drawn token by token."""
    read = []

    def step(tokens):
        read.append(tokens)
        with no_grad():
            return writer(np.hstack(read)).numpy()[:, -1]

    start, longest = np.full((n, 1), tokenizer.start_id), ids.shape[1] - 1
    options = {"end": tokenizer.end_id, "max_tokens": longest, "temperature": temperature, "random": random}
    return [tokenizer.decode(row) for row in generate(step, start, **options)]


def meaningful(texts):
    return sum(scenes.parse(t) is not None for t in texts) / len(texts)


steps = 24 if FAST else 300
optimizer = AdamW(decay_groups(writer.named_parameters(), 0.01), lr=4e-3)
random, losses, diary = np.random.default_rng(3), [], []
for step in range(steps + 1):
    if step in (0, steps // 8, steps // 4, steps // 2, steps):
        texts = written(3 if FAST else 24, np.random.default_rng(4))
        diary.append((step, meaningful(texts), texts[:3]))
        print(f"step {step:>4}: {meaningful(texts):4.0%} mean something; {texts[0]!r}")
    rows = random.integers(len(ids), size=32)
    longest = lengths[rows].max()
    batch = ids[rows, :longest]
    follows = np.where(np.arange(1, longest) < lengths[rows, None], batch[:, 1:], -100)  # pads need not be predicted
    loss = ops.cross_entropy(writer(batch[:, :-1]), follows)
    optimizer.zero_grad()
    loss.backward()
    clip_grad_norm(optimizer.params, 1.0)
    optimizer.lr = warmup_cosine(step, peak=4e-3, warmup=steps // 10, total=steps + 1)
    optimizer.step()
    losses.append(loss.item())

# %%
page = Image.new("RGB", (400, 20 + 78 * len(diary)), "white")
draw = ImageDraw.Draw(page)
for n, (step, share, texts) in enumerate(diary):
    text(draw, (10, 10 + 78 * n), f"step {step}, {share:.0%} mean something", fill="#0072b2")
    for i, words in enumerate(texts):
        plain = "".join(c if 32 <= ord(c) < 127 else "?" for c in words)
        right = scenes.parse(words) is not None
        text(draw, (24, 28 + 78 * n + 18 * i), plain[:58], fill="#009e73" if right else "#808080")
loss_curve = curves({"loss": losses}, title="Loss a token", size=(420, 300))
show(beside(loss_curve, page), "10_learning")

# %% [markdown]
# First noise; then the tokens that are frequent; then words; then the grammar, from the left to the right. At the
# end most captions mean something, and many of those are in no line of what it was trained on: it has learned how
# captions are made, not which there are.
#
# The loss does not go to 0, and must not. Nobody can know the colour of the next thing. What is left is the entropy
# of the captions themselves.

# %%
final = written(4 if FAST else 60, np.random.default_rng(5))
sound = [t for t in final if scenes.parse(t) is not None]
new = [t for t in sound if t not in known]
print(f"{len(sound)} of {len(final)} mean something; {len(new)} of these are new, such as {new[:2]}")

# %% [markdown]
# ## The stream, token by token
#
# How long is the vector of a token as it goes through the blocks? Each detour adds to it. The last norm reads only
# its direction.

# %%
with no_grad():
    x = writer.words(ids[:64]) + writer.places(np.arange(ids.shape[1]))
    stream = [x.numpy()]
    for block in writer.blocks.blocks:
        x = block(x, mask=masks.causal(ids.shape[1]))
        stream.append(x.numpy())
sizes_of_stream = [float(np.linalg.norm(s, axis=-1).mean()) for s in stream]
print("length of the stream, before and behind each block:", np.round(sizes_of_stream, 2))

# %% [markdown]
# ## Exercises
#
# 1. Give `out` the weights of the embedding, turned over (as GPT-2 does). How many numbers does that save, and what
#    happens to the loss?
# 2. Take away the positions. Why does the model still learn a little of word order? (Look at the causal mask.) Take
#    away the mask as well.
# 3. Write with temperatures of 0, 0.7 and 1.5, and count what means something and what is new. Then give the writer
#    eyes: `minivl exercise get ex09 my-ex09`.

# %%

assert by_hand < 1e-12
assert sizes["mlp"] > 1.9 * sizes["attend"]
assert gradients["bare"][0] < 1e-4 and 0.1 < gradients["pre norm"][0] < 100
assert cosines["norm only"][-1] > 0.99 and cosines["bare"][-1] > 0.99 and cosines["pre norm"][-1] < 0.95
assert np.mean(losses[-5:]) < 0.7 * losses[0]
assert sizes_of_stream == sorted(sizes_of_stream)
assert FAST or (len(sound) > 0.6 * len(final) and new and diary[0][1] == 0)
