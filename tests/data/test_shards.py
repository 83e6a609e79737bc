"""Shards: what is written is read back, what is broken is counted or named, and nothing in a header is believed."""

import gzip
import io
import itertools
import json
import random
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from minivl.data import shards
from minivl.data.shard_writer import described
from minivl.data.shards import DataError, Example, Problems, ShardWriter, decode_image, read_shards, shard_paths


def png(colour="red", size=(4, 3), mode="RGB", kind="PNG"):
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, kind)
    return out.getvalue()


def make_tar(path, files, mode="w", form=tarfile.USTAR_FORMAT):
    """files: [(name, bytes)]"""
    with tarfile.open(path, mode, format=form) as tar:
        for name, content in files:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return path


def sample(key, caption="a red square", **info):
    return [(f"{key}.json", json.dumps(info).encode()), (f"{key}.png", png()), (f"{key}.txt", caption.encode())]


def write_set(folder, n=5, per_shard=2, **options):
    with ShardWriter(folder, per_shard, **options) as out:
        for i in range(n):
            out.write(
                f"{i:04d}",
                Image.new("RGB", (3, 3), (i, 0, 0)),
                [f"number {i}"],
                {"split": "train" if i % 2 else "test"},
            )


# --- writing and reading back ---------------------------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path):
    with ShardWriter(tmp_path, per_shard=2, about={"source": "drawn", "licence": "CC0"}) as out:
        out.write(
            "a", Image.new("RGB", (2, 2), "blue"), ["blue", "ein Bild in Blau: schön"], {"label": 3, "split": "train"}
        )
        out.write("b", png(kind="JPEG"), "one caption")
        out.write("ü-1", png(mode="RGBA", colour=(0, 0, 0, 0)), ["x"], {"captions": {"ja": ["犬"]}})
    found = list(read_shards(tmp_path, strict=True))
    assert [e.key for e in found] == ["a", "b", "ü-1"]
    assert found[0].captions == ["blue", "ein Bild in Blau: schön"] and found[0].info == {"label": 3, "split": "train"}
    assert found[1].image == png(kind="JPEG") and found[2].info["captions"] == {"ja": ["犬"]}
    assert decode_image(found[0].image).getpixel((0, 0)) == (0, 0, 255)
    about = json.loads((tmp_path / "dataset.json").read_text("utf-8"))["shard"]
    assert about["source"] == "drawn" and about["licence"] == "CC0" and about["examples"] == 3
    assert about["splits"] == {"": 2, "train": 1} and about["fields"] == ["captions", "label", "split"]
    assert list(about["shards"]) == ["shard-00000.tar", "shard-00001.tar"]
    assert described(tmp_path, "shard") == about


def test_tarfile_reads_what_is_written_and_finds_no_times_and_no_owners(tmp_path):
    write_set(tmp_path, 2)
    with tarfile.open(tmp_path / "shard-00000.tar") as tar:
        files = tar.getmembers()
    assert [f.name for f in files] == ["0000.json", "0000.png", "0000.txt", "0001.json", "0001.png", "0001.txt"]
    assert {(f.mtime, f.uid, f.gid, f.uname, f.gname, f.mode) for f in files} == {(0, 0, 0, "", "", 0o644)}


def test_same_input_same_bytes(tmp_path):
    for name in "ab":
        write_set(tmp_path / name)
    assert [p.name for p in sorted((tmp_path / "a").iterdir())] == ["dataset.json"] + [
        f"shard-0000{i}.tar" for i in range(3)
    ]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_two_prefixes_share_a_folder_and_a_shorter_set_leaves_no_old_shards(tmp_path):
    write_set(tmp_path, 6, prefix="google")
    write_set(tmp_path, 3, prefix="google-hats")
    write_set(tmp_path, 2, prefix="google")
    assert sorted(p.name for p in tmp_path.glob("*.tar")) == [
        "google-00000.tar",
        "google-hats-00000.tar",
        "google-hats-00001.tar",
    ]
    assert set(json.loads((tmp_path / "dataset.json").read_text())) == {"google", "google-hats"}


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "a\\b", "a b", "x" * 101, "0001"])
def test_writer_refuses_keys(tmp_path, key):
    with ShardWriter(tmp_path) as out:
        out.write("0001", png(), ["a"])
        with pytest.raises(DataError, match="key"):
            out.write(key, png(), ["a"])


