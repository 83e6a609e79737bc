"""`minivl demo`: CoCa learns to see and to speak on drawn scenes in two minutes, then shows what it learned.

It ends in one picture, demo.png: scenes that it never saw, what it says of them, and where it looked at each word.
"""

import time
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from . import curve, load
from .data.image import denormalise, heat, heat_legend, to_picture
from .evaluate import captioning, gallery_of, open_examples, retrieval
from .run import Run
from .train import Settings, train

STEPS = 1300
# All checkpoints are kept: `minivl explain` shows how the model became what it is.
SETTINGS = dict(batch_size=64, lr=2e-3, warmup=50, checkpoint_every=200, keep=0, seed=0)


def demo(out, steps=None):
    """Trains CoCa tiny in the folder `out` (or takes the finished run there), prints its scores, writes demo.png."""
    settings = Settings(steps=steps or STEPS, **SETTINGS)
    run, started = Run(out), time.perf_counter()
    if run.model_path.exists():
        print(f"{out} holds a finished run; delete the folder to train again")
    else:
        print(f"training CoCa tiny on drawn scenes: {settings.steps} steps of {settings.batch_size} pictures")
        train("coca", data="scenes", out=out, settings=settings, resume=run.description_path.exists())
        print(f"trained in {time.perf_counter() - started:.0f} s")
        print(curve.compare(run) or "no training curve to compare with: this is not the demo's own recipe")
    model = load(out)
    for split, told in (("val", "scenes never seen"), ("held-out", "scenes with a colour-shape pair never seen")):
        _report(model, split, told)
    path = Path(out) / "demo.png"
    sheet(model, open_examples(model, "scenes", "val", limit=6)).save(path)
    print(f"\nwrote {path}: look at it\nnext: minivl explain {out}")
    print(f"or:   minivl retrieve {out} 'a red circle left of a blue square'")


def _report(model, split, told, n=100):
    examples = open_examples(model, "scenes", split, limit=n)
    scores = retrieval(model, examples, gallery_of(model, examples))
    written = captioning(model, examples)
    print(f"\n{n} {told}")
    print(f"  {'':<34}{'R@1':>6}{'R@5':>6}")
    for name, row in (("picture -> text", "image_to_text"), ("text -> picture", "text_to_image")):
        print(f"  {name:<34}{scores[row]['R@1']:>6.2f}{scores[row]['R@5']:>6.2f}")
    near = scores["nearest_neighbour"]
    print(f"  {'raw pixels, another drawing of each':<34}{near['R@1']:>6.2f}{near['R@5']:>6.2f}")
    print(f"  {'chance':<34}{1 / n:>6.2f}{5 / n:>6.2f}")
    print(f"  captions exactly right: {written['exactly_right']:.2f}")
    for i in range(3):
        print(f"    {'right' if written['right'][i] else 'wrong'}: {written['captions'][i]}")


# ---- the picture ---------------------------------------------------------------------------------------------------

_TILE, _PAD, _TEXT = 96, 12, 13
_RIGHT, _WRONG, _INK = (22, 120, 60), (190, 40, 40), (24, 24, 27)


def sheet(model, examples):
    """A row for each example: the picture, then for every generated word the picture as that word saw it."""
    c = model.config
    captions = captioning(model, examples)
    text, lengths = model.tokenize(captions["captions"])
    looks = model.where_words_look(examples["image"], text, lengths)
    side = c.image_size // c.patch
    words = [
        [model.tokenizer.decode(text[i, t : t + 1]).strip() for t in range(1, n - 1)] for i, n in enumerate(lengths)
    ]
    columns = max(map(len, words))
    height = _TILE + 4 * _TEXT + _PAD
    page = Image.new("RGB", (_PAD + (columns + 1) * (_TILE + 4), 40 + height * len(words) + 40), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=_TEXT)
    pen.text(
        (_PAD, _PAD), "What CoCa says of pictures it never saw, and where it looks as it says each word", _INK, font
    )
    for i, row in enumerate(words):
        top = 40 + i * height
        picture = to_picture(denormalise(examples["image"][i], c.image_mean, c.image_std))
        page.paste(picture.resize((_TILE, _TILE), Image.Resampling.NEAREST), (_PAD, top))
        for t, word in enumerate(row):
            left = _PAD + (t + 1) * (_TILE + 4)
            # Token t (after the start token) is predicted from place t: that is when its look is taken.
            page.paste(heat(picture, looks[i, t].reshape(side, side), size=_TILE), (left, top))
            pen.text((left, top + _TILE + 1), word, _INK, font)
        said = f"says: {captions['captions'][i]}"
        pen.text((_PAD, top + _TILE + _TEXT + 4), said, _RIGHT if captions["right"][i] else _WRONG, font)
        pen.text((_PAD, top + _TILE + 2 * _TEXT + 8), f"true: {examples['caption'][i]}", _INK, font)
    page.paste(heat_legend(256), (_PAD, page.height - 38))
    return page
