"""Check mode: the same launch, with every access to memory looked at and, if asked for, counted.

What there is to find is told in cpu/check.cpp. Here the arrays are put where an access beyond their end meets nothing,
and addresses of code become lines of the .cu file.
"""

import ctypes
import dataclasses
import re
import shutil
import subprocess

import numpy as np

from . import cpu

_GAP = 1 << 12  # bytes between two arrays: an overrun of up to so many is reported as one of the right array
_ALIGNMENT = 512  # of the arrays that CuPy allocates
_CODE = re.compile(r"\[code (0x[0-9a-f]+)\]")


@dataclasses.dataclass(frozen=True)
class Count:
    """What one line of a kernel asked of memory.

    requests        instructions, each of up to 32 lanes of a warp
    accesses        the lanes in them
    transactions    sectors of 32 bytes of global memory; in shared memory, passes over its banks
    ideal           the fewest transactions that could have moved the same bytes
    """

    place: str  # file:line of the .cu file; of what is in a header there, ' (file:line)' follows
    space: str  # 'global' or 'shared'
    kind: str  # 'read' or 'write'
    accesses: int
    requests: int
    transactions: int
    ideal: int

    @property
    def file(self):
        return self.place.split(" ")[0].rpartition(":")[0]

    @property
    def line(self):
        return int(self.place.split(" ")[0].rpartition(":")[2] or 0)


class Library(cpu.Library):
    """The kernels of one text, compiled for check mode."""

    # The libraries are named one by one so that the sanitizer's own is left out: check.cpp stands in for it.
    flags = ("-O1", "-gdwarf-4", "-g1", "-DMINIVL_CHECK", "-fsanitize=thread")
    flags += ("-nodefaultlibs", "-lstdc++", "-lm", "-lc", "-lgcc")
    check = True

    def __init__(self, *arguments):
        # Scalar replacement would split an access of a float4 into four before it is looked at. clang++ always does:
        # there, only load16 and store16 are seen whole.
        if "clang" in str(cpu.compiler()):
            self.flags += ("-mllvm", "-tsan-instrument-func-entry-exit=0")
        else:
            self.flags += ("-fno-tree-sra", "--param=tsan-instrument-func-entry-exit=0")
        super().__init__(*arguments)
        pointer, size, text, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int
        self._library.cpu_buffer.argtypes = [pointer, size, text, number, number]
        self._library.cpu_counted.restype = text
        self._lines = {}  # what addr2line has told of addresses of code

    def _run(self, signature, launch, values):
        arrays = _Arrays(signature, values)
        self._library.cpu_forget_buffers()
        for name, copy, constant, grain in arrays.buffers:
            self._library.cpu_buffer(copy.ctypes.data, copy.nbytes, name, constant, grain)
        super()._run(signature, launch, arrays.values)
        arrays.copy_back()
        return self._counts() if launch.counting else None

    def _counts(self):
        """A Count for each line of the launch."""
        lines, found = [], {}
        while line := self._library.cpu_counted(len(lines)):
            lines.append(line.decode())
        for line in self._told("\n".join(lines)).splitlines():
            place, space, kind, *numbers = line.split("\t")
            key = place, space, kind
            found[key] = np.add(found.get(key, 0), [int(n) for n in numbers])
        counts = [Count(*key, *map(int, numbers)) for key, numbers in found.items() if any(numbers)]
        return sorted(counts, key=lambda count: (count.file, count.line, count.place, count.space, count.kind))

    def _told(self, message):
        """A message of check.cpp with the lines of the source in place of addresses of code."""
        unknown = {code for code in _CODE.findall(message) if code not in self._lines}
        if unknown:
            self._lines |= self._lines_of(sorted(unknown))
        return _CODE.sub(lambda code: self._lines[code[1]], message)

    def _lines_of(self, codes):
        """{address: 'file:line' in the .cu file, and ' (file:line)' of the header, if it is in one}"""
        if not shutil.which("addr2line"):
            return dict.fromkeys(codes, f"{self.name}:0 (install binutils to see the line)")
        words = ["addr2line", "-a", "-i", "-e", str(self.path), *codes]
        frames = {}
        for frame in subprocess.run(words, capture_output=True, text=True).stdout.splitlines():
            file, _, line = frame.split(" ")[0].rpartition(":")
            if frame.startswith("0x"):
                here = frames[hex(int(frame, 16))] = []
            elif file.endswith((".cu", ".cuh")):
                here.append(f"{file.rpartition('/')[2]}:{line}")
        return {code: self._place(frames[code]) for code in codes}

    def _place(self, frames):
        inner = frames[0] if frames else f"{self.name}:0"
        callers = [frame for frame in frames if ".cu:" in frame and ".cuh:" in inner]
        return f"{callers[0]} ({inner})" if callers else inner


class _Arrays:
    """Copies of a launch's arrays with gaps between them. Arrays that overlap share a copy, as they share memory."""

    def __init__(self, signature, values):
        self.values, self.buffers, self._copies = list(values), [], []
        named = []  # (the list it belongs in, its place there, its name, the array, const)
        for i, (parameter, value) in enumerate(zip(signature.parameters, values, strict=True)):
            if isinstance(value, np.ndarray):
                named.append((self.values, i, parameter.name, value, parameter.const))
            elif isinstance(value, list):
                copies = self.values[i] = list(value)
                named += [(copies, j, f"{parameter.name}[{j}]", one, parameter.const) for j, one in enumerate(value)]
        for begin, end, members in _overlapping([one for one in named if one[3].size]):
            self._copy(begin, end - begin, members, _offset(members[0][3]))
        for i, (parameter, value) in enumerate(zip(signature.parameters, self.values, strict=True)):
            if isinstance(value, list):  # the addresses of the copies are in memory too
                table = cpu.addresses(value)
                self._copy(table.ctypes.data, table.nbytes, [(self.values, i, parameter.name, table, True)], 0)

    def _copy(self, begin, size, members, offset):
        """One copy of `size` bytes from address `begin`, in which each of `members` lies as it did."""
        memory = np.empty(size + 2 * _GAP + _ALIGNMENT, np.uint8)
        at = _GAP + (offset - memory.ctypes.data - _GAP) % _ALIGNMENT
        copy = memory[at : at + size]
        ctypes.memmove(copy.ctypes.data, begin, size)
        name = " = ".join(dict.fromkeys(name for _, _, name, _, _ in members))
        grain = min(min(array.itemsize for *_, array, _ in members), 4)
        constant = all(const for *_, const in members)
        self.buffers.append((name.encode(), copy, constant, grain))
        if not constant:
            self._copies.append((begin, copy))
        for values, i, _, array, _ in members:
            offset = array.ctypes.data - begin
            values[i] = copy[offset : offset + array.nbytes]

    def copy_back(self):
        for begin, copy in self._copies:
            ctypes.memmove(begin, copy.ctypes.data, copy.nbytes)


def _offset(x):
    """Bytes from the begin of what was allocated for x: how x would be aligned if that memory were a GPU's."""
    owner = x
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return x.ctypes.data - owner.ctypes.data


def _overlapping(named):
    """[(begin, end, those of `named` that lie between)], each piece of memory once."""
    pieces = []
    for one in sorted(named, key=lambda one: one[3].ctypes.data):
        begin, end = one[3].ctypes.data, one[3].ctypes.data + one[3].nbytes
        if pieces and begin < pieces[-1][1]:
            first, last, members = pieces.pop()
            pieces.append((first, max(last, end), [*members, one]))
        else:
            pieces.append((begin, end, [one]))
    return pieces
