"""The words of a caption as caption scores count them: lower case, contractions parted, punctuation left out.

    "It's a cat's 3.5 kg toy (isn't it?), Mr. Smith."  ->  it 's a cat 's 3.5 kg toy -lrb- is n't it -rrb- mr. smith

COCO's scores are of words that Stanford's PTBTokenizer made (a Java program), without those that are in its list of
punctuation. These rules are the Penn Treebank's as that program applies them. They agree with it on sentences of
words, numbers, contractions, common abbreviations and the usual punctuation; they differ on smileys, HTML, "3 1/2"
(there one word), on times with a unit ("10:30am"), and on abbreviations that are not listed below. Brackets stay, under
the Treebank's names, and so does a run of marks such as "!!", because the list has neither.
"""

import re

_ABBREVIATIONS = "mr mrs ms dr prof st jr sr vs etc mt ave inc ltd co corp gen lt col capt sgt rev gov sen rep ft"
_LEFT_OUT = set(".,:;?!-'`\"")  # and any row of "." or "-"
_NAMES = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-", "€": "$", "£": "#"}
_AS_ASCII = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": " ... "})

_TOKEN = re.compile(
    rf"""
      https?://\S+ | [\w.+-]+@[\w-]+\.[\w.-]+      # addresses
    | (?: {_ABBREVIATIONS.replace(" ", "|")} ) \. (?! \w )
    | no\. (?= \s \d)
    | (?: [^\W\d_] \. )+ (?! \w )                  # p.m.  u.s.a.
    | [+-]? \d* [.]? \d+ (?: [.,:/] \d+ )* (?! \w | ['-]\w )  # 3,000  1/2  7:30  -5
    | ' \d\d s? (?! \w ) | 'n' | '(?: em | til | cause | tis | twas ) (?! \w )
    | (?-i: [A-Z]+ (?: & [A-Z]+ )+ )               # R&B
    | \w+ (?: [-./'] \w+ )*                        # black-and-white  a/c  google.com  dog's
    | @ \w+
    | [!?]+ | [.]+ | -+ | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CONTRACTION = re.compile(r"(.+?)(n't|'(?:s|re|ve|ll|d|m))")
_TWO_WORDS = {
    "cannot": "can not",
    "gonna": "gon na",
    "wanna": "wan na",
    "gotta": "got ta",
    "gimme": "gim me",
    "lemme": "lem me",
    "'tis": "'t is",
    "'twas": "'t was",
}


def words(caption):
    """The words of a caption, a list of strings."""
    found = []
    for token in map(str.lower, _TOKEN.findall(caption.translate(_AS_ASCII))):
        if token.isalnum() and token not in _TWO_WORDS:
            found.append(token)
        elif token in _TWO_WORDS:
            found += _TWO_WORDS[token].split()
        elif parts := _CONTRACTION.fullmatch(token):
            found += parts.groups()
        elif token not in _LEFT_OUT and token.strip(".") and token.strip("-"):
            found.append(_NAMES.get(token, token))
    return found
