"""Tutorial 07: a text becomes a row of tokens: byte pairs, merges, pads."""

# %% [markdown]
# # 07 · From text to tokens
#
# **Goal.** Learn a vocabulary from text by counting pairs, and encode any text at all with it.
# **You will see.** The merges as they are learned; captions in tokens that grow; words never met; what pads cost.
# **Needs.** Python's `Counter`. No mathematics.
# **Time.** Three seconds to run, half an hour to read and try.
#
# What is the unit of a text? Letters are too many: a caption of 40 letters is 40 tokens, and attention pays for the
# square. Words are too few: the first name that was not in the list becomes `<unknown>`. Byte-pair encoding takes
# neither side. It begins with bytes, of which there are 256 and no text has others, and joins whatever stands
# together often.

# %%
from collections import Counter
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from show import COLOURS, FAST, curves, show, stacked, text

from minivl.data import scenes
from minivl.tokenizers import ByteLevelBPE
from minivl.tokenizers.words import CHARACTERS, GPT2_WORDS

texts = [c for s in scenes.candidates(0, "train", 150 if FAST else 400) for c in scenes.captions(s)]
print(f"{len(texts)} captions, such as: {texts[7]!r}")

# %% [markdown]
# ## Count, join, again
#
# That is the algorithm. A word keeps the space before it (here written `_`), and joins never cross from one word to
# the next; so it is enough to count each *different* word once, with how often it occurs. Of pairs that are equally
# frequent the one whose parts are older goes first: any rule will do, as long as it is always the same.


# %%
def learn(texts, merges):
    """[(left, right, how often)] of the most frequent pairs of neighbours, one after another."""
    counts = Counter(word for t in texts for word in GPT2_WORDS.findall(" " + t))
    words = {word: [*word] for word in counts}
    age = {chr(byte): n for n, byte in enumerate(CHARACTERS)}
    learned = []
    for _ in range(merges):
        pairs = Counter()
        for word, pieces in words.items():
            for pair in pairwise(pieces):
                pairs[pair] += counts[word]
        left, right = min(pairs, key=lambda p: (-pairs[p], age[p[0]], age[p[1]]))
        learned.append((left, right, pairs[left, right]))
        age[left + right] = len(age)
        words = {word: joined(pieces, left, right) for word, pieces in words.items()}
    return learned


def joined(pieces, left, right):
    out = []
    for piece in pieces:
        if out and (out[-1], piece) == (left, right):
            out[-1] += piece
        else:
            out.append(piece)
    return out


learned = learn(texts, 24)


