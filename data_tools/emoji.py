"""Emoji art as an image-text set: two vendors' drawings of the same 1,911 things, with Unicode's names for them.

    python -m data_tools.emoji --out emoji                      # 32 px, English: 36 MB fetched by npm
    python -m data_tools.emoji --out emoji --size 64 --languages en,fr,ja      # or --languages all
    python -m data_tools.emoji --out emoji --skin-tones         # 3,786 pictures of each vendor
    python -m data_tools.emoji --out emoji --from FOLDER        # from .tgz files fetched earlier; no network
    python -m data_tools.emoji --out emoji --font NotoColorEmoji.ttf

It writes WebDataset shards emoji/google-*.tar and emoji/twitter-*.tar (or emoji/font-*.tar), dataset.json and
LICENSES.txt. An example has the picture (transparent), English captions (the CLDR name first), and JSON: label and
subcategory (one of 10, one of 99), name, short_name, unicode, translations (captions by language), vendor, concept,
split. 857 of the emoji are things: Animals & Nature, Food & Drink, Objects, Travel & Places, Activities. The split goes
by concept: no skin tone, gender or joined form of a thing is in another split than the thing. What was fetched stays in
emoji/downloads, and a finished vendor is not made twice: after an interruption, give the same command again.

Google's and Twitter's drawings have free licences. The package has Apple's and Facebook's too: they are not extracted.
"""

import argparse
import json
import os
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from data_tools import cldr, npm
from data_tools.emoji_font import pictures_of_font
from data_tools.npm import Package
from minivl.data.shard_writer import described
from minivl.data.shards import DataError, ShardWriter

VENDORS = ("google", "twitter")
VERSION = 2  # raise it when the same packages make other shards, so that finished ones are made anew

PACKAGES = {
    "emoji-datasource": Package(
        "emoji-datasource", "16.0.0", "2006725061dc0098daa832d65f854a7bec0740af2eb47cb5b23d89f7e2c849f9"
    ),
    "google": Package(
        "emoji-datasource-google", "16.0.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"
    ),
    "twitter": Package(
        "emoji-datasource-twitter", "16.0.0", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"
    ),
    "names": Package(
        "cldr-annotations-full", "48.2.0", "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1"
    ),
    "derived names": Package(
        "cldr-annotations-derived-full", "48.2.0", "4be946ff5815f806ec78b50363d577a769f2fbfb90c6380a44e161a92436996e"
    ),
}
LICENCES = {"google": "Apache-2.0", "twitter": "CC-BY-4.0"}
CREDITS = """\
Where the pictures and the words of this data set come from. The pictures were scaled down by the makers of the package
emoji-datasource; here they were cut out of its sheets and stored again as PNG.

google-*.tar    Noto Emoji, Copyright Google LLC. Apache License 2.0 (Apache-2.0),
                https://www.apache.org/licenses/LICENSE-2.0
twitter-*.tar   Twemoji, Copyright Twitter, Inc and other contributors.
                Creative Commons Attribution 4.0 International (CC-BY-4.0), https://creativecommons.org/licenses/by/4.0/
label, subcategory, short_name in the JSON
                emoji-datasource, Copyright Cal Henderson and contributors. MIT License, below
captions, name, concept
                Unicode Common Locale Data Repository (packages cldr-annotations-full and -derived-full),
                Copyright Unicode, Inc. Unicode License V3 (Unicode-3.0), below
"""


def make(out, size=32, languages=("en",), cache=None, source=None, skin_tones=False):
    """Writes both vendors' shards into the folder `out`; those that are there already, made the same way, are left.

    languages: CLDR's locales, or ("all",)
    """
    art = {vendor: "emoji-datasource" if size == 32 else vendor for vendor in VENDORS}
    needed = [PACKAGES[name] for name in dict.fromkeys(["names", "derived names", *art.values()])]
    packages = {p.file: p.sha256 for p in needed}
    recipe = {"version": VERSION, "size": size, "languages": list(languages), "packages": packages}
    recipe |= {"skin_tones": True} if skin_tones else {}
    todo = [vendor for vendor in VENDORS if (described(out, vendor) or {}).get("recipe") != recipe]
    if todo:
        with tqdm(needed, "packages", unit="file") as bar:
            paths = {p.file: npm.fetch(p, cache or Path(out) / "downloads", source) for p in bar}
        of = {name: paths[p.file] for name, p in PACKAGES.items() if p.file in paths}
        names = cldr.read_names([of["names"], of["derived names"]], languages)
        _write_licences(out, npm.read(of[art["google"]], _is_licence), npm.read(of["names"], _is_licence))
        for vendor in todo:
            entries, pictures = _art(of[art[vendor]], vendor, size, skin_tones)
            about = {"source": PACKAGES[art[vendor]].file, "licence": LICENCES[vendor], "recipe": recipe}
            words = _words(entries, vendor, names)
            with tqdm(pictures, vendor, len(entries)) as bar, ShardWriter(out, prefix=vendor, about=about) as shards:
                for picture, (code, captions, info) in zip(bar, words, strict=True):
                    shards.write(f"{vendor}-{code}", picture, captions, info)


