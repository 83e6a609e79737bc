"""Captions in five languages, out of one record: articles, adjectives and cases agree.

    one thing      a red dog                                     ein roter Hund
    two            a red dog left of a cat                       ein roter Hund links von einer Katze
    a row          from left to right: a dog, a cat and a bee    von links nach rechts: ein Hund, ...
    any number     two red dogs and a cat                        zwei rote Hunde und eine Katze

Of each there are six wordings, and of two things each wording can begin with either thing. A phrase knows two forms:
`plain`, and `of`, which is what stands after "left": from a cat, von *einer Katze*, *d'un chat*, *de un gato*, *di un
gatto*.
"""

import functools
from dataclasses import dataclass

from data_tools.scenes.nouns import NOUNS

LANGUAGES = ("en", "de", "fr", "es", "it")
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}

_COLOURS = {  # masculine, feminine, their plurals; German and English have one stem
    "en": {c: c for c in ("red", "yellow", "green", "blue", "purple", "black")},
    "de": dict(red="rot", yellow="gelb", green="grün", blue="blau", purple="violett", black="schwarz"),
    "fr": {
        "red": ("rouge", "rouge", "rouges", "rouges"),
        "yellow": ("jaune", "jaune", "jaunes", "jaunes"),
        "green": ("vert", "verte", "verts", "vertes"),
        "blue": ("bleu", "bleue", "bleus", "bleues"),
        "purple": ("violet", "violette", "violets", "violettes"),
        "black": ("noir", "noire", "noirs", "noires"),
    },
    "es": {
        "red": ("rojo", "roja", "rojos", "rojas"),
        "yellow": ("amarillo", "amarilla", "amarillos", "amarillas"),
        "green": ("verde", "verde", "verdes", "verdes"),
        "blue": ("azul", "azul", "azules", "azules"),
        "purple": ("morado", "morada", "morados", "moradas"),
        "black": ("negro", "negra", "negros", "negras"),
    },
    "it": {
        "red": ("rosso", "rossa", "rossi", "rosse"),
        "yellow": ("giallo", "gialla", "gialli", "gialle"),
        "green": ("verde", "verde", "verdi", "verdi"),
        "blue": ("blu", "blu", "blu", "blu"),
        "purple": ("viola", "viola", "viola", "viola"),
        "black": ("nero", "nera", "neri", "nere"),
    },
}
_NUMBERS = {
    "en": ("two", "three", "four", "five", "six"),
    "de": ("zwei", "drei", "vier", "fünf", "sechs"),
    "fr": ("deux", "trois", "quatre", "cinq", "six"),
    "es": ("dos", "tres", "cuatro", "cinco", "seis"),
    "it": ("due", "tre", "quattro", "cinque", "sei"),
}
_AND = {"en": "and", "de": "und", "fr": "et", "es": "y", "it": "e"}
_WRITTEN = {  # a word that is written in the picture: plain, of
    "en": ('the word "{}"', 'the word "{}"'),
    "de": ("das Wort „{}“", "dem Wort „{}“"),
    "fr": ("le mot « {} »", "du mot « {} »"),
    "es": ("la palabra «{}»", "de la palabra «{}»"),
    "it": ("la parola «{}»", "della parola «{}»"),
}


@dataclass(frozen=True)
class Phrase:
    plain: str
    of: str


@functools.cache
def phrase(language, noun, colour=None, text=None):
    """A thing with its indefinite article: "a red dog", "ein roter Hund"; or "the word ..." where it is a text."""
    if text is not None:
        return Phrase(*(form.format(text) for form in _WRITTEN[language]))
    entry = NOUNS[noun][language]
    if language == "en":
        plain = f"a {colour} {noun}" if colour else f"{entry.article} {noun}"
        return Phrase(plain, plain)
    if language == "de":
        return _german(entry, colour)
    adjective = f" {_COLOURS[language][colour][entry.gender == 'f']}" if colour else ""
    plain = entry.article + ("" if entry.article.endswith("'") else " ") + entry.singular + adjective
    return Phrase(plain, f"d'{plain}" if language == "fr" else f"{'de' if language == 'es' else 'di'} {plain}")


def _german(noun, colour):
    ending = {"m": "er", "f": "e", "n": "es"}[noun.gender]
    nominative = f"{_COLOURS['de'][colour]}{ending} " if colour else ""
    dative = f"{_COLOURS['de'][colour]}en " if colour else ""
    article = "einer" if noun.gender == "f" else "einem"
    return Phrase(f"{noun.article} {nominative}{noun.singular}", f"{article} {dative}{noun.dative}")


