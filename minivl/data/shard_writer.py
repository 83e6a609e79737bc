"""Writing WebDataset shards: the same input gives the same bytes, and a kill at any moment leaves no half a shard."""

import collections
import io
import json
import os
import re
import tarfile
from hashlib import sha256
from pathlib import Path

from PIL import Image

from minivl.data.tar import MAX_PICTURE, MAX_TEXT, DataError, open_tar


class ShardWriter:
    """Writes PREFIX-00000.tar, PREFIX-00001.tar, ... into `folder`, and on leaving describes them in dataset.json.

    with ShardWriter("set", about={"source": "drawn", "licence": "CC0"}) as out:
        out.write("0001", picture, ["a red circle"], {"split": "train"})

    The same input gives the same bytes: no times, no owners, no order but that of writing. A shard gets its name when
    it is complete. dataset.json has an entry for each prefix: `about`, and the counts, splits, fields and sha256 of the
    shards, and `found`, what the writer learnt. The entry is taken out first and put back last, so that a set that has
    one is whole.

    With `resume`, the shards that a killed writer of the same `about` had finished are kept, and `done` says how many
    examples they hold: write the rest.

    with ShardWriter("set", about=recipe, resume=True) as out:
        for example in itertools.islice(examples, out.done, None):
            out.write(...)
    """

    def __init__(self, folder, per_shard=1000, prefix="shard", about=None, *, resume=False):
        if per_shard < 1:
            raise ValueError(f"per_shard: must be at least 1, not {per_shard}")
        if not re.fullmatch(r"\w[\w-]*", prefix):
            raise ValueError(f"prefix: must be letters, digits, _ and -, not {prefix!r}")
        self.folder, self.per_shard, self.prefix, self.about = Path(folder), per_shard, prefix, about or {}
        self.keys, self.splits, self.fields, self.shards = set(), collections.Counter(), set(), {}
        self.tar, self.resume, self.found = None, resume, {}
        self.journal = self.folder / f".{prefix}-unfinished.json"  # what the finished shards of an unfinished set are

    @property
    def done(self):
        """How many examples are written, those of an earlier run with them."""
        return len(self.keys)

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        _describe(self.folder, self.prefix, None)
        if self.resume:
            self._take_up()
        return self

    def _take_up(self):
        """The shards of an earlier run, as far as they are whole and were to become the same set."""
        kept = _read_json(self.journal)
        if kept.get("about") != self._recipe() or not isinstance(kept.get("shards"), dict):
            return
        for number, (name, digest) in enumerate(kept["shards"].items()):
            path = self.folder / f"{self.prefix}-{number:05d}.tar"
            if name != path.name or not path.is_file() or file_sha256(path) != digest:
                return
            with open_tar(path) as files:
                for member, _, read in files:
                    if member.endswith(".json"):
                        self._count(member.removesuffix(".json"), json.loads(read()))
            self.shards[name] = digest

    def _recipe(self):
        return json.loads(json.dumps({**self.about, "per_shard": self.per_shard}))

    def _count(self, key, info):
        self.keys.add(key)
        self.splits[info.get("split", "")] += 1
        self.fields.update(info)

    def write(self, key, image, captions, info=None):
        """key: no dots or slashes, never used before   image: PIL picture (stored as PNG), or the bytes of a file
        captions: at least one, without line breaks   info: what goes into the JSON

        image None: text alone   captions None: a picture alone, or one whose words are all in info
        """
        info = dict(info or {})
        if not re.fullmatch(r"[^./\\\0\s]{1,100}", key) or key in self.keys:
            why = "was written before" if key in self.keys else "must be 1-100 characters, no dot, slash or space"
            raise DataError(f"key: {key!r} {why}", "bad key")
        files = {"json": json.dumps(info, ensure_ascii=False, sort_keys=True).encode()}
        if image is None and captions is None:
            raise DataError(f"image, captions of {key!r}: must not both be None", "no caption")
        if captions is not None:
            files["txt"] = "\n".join(_lines(captions, key)).encode() + b"\n"
        if image is not None:
            files |= _stored(image, key)

        if self.tar is None:
            self.part = self.folder / f".{self.prefix}-{len(self.shards):05d}.part"
            self.tar = tarfile.TarFile(self.part, "w", format=tarfile.PAX_FORMAT)
        for extension, content in files.items():
            most = MAX_TEXT if extension in ("json", "txt") else MAX_PICTURE
            if len(content) > most:
                raise DataError(f"{key}: .{extension} has {len(content)} bytes; it must be {most} at most", "too large")
        for extension in sorted(files):
            header = tarfile.TarInfo(f"{key}.{extension}")  # mtime, uid and gid are 0 unless set
            header.size = len(files[extension])
            self.tar.addfile(header, io.BytesIO(files[extension]))
        self._count(key, info)
        if len(self.keys) % self.per_shard == 0:
            self._finish()

    def _finish(self):
        self.tar.close()
        self.tar = None
        path = self.folder / f"{self.prefix}-{len(self.shards):05d}.tar"
        self.shards[path.name] = file_sha256(self.part)
        os.replace(self.part, path)
        if self.resume:
            _write_json(self.journal, {"about": self._recipe(), "shards": self.shards})

    def __exit__(self, kind, *_):
        if kind:
            if self.tar:
                self.tar.close()
                self.part.unlink()
            return
        if self.tar:
            self._finish()
        for old in self.folder.glob(f"{self.prefix}-*.tar"):  # an earlier, longer set
            if re.fullmatch(r"\d{5,}", old.stem.removeprefix(self.prefix + "-")) and old.name not in self.shards:
                old.unlink()
        counts = {"examples": len(self.keys), "splits": dict(sorted(self.splits.items()))}
        entry = {**self.about, **self.found, **counts, "fields": sorted(self.fields), "shards": self.shards}
        _describe(self.folder, self.prefix, entry)
        self.journal.unlink(missing_ok=True)


