"""Tux Paint's stamps as an image-text set: cut-outs, photographs and drawings, with sentences in 77 languages.

    python -m data_tools.stamps --out stamps                          # apt-get fetches 161 MB
    python -m data_tools.stamps --out stamps --deb tuxpaint-stamps-default_2022.06.04-1_all.deb
    python -m data_tools.stamps --out stamps --size 224 --languages de,fr,ja

It writes WebDataset shards stamps/stamps-*.tar, dataset.json and LICENSES.txt. An example has the picture
(transparent), the English sentence, and JSON:

    label, subcategory    the first folder (animals, food, ...), all folders (animals/mammals/rodents)
    name, concept         "horse", where the sentence is no more than "A horse."; what stamps of one thing share
    style                 photograph or drawing
    translations          the sentence by language
    objects               the one thing: its box, and its mask out of the picture's transparency
    path, split           stamps of the same concept lie in the same split

What was fetched stays in stamps/downloads, and a finished set is not made twice: after an interruption, give the same
command again.

The stamps are free software under the GPL, version 2 or later. They are no part of this repository: they are fetched
when they are asked for.
"""

import argparse
import itertools
import os
import re
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data_tools import cldr, debian
from minivl.data import rle
from minivl.data.shard_writer import described
from minivl.data.shards import DataError, ShardWriter

VERSION = 1  # raise it when the same package makes other shards, so that finished ones are made anew
PACKAGE = debian.Package(
    "tuxpaint-stamps-default", "2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
)
LICENCE = "GPL-2.0-or-later"
SOLID = 127  # a pixel less transparent than this belongs to the mask

_ROOT, _COPYRIGHT = "usr/share/tuxpaint/stamps/", "usr/share/doc/tuxpaint-stamps-default/copyright"
_FAMILIES = {"symbols/alphabets": "letter", "symbols/money": "money", "symbols/math": "sum"}  # too large to hold out


def make(out, deb=None, size=128, languages=("all",), cache=None, sha256=None):
    """Writes the shards into the folder `out`; those that are there already, made the same way, are left."""
    recipe = {"version": VERSION, "size": size, "languages": list(languages), "sha256": sha256 or PACKAGE.sha256}
    if (described(out, "stamps") or {}).get("recipe") == recipe:
        return
    path = debian.fetch(PACKAGE, cache or Path(out) / "downloads", deb, sha256)
    stamps, terms, left_out = _stamps(path)
    _check_languages(stamps, languages)
    _write_licence(out, path.name, terms)
    about = {"source": path.name, "licence": LICENCE, "recipe": recipe, "left_out": {"only an SVG": left_out}}
    with tqdm(stamps, "stamps") as bar, ShardWriter(out, prefix="stamps", about=about, resume=True) as shards:
        for name, picture, sentences in itertools.islice(bar, shards.done, None):
            shards.write(_key(name), *_example(name, picture, sentences, size, languages))


def _stamps(path):
    """[(name, bytes of a PNG, {language: sentence})], the package's copyright file, and how many have an SVG alone."""
    pictures, texts, formulas, terms = {}, {}, set(), b""

    def wanted(name):
        if name.startswith(_ROOT) and name.endswith(".svg"):
            formulas.add(name.removeprefix(_ROOT).removesuffix(".svg"))
        return name == _COPYRIGHT or name.startswith(_ROOT) and name.endswith((".png", ".txt"))

    for name, content in debian.read(path, wanted):
        stem, _, extension = name.removeprefix(_ROOT).rpartition(".")
        if name == _COPYRIGHT:
            terms = content
        elif extension == "png":
            pictures[stem] = content
        else:
            texts[stem] = sentences(content.decode("utf-8", "replace"))
    told = {stem for stem, text in texts.items() if text["en"]}
    if not told & pictures.keys():
        raise DataError(f"{path}: no stamps under {_ROOT}; is it the package {PACKAGE.name}?", "broken package")
    found = [(stem, pictures[stem], texts[stem]) for stem in sorted(told & pictures.keys())]
    return found, terms.decode("utf-8", "replace"), len((told & formulas) - pictures.keys())


def sentences(text):
    """{language: sentence} of a stamp's text: English on the first line, then lines de.utf8=Ein Hund.

    Languages are named as CLDR does it: pt-BR, ca-valencia. One that repeats the English says nothing, and is left out.
    """
    first, *others = text.lstrip("\ufeff").splitlines() or [""]
    found = {"en": " ".join(first.split())}
    for line in others:
        language, marked, sentence = line.partition(".utf8=")
        sentence = " ".join(sentence.split())
        if marked and sentence and sentence != found["en"]:
            found[re.sub("[_@]", "-", language.strip()).replace("latin", "Latn")] = sentence
    return found


def _check_languages(stamps, languages):
    known = {language for _, _, sentences in stamps for language in sentences}
    for language in languages:
        if language != "all" and language not in known:
            raise DataError(f"--languages: no stamp speaks {language!r}; known are all, {', '.join(sorted(known))}")


