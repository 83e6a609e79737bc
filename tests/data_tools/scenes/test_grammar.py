"""Grammar, against sentences written by hand; the table of nouns, against what articles and plurals must look like."""

import pytest

from data_tools.scenes.grammar import LANGUAGES, OPPOSITE, any_number, one, phrase, row, several, two
from data_tools.scenes.nouns import NOUNS, SHAPES, WORDS, noun_of

BY_HAND = {
    "en": {
        "a red lion left of an owl",
        "a red lion on the left and an owl on the right",
        "on the right an owl, on the left a red lion",
        "to the right of a red lion is an owl",
        "there is a red lion; on its right, an owl",
        "a red lion is left of an owl",
    },
    "de": {
        "ein roter Löwe links von einer Eule",
        "links ein roter Löwe und rechts eine Eule",
        "rechts eine Eule, links ein roter Löwe",
        "rechts von einem roten Löwen ist eine Eule",
        "da ist ein roter Löwe; rechts davon ist eine Eule",
        "ein roter Löwe ist links von einer Eule",
    },
    "fr": {
        "un lion rouge à gauche d'un hibou",
        "un lion rouge à gauche et un hibou à droite",
        "à droite un hibou, à gauche un lion rouge",
        "à droite d'un lion rouge se trouve un hibou",
        "il y a un lion rouge ; à sa droite, un hibou",
        "un lion rouge est à gauche d'un hibou",
    },
    "es": {
        "un león rojo a la izquierda de un búho",
        "un león rojo a la izquierda y un búho a la derecha",
        "a la derecha un búho, a la izquierda un león rojo",
        "a la derecha de un león rojo se ve un búho",
        "se ve un león rojo; a su derecha, un búho",
        "un león rojo está a la izquierda de un búho",
    },
    "it": {
        "un leone rosso a sinistra di un gufo",
        "un leone rosso a sinistra e un gufo a destra",
        "a destra un gufo, a sinistra un leone rosso",
        "a destra di un leone rosso c'è un gufo",
        "c'è un leone rosso; alla sua destra, un gufo",
        "un leone rosso è a sinistra di un gufo",
    },
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_two_things_by_hand(language):
    things = [phrase(language, "lion", "red"), phrase(language, "owl")]
    assert set(two(language, things, "left", [False] * 6)) == BY_HAND[language]
    turned = two(language, things[::-1], "right", [True] * 6)  # the same fact, told from the other end, and turned back
    assert set(turned) == BY_HAND[language]


@pytest.mark.parametrize(
    "language, noun, colour, plain, of",
    [
        ("en", "elephant", None, "an elephant", "an elephant"),
        ("en", "elephant", "yellow", "a yellow elephant", "a yellow elephant"),
        ("de", "cow", "blue", "eine blaue Kuh", "einer blauen Kuh"),
        ("de", "zebra", "black", "ein schwarzes Zebra", "einem schwarzen Zebra"),
        ("de", "bear", "green", "ein grüner Bär", "einem grünen Bären"),
        ("de", "elephant", None, "ein Elefant", "einem Elefanten"),
        ("de", "penguin", None, "ein Pinguin", "einem Pinguin"),
        ("fr", "cow", "green", "une vache verte", "d'une vache verte"),
        ("fr", "soccer ball", "purple", "un ballon de football violet", "d'un ballon de football violet"),
        ("es", "cow", "yellow", "una vaca amarilla", "de una vaca amarilla"),
        ("es", "cross", "blue", "una cruz azul", "de una cruz azul"),
        ("it", "bee", "red", "un'ape rossa", "di un'ape rossa"),
        ("it", "shark", "black", "uno squalo nero", "di uno squalo nero"),
        ("it", "backpack", None, "uno zaino", "di uno zaino"),
        ("it", "star", "blue", "una stella blu", "di una stella blu"),
    ],
)
def test_articles_adjectives_and_cases_agree(language, noun, colour, plain, of):
    said = phrase(language, noun, colour)
    assert (said.plain, said.of) == (plain, of)


@pytest.mark.parametrize(
    "language, number, noun, colour, said",
    [
        ("en", 2, "mouse", "red", "two red mice"),
        ("en", 3, "fish", None, "three fish"),
        ("de", 2, "castle", "blue", "zwei blaue Burgen"),
        ("de", 6, "mouse", None, "sechs Mäuse"),
        ("fr", 3, "star", "green", "trois étoiles vertes"),
        ("fr", 2, "horse", "blue", "deux chevaux bleus"),
        ("es", 4, "cross", "red", "cuatro cruces rojas"),
        ("es", 2, "mouse", "green", "dos ratones verdes"),
        ("it", 2, "duck", "black", "due anatre nere"),
        ("it", 5, "bear", "purple", "cinque orsi viola"),
    ],
)
def test_plurals(language, number, noun, colour, said):
    assert several(language, number, noun, colour) == said


def test_written_words_need_articles_of_their_own():
    assert phrase("de", "word", text="lamp").of == "dem Wort „lamp“"
    assert phrase("fr", "word", text="lamp").of == "du mot « lamp »"
    assert phrase("it", "word", text="lamp").of == "della parola «lamp»"
    things = [phrase("es", "dog"), phrase("es", "word", text="lamp")]
    assert two("es", things, "below", [False] * 6)[0] == "un perro debajo de la palabra «lamp»"
    assert not any(" hay " in f" {s} " for s in two("es", things, "left", [True] * 6) + one("es", things[1]))


@pytest.mark.parametrize("language", LANGUAGES)
def test_rows_and_lists_name_everything_in_order(language):
    things = [phrase(language, noun) for noun in ("dog", "cat", "bee")]
    for relation in OPPOSITE:
        for said in row(language, things, relation, [False] * 6):
            assert [said.index(t.plain) for t in things] == sorted(said.index(t.plain) for t in things)
        turned = row(language, things[::-1], OPPOSITE[relation], [True] * 6)
        assert turned == row(language, things, relation, [False] * 6)
    listed = any_number(language, ["ONE", "TWO", "THREE"], 5, [(2, 0, 1)] * 6)
    assert all(s.index("THREE") < s.index("ONE") < s.index("TWO") for s in listed) and len(set(listed)) == 6
    assert len(set(one(language, things[0]))) == 6


# ---- the table of nouns ----------------------------------------------------------------------------------------------


def test_every_noun_has_all_languages_and_its_article_fits_it():
    assert len(NOUNS) > 100 and set(SHAPES) < set(NOUNS)
    for noun, entries in NOUNS.items():
        assert set(entries) == set(LANGUAGES), noun
        for entry in entries.values():
            assert entry.singular and entry.plural and "  " not in entry.singular + entry.plural
        assert entries["de"].singular[0].isupper() and entries["de"].plural[0].isupper()
        italian = entries["it"]
        vowel = italian.singular[0] in "aeiou"
        impure = italian.singular[0] in "zxy" or (italian.singular[0] == "s" and italian.singular[1] not in "aeiou")
        wanted = {"m": "uno" if impure else "un", "f": "un'" if vowel else "una"}[italian.gender]
        assert italian.article == wanted, noun
        assert entries["fr"].article == {"m": "un", "f": "une"}[entries["fr"].gender]
        assert entries["es"].plural.split()[0].endswith("s") and entries["en"].article == (
            "an" if noun[0] in "aeiou" else "a"
        )


def test_no_two_nouns_are_called_the_same_in_any_language():
    for language in LANGUAGES:
        names = [entries[language].singular for entries in NOUNS.values()]
        twice = {name for name in names if names.count(name) > 1}
        assert not twice, (language, twice)


def test_pictures_are_found_by_the_names_they_go_by():
    assert noun_of("European bear") == "bear" and noun_of("dog face") == "dog" and noun_of(" Dog ") == "dog"
    assert noun_of("fire truck") == "fire engine" and noun_of("hot dog") is None and noun_of("") is None
    assert noun_of("ring") is None and noun_of("star") is None  # of these there are drawings
    assert all(word.isascii() and word.isalpha() and len(word) <= 6 for word in WORDS) and len(WORDS) > 40
