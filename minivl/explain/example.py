"""What is explained: a run, a picture with its text, and a few neighbours that the picture must be told from."""

import math
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

    batch: dict  # image (B, 3, S, S) or clips (B, 3, F, S, S), text (B, T), lengths (B,)
    texts: list  # B strings
    pictures: list  # B Pillow pictures, as the model sees them; of a clip the sheet of its frames
    frames: list  # B lists of Pillow pictures: those of a clip, or the one
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
        images = np.stack([_prepared(model, frames) for frames in like.frames])
        return _example(model, images, ids, lengths, like.texts, like.told)
    count = NEIGHBOURS + (image is None)
    own, told = _from_data(model, data, count)
    texts = own["caption"][:count]
    images = own["image"][:count]
    if text is not None and image is None:
        texts, told = [text, *texts[1:]], told + ", with your text"
    if image is not None:
        picture = _opened(model, image, clip=images.ndim == 5)[None]
        text = _written(model, picture) if text is None else text
        texts, images = [text, *texts], np.concatenate([picture, images])
        told = Path(image).name
    return _example(model, images, *_tokenized(model, texts), texts, told)


def _example(model, images, ids, lengths, texts, told):
    c = model.config
    plain = denormalise(images, c.image_mean, c.image_std)
    frames = [[to_picture(frame) for frame in (x[:, None] if x.ndim == 3 else x).swapaxes(0, 1)] for x in plain]
    sheets = [to_picture(sheet(x)) for x in plain]
    return Example({"image": images, "text": ids, "lengths": lengths}, texts, sheets, frames, told)


# ---- clips: a strip in the data, a sheet on the page -----------------------------------------------------------------


def frames_of(images):
    """F of clips (B, 3, F, S, S); 1 of pictures (B, 3, S, S)."""
    return images.shape[2] if images.ndim == 5 else 1


def columns_of(frames):
    """How many frames lie side by side: the sheet is as high as it is wide, its last rows may stay empty."""
    return math.ceil(math.sqrt(frames))


def sheet(x):
    """(3, S, S), which stays; or frames (3, F, S, S) -> (3, n S, n S): laid out in the order of reading."""
    if x.ndim == 3:
        return x
    C, F, S, _ = x.shape
    n = columns_of(F)
    laid = np.zeros((C, n * n, S, S), x.dtype)
    laid[:, :F] = x
    return laid.reshape(C, n, n, S, S).swapaxes(2, 3).reshape(C, n * S, n * S)


def _opened(model, path, clip):
    """A file as the model takes it.   clip: it is a strip, its frames one below the other; one frame stands still"""
    whole = model.preprocess(path)  # says what is wrong with the file
    if not clip:
        return whole
    strip = picture_of(path)
    S, count = strip.width, strip.height // strip.width if strip.height % strip.width == 0 else 1
    frames = [strip.crop((0, f * S, S, (f + 1) * S)) for f in range(count)] if count > 1 else [strip] * 2
    return _prepared(model, frames)


def _prepared(model, frames):
    """Pillow frames -> (3, F, S, S), evenly spaced, or the middle one (3, S, S) for a model of pictures."""
    if len(frames) == 1:
        return model.preprocess(frames[0])
    F = getattr(model.config, "frames", 1)
    wanted = (np.arange(F) * len(frames) + len(frames) // 2) // F  # as minivl.data has them
    clip = np.stack([model.preprocess(frames[f]) for f in wanted.tolist()], axis=1)
    return clip if F > 1 else clip[:, 0]


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