def _art(path, vendor, size, skin_tones):
    """The entries of emoji.json that the vendor has drawn, and an iterator of their pictures (RGBA).

    Where a vendor has no drawing, the sheets show another vendor's: those are left out.
    """
    sheet, single = f"img/{vendor}/sheets/32.png", f"img/{vendor}/64/"
    files = npm.read(path, lambda name: name in ("emoji.json", sheet) or size == 64 and name.startswith(single))
    entries = [e for base in json.loads(files["emoji.json"]) for e in (base, *(_toned(base) if skin_tones else ()))]
    entries = [e for e in entries if e[f"has_img_{vendor}"]]
    if size == 64:
        return entries, (Image.open(BytesIO(files[single + e["image"]])).convert("RGBA") for e in entries)
    sheet = Image.open(BytesIO(files[sheet])).convert("RGBA")
    corners = ((e["sheet_x"] * 34 + 1, e["sheet_y"] * 34 + 1) for e in entries)  # cells of 32 with a margin of 1
    return entries, (sheet.crop((x, y, x + 32, y + 32)) for x, y in corners)


def _toned(base):
    """An entry for each skin tone of an emoji; `of` is the emoji itself."""
    for _, variation in sorted(base.get("skin_variations", {}).items()):
        yield {**base, **variation, "of": base["unified"]}


def _words(entries, vendor, names):
    """(code, captions, info) of each emoji. Captions are English, the CLDR name first; other languages are in info."""
    emojis = [_characters(e["unified"]) for e in entries]
    lines = {language: cldr.captions(names[language], emojis) for language in names}
    english = lines.pop("en")
    for entry, emoji in zip(entries, emojis, strict=True):
        captions = english[emoji]
        concept = cldr.concept(_characters(entry.get("of", entry["unified"])), names["en"])
        info = {
            "label": entry["category"],
            "subcategory": entry["subcategory"],
            "name": captions[0],
            "short_name": entry["short_name"],
            "unicode": entry["unified"],
            "translations": {language: found[emoji] for language, found in lines.items() if emoji in found},
            "vendor": vendor,
            "concept": concept,
            "split": cldr.split(concept),
        }
        yield "-".join(f"{ord(c):04x}" for c in cldr.plain(emoji)), captions, info


def _characters(unified):
    """1F415-200D-2B1B -> the emoji itself."""
    return "".join(chr(int(code, 16)) for code in unified.split("-"))


def make_from_font(out, font, size=32):
    """Writes font-*.tar: each emoji that the font draws in colour, with the name that `unicodedata` has for it."""
    pictures = pictures_of_font(font, size)
    about = {"source": Path(font).name, "licence": "see the font's own licence", "recipe": {"size": size}}
    with tqdm(pictures, "font") as bar, ShardWriter(out, prefix="font", about=about) as shards:
        for emoji, name, label, picture in bar:
            code = f"{ord(emoji):x}"
            concept = cldr.concept(emoji, {emoji: (name, ())})
            info = {"label": label, "name": name, "unicode": code.upper(), "vendor": "font"}
            shards.write(f"font-{code}", picture, [name], {**info, "concept": concept, "split": cldr.split(concept)})


def _is_licence(name):
    return name == "LICENSE"


def _write_licences(out, *packages):
    """CREDITS, and the licence texts of the packages in full, as these licences ask."""
    texts = [files["LICENSE"].decode() for files in packages if "LICENSE" in files]
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    part = out / ".LICENSES.part"
    part.write_text("\n\n---\n\n".join([CREDITS, *texts]), "utf-8")
    os.replace(part, out / "LICENSES.txt")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m data_tools.emoji", description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True, metavar="DIR", help="where the shards go")
    parser.add_argument(
        "--size", type=int, choices=(32, 64), default=32, help="pixels; 64 fetches 136 MB, 32 only 25 MB"
    )
    parser.add_argument("--languages", default="en", metavar="en,fr,...", help="more captions: CLDR's locales, or all")
    parser.add_argument(
        "--skin-tones", action="store_true", help="each of the 1,875 skin tones as a picture of its own"
    )
    parser.add_argument("--cache", metavar="DIR", help="where fetched packages are kept (default: DIR/downloads)")
    parser.add_argument(
        "--from", dest="source", metavar="FOLDER", help="take the .tgz files from here, without a network"
    )
    parser.add_argument("--font", metavar="FILE.ttf", help="draw a colour-emoji font instead; no npm, no network")
    chosen = parser.parse_args(arguments)
    languages = [language.strip() for language in chosen.languages.split(",") if language.strip()]
    try:
        if chosen.font:
            make_from_font(chosen.out, chosen.font, chosen.size)
        else:
            make(chosen.out, chosen.size, languages, chosen.cache, chosen.source, chosen.skin_tones)
    except (DataError, OSError) as error:
        print(f"emoji: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("emoji: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