@pytest.mark.parametrize(
    "image, captions, words",
    [(png(), [], "captions"), (png(), ["a\nb"], "captions"), (png(), [" "], "captions"), (b"GIF89a", ["a"], "image")],
)
def test_writer_refuses_contents(tmp_path, image, captions, words):
    with ShardWriter(tmp_path) as out, pytest.raises(DataError, match=f"{words} of '0001'"):
        out.write("0001", image, captions)


def test_writer_refuses_its_own_arguments(tmp_path):
    with pytest.raises(ValueError, match="per_shard: must be at least 1, not 0"):
        ShardWriter(tmp_path, 0)
    with pytest.raises(ValueError, match="prefix"):
        ShardWriter(tmp_path, prefix="../x")


def test_an_error_while_writing_leaves_whole_shards_only_and_no_description(tmp_path):
    write_set(tmp_path, 5)
    with pytest.raises(ZeroDivisionError), ShardWriter(tmp_path, 2) as out:
        for i in range(3):
            out.write(f"new{i}", png(), ["new"])
        raise ZeroDivisionError
    assert not list(tmp_path.glob(".*")) and described(tmp_path, "shard") is None
    assert json.loads((tmp_path / "dataset.json").read_text()) == {}  # it does not describe what is no longer there
    assert len(list(read_shards(tmp_path, strict=True))) == 5  # new0 new1 | 2 3 | 4


def test_a_kill_while_writing_leaves_whole_shards_only_and_the_next_run_the_same_bytes(tmp_path):
    script = (
        "import os, sys; from minivl.data.shards import ShardWriter; from PIL import Image\n"
        "with ShardWriter(sys.argv[1], 2) as out:\n"
        "    for i in range(5):\n"
        "        if i == 3: os.kill(os.getpid(), 9)\n"
        "        out.write(f'{i:04d}', Image.new('RGB', (3, 3), (i, 0, 0)), [f'number {i}'])\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "set")])
    assert [p.name for p in shard_paths(tmp_path / "set")] == ["shard-00000.tar"]
    assert described(tmp_path / "set", "shard") is None
    assert [e.key for e in read_shards(tmp_path / "set", strict=True)] == ["0000", "0001"]
    for folder in ("set", "other"):
        write_set(tmp_path / folder)
    assert not list((tmp_path / "set").glob(".*"))
    for path in (tmp_path / "other").iterdir():
        assert path.read_bytes() == (tmp_path / "set" / path.name).read_bytes()


def write_on(folder, until=5, about=("drawn",), per_shard=2):
    """Five examples, stopped before number `until`, with what an earlier run had finished; the keys written now."""
    written = []
    with ShardWriter(folder, per_shard, about={"recipe": about}, resume=True) as out:
        for i in range(out.done, 5):
            if i == until:
                raise KeyboardInterrupt
            written.append(i)
            out.write(f"{i:04d}", Image.new("RGB", (3, 3), (i, 0, 0)), ["so"], {"split": "train" if i % 2 else "test"})
    return written


def stopped(folder, **options):
    with pytest.raises(KeyboardInterrupt):
        write_on(folder, **options)


def test_a_writer_that_resumes_writes_the_rest_and_the_same_bytes(tmp_path):
    assert write_on(tmp_path / "whole") == [0, 1, 2, 3, 4]
    for until, rest in ((0, 5), (1, 5), (2, 3), (4, 1)):
        folder = tmp_path / str(until)
        stopped(folder, until=until)
        assert described(folder, "shard") is None
        assert len(write_on(folder)) == rest
        assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in (tmp_path / "whole").iterdir())
        for path in (tmp_path / "whole").iterdir():
            assert path.read_bytes() == (folder / path.name).read_bytes()


def test_only_whole_shards_of_the_same_set_are_taken_up(tmp_path):
    for name, options in {"about": {"about": ("other",)}, "cut": {"per_shard": 3}}.items():
        stopped(tmp_path / name, until=4)
        assert len(write_on(tmp_path / name, **options)) == 5
    stopped(tmp_path / "damaged", until=4)
    shard = tmp_path / "damaged" / "shard-00001.tar"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert write_on(tmp_path / "damaged") == [2, 3, 4]
    assert [e.key for e in read_shards(tmp_path / "damaged", strict=True)] == [f"{i:04d}" for i in range(5)]
    with ShardWriter(tmp_path / "damaged", resume=True) as out:  # a finished set is not taken up: `described` tells
        assert out.done == 0


