"""One forward and one backward pass with everything kept: what ran, who called it, what came out, its gradient."""

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from .. import masks
from ..nn import Module
from ..tensor import Tensor, watched_by
from ..trace import frames
from .tokens import Tokens


@dataclass(frozen=True)
class Place:
    """A line that was being run. `call` tells two calls of one function apart; `module` is whose method it is."""

    file: str
    line: int
    function: str
    call: int
    module: str | None


@dataclass(eq=False)
class Call:
    """One op that ran: its arguments (Tensors and constants), options and output, and from where, outermost first."""

    op: str
    arguments: tuple
    options: dict
    out: Tensor
    stack: tuple


@dataclass(eq=False)
class MaskCall:
    """One call of a function of masks.py."""

    function: str
    arguments: tuple
    result: np.ndarray
    file: str
    line: int


class Record:
    """What a pass left behind.

    calls     the ops in the order in which they ran, each a Call
    masks     the functions of masks.py that were called, each a MaskCall
    tokens    which patch or word each vector is, see tokens.py
    result    what the model's forward returned
    grads     {tensor.number: d(loss)/d(tensor)}
    parts     {tensor.number: [(number of the tensor that it came through, its gradient's share)]}

    like      the Record of a model of the same making: the ops are the same, and so are tokens and places
    """

    def __init__(self, model, rows, like=None):
        self.calls, self.masks, self.grads, self.parts, self.result = [], [], {}, {}, None
        parameters = {t.number: name for name, t in model.named_parameters()}
        self.like, self.tokens = like, Tokens(rows, parameters) if like is None else like.tokens
        self.model, self.leaves = model, ()
        self._modules = dict(_named_modules(model))
        self._frames = {}  # id -> (number, the frame itself: while it is kept, no other gets its id)

    def made(self, tensor):
        """The Call that made a tensor; None for a leaf."""
        return self._by_number.get(tensor.number) if isinstance(tensor, Tensor) else None

    @property
    def loss(self):
        return self.result["loss"]

    # ---- what a watcher is told --------------------------------------------------------------------------------------

    def starts(self, op):
        """Nothing to do before an op."""

    def ran(self, arguments, options, out):
        stack = self._stack() if self.like is None else self.like.calls[len(self.calls)].stack
        self.calls.append(Call(out.op, tuple(arguments), dict(options), out, stack))
        if self.like is None:
            self.tokens.follow(out.op, arguments, options, out)
        else:
            self.tokens.follow_like(self.like.calls[len(self.calls) - 1].out, out)

    def derived(self, tensor, source, grad):
        if source.op is None and source not in self.leaves:
            return  # a parameter: its gradient trains it, but is not on the way back to the picture
        before = self.grads.get(source.number)
        share = np.array(grad)  # derivatives may work in place, and hand the same array to several
        self.grads[source.number] = share if before is None else before + share
        self.parts.setdefault(source.number, []).append((tensor.number, share))

    def finish(self):
        self._frames.clear()
        self._by_number = {call.out.number: call for call in self.calls}

    def _stack(self):
        found = []
        for frame in frames():
            if frame.f_code.co_filename == __file__:
                if frame.f_code.co_name == "record":
                    break
                continue
            number, _ = self._frames.setdefault(id(frame), (len(self._frames), frame))
            owner = self._modules.get(id(frame.f_locals.get("self")))
            found.append(Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name, number, owner))
        return tuple(reversed(found))


def _named_modules(module, name=""):
    """Pairs (id of a module, its name as its parameters have it): "vit.transformer.blocks.0"."""
    yield id(module), name
    for attribute, value in vars(module).items():
        for i, part in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(part, Module):
                own = f"{attribute}.{i}" if isinstance(value, list) else attribute
                yield from _named_modules(part, f"{name}.{own}" if name else own)


def record(model, batch, loss="loss", like=None):
    """The Record of model(batch), and of the way back from one of its losses to the pictures and the words."""
    for module in model.modules():
        if hasattr(module, "checkpointed"):
            module.checkpointed = False  # nothing is computed twice, so everything is seen once
    kept = Record(model, len(batch["text"]), like)
    pictures = Tensor(batch["image"], requires_grad=True)
    kept.leaves, kept.pictures = [pictures], pictures
    with watched_by(kept), _watched_masks(kept.masks):
        kept.result = model({**batch, "image": pictures})
        kept.result[loss].backward()
        kept.grads[kept.result[loss].number] = np.ones_like(kept.loss.data)
    for tensor in model.parameters():
        tensor.grad = None
    kept.finish()
    if like is not None and [call.op for call in kept.calls] != [call.op for call in like.calls]:
        raise ValueError("record: this model does not run the ops of the one that it should be like")
    return kept


@contextmanager
def _watched_masks(found):
    """Inside, each call of a function of masks.py is noted, those by other masks too, and its result goes its way."""
    with ExitStack() as stack:
        for name in mask_functions():
            stack.enter_context(_watched_mask(name, found))
        yield


def mask_functions():
    """Names of the functions of masks.py that make a mask."""
    own = (name for name, value in vars(masks).items() if getattr(value, "__module__", None) == masks.__name__)
    return [name for name in own if not name.startswith("_") and name != "draw"]


@contextmanager
def _watched_mask(name, found):
    function = getattr(masks, name)

    def watched(*arguments, **options):
        result = function(*arguments, **options)
        frame = next(f for f in frames() if f.f_code.co_filename not in (__file__, masks.__file__))
        place = frame.f_code.co_filename, frame.f_lineno
        found.append(MaskCall(name, (*arguments, *options.values()), result, *place))
        return result

    setattr(masks, name, watched)
    try:
        yield
    finally:
        setattr(masks, name, function)
