"""Tutorial 12: CoCa, a decoder cut in half, so that one pass gives two losses."""

# %% [markdown]
# # 12 · CoCa: compare and write, in one pass
#
# **Goal.** Know what each half of CoCa's decoder is for, and prove that its two losses do not disturb each other.
# **You will see.** The patches that two poolers ask for, where a model looks before it says a word, and a table of
# gradients that are exactly zero.
# **Needs.** Tutorials 08, 09 and 11.
# **Time.** About a minute of training, an hour to read.
#
# CLIP can tell which text belongs to a picture, but it cannot say a word. A captioner speaks, but to compare a picture
# with a million texts it would have to speak about each pair. CoCa (Yu et al. 2022) does both with one decoder and
# reads the text once: its lower half does not look at the picture, so what it makes of a text can be compared with any
# picture; its upper half looks, and predicts the next word.

# %%
import numpy as np
from PIL import Image, ImageDraw
from show import FAST, beside, curves, heat, show, text

from minivl import no_grad, optim
from minivl.data import Batches, open_source, scenes
from minivl.data import heat as over_picture
from minivl.models.coca import CoCa, Config
from minivl.tokenizers import ByteLevelBPE

# %% [markdown]
# ## The model
#
# `Config.tiny` is the demo's. A picture of 32 x 32 is 16 patches; the caption pooler asks 16 questions, the contrastive
# pooler one.

# %%
source = open_source("scenes:60" if FAST else "scenes:4000", seed=0)
tokenizer = ByteLevelBPE.train([caption for example in source.examples() for caption in example.captions], 400)
specials = {f"{name}_token": getattr(tokenizer, f"{name}_id") for name in ("pad", "start", "end")}
config = Config.tiny(vocabulary=tokenizer.vocab_size, **specials)
model = CoCa(config, np.random.default_rng(0))
model.tokenizer = tokenizer
print(f"{model.num_parameters():,} numbers to learn; CoCa itself has 2.1 billion")

# %% [slide]
# ## One decoder, cut in half
#
# | | sees | is for |
# |---|---|---|
# | lower half | the words before | [CLS] behind the words: the text embedding, compared with pictures |
# | upper half | the words before, and the picture | the next word |
#
# Both halves are causal. So [CLS], which stands last, sees every word, and no word sees [CLS]: it can ride along, and
# both losses come out of one pass. **L = λ_Con L_Con + λ_Cap L_Cap**, with weights 1 and 2.

# %% [markdown]
# ## No word sees a later one: a proof
#
# In a captioner that sees one word ahead, the loss falls beautifully, and the model has learned to copy. Nothing
# crashes. So we ask for a proof: take the output at one place, go backward, and look at the gradient of each place's
# position vector. Where the mask forbids, it must be *exactly* zero, not small. The weights are random: it holds of
# the architecture, not of what it learns.

# %%
texts, lengths = model.tokenize(["a red circle", "a red circle above a blue square"])
random = np.random.default_rng(1)
images = random.standard_normal((2, 3, 32, 32)).astype(np.float32)
batch = {"image": images, "text": texts, "lengths": lengths}
probe = random.standard_normal(config.width).astype(np.float32)  # the sum over a LayerNorm's output is always the same


def reach(name, place=None):
    """How much an output of the first text moves with what stands at each place: lengths of gradients (T + 1,)."""
    model.zero_grad()
    out = model(batch)[name][0]
    ((out if place is None else out[place]) * probe).sum().backward()
    return np.linalg.norm(model.position.grad, axis=-1)


n = int(lengths[0])
shown = n + 2  # two pads, too
decoded = np.stack([reach("decoded", t) for t in range(n)])
cls_row = reach("text_embedding")
table = np.concatenate([decoded, cls_row[None]])
words = [tokenizer.decode(texts[0, t : t + 1]).strip() or "." for t in range(n)]
words[0], words[-1] = "start", "end"
columns = [*range(shown), "CLS"]
picture = heat(
    (np.concatenate([table[:, :shown], table[:, -1:]], 1) > 0).astype(float),
    [*words, "[CLS]"],
    columns,
    "who moves whom; white: exactly not",
    numbers=False,
)
show(picture, "12_reach")
later = max(decoded[t, t + 1 :].max() for t in range(n))
print(f"the most that a later place moves a word: {later}; that a pad moves [CLS]: {cls_row[n:-1].max()}")

# %% [markdown]
# Rows are outputs, columns places. Words: a triangle, and nothing at all from [CLS]. [CLS]: every word, no pad.
#
# And the same from the other side. `decode`, which writes captions, never heard of [CLS]; `forward` has it in the
# sequence. Their logits agree. That is what "for free" means: contrast costs one more token in the lower half.

# %%
with no_grad():
    out = model(batch)
    alone = model.decode(texts, out["memory"]).numpy()
    kept = np.concatenate([alone[i, : length - 1] for i, length in enumerate(lengths)])
apart = float(np.abs(kept - out["logits"].numpy()).max())
print(f"logits with [CLS] in the sequence and without: at most {apart:.1e} apart")

# %% [markdown]
# Which weights does each loss move? Both move what lies below the cut; above it only the captions do, and [CLS] and the
# contrastive pooler are for comparing alone.

# %%


def moved(loss):
    model.zero_grad()
    model(batch)[loss].backward()
    named = dict(model.named_parameters())
    return {name.split(".")[0] for name, p in named.items() if p.grad is not None and np.any(p.grad)}


