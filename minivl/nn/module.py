"""Modules: parameters with a name, and a way to use them."""

import numpy as np

from ..array import device_of, to_device
from ..tensor import Tensor


class Buffer(Tensor):
    """A tensor that belongs to a module's state, saved and moved with it, but is not learned: running statistics."""

    __slots__ = ()


class Module:
    """Its attributes are the tree: Tensors are parameters, Buffers are not; Modules, and lists of either, are branches.

    A subclass sets attributes in `__init__` and says in `forward` what is done with them; `module(x)` calls forward.
    """

    training = True  # what `train` and `eval` change: batch normalisation behaves otherwise in use than in training

    def __call__(self, *arguments, **options):
        return self.forward(*arguments, **options)

    def named_parameters(self, prefix=""):
        """Pairs of name and Tensor: ("image.blocks.0.attend.query.weight", Tensor), each Tensor once."""
        return ((name, tensor) for name, tensor in self._state(prefix) if not isinstance(tensor, Buffer))

    def named_buffers(self, prefix=""):
        """Pairs of name and Buffer, each once."""
        return ((name, tensor) for name, tensor in self._state(prefix) if isinstance(tensor, Buffer))

    def parameters(self):
        return [tensor for _, tensor in self.named_parameters()]

    def train(self, mode=True):
        """Sets `training` of this module and all below it; returns it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """For use: everything in a batch is treated as if it were alone."""
        return self.train(False)

    def before_step(self, done):
        """What changes as training goes on, `done` of it (0..1) being over: nothing, unless a model says otherwise."""

    def after_step(self):
        """What is done to the parameters after each step of the optimiser: nothing, unless a model says otherwise."""

    def modules(self):
        """This module and all below it, outermost first."""
        yield self
        for value in vars(self).values():
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Module):
                    yield from part.modules()

    def _state(self, prefix=""):
        """Pairs of name and Tensor, parameters and buffers, each once."""
        seen = set()
        for name, tensor in self._tensors(prefix):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor

    def _tensors(self, prefix):
        for name, value in vars(self).items():
            parts = (
                [(f"{name}.{i}", part) for i, part in enumerate(value)] if isinstance(value, list) else [(name, value)]
            )
            for path, part in parts:
                if isinstance(part, Tensor):
                    yield prefix + path, part
                elif isinstance(part, Module):
                    yield from part._tensors(f"{prefix}{path}.")

    def num_parameters(self):
        """How many numbers there are to learn."""
        return sum(tensor.size for tensor in self.parameters())

    def zero_grad(self):
        for tensor in self.parameters():
            tensor.grad = None

    def state_dict(self):
        """Name -> array, of parameters and buffers. The arrays are their own memory, not copies."""
        return {name: tensor.data for name, tensor in self._state()}

    def load_state_dict(self, arrays):
        """Copies `arrays` (name -> array) into parameters and buffers, in their dtype, order and device.

        Raises minivl.weights.WeightsError that lists what is missing, unexpected or of another shape; nothing is
        changed then.
        """
        from ..weights import match

        own = dict(self._state())
        match({name: t.shape for name, t in own.items()}, {name: a.shape for name, a in arrays.items()})
        for name, tensor in own.items():
            tensor.data = to_device(np.array(arrays[name], dtype=tensor.dtype, order="C"), device_of(tensor.data))

    def to(self, where):
        """Moves parameters and buffers to a device ('cpu', 'cuda') or into a dtype; returns the module."""
        for _, tensor in self._state():
            on_device = where in ("cpu", "cuda")
            tensor.data = to_device(tensor.data, where) if on_device else tensor.data.astype(where)
            tensor.grad = None
        return self


class Unallocated:
    """Stands in for a numpy.random.Generator where only shapes are wanted: every array it gives shares one number.

    `CoCa(Config.giant(), Unallocated()).num_parameters()` counts two thousand million numbers in no memory at all.
    """

    def standard_normal(self, size, dtype=np.float32):
        return np.broadcast_to(np.zeros((), dtype), size)

    random = standard_normal


def parameter(random, *shape, std):
    """A Tensor to learn, drawn from a normal distribution of mean 0."""
    data = random.standard_normal(shape, dtype=np.float32)
    if not isinstance(random, Unallocated):
        data *= np.float32(std)
    return Tensor(data, requires_grad=True)


def uniform_parameter(random, *shape, bound):
    """A Tensor to learn, drawn evenly from between -bound and bound."""
    data = random.random(shape, dtype=np.float32)
    if not isinstance(random, Unallocated):
        data -= np.float32(0.5)
        data *= np.float32(2 * bound)
    return Tensor(data, requires_grad=True)


def constant_parameter(value, *shape):
    """A Tensor to learn that starts as `value` everywhere."""
    return Tensor(np.full(shape, value, np.float32), requires_grad=True)
