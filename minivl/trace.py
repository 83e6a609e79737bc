"""Watching a computation: what ran, where, on which shapes, how long; and where the first NaN was born."""

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .array import array_module
from .tensor import Tensor, watched_by

_PACKAGE = Path(__file__).parent
# Frames of these are how an op is called, not who calls it.
_MACHINERY = {str(_PACKAGE / "tensor.py"), str(_PACKAGE / "trace.py")}
_OPS = str(_PACKAGE / "ops")


def frames():
    """The frames that the op at work was called from, without those of the engine and the ops, innermost first."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file not in _MACHINERY and not file.startswith(_OPS):
            yield frame
        frame = frame.f_back


def caller():
    """Who called the op at work: (file, line, function) of its `frames`."""
    return [(f.f_code.co_filename, f.f_lineno, _function(f.f_code)) for f in frames()]


def _function(code):
    return code.co_qualname if sys.version_info >= (3, 11) else code.co_name


def _told(frames, most=4):
    """Frames as one text: `coca.py:120 in CoCa.forward, from ...`."""
    if not frames:
        return "an unknown line (it ran outside detect_anomaly)"
    return ", from ".join(f"{_short(file)}:{line} in {function}" for file, line, function in frames[:most])


def _short(file):
    path = Path(file)
    return str(path.relative_to(_PACKAGE.parent)) if path.is_relative_to(_PACKAGE.parent) else str(path)


@dataclass
class Ran:
    """One op that ran. `scope`: the functions that it was called from, outermost first. Seconds are wall time."""

    op: str
    file: str
    line: int
    scope: tuple
    inputs: tuple  # shapes; None for what was no Tensor
    output: tuple
    dtype: str
    seconds: float
    bytes: int  # of the output


class Trace(list):
    """The ops that ran, in order, as `Ran`; see `trace`."""

    def __init__(self):
        super().__init__()
        self._started = []

    def starts(self, op):
        self._started.append(time.perf_counter())

    def ran(self, arguments, options, out):
        seconds = time.perf_counter() - self._started.pop()
        stack = caller()
        file, line, _ = stack[0]
        self.append(
            Ran(
                out.op,
                _short(file),
                line,
                tuple(function for _, _, function in reversed(stack)),
                tuple(a.shape if isinstance(a, Tensor) else None for a in arguments),
                out.shape,
                str(out.dtype),
                seconds,
                out.data.nbytes,
            )
        )

    def derived(self, tensor, source, grad):
        """Gradients are not recorded."""

    def table(self):
        """Time and bytes by op, the slowest first, as lines of text."""
        total = {}
        for ran in self:
            count, seconds, size = total.get(ran.op, (0, 0.0, 0))
            total[ran.op] = count + 1, seconds + ran.seconds, size + ran.bytes
        rows = [f"{'op':<16}{'calls':>7}{'ms':>10}{'MB':>10}"]
        for name, (count, seconds, size) in sorted(total.items(), key=lambda item: -item[1][1]):
            rows.append(f"{name:<16}{count:>7}{1e3 * seconds:>10.2f}{size / 1e6:>10.2f}")
        return "\n".join(rows)


@contextmanager
def trace():
    """Records every op inside: `with trace() as ran: model(batch)`, then `print(ran.table())` or walk through `ran`."""
    with watched_by(Trace()) as ran:
        yield ran


class AnomalyError(FloatingPointError):
    """A number that is not finite came out of finite ones."""


class _AnomalyWatcher:
    """Looks at every output and every gradient, and stops at the first that is not finite."""

    def starts(self, op):
        """Nothing to do before an op."""

    def ran(self, arguments, options, out):
        where = caller()
        if out.node is not None:
            out.node.where = where
        if not _finite(out) and all(_finite(a) for a in arguments):
            shapes = ", ".join(str(a.shape) if isinstance(a, Tensor) else "a constant" for a in arguments)
            raise AnomalyError(
                f"forward: {out.op} at {_told(where)} made {_what(out.data)} "
                f"in its output {out.shape} out of finite inputs ({shapes})"
            )

    def derived(self, tensor, source, grad):
        if not _finite(grad):
            leaf = isinstance(source, Tensor)
            which = "a leaf" if leaf else f"the output of {source.op} at {_told(source.where)}"
            raise AnomalyError(
                f"backward: {tensor.op} at {_told(tensor.where)} gave {_what(grad)} as the gradient of its input "
                f"{source.shape}, {which}"
            )


def _finite(a):
    """Whether every number of a Tensor, array or constant is finite."""
    data = a.data if isinstance(a, Tensor) else a
    return data is None or bool(array_module(data).isfinite(data).all())


def _what(data):
    """'NaN at index (0, 3)', 'infinity at index ()'"""
    xp = array_module(data)
    first = int(xp.argmin(xp.isfinite(data)))
    index = tuple(int(i) for i in xp.unravel_index(first, data.shape))
    return f"{'NaN' if bool(xp.isnan(data[index])) else 'infinity'} at index {index}"


@contextmanager
def detect_anomaly():
    """Inside, the first NaN or infinity raises AnomalyError, in forward or in backward, and says where it was born:

    the op, the file and line that called it (and who called that), and the tensor. Slower: every number is looked at.
    Infinite inputs are let pass; what is reported is the op that made one out of finite numbers.
    """
    with watched_by(_AnomalyWatcher()):
        yield
