"""Vocabulary files: our own, CLIP's and GPT-2's, whole or malformed, and a kill in the middle of writing."""

import gzip
import json
import os

import pytest

from minivl.tokenizers import ByteLevelBPE, files
from minivl.tokenizers.words import CHARACTERS

TEXTS = ["a red circle, a RED square; two red circles", "don't 你好 你好 \x00\x00 👍👍 12 12"]
CLIP_LINES = ["#version: 0.2", "e d</w>", "r ed</w>", "r e", "c a", "ca t</w>"]
GPT2_LINES = ["#version: 0.2", "e d", "Ġ r", "Ġr ed"]


def same(one, other, texts=(*TEXTS, "Never seen, 世界 <end>")):
    assert one.vocab_size == other.vocab_size and one.merges == other.merges
    assert one.special_tokens == other.special_tokens and repr(one) == repr(other)
    for text in texts:
        ids = one.encode(text)
        assert ids == other.encode(text) and one.decode(ids) == other.decode(ids)


def write_clip(folder, lines=CLIP_LINES, name="merges.txt"):
    path = folder / name
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def write_gpt2(folder, lines=GPT2_LINES, encoder=None):
    if encoder is None:
        made = [line.replace(" ", "") for line in GPT2_LINES[1:]]
        encoder = {token: i for i, token in enumerate([*CHARACTERS.values(), *made, "<|endoftext|>"])}
    (folder / "encoder.json").write_text(json.dumps(encoder))
    (folder / "vocab.bpe").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder / "encoder.json", folder / "vocab.bpe"


@pytest.mark.parametrize("options", [{}, {"lower": True}, {"add_prefix_space": False}, {"flavour": "clip"}])
def test_save_and_load(tmp_path, options):
    tok = ByteLevelBPE.train(TEXTS, 560, **options)
    tok.save(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path / "new" / "folder") == ["tokenizer.json"]
    same(tok, ByteLevelBPE.load(tmp_path / "new" / "folder"))


def test_a_clip_file_by_hand(tmp_path):
    tok = ByteLevelBPE.from_clip(write_clip(tmp_path))
    assert tok.vocab_size == 512 + 5 + 2 and (tok.start_id, tok.end_id, tok.pad_id) == (517, 518, 0)
    # ids: "!" is 0, so a letter is ord - 33, and 256 more at the end of a word; merges follow from 512 on
    assert tok.encode("Red CAT") == [513, 516]
    assert tok.encode("reds") == [514, ord("d") - 33, ord("s") - 33 + 256]
    assert tok.encode("&lt;") == [ord("<") - 33 + 256]
    ids, lengths = tok(["red", "red cat red"], context_length=4)
    assert ids.tolist() == [[517, 513, 518, 0], [517, 513, 516, 518]] and lengths.tolist() == [3, 4]


def test_a_gpt2_file_by_hand(tmp_path):
    tok = ByteLevelBPE.from_gpt2(*write_gpt2(tmp_path))
    assert tok.vocab_size == 260 and tok.special_tokens == {"<|endoftext|>": 259}
    assert tok.pad_id == tok.start_id == tok.end_id == 259
    assert tok.encode("red red") == [ord("r") - 33, 256, 258]
    assert tok.encode("red<|endoftext|>", allow_special=True) == [ord("r") - 33, 256, 259]
    ids, lengths = tok(["red", ""], context_length=5)
    assert ids.tolist() == [[259, 81, 256, 259, 259], [259] * 5] and lengths.tolist() == [4, 2]


def test_ids_of_a_gpt2_file_may_stand_in_any_order(tmp_path):
    names = [*CHARACTERS.values(), "ed", "Ġr", "Ġred", "<|endoftext|>"]
    tok = ByteLevelBPE.from_gpt2(*write_gpt2(tmp_path, encoder={name: 259 - i for i, name in enumerate(names)}))
    assert tok.encode(" red") == [1] and tok.end_id == 0 and tok.decode([1, 0]) == " red"


@pytest.mark.parametrize("name", ["merges.txt", "merges.txt.gz"])
def test_clip_round_trip(tmp_path, name):
    tok = ByteLevelBPE.train(TEXTS, 540, files.CLIP_SPECIAL, flavour="clip")
    tok.to_clip(tmp_path / name)
    loaded = ByteLevelBPE.from_clip(tmp_path / name)
    same(tok, loaded)
    loaded.to_clip(tmp_path / f"again_{name}")
    data = (tmp_path / name).read_bytes()
    assert data == (tmp_path / f"again_{name}").read_bytes() and (data[:2] == b"\x1f\x8b") == name.endswith(".gz")


def test_a_saved_clip_file_has_the_merges_of_the_one_it_came_from(tmp_path):
    ByteLevelBPE.from_clip(write_clip(tmp_path)).to_clip(tmp_path / "again.txt.gz")
    assert gzip.decompress((tmp_path / "again.txt.gz").read_bytes()).decode().split("\n") == [*CLIP_LINES, ""]


def test_gpt2_round_trip(tmp_path):
    tok = ByteLevelBPE.train(TEXTS, 300)
    tok.to_gpt2(tmp_path / "encoder.json", tmp_path / "vocab.bpe")
    same(tok, ByteLevelBPE.from_gpt2(tmp_path / "encoder.json", tmp_path / "vocab.bpe", add_prefix_space=True))
    paths = write_gpt2(tmp_path)
    before = [path.read_bytes() for path in paths]
    ByteLevelBPE.from_gpt2(*paths).to_gpt2(*paths)
    assert paths[1].read_bytes() == before[1] and json.loads(paths[0].read_bytes()) == json.loads(before[0])


