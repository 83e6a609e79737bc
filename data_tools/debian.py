"""Data from Debian packages: fetched by apt-get, checked by sha256, read without being installed or unpacked.

A .deb is an `ar` archive of three files; the last, data.tar.xz (or .zst, .gz), holds what would be installed:

    !<arch>\\n   debian-binary | control.tar.* | data.tar.*       each after a header of 60 bytes, at an even place
"""

import contextlib
import gzip
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from minivl.data.shard_writer import file_sha256
from minivl.data.shards import DataError

_MAGIC, _HEADER = b"!<arch>\n", 60


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    sha256: str


def fetch(package, cache, deb=None, sha256=None):
    """The path of the package's file: `deb` if it is given, else in the folder `cache`, where apt-get puts it once.

    sha256: what the file must have, where it is another version than the known one
    """
    package = Package(package.name, package.version, sha256.lower()) if sha256 else package
    if deb is not None:
        if not Path(deb).is_file():
            raise DataError(f"--deb: no file {str(deb)!r}; make one with: apt-get download {package.name}")
        return _checked(Path(deb), package)
    for path in sorted(Path(cache).glob(f"{package.name}_*.deb")):
        if file_sha256(path) == package.sha256:
            return path
    Path(cache).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=cache) as folder:
        found = _checked(_download(package, Path(folder)), package)
        os.replace(found, path := Path(cache) / found.name)
    return path


def _download(package, folder):
    by_hand = f"on any Debian: apt-get download {package.name}, then here: --deb FILE"
    if shutil.which("apt-get") is None:
        raise DataError(f"apt-get is not on this machine. Fetch the package {by_hand}")
    folder.chmod(0o755)  # apt's own user writes into it
    done = subprocess.run(
        ["apt-get", "download", package.name], cwd=folder, capture_output=True, text=True, errors="replace"
    )
    found = list(folder.glob("*.deb"))
    if done.returncode or not found:
        said = " ".join((done.stderr or done.stdout).split())[-300:] or "it said nothing"
        raise DataError(
            f"apt-get download {package.name} failed: {said}. Try `apt-get update` first, or fetch it {by_hand}"
        )
    return found[0]


def _checked(path, package):
    digest = file_sha256(path)
    if digest != package.sha256:
        raise DataError(
            f"{path}: sha256 is {digest}, must be {package.sha256} (version {package.version}). If this is another "
            f"version that you trust, give its own with --sha256"
        )
    return path


def read(path, wanted):
    """Yields (name, bytes) of the files in a .deb whose name, such as usr/share/doc/..., `wanted` says yes to."""
    try:
        with (
            open(path, "rb") as plain,
            tqdm.wrapattr(plain, "read", total=os.path.getsize(path), desc="package") as file,
            _content(file, path) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for member in tar:
                name = member.name.removeprefix("./")
                if member.isfile() and wanted(name):
                    yield name, tar.extractfile(member).read()
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise DataError(f"{path}: not a readable Debian package ({error})", "broken package") from error


def _content(file, path):
    """The unpacked data.tar as a stream."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise DataError(f"{path}: not a Debian package: it does not begin with !<arch>", "broken package")
    while len(header := file.read(_HEADER)) == _HEADER:
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), header[48:58].strip()
        if not size.isdigit():
            break
        if name.startswith("data.tar"):
            return _unpacked(file, name, path)
        file.seek(int(size) + int(size) % 2, os.SEEK_CUR)
    raise DataError(f"{path}: not a Debian package: it has no data.tar", "broken package")


def _unpacked(file, name, path):
    if name.endswith(".xz"):
        return lzma.open(file)
    if name.endswith(".gz"):
        return gzip.open(file)
    if name.endswith(".tar"):
        return contextlib.nullcontext(file)
    if name.endswith(".zst"):
        return _unpacked_zst(file, path)
    raise DataError(f"{path}: {name} is packed in a way that is not known here: .xz, .zst, .gz are", "broken package")


def _unpacked_zst(file, path):
    """Python has it from 3.14 on; before, Debian's own program."""
    try:
        from compression import zstd
    except ImportError:
        if shutil.which("dpkg-deb") is None:
            raise DataError(f"{path}: to read .zst, use Python 3.14 or install dpkg", "broken package") from None
        return _Program(["dpkg-deb", "--fsys-tarfile", str(path)])
    return zstd.open(file)


class _Program:
    """What a program writes, as a stream."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def __enter__(self):
        return self.process.stdout

    def __exit__(self, *_):
        self.process.stdout.close()
        self.process.wait()