@functools.cache
def several(language, number, noun, colour=None):
    """ "two red dogs": of numbers from two on."""
    entry, count = NOUNS[noun][language], _NUMBERS[language][number - 2]
    if language in ("en", "de"):
        adjective = f"{_COLOURS[language][colour]}{'e' if language == 'de' else ''} " if colour else ""
        return f"{count} {adjective}{entry.plural}"
    adjective = f" {_COLOURS[language][colour][2 + (entry.gender == 'f')]}" if colour else ""
    return f"{count} {entry.plural}{adjective}"


def listed(language, parts):
    """ "a dog, a cat and a bee" """
    *most, last = parts
    return f"{', '.join(most)} {_AND[language]} {last}" if most else last


# ---- sentences -------------------------------------------------------------------------------------------------------
# {a} and {b} are things, {rel} says where a is from b, {far} the same of b from a; {here} and {there} are their places,
# {its} is where b is, seen from a.

_ONE = {
    "en": ("{a}", "there is {a}", "here is {a}", "{a}, and nothing else", "one can see {a}", "a picture with {a}"),
    "de": ("{a}", "da ist {a}", "hier ist {a}", "{a} und sonst nichts", "zu sehen ist {a}", "nur {a}"),
    "fr": ("{a}", "il y a {a}", "voici {a}", "{a} et rien d'autre", "on voit {a}", "une image avec {a}"),
    "es": ("{a}", "se ve {a}", "aquí se ve {a}", "{a} y nada más", "solo {a}", "una imagen con {a}"),
    "it": ("{a}", "c'è {a}", "ecco {a}", "{a} e nient'altro", "si vede {a}", "un'immagine con {a}"),
}
_TWO = {
    "en": (
        "{a} {rel}",
        "{a} {here} and {b} {there}",
        "{there} {b}, {here} {a}",
        "{far} is {b}",
        "there is {a}; {its}, {b}",
        "{a} is {rel}",
    ),
    "de": (
        "{a} {rel}",
        "{here} {a} und {there} {b}",
        "{there} {b}, {here} {a}",
        "{far} ist {b}",
        "da ist {a}; {its} ist {b}",
        "{a} ist {rel}",
    ),
    "fr": (
        "{a} {rel}",
        "{a} {here} et {b} {there}",
        "{there} {b}, {here} {a}",
        "{far} se trouve {b}",
        "il y a {a} ; {its}, {b}",
        "{a} est {rel}",
    ),
    "es": (
        "{a} {rel}",
        "{a} {here} y {b} {there}",
        "{there} {b}, {here} {a}",
        "{far} se ve {b}",
        "se ve {a}; {its}, {b}",
        "{a} está {rel}",
    ),
    "it": (
        "{a} {rel}",
        "{a} {here} e {b} {there}",
        "{there} {b}, {here} {a}",
        "{far} c'è {b}",
        "c'è {a}; {its}, {b}",
        "{a} è {rel}",
    ),
}
_RELATION = {
    "en": dict(left="left of {plain}", right="right of {plain}", above="above {plain}", below="below {plain}"),
    "de": dict(left="links von {of}", right="rechts von {of}", above="über {of}", below="unter {of}"),
    "fr": dict(left="à gauche {of}", right="à droite {of}", above="au-dessus {of}", below="au-dessous {of}"),
    "es": dict(left="a la izquierda {of}", right="a la derecha {of}", above="encima {of}", below="debajo {of}"),
    "it": dict(left="a sinistra {of}", right="a destra {of}", above="sopra {plain}", below="sotto {plain}"),
}
_FAR = {**_RELATION, "en": {r: f"to the {p}" if r in ("left", "right") else p for r, p in _RELATION["en"].items()}}
_PLACE = {
    "en": dict(left="on the left", right="on the right", above="at the top", below="at the bottom"),
    "de": dict(left="links", right="rechts", above="oben", below="unten"),
    "fr": dict(left="à gauche", right="à droite", above="en haut", below="en bas"),
    "es": dict(left="a la izquierda", right="a la derecha", above="arriba", below="abajo"),
    "it": dict(left="a sinistra", right="a destra", above="in alto", below="in basso"),
}
_ITS = {  # where b is, seen from a, where a is ... of b
    "en": dict(left="on its right", right="on its left", above="below it", below="above it"),
    "de": dict(left="rechts davon", right="links davon", above="darunter", below="darüber"),
    "fr": dict(left="à sa droite", right="à sa gauche", above="en dessous", below="au-dessus"),
    "es": dict(left="a su derecha", right="a su izquierda", above="debajo", below="encima"),
    "it": dict(left="alla sua destra", right="alla sua sinistra", above="sotto", below="sopra"),
}
_WAY = {
    "en": dict(
        left="from left to right", right="from right to left", above="from top to bottom", below="from bottom to top"
    ),
    "de": dict(
        left="von links nach rechts",
        right="von rechts nach links",
        above="von oben nach unten",
        below="von unten nach oben",
    ),
    "fr": dict(left="de gauche à droite", right="de droite à gauche", above="de haut en bas", below="de bas en haut"),
    "es": dict(
        left="de izquierda a derecha",
        right="de derecha a izquierda",
        above="de arriba abajo",
        below="de abajo arriba",
    ),
    "it": dict(
        left="da sinistra a destra", right="da destra a sinistra", above="dall'alto in basso", below="dal basso in alto"
    ),
}
_ROW = {
    "en": (
        "{all} {way}",
        "{way}: {all}",
        "{way}, {all}",
        "{n} things {way}: {all}",
        "{way} we see {all}",
        "{way} stand {all}",
    ),
    "de": (
        "{all} {way}",
        "{way}: {all}",
        "{way} {all}",
        "{n} Dinge {way}: {all}",
        "{way} folgen {all}",
        "{way} sind {all} zu sehen",
    ),
    "fr": (
        "{all} {way}",
        "{way} : {all}",
        "{way}, {all}",
        "{n} choses {way} : {all}",
        "{way}, on voit {all}",
        "{way}, il y a {all}",
    ),
    "es": (
        "{all} {way}",
        "{way}: {all}",
        "{way}, {all}",
        "{n} cosas {way}: {all}",
        "{way} se ven {all}",
        "{way} aparecen {all}",
    ),
    "it": (
        "{all} {way}",
        "{way}: {all}",
        "{way}, {all}",
        "{n} cose {way}: {all}",
        "{way} si vedono {all}",
        "{way} ci sono {all}",
    ),
}
_ANY = {
    "en": (
        "{all}",
        "a picture with {all}",
        "here we see {all}",
        "{n} things: {all}",
        "one can see {all}",
        "{all}, and nothing else",
    ),
    "de": (
        "{all}",
        "zu sehen sind {all}",
        "hier sind {all}",
        "{n} Dinge: {all}",
        "das sind {all}",
        "{all} und sonst nichts",
    ),
    "fr": ("{all}", "il y a {all}", "voici {all}", "{n} choses : {all}", "on voit {all}", "{all} et rien d'autre"),
    "es": ("{all}", "aquí se ven {all}", "aparecen {all}", "{n} cosas: {all}", "se ven {all}", "{all} y nada más"),
    "it": ("{all}", "ci sono {all}", "ecco {all}", "{n} cose: {all}", "si vedono {all}", "{all} e nient'altro"),
}
TEMPLATES = len(_ONE["en"])


