"""See a data set before training on it: a table of what it holds, and a contact sheet of some of its examples.

    python -m data_tools.inspect emoji/google
    python -m data_tools.inspect stamps --n 96 --sheet stamps.png
    python -m data_tools.inspect composites --split test --language de --font DejaVuSans.ttf
    python -m data_tools.inspect scenes:500 --split val

The table has counts, splits, fields, classes, languages, sizes, the longest captions, and what may be wrong: broken
examples, copies of a picture, and pictures that two splits share. The sheet shows examples chosen at random, with their
masks and boxes, the frames of clips, and the pictures of in-context episodes. Every picture is decoded once.
"""

import argparse
import collections
import io
import json
import os
import statistics
import sys
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data_tools.sheet import sheet
from minivl.data.shards import DataError, Problems, decode_image, read_shards, shard_paths
from minivl.data.sources import open_source

_SHOWN = 10  # of anything that is listed


class Survey:
    """What is learnt about a set from one pass over it. `examples` holds `keep` of them, all equally likely."""

    def __init__(self, keep=48, seed=0):
        self.count = self.bytes = 0
        self.splits, self.fields, self.labels = (collections.Counter() for _ in range(3))
        self.languages, self.kinds, self.things = (collections.Counter() for _ in range(3))
        self.sizes, self.formats = collections.Counter(), collections.Counter()
        self.captions, self.words, self.longest = collections.Counter(), [], []
        self.seen = {}  # digest of a picture -> [(key, split), ...]
        self.problems = Problems()
        self.examples, self._keep, self._random = [], keep, np.random.default_rng(seed)

    def add(self, example):
        try:
            picture = decode_image(example.image)
        except DataError as error:
            self.problems.add(DataError(f"{example.key}: {error}", error.kind))
            return
        self._add_picture(example, picture)
        self._add_text(example)
        info = example.info
        self.splits[str(info.get("split", "none named"))] += 1
        self.fields.update(list(info))
        self.labels.update(str(label) for label in _list(info, "labels") or [info[k] for k in ("label",) if k in info])
        self.things.update([len(info["objects"])] if _list(info, "objects") else [])
        self.kinds.update(str(q.get("kind", "?")) for q in _list(info, "questions") if isinstance(q, dict))
        self._choose(example)

    def _add_picture(self, example, picture):
        self.count += 1
        self.bytes += len(example.image)
        self.sizes[picture.size] += 1
        self.formats[Image.open(io.BytesIO(example.image)).format] += 1
        digest = blake2b(f"{picture.size}".encode() + picture.tobytes(), digest_size=12).digest()
        self.seen.setdefault(digest, []).append((example.key, str(example.info.get("split"))))

    def _add_text(self, example):
        self.captions.update(example.captions)
        for caption in example.captions:
            self.words.append(len(caption.split()))
            self.longest.append((len(caption), example.key, caption))
        self.longest = sorted(self.longest, reverse=True)[:3]
        self.languages["as stored"] += bool(example.captions)
        translations = example.info.get("translations")
        self.languages.update(list(translations) if isinstance(translations, dict) else ())

    def _choose(self, example):
        """Reservoir sampling: the n-th example replaces a chosen one with probability keep / n."""
        if len(self.examples) < self._keep:
            self.examples.append((self.count, example))
        elif (place := int(self._random.integers(self.count))) < self._keep:
            self.examples[place] = (self.count, example)

    def chosen(self):
        """The examples for the sheet, in their order in the set."""
        return [example for _, example in sorted(self.examples, key=lambda pair: pair[0])]

    # ---- the table

    def rows(self):
        """(what, what was found) line by line."""
        copies = [keys for keys in self.seen.values() if len(keys) > 1]
        across = [keys for keys in copies if len({split for _, split in keys}) > 1]
        yield "examples", f"{self.count:,}, {self.bytes / 1e6:,.2f} MB of pictures"
        yield "splits", _listed(self.splits)
        yield "pictures", f"{', '.join(map(str, self.formats))}; {self._sizes()}"
        if self.words:
            each = f"{len(self.words) / max(1, self.count):.1f} an example, {len(self.captions):,} different"
            yield "captions", f"{each}; {statistics.mean(self.words):.1f} words, {max(self.words)} at most"
            yield from (("longest", f"{key}: {_cut(caption)}") for _, key, caption in self.longest)
        if len(self.languages) > 1:
            yield "languages", f"{len(self.languages)}: {_listed(self.languages)}"
        if self.labels:
            yield "labels", f"{len(self.labels):,}: {_listed(self.labels)}"
        if self.things:
            yield "objects", "  ".join(f"{n} in {count:,}" for n, count in sorted(self.things.items())[:_SHOWN])
        if self.kinds:
            yield "questions", _listed(self.kinds)
        yield "fields", "  ".join(f"{k}" if n == self.count else f"{k} ({n:,})" for k, n in sorted(self.fields.items()))
        yield "copies", f"{sum(len(keys) - 1 for keys in copies):,} pictures{_named(copies)}"
        yield "leaks", f"{len(across):,} pictures in more than one split{_named(across)}"
        yield "problems", str(self.problems)

    def _sizes(self):
        if len(self.sizes) == 1:
            return "{} x {}".format(*next(iter(self.sizes)))
        sides = sorted(self.sizes.elements(), key=lambda size: size[0] * size[1])
        small, middle, large = ("{} x {}".format(*sides[k]) for k in (0, len(sides) // 2, -1))
        return f"{len(self.sizes):,} sizes, {small} to {large}, the middle one {middle}"


def _list(info, name):
    """What stands under a name of the JSON, if it is a list; anybody's JSON may mean something else by it."""
    return info[name] if isinstance(info.get(name), list) else []


def _listed(counter):
    shown = "  ".join(f"{name} {count:,}" for name, count in counter.most_common(_SHOWN))
    return shown + (f"  and {len(counter) - _SHOWN:,} more" if len(counter) > _SHOWN else "")


def _named(groups):
    return f" (first: {' = '.join(key for key, _ in groups[0][:3])})" if groups else ""


def _cut(text, length=90):
    return text if len(text) <= length else text[: length - 3] + "..."


def survey(data, split=None, keep=48, seed=0):
    """One pass over what `data` names."""
    found = Survey(keep, seed)
    if str(data).partition(":")[0] == "scenes":
        source = open_source(str(data), split=split or "train", seed=seed)
        examples, total = source.examples(), source.length()
    else:
        paths = shard_paths(data)
        examples = read_shards(paths, split=split, problems=found.problems, need_caption=False)
        total = _described(paths) if split is None else None
    for example in tqdm(examples, "examples", total, leave=False):
        found.add(example)
    if not found.count:
        raise DataError(f"{data}: no example to show; {found.problems}", "empty")
    return found


def _described(paths):
    """How many examples dataset.json promises in these shards, None where it does not."""
    entries = [entry for folder in {path.parent for path in paths} for entry in descriptions(folder).values()]
    named = {name for entry in entries for name in entry.get("shards", ())}
    return sum(entry.get("examples", 0) for entry in entries) if named == {path.name for path in paths} else None


def descriptions(folder):
    """What dataset.json of a folder says: {prefix: entry}."""
    try:
        entries = json.loads((Path(folder) / "dataset.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {k: v for k, v in entries.items() if isinstance(v, dict)} if isinstance(entries, dict) else {}


def licences(data):
    """(prefix, licence and source) of the shards that `data` names, as dataset.json has them."""
    try:
        names = {path.name: path.parent for path in shard_paths(data)}
    except DataError:
        return []
    entries = {prefix: entry for folder in set(names.values()) for prefix, entry in descriptions(folder).items()}
    entries = {prefix: entry for prefix, entry in entries.items() if set(entry.get("shards", ())) & names.keys()}
    return [(p, f"{e.get('licence', 'not said')}, from {e.get('source', '?')}") for p, e in sorted(entries.items())]


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m data_tools.inspect",
        description=__doc__.split("\n\n")[0],
        epilog="\n\n".join(__doc__.split("\n\n")[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", help="a folder of shards, a .tar, a prefix, a pattern; or scenes:COUNT")
    parser.add_argument(
        "--sheet", metavar="FILE.png", help="where the contact sheet goes (sheet.png)", default="sheet.png"
    )
    parser.add_argument("--n", type=int, default=48, help="examples on the sheet (48)")
    parser.add_argument("--columns", type=int, default=8, help="of the sheet (8)")
    parser.add_argument("--tile", type=int, default=160, help="pixels of a picture's side on the sheet (160)")
    parser.add_argument("--split", help="only the examples of this split")
    parser.add_argument("--language", help="of the captions on the sheet, where there are translations")
    parser.add_argument(
        "--font", metavar="FILE.ttf", help="for captions; the built-in font knows unaccented letters only"
    )
    parser.add_argument("--plain", action="store_true", help="without masks and boxes")
    parser.add_argument("--seed", type=int, default=0, help="which examples are on the sheet")
    chosen = parser.parse_args(arguments)
    try:
        for name in ("n", "columns", "tile"):
            if getattr(chosen, name) < 1:
                raise DataError(f"--{name}: {getattr(chosen, name)}; must be at least 1")
        found = survey(chosen.data, chosen.split, chosen.n, chosen.seed)
        rows = [*(("licence", f"{prefix}: {text}") for prefix, text in licences(chosen.data)), *found.rows()]
        for what, text in rows:
            print(f"{what:<10} {text}")
        options = {"columns": chosen.columns, "size": chosen.tile, "annotated": not chosen.plain}
        picture = sheet(found.chosen(), chosen.data, language=chosen.language, font=chosen.font, **options)
        _save(picture, Path(chosen.sheet))
    except (DataError, OSError) as error:
        print(f"inspect: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"{'sheet':<10} {chosen.sheet}, {picture.width} x {picture.height}")
    return 0


def _save(picture, path):
    part = path.with_name(f".{path.name}.part")
    picture.save(part, "PNG", optimize=True)
    os.replace(part, path)


if __name__ == "__main__":
    sys.exit(main())
