"""What minivl finds on this machine, and what to do about what it does not find."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys

import numpy as np

from . import __version__, array, blas

_EXTRAS = {
    "jupyterlab": "tutorials",
    "torch": "peers",
    "pytest": "test",
    "cupy": "cuda",
}


def report():
    """Lines of text: versions, cores, BLAS, GPU, compiler, extras."""
    rows = [
        ("minivl", __version__),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("NumPy", f"{np.__version__}, BLAS: {_blas()}"),
        ("cores", _cores()),
        ("GPU", _gpu()),
        ("C++ compiler", _first_line("g++") or _first_line("clang++") or "none: kernels cannot be run on the CPU"),
        ("npm", _first_line("npm") or "none: `pip install 'minivl[data]'` brings one, for data_tools.emoji"),
    ]
    for package, extra in _EXTRAS.items():
        rows.append((package, _version(package) or f"not installed: pip install 'minivl[{extra}]'"))
    return "\n".join(f"{name:<14}{what}" for name, what in rows)


def _cores():
    try:
        return f"{array.cores()} in use (MINIVL_THREADS changes that)"
    except ValueError as error:
        return str(error)


def _blas():
    if blas.kernels() is None:
        return "not NumPy's own OpenBLAS: set its threads to 1 for equal bits"
    pinned = " (OPENBLAS_CORETYPE is set)" if os.environ.get("OPENBLAS_CORETYPE") else ""
    return f"OpenBLAS with kernels for {blas.kernels()}{pinned}"


def _gpu():
    if not array.cupy_installed():
        return "not looked for: CuPy is not installed"
    try:
        array.to_device(np.zeros(1), "cuda")
        device = sys.modules["cupy"].cuda.runtime.getDeviceProperties(0)
    except Exception as error:  # a driver can be broken in more ways than one can list
        return " ".join(str(error).split()) or type(error).__name__
    return f"{device['name'].decode()}, {device['totalGlobalMem'] / 2**30:.0f} GiB"


def _version(package):
    for name in (package, "cupy-cuda13x", "cupy-cuda12x") if package == "cupy" else (package,):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _first_line(program):
    """What `program --version` says first, or None where there is no such program."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        told = subprocess.run([path, "--version"], capture_output=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return f"{program} does not run: {error}"
    lines = told.decode(errors="replace").splitlines()
    return f"{program} {lines[0].removeprefix(program).strip()}" if lines else f"{program} does not say its version"
