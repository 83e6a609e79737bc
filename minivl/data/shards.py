"""WebDataset shards: a data set is a few plain tar files, read from front to back.

    cc-00000.tar    0001.json   0001.png   0001.txt   0002.json   0002.png   0002.txt   ...

Neighbours with the same name make one example: the picture, its captions one a line, and whatever else is known as
JSON. A tar needs no index and no seeking, so that a set of any size is read with the memory of one example.
"""

import collections
import io
import json
import os
import re
import sys
import threading
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from PIL import Image

from minivl.data.shard_writer import ShardWriter
from minivl.data.tar import MAX_PICTURE, MAX_TEXT, DataError, open_tar

__all__ = ["DataError", "Example", "Problems", "ShardWriter", "decode_image", "read_shards", "shard_paths"]

PICTURES = ("png", "jpg", "jpeg", "webp")
KINDS = ("image-text", "clip-text", "labelled", "image", "clip", "text")
SUFFIXES = (".tar", ".tar.gz", ".tgz")
MAX_PIXELS = 1 << 26  # 8192 x 8192


class Problems(collections.Counter):
    """How much was skipped, by kind, with the first place of each. Threads may share one."""

    def __init__(self):
        super().__init__()
        self.first, self._lock = {}, threading.Lock()

    def add(self, error):
        """Counts a `DataError`."""
        with self._lock:
            self[error.kind] += 1
            self.first.setdefault(error.kind, str(error))

    def __str__(self):
        kinds = "; ".join(f"{n} x {kind} (first: {self.first.get(kind, '?')})" for kind, n in sorted(self.items()))
        return f"skipped {sum(self.values())}: {kinds}" if self else "nothing skipped"

    def warn(self):
        """One line on standard error, and none where all was well."""
        if self:
            print(f"warning: {self}", file=sys.stderr)


@dataclass
class Example:
    key: str  # the name without its extension, with its folder inside the tar if it has one
    image: bytes | None  # as stored; `decode_image` opens it; None: text alone
    captions: list[str]
    info: dict = field(default_factory=dict)  # the JSON: label, split, captions by language, ...


def kind_of(example):
    """One of KINDS: what an example can be batched with."""
    if example.image is None:
        return "text"
    what = "clip" if example.info.get("frames", 1) != 1 else "image"
    if example.captions:
        return f"{what}-text"
    labels = example.info.get("labels") or example.info.get("label")
    return "labelled" if what == "image" and labels not in (None, "") else what


# --- which files ----------------------------------------------------------------------------------------------------


def shard_paths(data):
    """The sorted paths of the shards that `data` names; `DataError` where there are none.

    data: a folder, one .tar (.tar.gz, .tgz), a prefix (emoji/google for emoji/google-*.tar), a pattern with braces
    (cc-{000..012}.tar, {a,b}.tar) or with * and ?, or a list of these.
    """
    if isinstance(data, (list, tuple)):
        return sorted({path for part in data for path in shard_paths(part)})
    name, path = str(data), Path(data)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [p for p in path.iterdir() if p.name.endswith(SUFFIXES) and not p.name.startswith(".")]
    elif "{" in name:
        return sorted({part for one in _expand(name) for part in shard_paths(one)})
    elif any(c in name for c in "*?"):
        found = [Path(p) for p in glob(name)]
    else:
        found = [p for p in path.parent.glob("*") if p.name.startswith(path.name + "-") and p.name.endswith(SUFFIXES)]
    if not found:
        want = "a folder with .tar files, a .tar file, a prefix, or a pattern such as cc-{000..012}.tar"
        raise DataError(f"data: no shards at {name!r}; give {want}", "no shards")
    return sorted(found)