def one(language, thing):
    """Six sentences with one thing.   thing: a Phrase"""
    return [template.format(a=thing.plain) for template in _ONE[language]]


def two(language, things, relation, turned):
    """Sentences about two things, the first of which is `relation` ("left") of the second.

    turned: a truth value for each sentence, six at most; one with True begins with the second thing
    """
    fields = []
    for (a, b), r in ((things, relation), (things[::-1], OPPOSITE[relation])):
        fields.append(
            {
                "a": a.plain,
                "b": b.plain,
                "rel": _RELATION[language][r].format(plain=b.plain, of=b.of),
                "far": _FAR[language][OPPOSITE[r]].format(plain=a.plain, of=a.of),
                "here": _PLACE[language][r],
                "there": _PLACE[language][OPPOSITE[r]],
                "its": _ITS[language][r],
            }
        )
    return [template.format_map(fields[swap]) for template, swap in zip(_TWO[language], turned, strict=False)]


def row(language, things, relation, turned):
    """Sentences about three or more things, each of which is `relation` of the next; turned: as in `two`."""
    fields = []
    for ordered, r in ((things, relation), (things[::-1], OPPOSITE[relation])):
        every = listed(language, [thing.plain for thing in ordered])
        fields.append({"all": every, "way": _WAY[language][r], "n": _NUMBERS[language][len(things) - 2]})
    return [template.format_map(fields[swap]) for template, swap in zip(_ROW[language], turned, strict=False)]


def any_number(language, parts, total, orders):
    """Sentences that list parts, such as "two dogs"; orders: how the parts are ordered in each, of six at most."""
    number = _NUMBERS[language][total - 2]
    every = [listed(language, [parts[k] for k in order]) for order in orders]
    return [template.format(all=said, n=number) for template, said in zip(_ANY[language], every, strict=False)]
