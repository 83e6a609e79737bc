"""Reads the pickles that hold tensors, and runs nothing that they ask for.

A pickle is a program for a small stack machine. Most of its instructions build lists, dicts, numbers and texts; a few
fetch a function by name and call it, which is how a hostile file takes over whoever unpickles it. This machine knows
the harmless instructions, and of the names those below: the storages of PyTorch, and the functions that tie one to a
shape. It never imports what a pickle names; it has its own few lines for each. Any other name or instruction ends the
reading, and is named.

    state_dict() as torch.save writes it                  what the machine does
    GLOBAL torch._utils _rebuild_tensor_v2                the name is known: a Name
    ("storage", torch.FloatStorage, "0", "cpu", 12)
    BINPERSID                                             Storage("F32", "0", 12): the file data/0 has its 12 numbers
    (storage, 0, (4, 3), (3, 1), False, OrderedDict())
    REDUCE                                                View(storage, offset=0, shape=(4, 3), strides=(3, 1))

A TorchScript archive holds objects of classes whose code lies in the archive. An object of a class __torch__.… becomes
an Object with its attributes; its code is never looked at.
"""

import pickletools
from dataclasses import dataclass
from math import prod

from .fit import WeightsError

STORAGES = {  # the name in a pickle -> the dtype as safetensors calls it
    "torch DoubleStorage": "F64",
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16",
    "torch LongStorage": "I64",
    "torch IntStorage": "I32",
    "torch ShortStorage": "I16",
    "torch CharStorage": "I8",
    "torch ByteStorage": "U8",
    "torch BoolStorage": "BOOL",
    "torch ComplexFloatStorage": "C64",
}
_LARGEST, _MOST_STEPS = 2**24, 1_000_000  # bytes and instructions; a tensor takes 150 and 35
_MOST_AXES = 32  # NumPy 1 has no more


@dataclass(frozen=True)
class Name:
    """Something that the pickle asked for and may use: "torch FloatStorage", "__torch__.model CLIP"."""

    text: str


@dataclass(frozen=True)
class Storage:
    """`count` numbers, one behind the other, in the archive's member data/`key`."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class View:
    """A tensor: where in its storage it begins, and how far apart neighbours along each axis lie, in numbers."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


class Object:
    """An object of a TorchScript class: its attributes, without its code."""

    def __init__(self, name):
        self.name, self.state = name, None


def read(data, where, *, largest=_LARGEST, most_steps=_MOST_STEPS, names=True):
    """What a pickle describes: dicts, lists, tuples, texts, numbers, None, Views and Objects.

    data     bytes   where: what they are, for messages
    names    False: it may ask for nothing at all, not even what tensors need
    raises   WeightsError, which names what a pickle asked for and may not have, and at which byte
    """
    if len(data) > largest:
        raise WeightsError(f"{where}: a pickle of {len(data)} bytes, {largest} is the most that is read")
    machine, place = _Machine(names), 0
    try:
        for step, (opcode, argument, at) in enumerate(pickletools.genops(data)):  # cuts it up, and runs nothing
            place = at
            if opcode.name == "STOP":
                return machine.pop()
            if step == most_steps:
                raise WeightsError(f"more than {most_steps} instructions")
            machine.step(opcode.name, argument)
    except WeightsError as error:
        raise WeightsError(f"{where}, byte {place}: {error}") from None
    except ValueError as error:  # of genops: cut off, no such instruction, not UTF-8
        raise WeightsError(f"{where}: not a pickle, or a broken one: {_short(str(error))}") from None


# ---- the machine ----------------------------------------------------------------------------------------------------

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_NOTHING = {"PROTO", "FRAME"}
_KEYS = (str, int, float, bool, bytes, type(None))  # what may name an entry of a dict: cheap to hash


