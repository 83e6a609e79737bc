"""Before any merging: text is cleaned and cut into words, and each byte gets a character that can be printed.

Merges never cross a word's edge, so the two regular expressions below decide what a token can be at most.
"""

import html
import unicodedata

import regex

# A word keeps the space before it: "a red car" -> "a", " red", " car".   Radford et al. 2019, sec. 2.2
GPT2_WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")

# White space is dropped (the end-of-word mark stands for it), and each digit is a word: the published code of CLIP.
CLIP_WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", regex.IGNORECASE)

# On the last symbol of each of CLIP's words: "at" within "cats" and "at" at the end of "cat" are two tokens.
END_OF_WORD = "</w>"

# The name of a special token: brackets around letters. No word mixes the two, so merges can never make such a name.
SPECIAL_NAME = regex.compile(r"<.*\p{L}.*>|\[.*\p{L}.*\]")


def _printable_bytes():
    """One character for each byte: itself where it shows on paper, else the next one from U+0100 on (the space: Ġ).

    The files of GPT-2 and CLIP are written with these characters, so that a space can part the two halves of a merge.
    The order of this dictionary, printable bytes first, is the order of CLIP's first 256 ids.
    """
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(0x100 + n) for n, byte in enumerate(hidden)}


CHARACTERS = _printable_bytes()
BYTES = {character: byte for byte, character in CHARACTERS.items()}


def as_text(text):
    """A str in which each byte that is not UTF-8 is a lone surrogate, which `as_bytes` turns back into that byte."""
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogatepass")
    if not isinstance(text, (bytes, bytearray)):
        raise TypeError(f"text must be str or bytes, got {type(text).__name__}")
    return bytes(text).decode("utf-8", "surrogateescape")


def as_bytes(text):
    return text.encode("utf-8", "surrogateescape")


def split(text, flavour, lower, add_prefix_space):
    """The words of a str, cleaned as the flavour wants it. In the gpt2 flavour they join to the text again."""
    if flavour == "clip":
        text = clean_as_clip(text)
    if lower:
        text = text.lower()
    if add_prefix_space and text:
        text = " " + text
    return (CLIP_WORDS if flavour == "clip" else GPT2_WORDS).findall(text)


def _repairs():
    """What CLIP's repair step (ftfy) does most often, as a table for str.translate."""
    controls = [*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD)]
    single, double = [0x2BC, *range(0x2018, 0x201C)], range(0x201C, 0x2020)
    two_in_one = [
        0x132,
        0x133,
        *range(0x1C4, 0x1CD),
        *range(0x1F1, 0x1F4),
        *range(0xFB00, 0xFB07),
    ]  # ĳ ǆ ǳ ﬁ
    wide = [0x3000, *range(0xFF01, 0xFFF0)]  # forms as wide as an ideograph, or half as wide
    table = dict.fromkeys(controls) | dict.fromkeys(single, "'") | dict.fromkeys(double, '"')
    return table | {code: unicodedata.normalize("NFKC", chr(code)) for code in (*two_in_one, *wide)}


_REPAIRS = _repairs()


def clean_as_clip(text):
    """CLIP's clean-up, before it lower-cases: repair, resolve HTML entities twice, one space for any white space."""
    if "<" not in text:  # ftfy resolves entities where it sees no tag, so that it can repair what they stand for
        text = html.unescape(text)
    text = unicodedata.normalize("NFC", text.translate(_REPAIRS))
    return " ".join(html.unescape(html.unescape(text)).split())
