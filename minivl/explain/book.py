"""All that a page is made of, from a run and an example: a dict of words, figures and packed arrays."""

import base64
import inspect
import io
import json
from collections import Counter

import numpy as np

from . import captions, example
from .attentions import Attentions
from .backward import Backward
from .forward import MOVERS, Forward
from .looks import sites
from .outline import outline
from .pack import pack
from .record import record
from .unnamed import Unnamed, versus_step

_CURVE = 160  # points of the training curve


class Book:
    """A run on one example, and what the page needs of it.

    records   of each model in time, the finished one (`last`) at the end
    by_loss   of the finished model, each loss by itself: {its name: Record}, where there are several
    sites     of attention, see looks.py
    changes   of the loss without each head, see ablation.py
    arrays    {name, or name@time: packed}
    """

    def __init__(self, run, times, found):
        self.run, self.times, self.found = run, times, found
        self.model = times[-1][2]
        self.last = record(self.model, found.batch)
        self.records = [*(record(model, found.batch, like=self.last) for _, _, model in times[:-1]), self.last]
        parts = [name for name in losses_of(self.last) if name != "loss"]
        parts = parts if len(parts) > 1 else []
        self.by_loss = {name: record(self.model, found.batch, name, like=self.last) for name in parts}
        self.arrays, self.pieces = {}, {}
        self.sites = sites(self.last)
        self.letters = _letters(self.model.config)
        self.numbers = {call.out.number: i for i, call in enumerate(self.last.calls)}
        self.patches = self._patches()
        self.attentions = Attentions(self)
        self.changes = self.attentions.silence()
        self.forward = Forward(self, outline(self.last))

    def put(self, name, array, kind, time=None):
        """Keeps an array; of a model that is not the finished one, under name@time."""
        last = time is None or time == len(self.times) - 1
        self.arrays[name if last else f"{name}@{time}"] = pack(array, kind)

    def piece(self, id):
        """A piece of the vocabulary, whose text the page is told."""
        if int(id) not in self.pieces:
            self.pieces[int(id)] = piece_name(self.model.tokenizer, int(id))
        return int(id)

    def _patches(self):
        tokens = self.last.tokens
        return list(range(tokens.grid[0] * tokens.grid[1] if tokens.grid else len(tokens.boxes)))

    # ---- the whole ---------------------------------------------------------------------------------------------------

    def build(self):
        """The dict that the page holds as JSON."""
        unnamed, (found, masks) = Unnamed(self), self.attentions.describe_all()
        walk = unnamed.with_masks(self.forward.describe_all())
        self._gradients()
        steps = [*unnamed.before(), *walk, *Backward(self.forward).describe_all(), *unnamed.after()]
        return {
            "about": self._about(),
            "example": self._example(),
            "times": self._times(),
            "tokens": self._tokens(),
            "sites": found,
            "masks": masks,
            "steps": steps,
            "map": self._map(),
            "curve": self._curve(),
            "pieces": self.pieces,
            "arrays": self.arrays,
        }

    def _about(self):
        told = inspect.getdoc(inspect.getmodule(type(self.model))) or ""
        run = self.run.describe()
        return {
            "model": type(self.model).__name__,
            "paper": told.split("\n")[0].split("   ")[0].strip(),
            "arxiv": next((word for word in told.split("\n")[0].split() if word[:4].isdigit() and "." in word), ""),
            "run": self.run.path.name, "data": str(run["data"]), "steps": self.times[-1][0],
            "parameters": self.model.num_parameters(), "told": self.found.told,
            "calls": len(self.last.calls), "rows": self.last.tokens.B, "says": self._says(),
            "file": inspect.getmodule(type(self.model)).__name__.replace(".", "/") + ".py",
            "letters": [[str(size), letter] for size, letter in self.letters.items()],
        }  # fmt: skip

    def _says(self):
        """The caption that the model itself writes; None where it writes none."""
        if not hasattr(self.model, "generate") or self.model.tokenizer is None:
            return None
        return self.model.generate(self.found.batch["image"][:1])[0]

    def _example(self):
        batch, found = self.found.batch, self.found
        ids, length = batch["text"][0], int(batch["lengths"][0])
        words = [piece_name(self.model.tokenizer, int(i)) for i in ids]
        words[length:] = ["pad"] * (len(words) - length)
        self.words = words
        return {
            "text": found.texts[0], "words": words, "ids": ids.tolist(), "length": length,
            "picture": _png(found.pictures[0]), "size": found.pictures[0].width, "grid": self.last.tokens.grid,
            "clip": self._clip(), "boxes": list(self.last.tokens.boxes),
            "others": [{"picture": _png(p), "text": t} for p, t in zip(found.pictures, found.texts, strict=True)],
            "small": self.last.loss.item() < captions.SMALL_LOSS,
        }  # fmt: skip

    def _clip(self):
        """How a clip is drawn: its frames, how many lie side by side, the side of each; None for a picture."""
        frames = example.frames_of(self.found.batch["image"])
        columns = example.columns_of(frames)
        return {"frames": frames, "columns": columns, "side": self.model.config.image_size} if frames > 1 else None

    def _times(self):
        losses = losses_of(self.last)
        return [
            {"step": step, "label": label, "losses": {name: float(r.result[name].item()) for name in losses}}
            for (step, label, _), r in zip(self.times, self.records, strict=True)
        ]

    def _tokens(self):
        """{id: [kind, name, place, row]} of every token that a step refers to."""
        tokens = self.last.tokens
        base = tokens.B + 1
        found, named = {}, Counter(token.name for token in tokens.table if token.kind == "learned")
        for known, token in enumerate(tokens.table):
            for row in (-1, 0) if token.kind not in ("picture", "text") else range(tokens.B):
                found[known * base + row + 1] = [
                    token.kind, captions.token_name(token, self.words, named[token.name] == 1), token.place, row,
                ]  # fmt: skip
        return found

    # ---- gradients that end, the map, the curve ----------------------------------------------------------------------

    def _gradients(self):
        """The gradients that end at the pixels and at the words, of every model in time."""
        for t, kept in enumerate(self.records):
            grad = kept.grads.get(kept.pictures.number)
            if grad is not None:
                self.put("pixels", example.sheet(np.abs(grad[0]).sum(axis=0, keepdims=True))[0], "u1", t)
            words = next((c.out for c in kept.calls if c.op == "embedding" and c.out.number in kept.grads), None)
            if words is not None:
                self.put("words", np.linalg.norm(kept.grads[words.number][0], axis=-1), "f4", t)

    def _map(self):
        """[[from, to]] of the outermost steps: whose numbers each one takes."""
        home, edges = self.forward.home, {}
        made = {call.out.number: i for i, call in enumerate(self.last.calls)}
        for i, call in enumerate(self.last.calls):
            if i in home:
                for source in self._sources(call, home[i], made):
                    edges[source, home[i]] = True
        return [list(edge) for edge in edges]

    def _sources(self, call, own, made):
        """The steps that a call's inputs come from, through calls that belong to none."""
        ends = {self.forward.end(step.variants[-1]) for step in self.forward.steps}
        todo, found = [a for a in call.arguments if getattr(a, "number", None) in made], set()
        while todo:
            number = made[todo.pop().number]
            key = self.forward.home.get(number)
            if key is None or (key != own and self.last.calls[number].op in MOVERS and number not in ends):
                todo += [a for a in self.last.calls[number].arguments if getattr(a, "number", None) in made]
            elif key != own:
                found.add(key)
        return found

    def _curve(self):
        """{"steps": [...], name of a loss: [...]} of the run's log, thinned out."""
        log = self.run.read_log()
        names = [name for name in (log[-1] if log else {}) if name.endswith("loss")]
        thin = [log[round(i)] for i in np.linspace(0, len(log) - 1, min(_CURVE, len(log)))] if log else []
        return {"step": [line["step"] for line in thin],
                **{name: [float(f"{line.get(name, 0):.4g}") for line in thin] for name in names}}  # fmt: skip


