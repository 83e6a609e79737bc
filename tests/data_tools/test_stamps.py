"""The stamps tool, on a small package of the same layout: no network, no apt."""

import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image, ImageDraw

from data_tools import debian, stamps
from minivl.data import rle
from minivl.data.shards import DataError, ShardWriter, decode_image, read_shards

ROOT = "usr/share/tuxpaint/stamps/"
TEXTS = {
    "animals/cats/lion": "A lion.\nde.utf8=Ein Löwe.\npt_BR.utf8=Um leão.\nsr@latin.utf8=Lav.\n"
    "fr.utf8=\nit.utf8=A lion.\n\n",
    "animals/cats/cartoon/happy lion": "A happy lion!\nfr.utf8=Un lion content !\n",
    "food/apple_red": "A red apple.\nca@valencia.utf8=Una poma roja.\n",
    "food/drawn": "A pear.\n",  # an SVG, no PNG
    "food/silent": "",
    "symbols/alphabets/english/q": "The letter q.\n",
}
OVAL = (12, 8, 27, 39)  # where the thing is in its picture, both ends within


def png(noise):
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 256 if noise else 2, (48, 40, 4), np.uint8))
    alpha = Image.new("L", picture.size)
    ImageDraw.Draw(alpha).ellipse(OVAL, fill=255)
    picture.putalpha(alpha)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            header = tarfile.TarInfo("./" + name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return out.getvalue()


def ar(**members):
    out = b"!<arch>\n"
    for name, content in members.items():
        head = (
            f"{name.replace('_tar', '.tar').replace('_', '.'):<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
        )
        out += head.encode() + content + b"\n" * (len(content) % 2)
    return out


FILES = {
    **{f"{ROOT}{name}.txt": text.encode() for name, text in TEXTS.items()},
    **{f"{ROOT}{name}.png": png(noise="q" not in name) for name in TEXTS if name != "food/drawn"},
    f"{ROOT}food/drawn.svg": b"<svg/>",
    f"{ROOT}food/apple_red.ogg": b"spoken",
    "usr/share/doc/tuxpaint-stamps-default/copyright": b"License: GPL-2",
}


@pytest.fixture
def deb(tmp_path, monkeypatch):
    """A small package, whose sha256 the tool is made to expect."""
    path = tmp_path / "tuxpaint-stamps-default_1_all.deb"
    path.write_bytes(ar(debian_binary=b"2.0", control_tar_xz=b"odd", data_tar_xz=lzma.compress(tar(FILES))))
    digest = sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(stamps, "PACKAGE", debian.Package("tuxpaint-stamps-default", "1", digest))
    return path


def run(*arguments):
    return stamps.main([str(a) for a in arguments])


def test_the_package_is_pinned():
    assert stamps.PACKAGE.version == "2022.06.04-1" and stamps.PACKAGE.sha256.startswith("6db6c1bfc870a47f")


def test_stamps_with_sentences_classes_masks_and_licence(deb, tmp_path):
    assert run("--out", tmp_path / "out", "--deb", deb) == 0
    found = {e.key: e for e in read_shards(tmp_path / "out", strict=True)}
    assert list(found) == [
        "animals-cats-cartoon-happy_lion",
        "animals-cats-lion",
        "food-apple_red",
        "symbols-alphabets-english-q",
    ]
    lion = found["animals-cats-lion"]
    assert lion.captions == ["A lion."]
    assert lion.info["translations"] == {"de": ["Ein Löwe."], "pt-BR": ["Um leão."], "sr-Latn": ["Lav."]}
    assert {k: lion.info[k] for k in ("label", "subcategory", "name", "style", "path", "concept")} == {
        "label": "animals",
        "subcategory": "animals/cats",
        "name": "lion",
        "style": "photograph",
        "path": "animals/cats/lion",
        "concept": "lion",
    }
    happy = found["animals-cats-cartoon-happy_lion"].info
    assert happy["style"] == "drawing" and happy["subcategory"] == "animals/cats"
    assert happy["concept"] == "lion" and happy["split"] == lion.info["split"]
    assert found["food-apple_red"].info["translations"] == {"ca-valencia": ["Una poma roja."]}
    assert found["symbols-alphabets-english-q"].info["style"] == "drawing"  # all flat
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())["stamps"]
    assert about["licence"] == "GPL-2.0-or-later" and about["source"] == deb.name
    assert about["left_out"] == {"only an SVG": 1} and about["examples"] == 4
    assert "License: GPL-2" in (tmp_path / "out" / "LICENSES.txt").read_text()


