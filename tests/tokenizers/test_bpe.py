"""The tokenizer as its users see it: any text survives, special tokens, padding and truncation, errors."""

import doctest
import time

import numpy as np
import pytest

from minivl.tokenizers import ByteLevelBPE, bpe

CAPTIONS = [
    "a red circle above a blue square",
    "a blue circle left of a red square",
    "Two green stars, don't they shine?",
    "red stars and blue stars",
]
HARD = [
    "",
    " ",
    "\n\t  two  spaces \r\n ",
    "   leading and trailing   ",
    "I'll say it's 2,024.50% — “done” …",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️",
    "你好，世界 日本語テキスト 한국어",
    "שלום עולם السَّلامُ عليكم \u202eRTL\u202c",
    "e\u0301 ö̲ नमस्ते ไทย Z̷a̶l̴g̵o̷",
    "İstanbul ß ſ ǅ \u00a0 \u200b \ufeff \x00\x1f",
    "<start>not a special token<end><pad>",
]


@pytest.fixture(scope="module")
def tok():
    return ByteLevelBPE.train(CAPTIONS, 300)


@pytest.fixture(scope="module")
def clip():
    return ByteLevelBPE.train(CAPTIONS, 560, ("<|startoftext|>", "<|endoftext|>"), flavour="clip")


def test_the_example_in_the_docstring():
    assert doctest.testmod(bpe).failed == 0 and doctest.testmod(bpe).attempted >= 5


@pytest.mark.parametrize("add_prefix_space", [True, False])
def test_any_text_comes_back_exactly(add_prefix_space):
    tok = ByteLevelBPE.train(CAPTIONS, 300, add_prefix_space=add_prefix_space)
    random = np.random.default_rng(0)
    points = [chr(c) for c in random.integers(0, 0x20000, 3000) if not 0xD800 <= c < 0xE000]
    texts = HARD + ["".join(random.choice(points + [" ", "\n", "a"] * 300, 20)) for _ in range(200)]
    for text in texts:
        assert tok.decode(tok.encode(text)) == text


def test_any_bytes_come_back_exactly(tok):
    random = np.random.default_rng(1)
    cases = [random.bytes(int(n)) for n in random.integers(0, 40, 300)] + [bytes([b]) for b in range(256)]
    cases += ["你好 café".encode()[:-1], b"\xed\xa0\x80", b" \xff red \xf0\x9f\x98"]
    for raw in cases:
        assert tok.decode_bytes(tok.encode(raw)) == raw
    assert tok.encode("red café".encode()) == tok.encode("red café")
    assert tok.decode(tok.encode(b"red \xff")) == "red \ufffd"


def test_a_lone_surrogate_is_no_error(tok):
    assert tok.decode(tok.encode("a \ud83d b")) == "a \ufffd\ufffd\ufffd b"
    assert tok.decode_bytes(tok.encode("\udc80")) == b"\xed\xb2\x80"


def test_a_word_is_the_same_token_wherever_it_stands(tok):
    first, later = tok.encode("red"), tok.encode("a red")
    assert len(first) == 1 and later[-1:] == first
    plain = ByteLevelBPE.train(CAPTIONS, 300, add_prefix_space=False)
    assert plain.encode("red") != plain.encode("a red")[-1:]


def test_the_same_texts_give_the_same_tokenizer():
    forth, back = ByteLevelBPE.train(CAPTIONS, 275), ByteLevelBPE.train(iter(CAPTIONS[::-1]), 275)
    assert forth.merges == back.merges and forth.vocab_size == back.vocab_size == 275


def test_the_vocabulary_ends_where_pairs_stop_repeating():
    tok = ByteLevelBPE.train(["ab ab cd"], 1000)
    assert tok.merges == [(b"a", b"b"), (b" ", b"ab")] and tok.vocab_size == 3 + 256 + 2
    assert tok.merges == ByteLevelBPE.train(["ab ab cd"], 1000, min_count=2).merges
    assert ByteLevelBPE.train(["ab ab cd"], 1000, min_count=3).merges == []