class _Machine:
    """The stack, and the memo of what was built before and is used again."""

    def __init__(self, names=True):
        self.stack, self.below, self.memo = [], [], {}  # `below`: the stacks that MARK has set aside
        self.names = names

    def step(self, op, argument):
        if op in _CONSTANTS:
            self.stack.append(_CONSTANTS[op])
        elif op in _EMPTY:
            self.stack.append(_EMPTY[op]())
        elif op in _NUMBERS:
            if type(argument) is int and not -(2**63) <= argument < 2**64:
                raise WeightsError("a whole number of more than 64 bits")
            self.stack.append(argument)
        elif op in _TEXTS or op in _BYTES:
            self.stack.append(argument)
        elif op in _TUPLES:
            self.stack.append(tuple(reversed([self.pop() for _ in range(_TUPLES[op])])))
        elif op in _PUT:
            self.memo[argument] = self.top()
        elif op in _GET:
            if argument not in self.memo:
                raise WeightsError(f"entry {argument} of the memo is used and was never made")
            self.stack.append(self.memo[argument])
        elif op not in _NOTHING:
            self.build(op, argument)

    def build(self, op, argument):
        """The instructions that make something of what lies on the stack."""
        if op == "MARK":
            self.below.append(self.stack)
            self.stack = []
        elif op in ("TUPLE", "LIST", "DICT"):
            items = self.since_mark()
            self.stack.append({"TUPLE": tuple, "LIST": list, "DICT": _pairs}[op](items))
        elif op in ("APPEND", "APPENDS"):
            items = [self.pop()] if op == "APPEND" else self.since_mark()
            self.top(list).extend(items)
        elif op in ("SETITEM", "SETITEMS"):
            items = [self.pop(), self.pop()][::-1] if op == "SETITEM" else self.since_mark()
            self.top(dict).update(_pairs(items))
        elif op == "MEMOIZE":
            self.memo[len(self.memo)] = self.top()
        elif op == "POP":
            self.pop()
        elif op == "POP_MARK":
            self.since_mark()
        elif op == "DUP":
            self.stack.append(self.top())
        else:
            self.ask(op, argument)

    def ask(self, op, argument):
        """The instructions by which a pickle asks for more than containers."""
        if op in ("GLOBAL", "STACK_GLOBAL"):
            if op == "STACK_GLOBAL":
                name, module = self.pop(str), self.pop(str)
                argument = f"{module} {name}"
            known = argument in STORAGES or argument in _CALLS or argument.startswith("__torch__.")
            if not (known and self.names):
                why = "which no tensor needs" if self.names else "and no name is needed here"
                raise WeightsError(f"asks for {_dotted(argument)}, {why}; nothing of it was run")
            self.stack.append(Name(argument))
        elif op == "BINPERSID":
            self.stack.append(_storage(self.pop()))
        elif op == "REDUCE":
            arguments, function = self.pop(tuple), self.pop(Name).text
            if function not in _CALLS:
                raise WeightsError(f"calls {_dotted(function)}, which is no function")
            self.stack.append(_CALLS[function](*arguments))
        elif op == "NEWOBJ":
            arguments, kind = self.pop(tuple), self.pop(Name).text
            if arguments or not kind.startswith("__torch__."):
                raise WeightsError(f"makes a {_dotted(kind)}, which is no class of a TorchScript archive")
            self.stack.append(Object(kind))
        elif op == "BUILD":
            state, target = self.pop(), self.top()
            if isinstance(target, Object):
                target.state = state
            elif not (isinstance(target, dict) and isinstance(state, dict)):  # an OrderedDict's notes are not needed
                raise WeightsError(f"sets attributes of a {type(target).__name__}")
        else:
            asked = f" of {_dotted(argument)}" if isinstance(argument, str) else ""
            raise WeightsError(f"the instruction {op}{asked} is none that tensors need; nothing of it was run")

    def top(self, kind=object):
        if not self.stack:
            raise WeightsError("takes from an empty stack")
        if not isinstance(self.stack[-1], kind):
            raise WeightsError(f"expects a {kind.__name__} on the stack, finds a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def pop(self, kind=object):
        self.top(kind)
        return self.stack.pop()

    def since_mark(self):
        """Everything since the last MARK, which goes too."""
        if not self.below:
            raise WeightsError("takes all since a mark, and there is no mark")
        items, self.stack = self.stack, self.below.pop()
        return items


def _pairs(items):
    """[key, value, key, value ...] as a dict."""
    if len(items) % 2:
        raise WeightsError("a dict with a key that has no value")
    for key in items[::2]:
        if not isinstance(key, _KEYS):
            raise WeightsError(f"a dict with a {type(key).__name__} as a key")
    return dict(zip(items[::2], items[1::2], strict=True))


# ---- what may be called ----------------------------------------------------------------------------------------------


def _storage(identity):
    """("storage", torch.FloatStorage, "0", "cpu", 12), in this shape and no other."""
    kinds = [str, Name, str, str, int]
    if not isinstance(identity, tuple) or [type(part) for part in identity] != kinds or identity[0] != "storage":
        raise WeightsError("asks for a persistent object that is no storage")
    _, kind, key, _, count = identity
    if kind.text not in STORAGES or count < 0:
        raise WeightsError(f"a storage of {count} numbers of type {_dotted(kind.text)}")
    return Storage(STORAGES[kind.text], key, count)


def _tensor(*arguments):
    """torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks, [metadata])"""
    if len(arguments) not in (6, 7) or not isinstance(arguments[0], Storage):
        raise WeightsError("a tensor that is not made of storage, offset, shape and strides")
    storage, offset, shape, strides = arguments[:4]
    if not (type(offset) is int and offset >= 0 and _lengths(shape) and _lengths(strides)):
        raise WeightsError("a tensor whose offset, shape or strides are no whole numbers from 0 on")
    if len(shape) != len(strides) or len(shape) > _MOST_AXES:
        raise WeightsError(f"a tensor of {len(shape)} axes with {len(strides)} strides, at most {_MOST_AXES} can be")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if prod(shape) and last >= storage.count:
        raise WeightsError(f"a tensor that reaches to number {last} of a storage of {storage.count}")
    return View(storage, offset, shape, strides)


def _parameter(*arguments):
    """torch._utils._rebuild_parameter(tensor, requires_grad, hooks)"""
    if len(arguments) != 3 or not isinstance(arguments[0], View):
        raise WeightsError("a parameter that is not made of a tensor")
    return arguments[0]


def _ordered_dict(*arguments):
    if arguments:
        raise WeightsError("an OrderedDict with arguments")
    return {}


def _size(*arguments):
    if len(arguments) != 1 or not isinstance(arguments[0], (tuple, list)):
        raise WeightsError("a torch.Size that is not made of one sequence")
    return tuple(arguments[0])


def _typed(*arguments):
    """TorchScript's marks of the type of a list or dict: the first argument is the list or dict."""
    if not arguments or not isinstance(arguments[0], (list, dict)):
        raise WeightsError("a typed container that is not made of a container")
    return arguments[0]


_CALLS = {
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "collections OrderedDict": _ordered_dict,
    "torch Size": _size,
    "torch.jit._pickle restore_type_tag": _typed,
    "torch.jit._pickle build_intlist": _typed,
    "torch.jit._pickle build_doublelist": _typed,
    "torch.jit._pickle build_boollist": _typed,
    "torch.jit._pickle build_tensorlist": _typed,
}


def _lengths(value):
    return isinstance(value, tuple) and all(type(n) is int and n >= 0 for n in value)


def _dotted(name):
    """ "os system" as os.system, for a message: short, and without characters that do something to a terminal."""
    return _short(ascii(name.replace(" ", "."))[1:-1])


def _short(text):
    return text if len(text) <= 100 else text[:97] + "..."
