"""Tutorial 11: CLIP, two towers and an inner product."""

# %% [markdown]
# # 11 · CLIP: which text belongs to which picture?
#
# **Goal.** Train two towers, one for pictures and one for texts, with nothing between them but an inner product.
# **You will see.** A table of similarities that sharpens into a diagonal, a classifier that was never trained, and
# what the temperature is for.
# **Needs.** Tutorials 06 to 08; softmax and cross-entropy.
# **Time.** About a minute of training, an hour to read.
#
# Labels are expensive, and there are never enough of them. But pictures on the web come with texts, and a batch of B
# pictures with its B texts is a question with B right answers: *of all pairs that could be formed, which belong
# together?* Whoever can answer that has learned what pictures show and what words mean (Radford et al. 2021).

# %%
import numpy as np
from show import FAST, beside, curves, heat, show

from minivl import Tensor, no_grad, ops, optim
from minivl.data import Batches, open_source
from minivl.data.shards import decode_image
from minivl.losses import contrastive_loss
from minivl.models.clip import CLIP, Config
from minivl.tokenizers import ByteLevelBPE

# %% [markdown]
# ## Data: scenes, and the words that describe them
#
# Drawn scenes have one great merit: we know what is in them. Each comes with several captions; every epoch picks one.

# %%
source = open_source("scenes:100" if FAST else "scenes:2000", seed=0)
captions = [caption for example in source.examples() for caption in example.captions]
tokenizer = ByteLevelBPE.train(captions, 300)
print(captions[0], "->", tokenizer([captions[0]], 32)[0][0])

# %% [markdown]
# ## Two towers
#
# The image tower is a ViT whose class token reads the picture; the text tower is a causal transformer that is read at
# its end token. Both end in a linear map into one space, where only directions count: embeddings have length 1.

# %%
config = Config.tiny(
    vocabulary=tokenizer.vocab_size,
    pad_token=tokenizer.pad_id,
    start_token=tokenizer.start_id,
    end_token=tokenizer.end_id,
    image_width=64,
    text_width=64,
    image_layers=2,
)
model = CLIP(config, np.random.default_rng(0))
model.tokenizer = tokenizer
print(f"{model.num_parameters():,} numbers to learn; the published ViT-B/32 has 151,277,313")

# %% [slide]
# ## The loss, by hand
#
# `logits[i, j]` is the cosine of picture i and text j, times a learned scale. Row i is a classification: which of the B
# texts belongs to picture i? Column j is another: which picture belongs to text j? InfoNCE is the mean of both
# cross-entropies, and the right answers stand on the diagonal.

# %%
random = np.random.default_rng(1)
image = ops.normalize(random.standard_normal((4, 8)))
text = ops.normalize(random.standard_normal((4, 8)))
loss, logits = contrastive_loss(image, text, Tensor(np.array(0.0)))
shares = np.exp(logits.numpy())
by_hand = -0.5 * np.mean(
    np.log(np.diag(shares / shares.sum(1, keepdims=True))) + np.log(np.diag(shares / shares.sum(0, keepdims=True)))
)
print(f"the loss {loss.item():.12f}, by hand {by_hand:.12f}; guessing costs ln 4 = {np.log(4):.3f}")

# %% [markdown]
# ## Training
#
# Every step: features of both towers, one table of similarities, one loss. `after_step` keeps the scale below 100, as
# the authors do: without it the model could lower the loss for ever by shouting.

# %%
steps = 6 if FAST else 500
optimizer = optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
losses, scales = [], []
model.train()
with Batches(source, tokenizer, 64, config.context, config.image_size, config.image_mean, config.image_std) as batches:
    for step in range(steps):
        batch = next(batches)
        model.zero_grad()
        out = model(batch)
        out["loss"].backward()
        optimizer.lr = optim.warmup_cosine(step, 1e-3, steps // 10, steps)
        optimizer.step()
        model.after_step()
        losses.append(out["loss"].item())
        scales.append(float(np.exp(model.log_scale.data)))
model.eval()
show(beside(curves({"loss": losses}, title="InfoNCE"), curves({"scale": scales}, title="the scale, exp t")), "11_loss")

# %% [markdown]
# ## What it learned: a diagonal
#
# Eight scenes that it never saw (columns), and a caption for each (rows). The darker, the closer. What is wrong is
# seldom absurd: it is the right shape in the wrong colour, or left for right.

# %%
unseen = open_source("scenes:8", "val", seed=3, distinct=True)
examples = list(unseen.examples())

pictures = np.stack([model.preprocess(decode_image(e.image)) for e in examples])
texts = [e.captions[0] for e in examples]
with no_grad():
    images, words = model.encode_image(pictures).numpy(), model.encode_text(texts).numpy()
similar = images @ words.T
show(heat(similar.T.clip(0), columns=[str(i) for i in range(8)], rows=texts, title="cosines"), "11_similarity")
right = (similar.argmax(1) == np.arange(8)).mean()
print(f"picture finds its text: {right:.2f}, chance {1 / 8:.2f}")

# %% [markdown]
# ## A classifier for nothing
#
# No class was ever trained. But the text tower can read the names of classes, and a name's embedding *is* a row of a
# classifier. Several prompts for each name, averaged, do better than one: the ensemble of section 3.1.4. Normalise
# twice, each prompt and the mean.

# %%
names = sorted({label for e in examples for label in e.info["labels"]})
classifier = model.zeroshot_classifier(names, ("{}", "a {}", "there is a {}"))
with no_grad():
    scores = model.encode_image(pictures).numpy() @ classifier.numpy()
found = [names[i] for i in scores.argmax(1)]
hits = np.mean([name in e.info["labels"] for name, e in zip(found, examples, strict=True)])
print(f"zero-shot: {hits:.2f} of the pictures show what was found; classes: {len(names)}")

# %% [slide]
# ## Why a temperature
#
# Cosines lie between -1 and 1. Without a scale the best softmax over 64 texts would give the right one a share of
# e / (e + 63/e) = 0.1 at most, and the loss could not fall below this, however good the towers.

# %%
B = 64
best = -np.log(np.e / (np.e + (B - 1) / np.e))
print(f"scale 1: a perfect model's loss is {best:.2f}; scale 10: {-np.log(1 / (1 + (B - 1) * np.exp(-20))):.1e}")

# %% [markdown]
# ## Exercises
#
# 1. Train with a batch of 8 in place of 64 and as many pictures in all. What becomes of the retrieval, and why are
#    negatives the currency of this loss?
# 2. Fix the scale at 1, then at 100, and compare the curves. Which of the two learns nothing at first?
# 3. Swap the loss for `Config.loss = "sigmoid"`, which looks at each pair by itself. What no longer needs the whole
#    batch in one place? Then write the first loss yourself: `minivl exercise get ex08 my-ex08`.

# %%
assert abs(loss.item() - by_hand) < 1e-12
assert np.allclose((images**2).sum(1), 1, atol=1e-5) and np.allclose((words**2).sum(1), 1, atol=1e-5)
assert max(scales) <= 100.001 and 2.2 < best < 2.3
assert losses[-1] < losses[0]
assert FAST or (right >= 0.5 and losses[-1] < 1.5)
