"""What a reader gives, and the checks that make of anything in a file either that or a `DataError` with its place."""

import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from minivl.data.shards import DataError, Problems

_LONGEST = 10_000  # characters of a sentence


@dataclass
class Record:
    key: str
    picture: Path | list[Path] | None  # a file; of a clip the files of its frames; None: text alone
    captions: list[str] | None  # None: the words are all in info, or there are none
    info: dict = field(default_factory=dict)


def good(makers, problems):
    """The records of functions that make one each; what is a DataError is counted instead."""
    for make in makers:
        try:
            record = make()
        except DataError as error:
            problems.add(error)
        else:
            yield record


def take(item, name, kind, where):
    """item[name], which must be of a kind: int, float (whole numbers too), str, list, dict."""
    value = item.get(name) if isinstance(item, dict) else None
    kinds = (int, float) if kind is float else kind
    good = isinstance(value, kinds) and not isinstance(value, bool)
    if good and kind in (int, float):
        good = abs(value) < 2**63  # and NaN is not
    if not good:
        had = f"{name} is {str(value)[:60]!r}" if isinstance(item, dict) else f"{str(item)[:60]!r} is no object"
        raise DataError(f"{where}: {had}; it must have {name}, {_NAMES[kind]}", "bad record")
    return value


_NAMES = {int: "a whole number", float: "a finite number", str: "a text", list: "a list", dict: "an object"}


def sentence(text, where):
    """A text on one line, without spaces at its ends or twice in a row."""
    if not isinstance(text, str):
        raise DataError(f"{where}: {str(text)[:60]!r} must be a text", "bad text")
    line = " ".join(text.split())
    if not line or len(line) > _LONGEST:
        raise DataError(f"{where}: a text of {len(line)} characters; it must be 1 to {_LONGEST}", "bad text")
    try:
        line.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: text is not Unicode ({error.reason})", "bad text") from error
    return line.replace("\0", "")


def box(item, where, names=("x", "y", "w", "h")):
    """[x, y, width, height] in pixels, of fields of these names."""
    values = [take(item, name, float, where) for name in names]
    if min(values[2:]) < 0 or max(map(abs, values)) > 1e6:
        raise DataError(
            f"{where}: box {values}; width and height must be at least 0, and all below 1,000,000", "bad box"
        )
    return [round(v, 2) if isinstance(v, float) else v for v in values]


def listed_box(item, name, where):
    """The same of a list under one name."""
    values = take(item, name, list, where)
    if len(values) != 4:
        raise DataError(f"{where}: {name} has {len(values)} numbers; it must have 4", "bad box")
    return box(dict(zip("xywh", values, strict=True)), where)


def inside(folder, name, where):
    """The path of a file that must lie in `folder`, whatever its name says."""
    path = Path(name)
    if not path.parts or "\0" in name or path.is_absolute() or path.drive or ".." in path.parts:
        raise DataError(f"{where}: {name[:80]!r} is no name of a file in {folder}", "bad name")
    return Path(folder, path)


def key_of(*parts):
    """A key that names may become: without dots, slashes and spaces, and at most 100 characters long."""
    text = re.sub(r"[./\\\0\s]+", "_", "-".join(map(str, parts))).strip("_") or "_"
    return text if len(text) <= 100 else f"{text[:88]}-{zlib.crc32(text.encode(errors='replace')):08x}"


def split_of(path):
    """The split that the name of a file tells: captions_val2017.json is of "val"."""
    found = re.search(r"train|val|test", Path(path).name.lower())
    return found[0] if found else "train"


__all__ = [
    "DataError",
    "Problems",
    "Record",
    "box",
    "good",
    "inside",
    "key_of",
    "listed_box",
    "sentence",
    "split_of",
    "take",
]