def test_described_wants_every_byte(tmp_path):
    write_set(tmp_path)
    shard = tmp_path / "shard-00001.tar"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert described(tmp_path, "shard") is None and described(tmp_path, "other") is None
    (tmp_path / "dataset.json").write_text("[1")
    assert described(tmp_path, "shard") is None


# --- which files ----------------------------------------------------------------------------------------------------


def test_shard_paths_takes_folders_files_lists_prefixes_braces_and_stars(tmp_path):
    names = [f"cc-{i:03d}.tar" for i in range(9, 12)] + ["dog-0.tar.gz", "dog-1.tgz"]
    for name in [*names, "cc.txt", ".hidden.tar", ".cc-999.part"]:
        (tmp_path / name).write_bytes(b"")

    def found(data):
        return [p.name for p in shard_paths(data)]

    assert found(tmp_path) == names
    assert found(tmp_path / "cc-010.tar") == ["cc-010.tar"]
    assert found([str(tmp_path / "dog"), tmp_path / "cc-011.tar", tmp_path / "cc"]) == names
    assert found(f"{tmp_path}/cc-{{009..011}}.tar") == names[:3]
    assert found(f"{tmp_path}/c{{c}}-0{{11,09}}.tar") == names[:3:2]
    assert found(f"{tmp_path}/dog-{{0.tar.gz,1.tgz}}") == names[3:]
    assert found(f"{tmp_path}/cc-01?.tar") == names[1:3]


@pytest.mark.parametrize(
    "data", ["nowhere", "empty", "empty/", "cc-{000..999999999}.tar", "cc-{0..1.tar", "*.tar", "c"]
)
def test_shard_paths_says_what_it_wants(tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "cc-000.zip").write_bytes(b"")
    with pytest.raises(DataError, match="data: "):
        shard_paths(data)
    with pytest.raises(DataError, match="data: "):
        next(read_shards(data))


# --- other people's sets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode, name", [("w", "a.tar"), ("w:gz", "a.tar.gz"), ("w:gz", "a.tar")])
def test_reads_every_tar_format(tmp_path, form, mode, name):
    keys = ["0001", "./0002", "train/n01/0003", "d" * 60 + "/" + "k" * 90]
    keys += [] if form == tarfile.USTAR_FORMAT else ["x/" + "long" * 100, "größe-犬"]
    path = make_tar(tmp_path / name, [file for key in keys for file in sample(key, caption=key)], mode, form)
    with tarfile.open(path) as tar:
        assert len(tar.getnames()) == 3 * len(keys)
    found = list(read_shards(path, strict=True))
    assert [e.key for e in found] == [key.removeprefix("./") for key in keys]
    assert [e.captions for e in found] == [[key] for key in keys]
    assert all(e.image == png() for e in found)


def test_reads_folders_links_and_global_headers_past(tmp_path):
    with tarfile.open(
        tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "made by hand"}
    ) as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/0.png", tarfile.SYMTYPE)):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "/etc/passwd"
            tar.addfile(header)
        for name, content in sample("d/1"):
            header = tarfile.TarInfo(name)
            header.size, header.pax_headers = len(content), {"mtime": "1.5", "path": name}
            tar.addfile(header, io.BytesIO(content))
    assert [e.key for e in read_shards(tmp_path, strict=True)] == ["d/1"]


@pytest.mark.parametrize(
    "files, captions, info",
    [
        ([("1.jpg", png()), ("1.txt", b"\xef\xbb\xbf a  dog \r\n\n another\n")], ["a dog", "another"], {}),
        ([("1.PNG", png()), ("1.JSON", b'{"caption": "a dog"}')], ["a dog"], {"caption": "a dog"}),
        ([("1.webp", png()), ("1.json", b'{"text": ["a", "b", 3]}')], ["a", "b"], {"text": ["a", "b", 3]}),
        ([("1.jpeg", png()), ("1.json", b'{"TEXT": "T", "caption": null}')], ["T"], {"TEXT": "T", "caption": None}),
        ([("1.png", png()), ("1.json", b'{"captions": {"fr": ["un", "deux"], "en": ["one"]}}')], ["un", "deux"], None),
        ([("1.png", png()), ("1.json", b'{"caption": "json"}'), ("1.txt", b"txt")], ["txt"], {"caption": "json"}),
        ([("1.cls", b"17\n"), ("1.jpg", png()), ("1.txt", b"a")], ["a"], {"label": 17}),
        ([("1.cls", b"dog"), ("1.jpg", png()), ("1.txt", b"a")], ["a"], {"label": "dog"}),
        ([("1.jpg", png()), ("1.seg.png", b"mask"), ("1.txt", b"a"), ("1.npy", b"?"), ("._1.png", b"mac")], ["a"], {}),
    ],
)
def test_finds_captions_and_labels(tmp_path, files, captions, info):
    make_tar(tmp_path / "a.tar", files)
    (example,) = read_shards(tmp_path, strict=True)
    assert example.captions == captions and example.image == png()
    assert info is None or example.info == info


