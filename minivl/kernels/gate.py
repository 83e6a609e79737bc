"""The compile gate: every kernel, in every dtype that it serves, through NVIDIA's compiler, without a GPU.

    pip install "nvidia-cuda-nvrtc==13.0.*"
    python -m minivl.kernels.gate               # all kernels that minivl ships
    python -m minivl.kernels.gate my/kernel.cu

NVRTC is the compiler that CuPy calls; here it is called through ctypes. Its log tells registers, shared memory and
spills. A kernel that spills registers to memory fails the gate: it was meant to be fast.
"""

import argparse
import ctypes
import dataclasses
import importlib.util
import re
import sys
from pathlib import Path

from . import source

OPTIONS = ("--std=c++17", "--ptxas-options=-v")

_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


class GateError(RuntimeError):
    """NVRTC refuses a kernel, or is not there."""


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a kernel takes of a GPU: registers of a thread, and bytes."""

    kernel: str
    arch: str
    registers: int
    shared: int  # static, of a block
    stack: int  # of a thread: arrays that are indexed by what is not known when compiling
    spills: int  # stores and loads, of a thread


# ---- NVRTC -----------------------------------------------------------------------------------------------------------


def nvrtc():
    """NVRTC's library: of the package nvidia-cuda-nvrtc, else one that the system knows; None where there is none."""
    try:
        package = importlib.util.find_spec("nvidia.cu13")
    except ModuleNotFoundError:
        package = None
    folders = [Path(folder) / "lib" for folder in (package.submodule_search_locations if package else ())]
    files = [str(file) for folder in folders for file in sorted(folder.glob("libnvrtc.so.*"))]
    for file in [*files, "libnvrtc.so.13"]:
        try:
            for builtins in sorted(Path(file).parent.glob("libnvrtc-builtins.so.*")):
                ctypes.CDLL(str(builtins))  # NVRTC asks for it by name, and finds what is loaded
            return ctypes.CDLL(file)
        except OSError:
            continue
    return None


def compiled(text, arch, library=None):
    """(the cubin, NVRTC's log) of a kernel's text for an architecture such as sm_90."""
    library = library or nvrtc()
    if library is None:
        raise GateError('NVRTC is not installed: pip install "nvidia-cuda-nvrtc==13.0.*"')
    program = ctypes.c_void_p()
    _done(library, library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None))
    try:
        options = [option.encode() for option in (*OPTIONS, f"--gpu-architecture={arch}")]
        code = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        log = _bytes(library, program, "ProgramLog").rstrip(b"\0").decode()
        if code:
            raise GateError(log.strip())
        return _bytes(library, program, "CUBIN"), log
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _bytes(library, program, what):
    """What nvrtcGetWHAT gives, after nvrtcGetWHATSize has told how much that is."""
    size = ctypes.c_size_t()
    _done(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    into = ctypes.create_string_buffer(size.value)
    _done(library, getattr(library, f"nvrtcGet{what}")(program, into))
    return into.raw


def _done(library, code):
    if code:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise GateError(f"NVRTC: {library.nvrtcGetErrorString(code).decode()}")


def usages(log):
    """A Usage for each kernel in a log of ptxas."""
    found = []
    for part in re.split(r"(?=ptxas info\s*: Compiling entry function)", log):
        entry = _ENTRY.search(part)
        if entry:
            stack, stores, loads = map(int, _STACK.search(part).groups())
            shared = _SHARED.search(part)
            registers = int(_USED.search(part)[1])
            found.append(Usage(*entry.groups(), registers, int(shared[1]) if shared else 0, stack, stores + loads))
    return found


# ---- the table -------------------------------------------------------------------------------------------------------


def table(paths, archs=None):
    """Compiles each file in all that it serves; yields (a line of text, whether it is a failure)."""
    library = nvrtc()
    yield _FORMAT.format("file", "kernel", "dtype", "registers", "shared", "stack", "spills"), False
    for path, dtype, variant in ((p, d, v) for p in paths for d in source.dtypes(p) for v in source.variants(p)):
        file = " ".join([path.name, *(f"{name}={value}" for name, value in variant.items())])
        text, found = source.read(path, dtype, variant), {}
        for arch in source.archs(path):
            if archs and arch not in archs:
                continue
            try:
                for use in usages(compiled(text, arch, library)[1]):
                    found.setdefault(use.kernel, []).append(use)
            except GateError as error:
                yield f"{file} {dtype} {arch}: {error}", True
        for kernel, uses in sorted(found.items()):
            yield _row(file, kernel, dtype, uses), any(use.spills for use in uses)


_FORMAT = "{:<34} {:<34} {:<10}{:>10}{:>9}{:>7}{:>8}"


def _row(file, kernel, dtype, uses):
    """One kernel in one dtype: its registers on each architecture, and the largest of the rest."""
    registers = ", ".join(str(use.registers) for use in uses)
    shared, stack, spills = (max(getattr(use, name) for use in uses) for name in ("shared", "stack", "spills"))
    return _FORMAT.format(file, kernel, dtype, registers, shared, stack, spills)


def main(arguments=None):
    """Prints the table; returns 1 if a kernel is refused or spills."""
    parser = argparse.ArgumentParser(prog="python -m minivl.kernels.gate", description=__doc__.splitlines()[0])
    parser.add_argument(
        "files", metavar="FILE.cu", nargs="*", help="kernels to compile (default: all that minivl ships)"
    )
    parser.add_argument(
        "--arch", action="append", metavar="SM", help="only for this one, such as sm_90; may be repeated"
    )
    options = parser.parse_args(arguments)
    if nvrtc() is None:
        print('NVRTC is not installed: pip install "nvidia-cuda-nvrtc==13.0.*"', file=sys.stderr)
        return 1
    failures = []
    for line, failed in table([source.find(name) for name in options.files or source.shipped()], options.arch):
        print(line, flush=True)
        if failed:
            failures.append(line)
    print("\nrefused or spilling:" if failures else "\nno kernel is refused, none spills", *failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