def described(folder, prefix):
    """The entry of `prefix` in folder/dataset.json if every shard it names is there, byte for byte; otherwise None."""
    entry = _read_json(Path(folder) / "dataset.json").get(prefix)
    if not isinstance(entry, dict) or not isinstance(entry.get("shards"), dict):
        return None
    paths = {Path(folder, name): digest for name, digest in entry["shards"].items()}
    whole = all(path.is_file() and file_sha256(path) == digest for path, digest in paths.items())
    return entry if whole else None


def file_sha256(path):
    digest = sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _lines(captions, key):
    captions = [captions] if isinstance(captions, str) else list(captions)
    if not captions or any(not c.strip() or len(c.splitlines()) > 1 for c in captions):
        raise DataError(f"captions of {key!r}: must be lines of text, at least one, not {captions!r}", "no caption")
    return captions


def _stored(image, key):
    """{extension: bytes} of a picture."""
    if isinstance(image, Image.Image):
        out = io.BytesIO()
        image.save(out, "PNG")
        return {"png": out.getvalue()}
    for magic, extension in ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpg"), (b"RIFF", "webp")):
        if bytes(image[:4]).startswith(magic):
            return {extension: bytes(image)}
    raise DataError(f"image of {key!r}: must be a PIL picture or the bytes of a PNG, JPEG or WebP", "broken picture")


def _read_json(path):
    """What an object in a file holds; {} where there is none."""
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _write_json(path, entries):
    part = path.with_name(f".{path.name.lstrip('.')}.part")
    part.write_text(json.dumps(entries, ensure_ascii=False, indent=1) + "\n", "utf-8")
    os.replace(part, path)


def _describe(folder, prefix, entry):
    known = _read_json(folder / "dataset.json")
    entries = {name: value for name, value in sorted({**known, prefix: entry}.items()) if value is not None}
    if entries != known:
        _write_json(folder / "dataset.json", entries)