by_caption, by_contrast = moved("caption_loss"), moved("contrastive_loss")
print("both     ", *sorted(by_caption & by_contrast))
print("caption  ", *sorted(by_caption - by_contrast))
print("contrast ", *sorted(by_contrast - by_caption))

# %% [markdown]
# ## Training

# %%
steps = 4 if FAST else 400
size = 8 if FAST else 64
optimizer = optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
losses = {"contrast": [], "caption": []}
model.train()
with Batches(source, tokenizer, size, config.context, 32, config.image_mean, config.image_std) as batches:
    for step in range(steps):
        model.zero_grad()
        out = model(next(batches))
        out["loss"].backward()
        optimizer.lr = optim.warmup_cosine(step, 2e-3, steps // 10, steps)
        optimizer.step()
        losses["contrast"].append(out["contrastive_loss"].item())
        losses["caption"].append(out["caption_loss"].item())
model.eval()
show(curves(losses, title="two losses, one pass"), "12_losses")

# %% [slide]
# ## Two poolers
#
# A ViT gives as many vectors as there are patches. A *pooler* asks learned questions of them.
#
# - The **caption pooler** asks many (256 in the paper, 16 here): the decoder's memory, detail is kept.
# - The **contrastive pooler** asks one: the picture in a single vector.
# - **Cascade**: the one is asked of the answers of the many. Parallel: both ask the patches.

# %%
drawn = [s for s in scenes.candidates(5, "val", 4 if FAST else 60) if len(s.items) == 2]
pictures = [scenes.draw(s, 32) for s in drawn]
pixels = np.stack([model.preprocess(p) for p in pictures])
with no_grad():
    patches, memory, _ = model.look(pixels)
    many = model.caption_pooler.weights(patches).mean(axis=1).numpy()  # (B, 16, 16): question, patch
    one = model.contrastive_pooler.weights(memory).mean(axis=1).numpy() @ many  # (B, 1, 16)


def titled(picture, words):
    framed = Image.new("RGB", (picture.width, picture.height + 24), "white")
    framed.paste(picture, (0, 24))
    text(ImageDraw.Draw(framed), (0, 4), words)
    return framed


def looked(i, shares, words):
    return titled(over_picture(pictures[i].resize((128, 128)), shares.reshape(4, 4), size=128), words)


row = [looked(0, many[0, q], f"question {q}") for q in range(4)]
show(beside(titled(pictures[0].resize((128, 128)), "the picture"), *row, looked(0, one[0, 0], "the one")), "12_poolers")

# %% [markdown]
# ## Where it looks before it says a word
#
# `where_words_look` multiplies the two tables of shares: from word to question, from question to patch. The row of a
# word tells where the model looked when it predicted the *next* one, so for the look before "circle" take the row
# before it. That is an easy off-by-one, and it makes pictures that look plausible.

# %%
captions = [scenes.captions(s)[0] for s in drawn]
texts, lengths = model.tokenize(captions)
looks = model.where_words_look(pixels, texts, lengths)
tokens = [[tokenizer.decode(texts[i, t : t + 1]).strip() for t in range(length)] for i, length in enumerate(lengths)]
row = [looked(0, looks[0, t - 1], tokens[0][t]) for t in range(1, lengths[0] - 1)]
show(beside(*row[:10]), "12_words_look")
print(captions[0])


# %%
def cover(item):
    """Which part of each patch belongs to a thing's box, (16,)."""
    at = (np.arange(32) + 0.5) / 32
    inside = (abs(at[:, None] - item.y) < item.radius) & (abs(at[None] - item.x) < item.radius)
    return inside.reshape(4, 8, 4, 8).mean((1, 3)).ravel()


own, other = [], []
for i, scene in enumerate(drawn):
    for k, item in enumerate(scene.items):
        if scene.items[0].shape != scene.items[1].shape and item.shape in tokens[i]:
            shares = looks[i, tokens[i].index(item.shape) - 1]
            own.append((shares * cover(item)).sum() / cover(item).mean())
            other.append((shares * cover(scene.items[1 - k])).sum() / cover(scene.items[1 - k]).mean())
if own:
    print(f"before a shape's name: {np.mean(own):.2f} times the chance share on it, {np.mean(other):.2f} on the other")
print("it says:", *model.generate(pixels[:3]), sep="\n  ")

# %% [markdown]
# A look is a hint and not an explanation: a patch's vector has been through two layers of attention, and knows about
# its neighbours. To learn what a patch is *for*, take it away and see what changes.
#
# ## Exercises
#
# 1. Set `Config.pooler = "parallel"`, and compare the losses. Which of the two arrangements keeps the contrastive
#    pooler from looking past what the captions need?
# 2. Put [CLS] in *front* of the words, causal mask and all. What is the text embedding then? Find it by `reach`, not
#    by training.
# 3. Write both halves yourself: `minivl exercise get ex09 my-ex09`.

# %%
assert all((decoded[t, t + 1 :] == 0).all() and (decoded[t, : t + 1] > 0).all() for t in range(n))
assert (cls_row[:n] > 0).all() and (cls_row[n:-1] == 0).all() and cls_row[-1] > 0
assert apart < 1e-4
assert by_caption - by_contrast == {"multimodal", "next_token"}
assert by_contrast - by_caption == {"cls", "contrastive_pooler", "log_scale"}
assert np.allclose(looks.sum(-1), 1, atol=1e-4) and np.allclose(one.sum(-1), 1, atol=1e-4)
assert losses["caption"][-1] < losses["caption"][0]
assert FAST or (losses["caption"][-1] < 1.2 and losses["contrast"][-1] < 2.5 and np.mean(own) > 1.2)