def _key(name):
    """animals/mammals/cats/lion.png -> animals-mammals-cats-lion, without what a key may not hold."""
    return re.sub(r"[^\w-]+", "_", name.replace("/", "-"))[-100:]


def _example(name, picture, sentences, size, languages):
    """The picture, captions and info of a stamp."""
    with Image.open(BytesIO(picture)) as opened:
        picture = opened.convert("RGBA")
    style = "drawing" if "cartoon" in name.split("/") or flatness(picture) > 0.5 else "photograph"
    picture = cut_out(picture, size)
    mask = np.asarray(picture.getchannel("A")) > SOLID
    folders = [folder for folder in name.split("/")[:-1] if folder != "cartoon"]
    concept = concept_of(name, sentences["en"])
    thing = {"id": 1, "label": folders[0], "bbox": rle.box(packed := rle.encode(mask)), "area": int(mask.sum())}
    info = {
        "label": folders[0],
        "subcategory": "/".join(folders),
        "style": style,
        "translations": {k: [v] for k, v in sentences.items() if k != "en" and ("all" in languages or k in languages)},
        "objects": [{**thing, "segmentation": packed}],
        "path": name,
        "concept": concept,
        "split": cldr.split(concept, always_train=_FAMILIES.values()),
    }
    noun = named(sentences["en"])
    return picture, [sentences["en"]], {**info, "name": noun} if noun else info


_SIMPLE = re.compile(r"(?:an?|some|the|our) ([^.!,;:()“”\"]+)[.!]?", re.IGNORECASE)
_QUALITY = re.compile(
    r"\b(red|yellow|green|blue|purple|black|white|brown|pink|orange|golden|grey|gray|silver|big|small|little|large|happy"
    r"|cartoon|pair of|bunch of|head of|bar of)\s+(?=\w)"
)


def named(sentence):
    """What a sentence names, where it does nothing but name: "A wild boar." -> "wild boar"; otherwise None."""
    match = _SIMPLE.fullmatch(sentence)
    return match[1].strip() if match and len(match[1].split()) <= 3 else None


def concept_of(name, sentence):
    """What stamps of the same thing share: "A red apple.", "Some green apples." -> "apple"."""
    for folder, family in _FAMILIES.items():
        if name.startswith(folder):
            return family
    thing = _SIMPLE.fullmatch(sentence)
    thing = _QUALITY.sub("", (thing[1] if thing else sentence).lower()).strip(" .!")
    return thing[:-1] if re.search(r"[^s]s$", thing) else thing


def flatness(picture):
    """How many neighbours in a picture are equally bright: few in a photograph, many in a drawing.   RGBA -> 0..1"""
    picture = picture.copy()
    picture.thumbnail((400, 400), Image.Resampling.NEAREST)
    grey = np.asarray(picture.convert("RGB").convert("L")).astype(int)
    solid = np.asarray(picture.getchannel("A")) > 200
    both = solid[:, 1:] & solid[:, :-1]
    return float((np.abs(np.diff(grey, axis=1)) <= 1)[both].mean()) if both.any() else 1.0


def cut_out(picture, size):
    """A picture without the transparent margins, its longer side at most `size`.   RGBA -> RGBA"""
    solid = picture.getchannel("A").point(lambda alpha: 255 * (alpha > SOLID)).getbbox()
    picture = picture.crop(solid or (0, 0, *picture.size))
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    return picture


def _write_licence(out, source, terms):
    """Where the stamps come from, and the copyright file of the package in full."""
    credit = (
        f"Pictures and sentences: the stamps of Tux Paint, from the Debian package {source}.\n"
        f"Licence: {LICENCE}. The pictures were cut to their outlines and scaled down; masks were computed from them.\n"
    )
    part = Path(out, ".LICENSES.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(f"{credit}\n---\n\n{terms}", "utf-8")
    os.replace(part, Path(out, "LICENSES.txt"))


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m data_tools.stamps",
        description=__doc__.split("\n\n")[0],
        epilog="\n\n".join(__doc__.split("\n\n")[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="where the shards go")
    parser.add_argument("--size", type=int, default=128, help="the longer side, in pixels, at most (128)")
    parser.add_argument("--languages", default="all", metavar="de,fr,...", help="sentences beside English, or all")
    parser.add_argument("--deb", metavar="FILE", help="the package, fetched earlier; no apt-get, no network")
    parser.add_argument("--cache", metavar="DIR", help="where the fetched package is kept (default: DIR/downloads)")
    parser.add_argument("--sha256", metavar="HEX", help="of another version of the package than 2022.06.04-1")
    chosen = parser.parse_args(arguments)
    languages = [language.strip() for language in chosen.languages.split(",") if language.strip()]
    try:
        if chosen.size < 8:
            raise DataError(f"--size: {chosen.size} pixels; must be at least 8")
        make(chosen.out, chosen.deb, chosen.size, languages, chosen.cache, chosen.sha256)
    except (DataError, OSError) as error:
        print(f"stamps: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stamps: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