def test_split_keep_and_need_caption(tmp_path):
    write_set(tmp_path)
    assert [e.key for e in read_shards(tmp_path, split="test")] == ["0000", "0002", "0004"]
    assert [e.key for e in read_shards(tmp_path, keep=lambda info: info["split"] == "train")] == ["0001", "0003"]
    make_tar(tmp_path / "labels.tar", [("1.cls", b"2"), ("1.png", png())])
    (example,) = read_shards(tmp_path / "labels.tar", strict=True, need_caption=False)
    assert example == Example("1", png(), [], {"label": 2})


# --- what is broken -------------------------------------------------------------------------------------------------

BROKEN = {
    "no caption": [("bad.png", png()), ("bad.json", b"{}")],
    "no picture": [("bad.txt", b"a dog"), ("bad.gif", b"GIF89a")],
    "bad json": [("bad.png", png()), ("bad.txt", b"a"), ("bad.json", b'{"label": ')],
    "bad json ": [("bad.png", png()), ("bad.txt", b"a"), ("bad.json", b"[1, 2]")],
    "bad json  ": [("bad.png", png()), ("bad.txt", b"a"), ("bad.json", b"[" * 100000)],
    "bad json   ": [("bad.png", png()), ("bad.txt", b"a"), ("bad.json", b'{"n": ' + b"9" * 5000 + b"}")],
    "bad text": [("bad.png", png()), ("bad.txt", "größe".encode("latin-1"))],
    "bad text ": [("bad.png", png()), ("bad.json", b'{"caption": "\\ud800"}')],
    "duplicate": [("bad.png", png()), ("bad.txt", b"a"), ("bad.png", png("blue"))],
    "too large": [("bad.png", png()), ("bad.txt", b"a" * (shards.MAX_TEXT + 1))],
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_samples_are_counted_or_named(tmp_path, kind):
    path = make_tar(tmp_path / "x.tar", [*sample("good1"), *BROKEN[kind], *sample("good2")])
    problems = Problems()
    assert [e.key for e in read_shards([path], problems=problems)] == ["good1", "good2"]
    assert dict(problems) == {kind.strip(): 1}
    assert [e.key for e in read_shards([path])] == ["good1", "good2"]
    with pytest.raises(DataError, match=r"x\.tar: bad: ") as error:
        list(read_shards([path], strict=True))
    assert error.value.kind == kind.strip()


def test_problems_make_one_line(tmp_path, capsys):
    problems = Problems()
    assert str(problems) == "nothing skipped"
    problems.warn()
    assert capsys.readouterr().err == ""
    for i in range(3):
        problems.add(DataError(f"a.tar: {i}: no caption", "no caption"))
    problems.add(DataError("a.tar: 9: broken", "broken picture"))
    problems.warn()
    kinds = "1 x broken picture (first: a.tar: 9: broken); 3 x no caption (first: a.tar: 0: no caption)"
    assert capsys.readouterr().err == f"warning: skipped 4: {kinds}\n"


@pytest.mark.parametrize("zipped", [False, True])
def test_a_tar_cut_anywhere_gives_the_whole_examples_before_the_cut(tmp_path, zipped):
    whole = make_tar(tmp_path / "whole.tar", [file for i in range(4) for file in sample(f"{i}")]).read_bytes()
    whole = (
        gzip.compress(whole[: 4 * 3 * 1024], mtime=0)[:-8] if zipped else whole[: 4 * 3 * 1024]
    )  # the examples, no end
    for cut in range(0, len(whole), 5 if zipped else 311):
        problems = Problems()
        keys = [e.key for e in _read(tmp_path, whole[:cut], problems=problems)]
        assert keys == ["0", "1", "2", "3"][: len(keys)] and len(keys) < 4 and dict(problems) == {"truncated tar": 1}
        assert [e.key for e in _read(tmp_path, whole[:cut], start=1)] == keys[1:]
        with pytest.raises(DataError, match=r"cut\.tar: truncated tar \("):
            list(_read(tmp_path, whole[:cut], strict=True))


def _read(folder, content, **options):
    path = folder / "cut.tar"
    path.write_bytes(content)
    return read_shards([path], **options)


def test_a_truncated_tar_names_the_member(tmp_path):
    whole = make_tar(tmp_path / "a.tar", sample("0") + sample("1")).read_bytes()
    with pytest.raises(DataError, match=r"ends 1 bytes early, in 1\.txt"):
        list(_read(tmp_path, whole[: 6 * 1024 - 1], strict=True))
    with pytest.raises(DataError, match=r"ends 512 bytes early, in the header after 1\.txt"):
        list(_read(tmp_path, whole[: 6 * 1024], strict=True))


def test_a_broken_shard_does_not_stop_the_next(tmp_path):
    make_tar(tmp_path / "c.tar", sample("good"))
    (tmp_path / "a.tar").write_bytes(b"no tar at all " * 100)
    (tmp_path / "b.tar").write_bytes(b"\x1f\x8bno gzip at all")
    problems = Problems()
    paths = [tmp_path / "a.tar", tmp_path / "gone.tar", tmp_path / "b.tar", tmp_path / "c.tar"]
    assert [e.key for e in read_shards(paths, problems=problems)] == ["good"] and problems["broken tar"] == 3


def header(name, size, kind=b"0"):
    """A tar header with any claim in its 12 bytes of size."""
    block = bytearray(tarfile.TarInfo(name).tobuf())
    block[124:136], block[156:157], block[148:156] = size, kind, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("kind", [b"0", b"L", b"x", b"g", b"K", b"S", b"5"])
@pytest.mark.parametrize(
    "size", [b"77777777777\0", b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7, b"\xff" * 12, b"zzzzzzzzzzz\0"]
)
@pytest.mark.parametrize("name", ["a.png", "a.txt", "a.bin"])
def test_absurd_sizes_are_not_believed(tmp_path, kind, size, name):
    path = tmp_path / "a.tar"
    path.write_bytes(header(name, size, kind) + b"x" * 2048)
    tracemalloc.start()
    problems = Problems()
    assert list(read_shards([path], problems=problems)) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e6
    assert sum(problems.values()) == 1 and problems.keys() <= {"truncated tar", "broken tar"}


def test_pax_sizes_are_not_believed_either(tmp_path):
    for claim in (b"9" * 4500, b"99999999999999999999", b"-5", b"9" * 18):
        record = b"path=a.png\n"
        record = b"%d " % (len(record) + 3) + record
        long = b" size=" + claim + b"\n"
        total = len(long) + len(str(len(long) + 3))
        content = record + str(total).encode() + long
        padded = content + b"\0" * (-len(content) % 512)
        path = tmp_path / "a.tar"
        path.write_bytes(
            header("x", b"%011o\0" % len(content), b"x") + padded + header("a.png", b"%011o\0" % 5) + b"12345"
        )
        assert list(read_shards([path])) == []


def test_random_damage_is_a_data_error_or_nothing(tmp_path):
    whole = make_tar(
        tmp_path / "a.tar", [f for i in range(3) for f in sample(f"{i}")], form=tarfile.PAX_FORMAT
    ).read_bytes()
    rng = random.Random(0)
    for content in (whole[:12000], gzip.compress(whole)):
        for _ in range(100):
            damaged = bytearray(content)
            for _ in range(rng.randint(1, 8)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            for example in _read(tmp_path, bytes(damaged)):
                assert isinstance(example, Example)
            try:
                list(_read(tmp_path, bytes(damaged), strict=True))
            except DataError as error:
                assert "cut.tar" in str(error)


def test_nothing_is_written_to_disk(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    make_tar(tmp_path / "a.tar", [*sample("../../evil"), *sample("/tmp/minivl-evil"), *sample("C:\\evil")])
    before = sorted(p.name for p in tmp_path.rglob("*"))
    assert len(list(read_shards(tmp_path / "a.tar", strict=True))) == 3
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_memory_does_not_grow_with_the_set(tmp_path):
    make_tar(tmp_path / "a.tar", [file for i in range(2000) for file in sample(f"{i}")])
    peaks = []
    for n in (200, 2000):
        tracemalloc.start()
        assert sum(1 for _ in itertools.islice(read_shards(tmp_path), n)) == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20_000


def test_start_gives_what_islice_gives_without_reading_pictures(tmp_path, monkeypatch):
    for shard in range(3):
        files = [f for i in range(4) for f in sample(f"{shard}{i}", split="test" if i == 1 else "train")]
        make_tar(tmp_path / f"{shard}.tar", [*files[:6], *BROKEN["no caption"], *files[6:], *BROKEN["bad text"]])
    for options in ({}, {"split": "train"}):
        every = list(read_shards(tmp_path, **options))
        for start in range(len(every) + 2):
            assert list(read_shards(tmp_path, start=start, **options)) == every[start:]
    read = []
    real = shards.open_tar

    def counting(path):
        class Tar:
            def __enter__(self):
                self.inner = real(path)
                return ((n, s, lambda n=n, r=r: read.append(n) or r()) for n, s, r in self.inner.__enter__())

            def __exit__(self, *error):
                return self.inner.__exit__(*error)

        return Tar()

    monkeypatch.setattr(shards, "open_tar", counting)
    assert [e.key for e in read_shards(tmp_path, start=11)] == ["23"]
    assert [name for name in read if name.endswith(".png")] == ["23.png", "bad.png"]


# --- pictures -------------------------------------------------------------------------------------------------------


def encode(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_transparency_is_laid_on_white():
    clear, half = (255, 0, 0, 0), (255, 0, 0, 128)
    image = Image.new("RGBA", (2, 1), clear)
    image.putpixel((1, 0), half)
    for data in (encode(image), encode(image, "WEBP", lossless=True, exact=True)):
        decoded = decode_image(data)
        assert decoded.mode == "RGB" and decoded.getpixel((0, 0)) == (255, 255, 255)
        assert np.abs(np.subtract(decoded.getpixel((1, 0)), (255, 127, 127))).max() <= 1
    grey = Image.new("LA", (1, 1), (0, 51))
    assert decode_image(encode(grey)).getpixel((0, 0)) == (204, 204, 204)


def test_palettes():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    assert [decode_image(encode(image)).getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (0, 0, 255)]
    data = encode(image, transparency=1)
    assert [decode_image(data).getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (255, 255, 255)]
    data = encode(Image.new("RGB", (1, 1), (9, 9, 9)), transparency=(9, 9, 9))
    assert decode_image(data).getpixel((0, 0)) == (255, 255, 255)


def test_16_bit_grey_keeps_its_greys():
    data = encode(Image.fromarray(np.array([[0, 0x8080, 0xFFFF]], np.uint16)))
    assert [decode_image(data).getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


@pytest.mark.parametrize("mode, colour, want", [("1", 1, 255), ("L", 77, 77), ("CMYK", (0, 0, 0, 255), 0)])
def test_other_modes(mode, colour, want):
    data = encode(Image.new(mode, (8, 8), colour), "JPEG" if mode == "CMYK" else "PNG")
    assert np.abs(np.asarray(decode_image(data), int) - want).max() <= 2


def bomb(width, height):
    """A PNG header that promises width x height pixels, and hardly any data."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [8193, 10000, 60000, 2**31 - 1])
def test_bombs_are_refused_before_a_pixel_is_decoded(side, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(DataError, match="pixels|exceeds limit") as error:
        decode_image(bomb(side, side))
    assert error.value.kind == "too many pixels"


def test_max_pixels_is_the_last_allowed():
    data = encode(Image.new("RGB", (10, 10)))
    assert decode_image(data, max_pixels=100).size == (10, 10)
    with pytest.raises(DataError, match="10 x 10 is more than 99 pixels"):
        decode_image(data, max_pixels=99)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_pictures_raise(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    for cut in [*range(0, 60, 7), len(data) // 3, len(data) // 2, len(data) - 100]:
        with pytest.raises(DataError, match="picture: "):
            decode_image(data[:cut])


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"<svg/>", encode(Image.new("L", (2, 2)), "GIF"), b"\x89PNG\r\n\x1a\n" * 9]
)
def test_no_pictures_raise(data):
    with pytest.raises(DataError, match="picture: not a readable PNG, JPEG or WebP") as error:
        decode_image(data)
    assert error.value.kind == "broken picture"