def test_lower():
    tok = ByteLevelBPE.train(CAPTIONS, 300, lower=True)
    assert tok.encode("RED Square") == tok.encode("red square")
    assert tok.decode(tok.encode("RED Square")) == "red square"


def test_special_tokens_come_from_text_only_if_asked(tok):
    special = {tok.pad_id, tok.start_id, tok.end_id}
    text = "<start>a red<end> circle<pad>"
    assert (tok.pad_id, tok.start_id, tok.end_id) == (0, 1, 2)
    assert not special & set(tok.encode(text)) and tok.decode(tok.encode(text)) == text
    ids = tok.encode(text, allow_special=True)
    assert [i for i in ids if i in special] == [1, 2, 0]
    assert tok.decode(ids, skip_special=False) == text
    assert tok.decode(ids) == "a red circle"


def test_of_two_special_names_the_longer_one_is_found():
    tok = ByteLevelBPE.train(CAPTIONS, 300, ("<a>", "<a>>", "[MASK]"))
    assert tok.encode("<a>>[MASK]<a>", allow_special=True) == [1, 2, 0]
    assert tok.special_id("[MASK]") == 2
    with pytest.raises(ValueError, match=r"unknown special token '<b>'.*\[MASK\]"):
        tok.special_id("<b>")


def test_a_tokenizer_without_the_usual_names_still_encodes():
    tok = ByteLevelBPE.train(CAPTIONS, 300, special_tokens=())
    assert tok.special_tokens == {} and tok.decode(tok.encode("red", allow_special=True)) == "red"
    with pytest.raises(ValueError, match=r"no start token: the special tokens \[\] have none of \('<start>'"):
        tok("a red circle")
    with pytest.raises(ValueError, match="no end token"):
        tok("a red circle", start=False)
    words = ByteLevelBPE.train(CAPTIONS, 560, special_tokens=(), flavour="clip")
    assert words.decode([*words.encode("red"), 0, 0]) == "red !!"  # no end token, so these zeros are no padding


def test_a_batch(tok):
    ids, lengths = tok(["a red circle", "", "blue"], context_length=8)
    assert ids.shape == (3, 8) and ids.dtype == lengths.dtype == np.int64
    for row, length, text in zip(ids, lengths, ["a red circle", "", "blue"], strict=True):
        assert row[:length].tolist() == [tok.start_id, *tok.encode(text), tok.end_id]
        assert (row[length:] == tok.pad_id).all()
        assert tok.decode(row) == text


def test_truncation_keeps_the_end_token(tok):
    long = " ".join(CAPTIONS)
    for T in range(2, 12):
        ids, lengths = tok([long], context_length=T)
        assert lengths.tolist() == [T] and ids[0, 0] == tok.start_id and ids[0, -1] == tok.end_id
        assert ids[0, 1:-1].tolist() == tok.encode(long)[: T - 2]
    ids, _ = tok(long, context_length=4, start=False)
    assert ids[0].tolist() == [*tok.encode(long)[:3], tok.end_id]
    ids, _ = tok(long, context_length=4, end=False)
    assert ids[0].tolist() == [tok.start_id, *tok.encode(long)[:3]]


def test_a_batch_without_context_length_is_as_long_as_its_longest_text(tok):
    ids, lengths = tok(["red", "a red circle above"])
    assert ids.shape == (2, lengths.max()) and tok.decode(ids[1]) == "a red circle above"
    assert tok([])[0].shape == (0, 0) and tok([], context_length=5)[0].shape == (0, 5)
    assert tok("red")[0].shape == (1, 3)


@pytest.mark.parametrize("length", [0, 1, -3, 2.5, "8", True])
def test_a_bad_context_length_is_refused(tok, length):
    with pytest.raises(ValueError, match=f"context_length must be an integer of at least 2, got {length!r}"):
        tok(["a red circle"], context_length=length)