# %%
def table(rows, columns=2, wide=250):
    """Merges as a table: number, left + right, what becomes of it, how often."""
    high = -(-len(rows) // columns)
    picture = Image.new("RGB", (wide * columns, 34 + 20 * high), "white")
    draw = ImageDraw.Draw(picture)
    for n, (left, right, count) in enumerate(rows):
        x, y = 10 + n // high * wide, 30 + 20 * (n % high)
        left, right = (s.replace(" ", "_") for s in (left, right))
        for place, words in ((0, f"{n + 1}"), (24, left), (80, f"+ {right}"), (140, left + right)):
            text(draw, (x + place, y), words, fill=COLOURS[0] if place == 140 else "#1a1a1a")
        text(draw, (x + 215, y), f"{count}", anchor="ra", fill="#808080")
    text(draw, (10, 6), "Merges in the order in which they are learned, and how often the pair occurs")
    return picture


show(table(learned), "07_merges")

# %% [markdown]
# The counts only ever fall: that is a law (why?). At first pairs of letters are joined, then whole words, with their
# space. minivl does the same, but after a merge it looks again only at the words that the merge has touched:

# %%
tokenizers = {n: ByteLevelBPE.train(texts, vocab_size=259 + n) for n in (0, 8, 24, 60, 1000)}
theirs = [(left.decode(), right.decode()) for left, right in tokenizers[24].merges]
print("the same 24 merges, in the same order:", [(left, right) for left, right, _ in learned] == theirs)

# %% [markdown]
# ## One caption, ever fewer tokens


# %%
def coloured(pieces, words, wide=640):
    """A text with each of its tokens on a ground of its own colour."""
    picture = Image.new("RGB", (wide, 46), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    text(draw, (10, 2), words, size=12, fill="#606060")
    x = 10
    for n, piece in enumerate(pieces):
        shown = piece.decode("utf-8", "replace").encode("ascii", "replace").decode().replace(" ", "_")
        length = draw.textlength(shown, font=font) + 4
        ground = tuple(int(255 - 0.35 * (255 - int(COLOURS[n % 6][i : i + 2], 16))) for i in (1, 3, 5))
        draw.rectangle([x, 20, x + length - 2, 42], fill=ground)
        draw.text((x + 1, 31), shown, fill="#1a1a1a", font=font, anchor="lm")
        x += length
    return picture


caption = "a purple star to the left of a green cross"
rows = []
for tokenizer in tokenizers.values():
    pieces = tokenizer.pieces(caption)
    rows.append(coloured(pieces, f"{len(tokenizer.merges)} merges: {len(pieces)} tokens"))
rows.append(coloured(tokenizers[1000].pieces("a turquoise octagon unlike the others"), "words that it never met"))
show(stacked(*rows, gap=4), "07_tokens")

# %% [markdown]
# In the last row are words that were never seen. They fall into pieces, down to letters if need be, but never into
# `<unknown>`. This holds for anything that is made of bytes, and it comes back exactly:

# %%
for strange in ("un chat noir, été", "\N{CAT FACE}", "\x00\xff ..."):
    ids = tokenizers[1000].encode(strange)
    print(f"{strange!r:<24}{len(ids):>3} tokens, comes back: {tokenizers[1000].decode(ids) == strange}")

# %% [markdown]
# ## How large a vocabulary?
#
# Each merge makes texts shorter and the model's last matrix wider. At first a merge is worth much; soon little.

# %%
sizes = [0, 2, 5, 10, 20, 35, 50, 70, 100]
lengths = []
for n in sizes:
    tokenizer = ByteLevelBPE.train(texts, vocab_size=259 + n)
    lengths.append(np.mean([len(tokenizer.encode(t)) for t in texts[::7]]))
show(curves({"tokens a caption": lengths}, sizes, "Tokens a caption, over the number of merges"), "07_lengths")
print({n: round(float(length), 1) for n, length in zip(sizes, lengths, strict=True)})

# %% [markdown]
# Our captions know some thirty words, so that 100 merges are plenty. CLIP has 48,894 of them; the algorithm is this.
#
# ## A batch is a rectangle
#
# Texts differ in length; arrays do not. So each text gets a start and an end, and what is missing is filled with
# pads. `lengths` says where they begin, and from it come the masks (tutorial 09) and the loss that leaves pads out.

# %%
tokenizer = tokenizers[60]
batch = ["a red circle", "there is a blue square", "a black star above a green triangle"]
ids, words = tokenizer(batch, context_length=20)
names = {tokenizer.pad_id: "pad", tokenizer.start_id: "start", tokenizer.end_id: "end"}
cells = Image.new("RGB", (20 + 20 * 44, 12 + 3 * 30), "white")
draw = ImageDraw.Draw(cells)
for b, row in enumerate(ids):
    for t, i in enumerate(row):
        name = names.get(i) or tokenizer.decode_bytes([i]).decode().replace(" ", "_")
        x, y = 10 + 44 * t, 6 + 30 * b
        ground = "#f0f0f0" if i == tokenizer.pad_id else "#e69f00" if i in names else "#cfe5f5"
        draw.rectangle([x, y, x + 42, y + 26], fill=ground)
        text(draw, (x + 21, y + 13), name[:6], size=11, anchor="mm", fill="#a0a0a0" if name == "pad" else "#1a1a1a")
show(cells, "07_pads")
print("lengths", words, "of 20:", f"{1 - words.sum() / ids.size:.0%} of the batch is padding")

# %% [markdown]
# ## Exercises
#
# 1. Why can the counts in the table only fall? Find the step of the algorithm that makes it so.
# 2. Train on captions in which "red" is missing, then encode "a red ring". How many tokens is it? Train a tokenizer
#    on this file, and look for the token that surprises you most.
# 3. Greedy longest match ("take the longest token that fits") is another way to encode. Find a caption for which it
#    gives other tokens than the merges do. Then write the algorithms: `minivl exercise get ex06 my-ex06`.

# %%

counts = [count for *_, count in learned]
assert counts == sorted(counts, reverse=True)
assert [(left, right) for left, right, _ in learned] == theirs
assert all(tokenizer.decode(tokenizer.encode(t)) == t for tokenizer in tokenizers.values() for t in texts[::50])
pieces = [len(t.pieces(caption)) for t in tokenizers.values()]
assert pieces == sorted(pieces, reverse=True) and pieces[0] == len(caption) + 1 and pieces[-1] == 10
assert all(a >= b for a, b in pairwise(lengths)) and lengths[-1] < lengths[0] / 4
assert (ids != tokenizer.pad_id).sum(1).tolist() == words.tolist()