def test_clip_stops_where_clip_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CLIP_MERGES", 2)
    assert ByteLevelBPE.from_clip(write_clip(tmp_path)).merges == [(b"e", b"d "), (b"r", b"ed ")]


def test_a_tokenizer_is_not_saved_in_a_format_that_cannot_hold_it(tmp_path):
    with pytest.raises(ValueError, match="to_clip: the format is for the clip flavour"):
        ByteLevelBPE.train(TEXTS, 300).to_clip(tmp_path / "x.gz")
    with pytest.raises(ValueError, match="to_clip: .*this is ByteLevelBPE.*<pad>"):
        ByteLevelBPE.train(TEXTS, 530, flavour="clip").to_clip(tmp_path / "x.gz")
    with pytest.raises(ValueError, match="to_gpt2: the format is for the gpt2 flavour"):
        ByteLevelBPE.from_clip(write_clip(tmp_path)).to_gpt2(tmp_path / "e", tmp_path / "v")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["e d</w>"], r"merges.txt, line 1: must be a header like '#version: 0.2', got 'e d</w>'"),
        ([*CLIP_LINES[:3], "r e e"], r"line 4: a merge is two tokens with one space between them, got 'r e e'"),
        ([*CLIP_LINES[:3], "", "r e"], r"line 4: a merge is two tokens .* got ''"),
        ([*CLIP_LINES[:2], "x yz"], r"line 3: 'yz' is neither a byte nor made by a line above"),
        ([*CLIP_LINES[:4], "e d</w>"], r"line 5: 'ed</w>' is made by a line above already"),
    ],
)
def test_a_malformed_clip_file_is_refused_with_its_line(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        ByteLevelBPE.from_clip(write_clip(tmp_path, lines))


def test_a_cut_or_binary_file_is_refused(tmp_path):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress("\n".join(CLIP_LINES).encode())[:-9])
    with pytest.raises(ValueError, match="cut.gz: cannot be read as"):
        ByteLevelBPE.from_clip(path)
    whole = gzip.compress("\n".join(CLIP_LINES).encode())
    path.write_bytes(whole[:12] + b"\xff" * 4 + whole[16:])
    with pytest.raises(ValueError, match="cut.gz: cannot be read as"):
        ByteLevelBPE.from_clip(path)
    path.write_bytes(b"\x89PNG\xff\xff")
    with pytest.raises(ValueError, match="cut.gz: cannot be read as"):
        ByteLevelBPE.from_clip(path)


@pytest.mark.parametrize(
    ("lines", "change", "message"),
    [
        ([*GPT2_LINES, "Ġr e"], {}, r"vocab.bpe, line 5: 'Ġre' is no ordinary token of .*encoder.json"),
        ([*GPT2_LINES, "e d"], {}, r"vocab.bpe, line 5: this merge stands there twice"),
        ([*GPT2_LINES[:3]], {}, r"encoder.json: the token 'Ġred' is neither a byte, nor special, nor made by a merge"),
        (GPT2_LINES, {"a": 300}, r"encoder.json: must map each token to an id, the ids being 0, 1, 2"),
        (GPT2_LINES, {"a": "7"}, r"must map each token"),
        (GPT2_LINES, {"a": None, "alpha": 64}, r"encoder.json: the token 'a' is missing"),
    ],
)
def test_malformed_gpt2_files_are_refused(tmp_path, lines, change, message):
    encoder_json, vocab_bpe = write_gpt2(tmp_path, lines)
    encoder = json.loads(encoder_json.read_text()) | change
    encoder_json.write_text(json.dumps({token: i for token, i in encoder.items() if i is not None}))
    with pytest.raises(ValueError, match=message):
        ByteLevelBPE.from_gpt2(encoder_json, vocab_bpe)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "is no tokenizer of ours"),
        ({"flavour": "bert"}, '"flavour" must be "gpt2" or "clip", got \'bert\''),
        ({"lower": 1}, '"lower" must be a JSON bool, got 1'),
        ({"tokens": ["a", 5]}, r"tokens\[1\] must be a string, got 5"),
        ({"tokens": ["a", "a"]}, "the token 'a' stands there twice"),
        ({"special_tokens": ["<mask>"]}, "the token '<mask>' is missing"),
        ({"merges": ["a b c"]}, r"merges\[0\]: a merge is two tokens"),
        ({"merges": ["a <pad>"]}, r"merges\[0\]: '<pad>' is no ordinary token"),
        ({"merges": []}, "is neither a byte, nor special, nor made by a merge"),
        ({"extra": 1}, r"unknown entries \['extra'\]"),
    ],
)
def test_a_malformed_file_of_ours_is_refused(tmp_path, change, message):
    ByteLevelBPE.train(TEXTS, 270).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change))
    with pytest.raises(ValueError, match=message):
        ByteLevelBPE.load(tmp_path)


def test_a_cut_file_of_ours_is_refused_with_its_line(tmp_path):
    ByteLevelBPE.train(TEXTS, 270).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text("\n".join(path.read_text(encoding="utf-8").split("\n")[:50]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer.json, line 50: is not JSON"):
        ByteLevelBPE.load(tmp_path)


def test_a_failed_save_leaves_the_old_file_alone(tmp_path, monkeypatch):
    tok = ByteLevelBPE.train(TEXTS, 270)
    tok.save(tmp_path)
    before = (tmp_path / "tokenizer.json").read_bytes()

    def refuse(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        ByteLevelBPE.train(TEXTS, 290).save(tmp_path)
    assert os.listdir(tmp_path) == ["tokenizer.json"] and (tmp_path / "tokenizer.json").read_bytes() == before
