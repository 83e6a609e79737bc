"""The emoji tool, on small packages of the same layout: no network, no npm."""

import collections
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools import cldr, emoji, npm
from minivl.data.shards import DataError, decode_image, read_shards, shard_paths

EMOJI = {  # code: short name, category, who has drawn it
    "1F415": ("dog", "Animals & Nature", "google twitter"),
    "1F436": ("dog_face", "Animals & Nature", "google twitter"),
    "1F408-200D-2B1B": ("black_cat", "Animals & Nature", "google twitter"),
    "1F468-200D-1F692": ("male-firefighter", "People & Body", "google twitter"),
    "260E-FE0F": ("phone", "Objects", "google"),
    "1F1EF-1F1F5": ("jp", "Flags", "google twitter"),
}
TONES = ("1F468-1F3FB-200D-1F692", "1F468-1F3FF-200D-1F692")  # of the firefighter
NAMES = {
    "🐕": ("dog", ["animal", "dog", "pet", "puppy"]),
    "🐶": ("dog face", ["animal", "dog", "face", "pet"]),
    "🐈": ("cat", ["animal", "cat", "pet", "kitty"]),
    "☎": ("telephone", ["ok", "phone", "Telephone"]),
    "🐈‍⬛": ("black cat", ["animal", "black", "cat", "pet", "unlucky"]),
    "👨‍🚒": ("man firefighter", ["fire", "truck"]),
    "👨🏻‍🚒": ("man firefighter: light skin tone", []),
    "👨🏿‍🚒": ("man firefighter: dark skin tone", []),
    "🇯🇵": ("flag: Japan", ["flag"]),
}
FRENCH = {"🐕": ("chien", ["animal"]), "🇯🇵": ("drapeau : Japon", ["drapeau"])}


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def pack(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            header = tarfile.TarInfo("package/" + name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))


def colour(vendor, i):
    return ({"google": 40, "twitter": 90, "apple": 255, "facebook": 255}[vendor], 30 * i, 7, 255)