@pytest.mark.parametrize("size", [128, 16])
def test_the_mask_is_where_the_picture_is_not_transparent(deb, tmp_path, size):
    assert run("--out", tmp_path / "out", "--deb", deb, "--size", size) == 0
    example = next(read_shards(tmp_path / "out", strict=True))
    picture = Image.open(io.BytesIO(example.image))
    shape = (OVAL[2] - OVAL[0] + 1, OVAL[3] - OVAL[1] + 1)
    assert picture.mode == "RGBA" and picture.size == (shape if size == 128 else (8, 16))
    (thing,) = example.info["objects"]
    mask = rle.decode(thing["segmentation"])
    assert np.array_equal(mask, np.asarray(picture)[..., 3] > 127)
    assert thing["bbox"] == [0, 0, *picture.size] and thing["area"] == mask.sum() > 0.7 * mask.size
    assert (np.asarray(decode_image(example.image))[0, 0] > 250).all()


def test_only_the_languages_asked_for(deb, tmp_path, capsys):
    assert run("--out", tmp_path / "out", "--deb", deb, "--languages", "de, fr") == 0
    told = [e.info["translations"] for e in read_shards(tmp_path / "out")]
    assert told == [{"fr": ["Un lion content !"]}, {"de": ["Ein Löwe."]}, {}, {}]
    assert run("--out", tmp_path / "out", "--deb", deb, "--languages", "xx") == 1
    assert "--languages: no stamp speaks 'xx'; known are all, ca-valencia, de, en, fr" in capsys.readouterr().err


class Hasty(ShardWriter):
    """Two examples a shard, and a stop before the key that is set."""

    stop = None

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options, per_shard=2)

    def write(self, key, *rest):
        if key == self.stop:
            raise KeyboardInterrupt
        super().write(key, *rest)


def test_goes_on_after_a_stop_with_the_same_bytes_and_makes_nothing_twice(deb, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stamps, "ShardWriter", Hasty)
    assert run("--out", tmp_path / "whole", "--deb", deb) == 0
    monkeypatch.setattr(Hasty, "stop", "symbols-alphabets-english-q")
    assert run("--out", tmp_path / "out", "--deb", deb) == 130
    assert "the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(Hasty, "stop", None)
    monkeypatch.setattr(
        stamps, "_example", lambda name, *rest, real=stamps._example: made.append(name) or real(name, *rest)
    )
    made = []
    assert run("--out", tmp_path / "out", "--deb", deb) == 0
    assert made == ["food/apple_red", "symbols/alphabets/english/q"]
    assert run("--out", tmp_path / "out", "--deb", tmp_path / "gone.deb") == 0  # finished: the package is not asked for
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


# --- what a thing is called ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sentence, name",
    [("A lion.", "lion"), ("An Adelaide Rosella.", "Adelaide Rosella"), ("Some cherries", "cherries"), ("Yum!", None)]
    + [
        ("A dumper. It carries its load.", None),
        ("A head of lettuce.", "head of lettuce"),
        ("A horse with a hat.", None),
    ],
)
def test_a_name_is_a_sentence_that_only_names(sentence, name):
    assert stamps.named(sentence) == name


def test_the_same_thing_is_the_same_concept():
    for concept, sentences in {
        "apple": ["A red apple.", "A green apple.", "Some apples."],
        "lion": ["A lion.", "A happy lion!", "A little lion."],
        "lettuce": ["A head of lettuce.", "A head of red lettuce."],
        "orange": ["An orange."],
        "glass": ["A glass."],
    }.items():
        assert {stamps.concept_of("x/y", s) for s in sentences} == {concept}
    assert stamps.concept_of("symbols/alphabets/asl/a", "The sign for the letter A.") == "letter"