def losses_of(record):
    """Names of the single numbers that a model's forward returned: `loss`, and what it is put together of."""
    return [name for name, value in record.result.items() if getattr(value, "ndim", None) == 0]


def _letters(config):
    """{size: letter} of the widths that a Config names."""
    found = {config.vocabulary: "V"}
    for name, letter in (("embedding", "E"), ("text_width", "C"), ("image_width", "C"), ("width", "C")):
        if hasattr(config, name):
            found[getattr(config, name)] = letter
    return found


def piece_name(tokenizer, id):
    """What a piece of the vocabulary looks like to a reader: its text, or the name of a special token."""
    special = {number: name for name, number in tokenizer.special_tokens.items()}
    if id in special:
        return special[id].strip("<>|[]").replace("of", " of ")
    raw = tokenizer.decode_bytes([id])
    text = raw.decode("utf-8", "replace").strip()
    return (text if text.isprintable() and "\ufffd" not in text else f"byte {raw.hex()}") or "␣"


def _png(picture):
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def as_json(book):
    """JSON that can stand in a <script>: nothing in it ends the element."""
    return json.dumps(book, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def build(run, image=None, text=None, versus=None):
    """[the dict of a run's page, with its example]; and that of a second run, on the same example."""
    times = example.at_times(run)
    found = example.find_example(times[-1][2], run.describe()["data"], image, text)
    books = [Book(run, times, found).build()]
    if versus is not None:
        times = example.at_times(versus)
        books.append(Book(versus, times, example.find_example(times[-1][2], None, like=found)).build())
        for book in books:
            book["steps"].append(versus_step())
    return books