def annotations(folder, names):
    entries = {e: {"tts": [name], "default": words} for e, (name, words) in names.items()}
    return json.dumps({folder: {"identity": {}, "annotations": entries}}).encode()


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """The folder with the five .tgz, whose sha256 the tool is made to expect."""
    folder = tmp_path / "packages"
    folder.mkdir()
    art = [
        {
            "unified": code,
            "image": code.lower() + ".png",
            "sheet_x": i % 3,
            "sheet_y": i // 3,
            "short_name": short,
            "category": category,
            "subcategory": "sub",
            **{f"has_img_{v}": v in drawn for v in ("google", "twitter")},
        }
        for i, (code, (short, category, drawn)) in enumerate(EMOJI.items())
    ]
    tones = [
        {"unified": code, "image": code.lower() + ".png", "sheet_x": (n := len(EMOJI) + i) % 3, "sheet_y": n // 3}
        for i, code in enumerate(TONES)
    ]
    for tone in tones:
        tone |= {"has_img_google": True, "has_img_twitter": tone["unified"] == TONES[1]}
    art[3]["skin_variations"] = {"1F3FB": tones[0], "1F3FF": tones[1]}
    common = {"emoji.json": json.dumps(art).encode(), "LICENSE": b"The MIT License (MIT)"}
    sheets = {}
    for vendor in ("apple", "facebook", "google", "twitter"):
        sheet = Image.new("RGBA", (3 * 34, 3 * 34), "black")
        for i, e in enumerate([*art, *tones]):
            drawn = e.get(f"has_img_{vendor}", True)
            cell = Image.new("RGBA", (32, 32), colour(vendor if drawn else "apple", i))  # as the real sheets do
            cell.putpixel((0, 0), (0, 0, 0, 0))
            sheet.paste(cell, (e["sheet_x"] * 34 + 1, e["sheet_y"] * 34 + 1))
        sheets[f"img/{vendor}/sheets/32.png"] = png(sheet)
    pack(folder / "emoji-datasource-16.0.0.tgz", {**common, **sheets})
    for vendor in ("google", "twitter"):
        singles = {
            f"img/{vendor}/64/{e['image']}": png(Image.new("RGBA", (64, 64), colour(vendor, i)))
            for i, e in enumerate([*art, *tones])
        }
        pack(folder / f"emoji-datasource-{vendor}-16.0.0.tgz", {**common, **singles})
    plain, derived = dict(list(NAMES.items())[:4]), dict(list(NAMES.items())[4:])
    for package, kind, names in (
        ("cldr-annotations-full", "annotations", plain),
        ("cldr-annotations-derived-full", "annotationsDerived", derived),
    ):
        files = {f"{kind}/en/annotations.json": annotations(kind, names), "LICENSE": b"UNICODE LICENSE V3"}
        files[f"{kind}/fr/annotations.json"] = annotations(kind, {e: n for e, n in FRENCH.items() if e in names})
        files[f"{kind}/xx/annotations.json"] = json.dumps({kind: {"identity": {}}}).encode()  # some locales are empty
        pack(folder / f"{package}-48.2.0.tgz", files)
    known = {
        name: npm.Package(p.name, p.version, hashlib.sha256((folder / p.file).read_bytes()).hexdigest())
        for name, p in emoji.PACKAGES.items()
    }
    monkeypatch.setattr(emoji, "PACKAGES", known)
    return folder


def run(*arguments):
    return emoji.main([str(a) for a in arguments])


def test_the_packages_are_pinned():
    assert {p.file: p.sha256[:8] for p in emoji.PACKAGES.values()} == {
        "emoji-datasource-16.0.0.tgz": "20067250",
        "emoji-datasource-google-16.0.0.tgz": "fb5fd131",
        "emoji-datasource-twitter-16.0.0.tgz": "f64a530c",
        "cldr-annotations-full-48.2.0.tgz": "28576e51",
        "cldr-annotations-derived-full-48.2.0.tgz": "4be946ff",
    }


@pytest.mark.parametrize("size", [32, 64])
def test_both_vendors_with_names_and_licences(packages, tmp_path, size):
    out = tmp_path / "out"
    assert run("--out", out, "--from", packages, "--size", size, "--languages", "en,fr") == 0
    google, twitter = (list(read_shards(out / vendor, strict=True)) for vendor in ("google", "twitter"))
    keys = [f"google-{code.lower().removesuffix('-fe0f')}" for code in EMOJI]  # sources disagree on U+FE0F
    assert [e.key for e in google] == keys and "google-260e" in keys
    names = [e.info["short_name"] for e in twitter]
    assert names == ["dog", "dog_face", "black_cat", "male-firefighter", "jp"]  # there is no phone
    assert google[0].captions == ["dog", "animal, pet", "dog, puppy"]  # the keyword without partner goes with the name
    assert google[4].captions == ["telephone", "ok, phone"]
    assert google[0].info == {
        "label": "Animals & Nature",
        "subcategory": "sub",
        "name": "dog",
        "short_name": "dog",
        "unicode": "1F415",
        "translations": {"fr": ["chien", "chien, animal"]},
        "vendor": "google",
        "concept": "dog",
        "split": cldr.split("dog"),
    }
    assert google[1].info["translations"] == {}
    for vendor, examples in (("google", google), ("twitter", twitter)):
        for example in examples:
            picture = decode_image(example.image)
            assert picture.size == (size, size)
            assert picture.getpixel((5, 5)) == colour(vendor, list(EMOJI).index(example.info["unicode"]))[:3]
    if size == 32:
        assert decode_image(google[0].image).getpixel((0, 0)) == (255, 255, 255)
        assert Image.open(io.BytesIO(google[0].image)).mode == "RGBA"
    text = (out / "LICENSES.txt").read_text("utf-8")
    licences = ("Apache-2.0", "CC-BY-4.0", "Unicode-3.0", "The MIT License", "UNICODE LICENSE V3")
    assert all(licence in text for licence in licences)
    about = json.loads((out / "dataset.json").read_text("utf-8"))
    assert about["google"]["licence"] == "Apache-2.0" and about["twitter"]["licence"] == "CC-BY-4.0"


@pytest.mark.parametrize("size", [32, 64])
def test_skin_tones_are_pictures_of_their_own_in_the_split_of_their_emoji(packages, tmp_path, size):
    assert run("--out", tmp_path, "--from", packages, "--size", size, "--skin-tones") == 0
    for vendor, drawn in (("google", TONES), ("twitter", TONES[1:])):
        examples = {e.info["unicode"]: e for e in read_shards(tmp_path / vendor, strict=True)}
        assert list(examples)[4 : 4 + len(drawn)] == list(drawn) and not (set(TONES) - set(drawn)) & set(examples)
        for code in drawn:
            picture, number = decode_image(examples[code].image), len(EMOJI) + TONES.index(code)
            assert examples[code].key == f"{vendor}-{code.lower()}"
            assert picture.size == (size, size) and picture.getpixel((5, 5)) == colour(vendor, number)[:3]
            assert [examples[code].info[k] for k in ("concept", "label")] == ["firefighter", "People & Body"]
    assert examples[code].captions == ["man firefighter: dark skin tone"]


def test_other_vendors_art_is_never_read(packages, tmp_path, monkeypatch):
    asked, real = [], npm.read

    def read(path, wanted):
        found = real(path, wanted)
        asked.extend(found)
        return found

    monkeypatch.setattr(npm, "read", read)
    assert run("--out", tmp_path / "out", "--from", packages) == 0
    pictures = [name for name in asked if name.startswith("img/")]
    assert pictures == ["img/google/sheets/32.png", "img/twitter/sheets/32.png"]


def test_the_same_bytes_twice_and_nothing_is_made_twice(packages, tmp_path, monkeypatch):
    for out in ("a", "b"):
        assert run("--out", tmp_path / out, "--from", packages) == 0
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}
    assert run("--out", tmp_path / "a", "--from", tmp_path / "nowhere") == 0  # finished: the packages are not asked for
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()} == before
    assert run("--out", tmp_path / "a", "--from", packages, "--languages", "fr") == 0
    (example, *_) = read_shards(tmp_path / "a" / "google", strict=True)
    assert example.captions[0] == "dog" and list(example.info["translations"]) == ["fr"]
    assert run("--out", tmp_path / "a", "--from", packages, "--languages", "all") == 0  # en, fr and xx, which is empty
    assert [list(e.info["translations"]) for e in read_shards(tmp_path / "a" / "twitter")][::4] == [["fr"], ["fr"]]