# --- packages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [lzma.compress, gzip.compress, bytes])
def test_every_way_to_pack(tmp_path, packed):
    name = {lzma.compress: "data_tar_xz", gzip.compress: "data_tar_gz", bytes: "data_tar"}[packed]
    path = tmp_path / "a.deb"
    path.write_bytes(ar(debian_binary=b"2.0", **{name: packed(tar({"usr/a": b"1", "usr/b": b"22"}))}))
    assert dict(debian.read(path, lambda name: True)) == {"usr/a": b"1", "usr/b": b"22"}
    assert dict(debian.read(path, "usr/b".__eq__)) == {"usr/b": b"22"}


@pytest.mark.parametrize(
    "content, words",
    [
        (b"PK", "does not begin with !<arch>"),
        (ar(debian_binary=b"2.0"), "has no data.tar"),
        (b"!<arch>\n" + b"x" * 60, "has no data.tar"),
        (ar(data_tar_lz=b"1"), "packed in a way that is not known"),
        (ar(data_tar_xz=b"no xz"), "not a readable Debian package"),
        (ar(data_tar_xz=lzma.compress(tar(FILES))[:900]), "not a readable Debian package"),
        (ar(data_tar_gz=gzip.compress(b"no tar" * 200)), "not a readable Debian package"),
    ],
)
def test_what_is_no_package_is_refused(tmp_path, content, words):
    path = tmp_path / "a.deb"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        list(debian.read(path, lambda name: True))


def test_another_package_is_refused_unless_its_sha256_is_given(deb, tmp_path, capsys):
    other = tmp_path / "other.deb"
    other.write_bytes(ar(data_tar_xz=lzma.compress(tar({**FILES, "usr/x": b""}))))
    assert run("--out", tmp_path / "out", "--deb", other) == 1
    assert "other.deb: sha256 is" in capsys.readouterr().err
    assert run("--out", tmp_path / "out", "--deb", other, "--sha256", sha256(other.read_bytes()).hexdigest()) == 0
    assert run("--out", tmp_path / "none", "--deb", tmp_path / "gone.deb") == 1
    assert "apt-get download tuxpaint-stamps-default" in capsys.readouterr().err


@pytest.fixture
def fake_apt(tmp_path, monkeypatch, deb):
    """A program called apt-get that hands out the small package, and writes down what it was asked for."""
    if os.name == "nt":
        pytest.skip("the stand-in for apt-get is a shell script")
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "apt-get"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/log\ncp {deb} .\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return program


def test_apt_fetches_the_package_once(fake_apt, tmp_path):
    for out in ("a", "b"):
        assert run("--out", tmp_path / out, "--cache", tmp_path / "cache") == 0
    assert (fake_apt.parent / "log").read_text() == "download tuxpaint-stamps-default\n"
    (cached,) = (tmp_path / "cache").iterdir()
    cached.write_bytes(b"half")  # a damaged cache is fetched again
    assert run("--out", tmp_path / "c", "--cache", tmp_path / "cache") == 0


def test_apt_that_fails_or_is_missing(fake_apt, tmp_path, monkeypatch, capsys):
    fake_apt.write_text("#!/bin/sh\necho no network >&2; exit 1\n")
    assert run("--out", tmp_path / "out") == 1
    assert "apt-get download tuxpaint-stamps-default failed: no network" in capsys.readouterr().err
    monkeypatch.setattr(debian.shutil, "which", lambda name: None)
    assert run("--out", tmp_path / "out") == 1
    assert "apt-get is not on this machine" in capsys.readouterr().err


def test_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "data_tools.stamps", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--deb" in done.stdout and "GPL" in done.stdout


@pytest.mark.slow
def test_the_real_package(tmp_path):
    """All 785; fetches 161 MB."""
    try:
        stamps.make(tmp_path, cache=os.environ.get("MINIVL_DOWNLOADS", tmp_path / "downloads"))
    except DataError as error:
        pytest.skip(f"the package cannot be fetched: {error}")
    examples = list(read_shards(tmp_path, strict=True))
    assert len(examples) == 785 and len({e.info["label"] for e in examples}) == 16
    assert len({language for e in examples for language in e.info["translations"]}) == 77
    assert {e.info["split"] for e in examples} == {"train", "validation", "test"}
    for example in examples:
        (thing,) = example.info["objects"]
        picture = Image.open(io.BytesIO(example.image))
        assert max(picture.size) <= 128 and thing["segmentation"]["size"] == [picture.height, picture.width]
        assert 0 < thing["area"] == rle.area(thing["segmentation"])
