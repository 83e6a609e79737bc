"""What emoji are called: the names and keywords of the Unicode CLDR, made into captions, and split by concept.

CLDR has for each emoji a name ("tts": text to speech) and keywords ("default"), in 170 locales.
"""

import collections
import json
import re
from hashlib import sha256

from data_tools import npm
from minivl.data.shards import DataError

KEYWORDS = 6  # in a caption after the name
SPECIFIC = 3  # a keyword alone is a caption if it belongs to at most so many emoji: "animal" names nothing
SINGLE = 4  # captions of one keyword

_FOLDERS = ("annotations", "annotationsDerived")  # the second has flags, families, professions, built from the first


def read_names(packages, languages):
    """{language: {emoji without U+FE0F: (name, [keyword, ...])}} from the .tgz of annotations-full and derived-full."""
    found = {language: {} for language in languages}
    paths = {f"{folder}/{language}/annotations.json": language for folder in _FOLDERS for language in languages}
    for package in packages:
        for path, content in npm.read(package, paths.__contains__).items():
            entries = json.loads(content)[path.split("/")[0]].get("annotations", {})
            for emoji, entry in entries.items():
                if entry.get("tts"):
                    keywords = entry.get("default", [])
                    found[paths[path]][plain(emoji)] = (entry["tts"][0].strip(), [k.strip() for k in keywords])
    for language, names in found.items():
        if not names:
            raise DataError(
                f"--languages: CLDR has no {language!r}; give its locales, such as en,fr,de,es,zh,ja,ar,hi,sw,ru"
            )
    return found


def plain(emoji):
    """Without U+FE0F, the selector that asks for a colour picture: sources differ on where they write it."""
    return emoji.replace("\ufe0f", "")


def captions(names, emojis):
    """{emoji: captions} in one language: the name, the name with keywords, keywords that are nearly names themselves.

    {"📼": ["videocassette", "videocassette, old, school, tape, vcr, vhs, video", "tape", "vcr", "vhs"], ...}
    """
    known = {emoji: names[plain(emoji)] for emoji in emojis if plain(emoji) in names}
    counts = collections.Counter(keyword for _, keywords in known.values() for keyword in set(keywords))
    lines = {}
    for emoji, (name, keywords) in known.items():
        words = {name.casefold(), *re.split(r"\W+", name.casefold())}
        extra = [keyword for keyword in keywords if keyword.casefold() not in words]
        with_keywords = [", ".join([name, *extra[:KEYWORDS]])] if extra else []
        single = [k for k in extra if counts[k] <= SPECIFIC and not (k.isascii() and len(k) < 3)]  # not "do", not "<3"
        lines[emoji] = [name, *with_keywords, *single[:SINGLE]]
    return lines


# --- splits ---------------------------------------------------------------------------------------------------------

_GENDER = re.compile(r"\b(woman and man|(wo)?m[ae]n|person|people|boy|girl|child|Santa|Mrs\.|Mx)( |$)")
_SAME = {"prince": "royalty", "princess": "royalty", "with crown": "royalty", "older": "old", "": "person"}
_JOINER, _PEOPLE = "\u200d", "\U0001f466\U0001f467\U0001f468\U0001f469\U0001f9d1\U0001f9d2"
_ALWAYS_TRAIN = ("flag", "keycap", "clock face")  # families too large to hold out


def concept(emoji, names):
    """The base concept of an emoji, from its English name: what all its skin tones, genders and joined forms share.

    man firefighter, woman firefighter -> firefighter;   black cat, cat face -> cat;   flag: Japan -> flag
    """
    first = emoji.split(_JOINER)[0]
    if first != emoji and first[0] not in _PEOPLE and plain(first) in names:
        emoji = first  # black cat = cat + black square
    name = names[plain(emoji)][0].partition(":")[0]
    if "o’clock" in name or name.endswith("-thirty"):
        return "clock face"
    name = _GENDER.sub("", name).removesuffix(" face").strip()
    return _SAME.get(name, name)


def split(concept):
    """train (80 %), validation or test (10 % each): by the concept's name alone, so that it is the same everywhere."""
    place = int(sha256(concept.encode()).hexdigest(), 16) % 10
    return "train" if concept in _ALWAYS_TRAIN or place < 8 else ("validation", "test")[place - 8]