def test_bad_ids_are_refused(tok):
    with pytest.raises(ValueError, match=rf"ids\[1\] is 300; it must be in 0 ... {tok.vocab_size - 1}"):
        tok.decode([5, 300])
    with pytest.raises(ValueError, match=r"ids\[0\] is -1"):
        tok.decode(np.array([-1]))
    with pytest.raises(ValueError, match=r"one sequence of integers, got shape \(1, 2\)"):
        tok.decode([[1, 2]])
    with pytest.raises(ValueError, match="one sequence of integers, got .* float64"):
        tok.decode([1.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 258}, r"vocab_size must be at least 259 \(256 for single bytes, 3 special tokens\), got 258"),
        ({"flavour": "clip"}, "vocab_size must be at least 515"),
        ({"flavour": "bert"}, "flavour must be .* got 'bert'"),
        ({"flavour": "clip", "add_prefix_space": True}, "add_prefix_space must be False"),
        ({"special_tokens": ("<pad>", "<pad>")}, "different names .* got '<pad>'"),
        ({"special_tokens": ("pad",)}, "got 'pad'"),
        ({"special_tokens": ("<>",)}, "got '<>'"),
        ({"min_count": 0}, "min_count must be at least 1, got 0"),
    ],
)
def test_bad_training_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ByteLevelBPE.train(CAPTIONS, **{"vocab_size": 300} | arguments)


def test_what_is_no_text_is_refused(tok):
    with pytest.raises(TypeError, match="texts must be an iterable of texts"):
        ByteLevelBPE.train("a red circle", 300)
    with pytest.raises(TypeError, match="text must be str or bytes, got int"):
        tok.encode(5)


def test_clip_flavour_words(clip):
    assert clip.decode(clip.encode("  A RED\n circle,  don&amp;#39;t ")) == "a red circle , don 't"
    assert clip.pieces("red stars 12") == [b"red ", b"stars ", b"1 ", b"2 "]
    assert clip.encode("redblue")[0] != clip.encode("red")[0]  # the end of a word is part of the token
    assert clip.encode("ſ't “x” ﬁ Ａ e\u0301") == clip.encode('ſ\'t "x" fi A \u00e9')


def test_clip_pads_with_zero_and_decoding_drops_that(clip):
    ids, lengths = clip(["red stars!", "blue !!"], context_length=12)
    assert clip.pad_id == 0 and clip.encode("!!")[0] == 0 and (ids[0, lengths[0] :] == 0).all()
    assert [clip.decode(row) for row in ids] == ["red stars !", "blue !!"]
    assert ids.max() == clip.end_id == clip.vocab_size - 1  # CLIP finds the end of a text by the largest id
    assert clip.decode(ids[0][: lengths[0]], skip_special=False) == "<|startoftext|>red stars !<|endoftext|>"


@pytest.mark.slow
@pytest.mark.parametrize("flavour", ["gpt2", "clip"])
def test_a_long_word_is_no_trap(flavour):
    tok = ByteLevelBPE.train(["abababab" * 4, "aaaaaaaa", "abcabc"], 600, flavour=flavour, min_count=1)
    random = np.random.default_rng(0)
    words = ["a" * 100_000, "ab" * 50_000, "".join(random.choice(list("abc"), 100_000)), "!" * 100_000]
    start = time.perf_counter()
    for word in words:
        assert tok.decode(tok.encode(word)) == word
    assert time.perf_counter() - start < 20  # about 1 s; the plain algorithm takes minutes


def test_a_small_cache_changes_nothing(tok, monkeypatch):
    expected = [tok.encode(text) for text in CAPTIONS + HARD]
    monkeypatch.setattr(bpe, "_CACHED_WORDS", 2)
    small = ByteLevelBPE.train(CAPTIONS, 300)
    assert [small.encode(text) for text in CAPTIONS + HARD] == expected and len(small._cache) <= 2
