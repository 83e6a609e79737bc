"""Tutorial 00: is everything here? A picture, what is said of it, and where to go next."""

# %% [markdown]
# # 00 · Start
#
# **Goal.** See that minivl runs here, meet its data, and find your way through the tutorials.
# **You will see.** What this machine offers; drawn scenes with their captions; a first tensor.
# **Needs.** Python, and `pip install -e .` in the folder of the repository.
# **Time.** Two seconds to run, ten minutes to read.
#
# This is a course in vision-language models: programs that look at a picture and read or write about it. Nothing in
# it is hidden. The engine, the attention, the losses and the papers' models are Python files of a few hundred lines
# each, which you can read, step through in a debugger, and write again yourself.
#
# A tutorial is a plain Python file in cells that begin with `# %%`. Run it as a script (`python
# tutorials/00_start.py`), cell by cell in VS Code or PyCharm, or as a notebook (`python tutorials/to_notebook.py`
# makes them). Pictures appear in a notebook, and elsewhere are saved under `tutorials/out/`.

# %%
import numpy as np
from PIL import Image, ImageDraw
from show import beside, show, stacked, text

from minivl import Tensor, doctor, gradcheck
from minivl.data import scenes

# %% [markdown]
# ## What this machine offers
#
# The same as `minivl doctor` prints. What it calls "not installed" no tutorial needs: `pip install -e .` has brought
# all that they use. No GPU? Every tutorial runs without one, and so does every test: CUDA kernels are run on the CPU,
# a fiber (a thread that yields by itself) for each thread, if there is a C++ compiler.

# %%
print(doctor.report())

# %% [markdown]
# ## A world small enough to know
#
# Photographs would take days on a laptop, and nobody could say for certain whether a caption is right. So most
# tutorials look at *scenes*: coloured shapes in relations, drawn from a number. The scene is known, therefore
# everything that is said about it can be decided.

# %%
scene = scenes.scene(seed=0, split="train", i=4)
for item in scene.items:
    print(f"a {item.size} {item.colour} {item.shape}, its middle at ({item.x:.2f}, {item.y:.2f})")
captions = scenes.captions(scene)
for caption in captions:
    print("   ", caption)


# %%
def card(scene, side=190):
    """A scene with the first of its captions below."""
    picture = Image.new("RGB", (side, side + 24), "white")
    picture.paste(scenes.draw(scene, side), (0, 0))
    text(ImageDraw.Draw(picture), (0, side + 6), scenes.captions(scene)[0], size=11)
    return picture


some = [card(s) for s in scenes.candidates(0, "train", 8)]
show(stacked(beside(*some[:4]), beside(*some[4:])), "00_scenes")

# %% [markdown]
# A caption is right, or it is not:

# %%
first, second = scene.labels
claims = [captions[0], f"a {second}", f"a {first} below a {second}", "a very nice picture"]
verdicts = [scenes.describes(claim, scene) for claim in claims]
for claim, verdict in zip(claims, verdicts, strict=True):
    print(f"{claim!r:<48}{'right' if verdict else 'not right'}")

# %% [markdown]
# Two things are kept from training, to be asked afterwards. In the split "val" are *combinations* that it never
# shows; in "held-out" are colours and shapes that are each known but never met, a red star for instance. A model
# that has learned by heart does well in none of them.

# %%
print("red star in training:", any("red star" in s.labels for s in scenes.candidates(0, "train", 300)))
strange = scenes.candidates(0, "held-out", 4)
show(beside(*(card(s) for s in strange)), "00_held_out")

# %% [markdown]
# ## A first tensor
#
# The one class that everything is built on: an array that remembers how it was computed, so that it can say how the
# result would change if its numbers did.

# %%
x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
y = (x * x).sum()
y.backward()
print("y =", y.item(), "  dy/dx =", x.grad)

# %% [markdown]
# How it does that is tutorial 01. And this line is how you will know, all through the course, that it is right:

# %%
checked = gradcheck(lambda x: (x * x).sum(), np.array([1.0, 2.0, 3.0]))
print("checked against two evaluations:", checked)

# %% [markdown]
# ## Where to go
#
# - **The engine**: 01 one number at a time, 02 checking derivatives, 03 tensors, 04 the three derivatives of a
#   transformer by hand, 05 optimisers.
# - **The bricks**: 06 pictures as tokens, 07 texts as tokens, 08 attention, 09 masks, 10 the block and a first model
#   that writes.
# - **The papers**: from 11 on, CLIP, CoCa, MaMMUT, one each.
# - **Kernels**: from 20 on, CUDA without a GPU.
#
# In a hurry? 01, 08, 09, and then the paper that you came for. Beside the tutorials there are exercises, parts of
# minivl's own source for you to write (`minivl exercise list`), and a model that has learned in two minutes what you
# see above (`minivl demo`), to be looked at number by number (`minivl explain`).
#
# ## Exercises
#
# 1. Draw scene number 4 with another seed, and with 16 and 512 pixels. From how many pixels on can *you* tell a star
#    from a cross?
# 2. How many different meanings can a scene with two things have? Count colours, shapes and relations, take away what
#    is held out, and compare with how many `scenes.candidates` can find.
# 3. Open minivl/tensor.py and read only its first docstring. Which of its sentences do you not understand yet? Write
#    them down, and look again after tutorial 04.

# %%

assert "NumPy" in doctor.report()
assert all(scenes.describes(caption, scene) for caption in captions)
assert verdicts == [True, False, False, False]
assert all(any(tuple(label.split()) in scenes.HELD_OUT_PAIRS for label in s.labels) for s in strange)
assert x.grad.tolist() == [2.0, 4.0, 6.0] and checked
assert scenes.scene(0, "train", 4) == scene  # a scene is a number: the same for everybody
