"""Kernels on the CPU: compiled by g++ or clang++ as ordinary C++, and run one thread after another. For Linux.

How a .cu file becomes C++ is told in cpu/cuda.h, how its threads run in cpu/runtime.cpp. Here is what Python does:
write the file for the compiler, keep what it made, hand over the arguments of a launch.
"""

import ctypes
import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import numpy as np

from .source import without_comments

FOLDER = Path(__file__).parent / "cpu"
RUNTIME = ("runtime.cpp", "warp_matrix.cpp", "check.cpp")
_FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-ffp-contract=off", "-w")


class KernelError(RuntimeError):
    """A kernel that does what no kernel may: its message says where."""


class NoCompiler(RuntimeError):
    """There is no C++ compiler on this machine."""


# ---- the compiler ----------------------------------------------------------------------------------------------------


def compiler():
    """The command of the C++ compiler: $CXX, else g++, else clang++; None where there is none."""
    for command in (os.environ.get("CXX", ""), "g++", "clang++"):
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return tuple(words)
    return None


@functools.cache
def _version(command):
    return subprocess.run([*command, "--version"], capture_output=True, text=True).stdout


def cache_folder():
    """Where compiled kernels are kept: MINIVL_CACHE, else minivl in XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get("MINIVL_CACHE")
    return Path(named or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minivl") / "kernels"


def _compiled(name, text, flags, suffix):
    """The file that the compiler makes of `text`; one of the same text, compiler and flags is not made again."""
    command = compiler()
    if command is None:
        raise NoCompiler(
            "kernels on the CPU need a C++ compiler: install g++ or clang++, or set CXX to the command of one"
        )
    key = "\0".join((text, *command, _version(command), *flags, *_own_files()))
    kept = cache_folder() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:20]}{suffix}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as beside:
            (Path(beside) / "kernel.cpp").write_text(text, encoding="utf-8")
            words = [*command, *_FLAGS, f"-I{FOLDER}", "kernel.cpp", *flags, "-o", "made"]
            done = subprocess.run(words, capture_output=True, text=True, cwd=beside)
            if done.returncode:
                lines = "\n".join(done.stderr.splitlines()[:20])
                raise KernelError(f"{name}: the C++ compiler refuses it\n{lines}")
            os.replace(Path(beside) / "made", kept)
    return kept


@functools.cache
def _own_files():
    return tuple(path.read_text(encoding="utf-8") for path in sorted(FOLDER.iterdir()) if path.suffix in (".h", ".cpp"))


def _runtime(check):
    """The runtime, compiled once for all kernels; for check mode with check.cpp."""
    text = "".join(f'#include "{name}"\n' for name in RUNTIME if check or name != "check.cpp")
    flags = ("-O3", "-c", *(("-DMINIVL_CHECK",) if check else ()))
    return _compiled("runtime-check" if check else "runtime", text, flags, ".o")


# ---- CUDA's text as C++ ----------------------------------------------------------------------------------------------

_DYNAMIC = re.compile(
    r"\bextern\s+__shared__\s+(?:(?:__align__|alignas)\s*\(\s*\d+\s*\)\s*)?([\w\s]+?)\s+"
    r"(?:(?:__align__|alignas)\s*\(\s*\d+\s*\)\s*)?(\w+)\s*\[\s*\]\s*;"
)
_STATIC = re.compile(
    r"(?:\b(?:__align__|alignas)\s*\(\s*(\d+)\s*\)\s*)?(?:\bstatic\s+)?\b__shared__\s+"
    r"(?:(?:__align__|alignas)\s*\(\s*(\d+)\s*\)\s*)?([\w:<>,\s]*?[\w>])\s+"
    r"(\w+\s*(?:\[[^;]*?\]\s*)*(?:,\s*\w+\s*(?:\[[^;]*?\]\s*)*)*);"
)


def as_cpp(text, found):
    """The text of a kernel file as C++ for cuda.h, with a function `launch_NAME` for each kernel."""
    text = _STATIC.sub(_static, _DYNAMIC.sub(_dynamic, without_comments(text)))
    launchers = []
    for name, signature in found.items():
        values = ", ".join(f"*({p.declared}*)arguments[{i}]" for i, p in enumerate(signature.parameters))
        launchers.append(
            f"NOT_CHECKED static void call_{name}(void** arguments) {{ {name}({values}); }}\n"
            f"EXPORTED int launch_{name}(void** arguments, const cpu::Launch* launch)"
            f" {{ return cpu::run(call_{name}, arguments, launch); }}\n"
        )
    return f'#include "cuda.h"\n{text}\n#line 1 "launchers"\n{"".join(launchers)}'


def _dynamic(match):
    """`extern __shared__ float a[];` -> a pointer to the memory that the launch has asked for."""
    before = match.string[: match.start()]
    if before.count("{") == before.count("}"):
        raise ValueError(
            f"extern __shared__ {match[1]} {match[2]}[]: must be inside of the kernel or function that uses it"
        )
    return f"{match[1]}* {match[2]} = ({match[1]}*)cpu::dynamic_shared();".replace("\n", " ") + "\n" * match[0].count(
        "\n"
    )


def _static(match):
    """`__shared__ float a[32], b;` -> a SHARED_ARRAY for each, on as many lines."""
    before, after, kind, names = match.groups()
    arrays = [re.fullmatch(r"(\w+)\s*(.*)", one.strip(), re.DOTALL) for one in re.split(r",(?![^\[]*\])", names)]
    alignment = before or after or 1
    text = " ".join(f"SHARED_ARRAY({one[1]}, {alignment}, {one[2]}, {kind});" for one in arrays)
    return text.replace("\n", " ") + "\n" * match[0].count("\n")


# ---- launches --------------------------------------------------------------------------------------------------------


class _Launch(ctypes.Structure):
    """cpu::Launch of cpu/runtime.h."""

    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("dynamic_shared", ctypes.c_uint),
        ("counting", ctypes.c_uint),
        ("seed", ctypes.c_uint64),
    ]


_locks = {}  # of every library: however often it is opened, it has one set of fibers, and can run one launch at a time


class Library:
    """The kernels of one text, compiled for the CPU."""

    flags, check = ("-O2",), False

    def __init__(self, name, text, found, seed=None):
        self.name, self.seed = name, 0 if seed is None else seed + 1
        flags = (str(_runtime(self.check)), "-shared", *self.flags)
        self.path = _compiled(name, as_cpp(text, found), flags, ".so")
        self._library = ctypes.CDLL(str(self.path))
        self._library.cpu_message.restype = ctypes.c_char_p
        self._lock = _locks.setdefault(self.path, threading.Lock())

    def launch(self, signature, grid, block, values, shared_mem=0, stream=None, counting=False):
        del stream
        launch = _Launch(grid, block, shared_mem, counting, self.seed)
        with self._lock:
            return self._run(signature, launch, values)

    def _run(self, signature, launch, values):
        values = [addresses(value) if isinstance(value, list) else value for value in values]
        memory = [_memory(value) for value in values]
        arguments = (ctypes.c_void_p * len(memory))(*(ctypes.addressof(one) for one in memory))
        if getattr(self._library, f"launch_{signature.name}")(arguments, ctypes.byref(launch)):
            raise KernelError(f"{signature.name}: {self._told(self._library.cpu_message().decode())}")

    def _told(self, message):
        return message


def addresses(arrays):
    """What a kernel finds where it was given a list of arrays."""
    return np.array([x.ctypes.data for x in arrays], np.uint64)


def _memory(value):
    """What a kernel's parameter holds: an address, or the bytes of a number."""
    if value is None:
        return ctypes.c_void_p(None)
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data if value.size else None)
    return ctypes.create_string_buffer(value.tobytes(), value.nbytes)
