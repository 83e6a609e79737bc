"""What emoji are called: the names and keywords of the Unicode CLDR, made into captions, and split by concept.

CLDR has for each emoji a name ("tts": text to speech) and keywords ("default"), in 170 locales.
"""

import json
import re
from hashlib import sha256

from data_tools import npm
from minivl.data.shards import DataError

KEYWORDS = 8  # of an emoji that become captions

_FOLDERS = ("annotations", "annotationsDerived")  # the second has flags, families, professions, built from the first


def read_names(packages, languages):
    """{language: {emoji without U+FE0F: (name, [keyword, ...])}} from the .tgz of annotations-full and derived-full.

    English is always read, and stands first; ("all",) reads every locale that names anything.
    """
    everything = "all" in languages
    found = {language: {} for language in ["en", *languages] if language != "all"}

    def wanted(path):
        folder, _, rest = path.partition("/")
        language, _, file = rest.partition("/")
        return folder in _FOLDERS and file == "annotations.json" and (everything or language in found)

    for package in packages:
        for path, content in npm.read(package, wanted).items():
            folder, language, _ = path.split("/")
            names = found.setdefault(language, {})
            for emoji, entry in json.loads(content)[folder].get("annotations", {}).items():
                if entry.get("tts"):
                    names[plain(emoji)] = (entry["tts"][0].strip(), [k.strip() for k in entry.get("default", [])])
    for language, names in found.items():
        if not names and not everything:
            raise DataError(
                f"--languages: CLDR has no {language!r}; give its locales, such as en,fr,de,zh,ja,ar,hi,sw,ru, or: all"
            )
    return {language: names for language, names in found.items() if names}


def plain(emoji):
    """Without U+FE0F, the selector that asks for a colour picture: sources differ on where they write it."""
    return emoji.replace("\ufe0f", "")


def captions(names, emojis):
    """{emoji: captions} in one language: the name, then its keywords two by two, an odd one after the name.

    {"📼": ["videocassette", "old, school", "tape, vcr", "vhs, video"], ...}

    One keyword says little ("animal"); all of them in one line are long, and mostly the same line again.
    """
    lines = {}
    for emoji in emojis:
        if plain(emoji) in names:
            name, keywords = names[plain(emoji)]
            words = {name.casefold(), *re.split(r"\W+", name.casefold())}
            extra = [keyword for keyword in keywords if keyword.casefold() not in words][:KEYWORDS]
            pairs = [extra[k : k + 2] for k in range(0, len(extra), 2)]
            lines[emoji] = [name, *(", ".join(pair if len(pair) == 2 else [name, *pair]) for pair in pairs)]
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


def split(concept, always_train=_ALWAYS_TRAIN):
    """train (80 %), validation or test (10 % each): by the concept's name alone, so that it is the same everywhere."""
    place = int(sha256(concept.encode()).hexdigest(), 16) % 10
    return "train" if concept in always_train or place < 8 else ("validation", "test")[place - 8]