def test_goes_on_after_a_stop(packages, tmp_path, monkeypatch, capsys):
    assert run("--out", tmp_path / "whole", "--from", packages) == 0
    real = emoji.ShardWriter.write

    def stop(self, key, *rest):
        if key.startswith("twitter-1f408"):
            raise KeyboardInterrupt
        real(self, key, *rest)

    out = tmp_path / "out"
    monkeypatch.setattr(emoji.ShardWriter, "write", stop)
    assert run("--out", out, "--from", packages) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert [p.name for p in sorted(out.iterdir())] == ["LICENSES.txt", "dataset.json", "google-00000.tar"]
    made = (out / "google-00000.tar").stat().st_mtime_ns
    monkeypatch.setattr(emoji.ShardWriter, "write", real)
    assert run("--out", out, "--from", packages) == 0
    assert (out / "google-00000.tar").stat().st_mtime_ns == made
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()


# --- packages -------------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_npm(tmp_path, monkeypatch, packages):
    """A program called npm that hands out the small packages, and writes down what it was asked for."""
    if os.name == "nt":
        pytest.skip("the stand-in for npm is a shell script")
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "npm"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/log\ncp {packages}/$(echo "$3" | tr @ -).tgz .\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return program


def test_npm_fetches_each_package_once(fake_npm, tmp_path, packages):
    log, out = fake_npm.parent / "log", tmp_path / "out"
    assert run("--out", out) == 0
    want = ["cldr-annotations-full@48.2.0", "cldr-annotations-derived-full@48.2.0", "emoji-datasource@16.0.0"]
    assert log.read_text().splitlines() == [f"pack --silent {name}" for name in want]
    assert sorted(p.name for p in (out / "downloads").iterdir()) == sorted(w.replace("@", "-") + ".tgz" for w in want)
    assert run("--out", tmp_path / "other", "--cache", out / "downloads") == 0
    assert len(log.read_text().splitlines()) == 3
    (out / "downloads" / "emoji-datasource-16.0.0.tgz").write_bytes(b"half")  # a damaged cache is fetched again
    assert run("--out", tmp_path / "third", "--cache", out / "downloads") == 0
    assert len(log.read_text().splitlines()) == 4


