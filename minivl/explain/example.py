"""What is explained: a run, a picture with its text, and a few neighbours that the picture must be told from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .. import models
from ..data import DataError
from ..data.image import denormalise, to_picture
from ..data.sources import is_drawn
from ..evaluate import open_examples
from ..run import Run, load, model_weights
from ..weights import load_safetensors

DEMO = "minivl-demo"
NEIGHBOURS = 7
_PADS = 2  # at least so many are shown, if the context has room: masks are about them too
CHECKPOINTS = 6  # of a run, the untrained model and the finished one included


@dataclass
class Example:
    """A batch whose first example is the one; the others are there to be confused with it."""

    batch: dict  # image (B, 3, S, S), text (B, T), lengths (B,)
    texts: list  # B strings
    pictures: list  # B Pillow pictures, as the model sees them
    told: str  # where it comes from


def find_run(model, run=None):
    """The Run to explain: the folder `model`, or `run` where `model` is the name of one.   ValueError: there is none"""
    path = Path(run or model or DEMO)
    if run is None and model in models.NAMES and not Run(path).exists():
        path = Path(DEMO)
        if not Run(path).exists() or Run(path).describe()["model"] != model:
            raise ValueError(
                f"no trained {model} is known: minivl train {model} --data scenes --out RUN, then --run RUN"
            )
    if not Run(path).exists() and str(path) == DEMO:
        raise ValueError(f"there is no run {DEMO} here: minivl demo makes one in two minutes; or name another RUN")
    found = Run(path)
    if model in models.NAMES and found.describe()["model"] != model:
        raise ValueError(f"--run {path} is a {found.describe()['model']}, not a {model}")
    return found


def find_example(model, data, image=None, text=None, like=None):
    """The Example: `image` (a path) with `text`, or the first of the run's own data that training never showed.

    like   another model's Example, to be shown to this model too
    """
    if like is not None:
        ids, lengths = _tokenized(model, like.texts)
        images = np.stack([model.preprocess(picture) for picture in like.pictures])
        return Example({"image": images, "text": ids, "lengths": lengths}, like.texts, like.pictures, like.told)
    count = NEIGHBOURS + (image is None)
    own, told = _from_data(model, data, count)
    texts = own["caption"][:count]
    images = own["image"][:count]
    if text is not None and image is None:
        texts, told = [text, *texts[1:]], told + ", with your text"
    if image is not None:
        picture = model.preprocess(image)[None]
        text = _written(model, picture) if text is None else text
        texts, images = [text, *texts], np.concatenate([picture, images])
        told = Path(image).name
    ids, lengths = _tokenized(model, texts)
    c = model.config
    shown = [to_picture(denormalise(x, c.image_mean, c.image_std)) for x in images]
    return Example({"image": images, "text": ids, "lengths": lengths}, texts, shown, told)


def _from_data(model, data, count):
    """Examples that training did not show, if the data say which those are; else scenes."""
    data = data.partition(":")[0] if is_drawn(data) else data
    for where, split, told in ((data, "val", "an example that training never showed"), (data, None, "an example"),
                               ("scenes", "val", "a drawn scene")):  # fmt: skip
        try:
            return open_examples(model, where, split=split, limit=count), told
        except (DataError, ValueError, OSError, AttributeError):
            continue
    raise ValueError(f"data {data!r}: no example of it can be shown; say --image and --text")


def _written(model, picture):
    """What the model says of a picture nobody described."""
    if not hasattr(model, "generate"):
        raise ValueError(f"{type(model).__name__} writes no captions: say --text what the picture shows")
    text = model.generate(picture)[0]
    if not text.strip():
        raise ValueError("the model writes nothing of this picture: say --text what it shows")
    room = model.config.context - 2  # what it writes, read again, may be more pieces
    pieces = model.tokenizer.encode(text)
    while len(pieces) > room:
        text = text[: len(text) * room // len(pieces)]
        pieces = model.tokenizer.encode(text)
    return text


def _tokenized(model, texts):
    ids, lengths = model.tokenize(texts)
    if not texts[0].strip():
        raise ValueError("--text is empty: it must have a word")
    if lengths[0] >= model.config.context and len(model.tokenizer.encode(texts[0])) + 2 > lengths[0]:
        room = model.config.context - 2
        raise ValueError(f"--text has {len(model.tokenizer.encode(texts[0]))} tokens, must have 1 to {room}")
    shown = max(int(lengths.max()), min(model.config.context, int(lengths[0]) + _PADS))
    return ids[:, :shown], lengths


def at_times(run):
    """[(step, label, model)] of a run's checkpoints from the untrained model on; the last is the finished one.

    The untrained model is drawn again from the run's seed; where the run does not tell that, it is left out.
    """
    told, kept = run.describe(), run.checkpoints()
    steps = told["settings"].get("steps") or max(kept, default=0)
    seed = told["settings"].get("seed")
    wanted = [(step, path) for step, path in kept.items() if step != steps or not run.model_path.exists()]
    room = CHECKPOINTS - 1 - (seed is not None)
    if len(wanted) > room:
        wanted = [wanted[round(i)] for i in np.linspace(0, len(wanted) - 1, room)]
    found = [] if seed is None else [(0, "untrained", run.build(np.random.default_rng(seed)).eval())]
    for step, path in wanted:
        found.append((step, f"after {step} steps", _with(run, model_weights(load_safetensors(path)))))
    finished = "as published" if seed is None else f"finished, {steps} steps"
    return [*found, (steps, finished, load(run.path))]


def _with(run, weights):
    from ..nn import Unallocated

    model = run.build(Unallocated())
    model.load_state_dict(weights)
    return model.eval()


def picture_of(path):
    """A Pillow picture of a file, for the page to show as it was given."""
    with Image.open(path) as picture:
        return picture.convert("RGB")