def _expand(pattern):
    """Patterns without braces, one after the other: a{0..2}.tar -> a0.tar, a1.tar, a2.tar; leading zeros stay."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        if "{" in pattern:
            raise DataError(f"data: {pattern!r} has a brace that does not close", "no shards")
        yield pattern
        return
    span = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if span:
        parts = (str(i).zfill(len(span[1])) for i in range(int(span[1]), int(span[2]) + 1))
    else:
        parts = iter(match[1].split(","))
    for part in parts:
        yield from _expand(pattern[: match.start()] + part + pattern[match.end() :])


# --- reading --------------------------------------------------------------------------------------------------------


def read_shards(paths, *, start=0, **options):
    """Yields the Examples of `paths` in order, holding one at a time.

    paths           as `shard_paths` gives them, in any order; or anything that it takes, if it is one string or path
    strict          the first problem is a `DataError`; otherwise it is skipped, and counted in `problems`
    split, keep     only examples whose info["split"] is `split`, only those for which keep(info) is true
    kind            only examples of one of KINDS, which need neither caption nor picture if the kind has none
    start           yields from this example on, counted after all skipping and filtering: the same examples as
                    itertools.islice(..., start, None), without reading the pictures before them
    need_caption    False lets pictures with a label but no caption through (zero-shot test sets)

    Other people's sets: unknown files are ignored; a label may stand in KEY.cls, a caption in the JSON under
    "caption", "captions", "text" or "TEXT" where there is no KEY.txt; a key may be in a folder of the tar.
    """
    good = 0

    def want_picture():
        return good >= start

    examples = _accepted(paths, want_picture, **options)
    while example := next(examples, None):
        good += 1
        if good > start:
            yield example


def count_kinds(paths, **options):
    """{kind: how many examples}, found without reading a picture.   options: those of `read_shards` but start"""
    return collections.Counter(map(kind_of, _accepted(paths, lambda: False, **options)))


def _accepted(
    paths,
    want_picture,
    strict=False,
    problems=None,
    split=None,
    keep=None,
    kind=None,
    need_caption=True,
    need_picture=True,
):
    problems = Problems() if problems is None else problems
    paths = shard_paths(paths) if isinstance(paths, (str, os.PathLike)) else paths
    needs = (need_picture, need_caption) if kind is None else (False, False)
    for path in paths:
        try:
            for key, files in _samples(path, want_picture):
                try:
                    example = _example(key, files, f"{path}: {key}", *needs)
                except DataError as error:
                    if strict:
                        raise
                    problems.add(error)
                    continue
                if split not in (None, example.info.get("split")) or (keep and not keep(example.info)):
                    continue
                if kind in (None, kind_of(example)):
                    yield example
        except DataError as error:
            if strict:
                raise
            problems.add(error)


def _samples(path, want_picture):
    """(key, {extension: bytes, or a DataError in place of bytes}) for each run of members with one key.

    Pictures are stepped over while `want_picture()` is false, and stand as b"". The run in which a tar is cut off is
    dropped.
    """
    key, files, wanted = None, {}, False
    with open_tar(path) as tar:
        for name, size, read in tar:
            folder, _, base = name.removeprefix("./").rpartition("/")
            stem, _, extension = base.partition(".")
            extension = extension.lower()
            if not stem or extension not in (*PICTURES, "txt", "json", "cls"):
                continue
            new = f"{folder}/{stem}" if folder else stem
            if new != key:
                if files:
                    yield key, files
                key, files, wanted = new, {}, want_picture()
            if extension in files:
                files[extension] = DataError(f"{path}: {key}: two files .{extension} for one key", "duplicate")
            elif size > (MAX_PICTURE if extension in PICTURES else MAX_TEXT):
                files[extension] = DataError(f"{path}: {key}: .{extension} claims {size} bytes", "too large")
            else:
                files[extension] = read() if wanted or extension not in PICTURES else b""
    if files:
        yield key, files


def _example(key, files, where, need_picture, need_caption):
    """Puts the files of one key together, or says what is wrong with them."""
    for content in files.values():
        if isinstance(content, DataError):
            raise content
    image = next((files[e] for e in PICTURES if e in files), None)
    if image is None and need_picture:
        raise DataError(f"{where}: no picture ({', '.join(PICTURES)})", "no picture")
    info = _json(files["json"], where) if "json" in files else {}
    if "cls" in files:
        label = _text(files["cls"], where).strip()
        info.setdefault("label", int(label) if re.fullmatch(r"\d{1,18}", label) else label)
    captions = _text(files["txt"], where).splitlines() if "txt" in files else _captions_in(info)
    captions = [" ".join(c.split()) for c in captions if c.strip()]
    if not captions and (need_caption or image is None):
        raise DataError(f"{where}: no caption in .txt or .json", "no caption")
    return Example(key, image, captions, info)


def _captions_in(info):
    """Strings under the keys that image-text sets use; of captions by language, the first language's."""
    for name in ("caption", "captions", "text", "TEXT"):
        found = info.get(name)
        if isinstance(found, dict):
            found = next(iter(found.values()), None)
        found = [found] if isinstance(found, str) else found
        if isinstance(found, list) and any(isinstance(c, str) and c.strip() for c in found):
            return [c for c in found if isinstance(c, str)]
    return []


def _text(content, where):
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: text is not UTF-8 ({error.reason} at byte {error.start})", "bad text") from error


def _json(content, where):
    text = _text(content, where)
    try:
        info = json.loads(text)
        json.dumps(info, ensure_ascii=False).encode()  # half a surrogate pair (\ud800) would break whoever prints it
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: JSON holds text that is not Unicode", "bad text") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: JSON is malformed ({error})", "bad json") from error
    if not isinstance(info, dict):
        raise DataError(f"{where}: JSON must be an object, not {type(info).__name__}", "bad json")
    return info


# --- pictures -------------------------------------------------------------------------------------------------------


def decode_image(data, *, max_pixels=MAX_PIXELS):
    """Bytes of a PNG, JPEG or WebP -> PIL picture, RGB; what is transparent is laid on white.

    The header alone is read first: more than `max_pixels` pixels are refused before any is decoded. A `DataError` where
    it is too large, broken, or cut short.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"picture: {error}", "too many pixels") from error
    except Exception as error:  # Pillow's readers raise many types on bytes made to break them
        raise DataError(f"picture: not a readable PNG, JPEG or WebP ({error})", "broken picture") from error
    if image.width * image.height > max_pixels:
        size = f"{image.width} x {image.height}"
        raise DataError(f"picture: {size} is more than {max_pixels} pixels (max_pixels)", "too many pixels")
    try:
        image.load()
        return _rgb(image)
    except Exception as error:
        raise DataError(f"picture: cannot be decoded ({type(error).__name__}: {error})", "broken picture") from error


def _rgb(image):
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip it to white
        return image.convert("I").point(lambda v: v * (1 / 257)).convert("L").convert("RGB")
    if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