def test_a_wrong_package_is_refused_and_not_kept(fake_npm, tmp_path, packages, capsys):
    (packages / "cldr-annotations-full-48.2.0.tgz").write_bytes(b"something else")
    assert run("--out", tmp_path / "out") == 1
    assert "sha256 is" in capsys.readouterr().err and not list((tmp_path / "out" / "downloads").iterdir())
    assert run("--out", tmp_path / "out", "--from", packages) == 1
    assert "cldr-annotations-full-48.2.0.tgz: sha256 is" in capsys.readouterr().err


def test_npm_that_fails_or_is_missing(fake_npm, tmp_path, monkeypatch, capsys):
    fake_npm.write_text("#!/bin/sh\necho no network >&2; exit 1\n")
    assert run("--out", tmp_path / "out") == 1
    assert "npm pack cldr-annotations-full@48.2.0 failed: no network" in capsys.readouterr().err
    monkeypatch.setattr(npm.shutil, "which", lambda *a, **k: None)
    assert run("--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "npm is not installed" in error and "--from FOLDER" in error and "--font" in error


def test_npm_beside_python_is_found_when_it_is_not_on_the_path(fake_npm, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/usr/bin:/bin" if not Path("/usr/bin/npm").exists() else "/nowhere")
    monkeypatch.setattr(npm.sys, "executable", str(fake_npm.parent / "python"))
    fake_npm.write_text(fake_npm.read_text().replace("cp ", "/bin/cp ").replace("tr @", "/usr/bin/tr @"))
    package = emoji.PACKAGES["names"]
    assert npm.fetch(package, tmp_path / "cache") == tmp_path / "cache" / package.file


def test_from_names_what_is_missing(packages, tmp_path, capsys):
    (packages / "emoji-datasource-16.0.0.tgz").unlink()
    assert run("--out", tmp_path / "out", "--from", packages) == 1
    assert "npm pack emoji-datasource@16.0.0" in capsys.readouterr().err


@pytest.mark.parametrize("language", ["xx", "nowhere", "../en"])
def test_a_language_without_names(packages, tmp_path, capsys, language):
    assert run("--out", tmp_path / "out", "--from", packages, "--languages", f"en,{language}") == 1
    assert f"--languages: CLDR has no {language!r}" in capsys.readouterr().err


# --- concepts and splits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "concept, names",
    [
        ("firefighter", ["firefighter", "man firefighter", "woman firefighter"]),
        ("surfing", ["person surfing", "man surfing", "woman surfing"]),
        ("dog", ["dog", "dog face"]),
        ("person", ["man", "woman: red hair", "child", "boy", "person", "man: beard"]),
        ("family", ["family", "family: man, woman, boy"]),
        ("holding hands", ["people holding hands", "woman and man holding hands", "men holding hands"]),
        ("walking", ["person walking", "woman walking: facing right"]),
        ("royalty", ["prince", "princess", "person with crown"]),
        ("Claus", ["Santa Claus", "Mrs. Claus", "Mx Claus"]),
        ("old", ["old man", "older person"]),
        ("waving hand", ["waving hand", "waving hand: medium-dark skin tone"]),
        ("flag", ["flag: Japan", "flag: France"]),
        ("clock face", ["one o’clock", "six-thirty"]),
        ("woman’s hat", ["woman’s hat"]),
        ("mango", ["mango"]),
    ],
)
def test_variants_share_a_concept(concept, names):
    assert {cldr.concept("x", {"x": (name, ())}) for name in names} == {concept}


def test_joined_forms_share_the_concept_of_what_they_are_made_from():
    assert cldr.concept("🐈‍⬛", NAMES) == cldr.concept("🐈", NAMES) == "cat"
    assert cldr.concept("👨‍🚒", NAMES) == "firefighter"


PERSON, BABY, OLD = 0x1F9D1, 0x1F476, 0x1F9D3
WITHOUT_GENDER = {  # man, woman, boy, girl, child -> person; old man, old woman -> older person; prince, princess; ...
    **dict.fromkeys((0x1F468, 0x1F469, 0x1F466, 0x1F467, 0x1F9D2), PERSON),
    **dict.fromkeys((0x1F474, 0x1F475), OLD),
    **dict.fromkeys((0x1F934, 0x1F478), 0x1FAC5),
    **dict.fromkeys((0x1F930, 0x1FAC3), 0x1FAC4),
    **dict.fromkeys((0x1F46B, 0x1F46C), 0x1F46D),
    0x1F57A: 0x1F483,
}
IGNORED = {*range(0x1F3FB, 0x1F400), 0xFE0F, 0x2640, 0x2642, 0x27A1}  # skin tones, gender signs, facing right


def variant_class(unicode):
    """What all variants of an emoji share, found by its code points alone, where `cldr.concept` goes by names."""
    parts = [part.strip("-").split("-") for part in unicode.split("200D")]  # U+200D joins
    codes = [
        [WITHOUT_GENDER.get(c, c) for part in parts[k] if (c := int(part, 16)) not in IGNORED]
        for k in range(len(parts))
    ]
    codes = [tuple(part) for part in codes if part]
    if not codes:
        return unicode  # a skin tone by itself
    if codes == [(0x1FAF1,), (0x1FAF2,)]:
        return (0x1F91D,)  # two hands of two skin tones: a handshake
    if codes[0] != (PERSON,) and codes[0] != (OLD,):
        return codes[0]  # 🐈‍⬛ -> 🐈
    together = [part for part in codes if part in ((PERSON,), (OLD,), (BABY,))]
    rest = tuple(part for part in codes if part not in together)
    return ("people", *rest) if len(together) > 1 else tuple(codes)  # 👨‍🚒, 👩🏻‍🚒 -> 🧑‍🚒


def crossing(examples):
    """Classes of variants that lie in more than one split, with their names."""
    classes = collections.defaultdict(list)
    for example in examples:
        classes[variant_class(example.info["unicode"])].append(example)
    return {
        name: [(e.info["name"], e.info["split"]) for e in some]
        for name, some in classes.items()
        if len({e.info["split"] for e in some}) > 1
    }


def test_the_rule_for_variants_itself():
    same = [("1F468-1F3FB-200D-1F692", "1F9D1-200D-1F692"), ("1F3C3-1F3FB-200D-2640-FE0F-200D-27A1-FE0F", "1F3C3")]
    same += [("1F408-200D-2B1B", "1F408"), ("1F478-1F3FF", "1F934"), ("270B-1F3FD", "270B")]
    assert all(variant_class(a) == variant_class(b) for a, b in same)
    different = ["1F468-200D-1F692", "1F468", "1F408", "1F478", "1F468-200D-1F33E", "1F475"]
    assert len({variant_class(code) for code in different}) == len(different)


@pytest.mark.slow
def test_no_variant_of_any_real_emoji_is_in_another_split(tmp_path):
    """On the whole set, skin tones and all; fetches 36 MB."""
    try:
        emoji.make(tmp_path, cache=os.environ.get("MINIVL_DOWNLOADS", tmp_path / "downloads"), skin_tones=True)
    except DataError as error:
        pytest.skip(f"the packages cannot be fetched: {error}")
    examples = list(read_shards([*shard_paths(tmp_path)], strict=True))
    assert len(examples) == 7572 and len({e.key for e in examples}) == 7572
    assert not crossing(examples)
    assert {e.info["split"] for e in examples} == {"train", "validation", "test"}
    assert len({e.info["label"] for e in examples}) == 10 and len({e.info["subcategory"] for e in examples}) == 99


def test_splits_are_fixed_and_about_eight_to_one_to_one():
    splits = [cldr.split(f"concept {i}") for i in range(2000)]
    shares = [splits.count(s) / 2000 for s in ("train", "validation", "test")]
    assert np.abs(np.subtract(shares, [0.8, 0.1, 0.1])).max() < 0.03
    assert [cldr.split(c) for c in ("flag", "clock face", "keycap")] == ["train"] * 3
    assert [cldr.split(c) for c in ("dog", "fire engine", "banjo")] == ["train", "train", "test"]


# --- the command -----------------------------------------------------------------------------------------------------


def test_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "data_tools.emoji", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--languages" in done.stdout
    done = subprocess.run([sys.executable, "-m", "data_tools.emoji"], capture_output=True, text=True)
    assert done.returncode == 2 and "--out" in done.stderr


def test_data_error_is_what_the_tool_raises(packages, tmp_path):
    with pytest.raises(DataError, match="is not there"):
        emoji.make(tmp_path / "out", source=tmp_path)
