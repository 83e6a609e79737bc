"""Byte-level byte-pair encoding: text becomes ids of pieces that were frequent where the tokenizer was trained.

Start from the 256 bytes, so that nothing is ever unknown. Then, again and again, give the most frequent pair of
neighbours an id of its own. Two captions, by hand (each word keeps the space before it, the first is given one):

    " red" twice, " bed", " sled"                pairs:   ed 4   " r" 2   re 2   " b" 1   be 1   " s" 1   sl 1   le 1
    merge 1   e + d        ed 4 is the most      then:    " r" 2   r+ed 2   " b" 1   b+ed 1   " s" 1   sl 1   l+ed 1
    merge 2   r + ed       of two equals, "r" has the smaller id          then:    " "+red 2, and the rest once
    merge 3   " " + red    now " red" is one token, and no pair is left that occurs twice

>>> tok = ByteLevelBPE.train(["red bed", "red sled"], vocab_size=1000)
>>> tok.merges
[(b'e', b'd'), (b'r', b'ed'), (b' ', b'red')]
>>> tok.vocab_size  # three special tokens, 256 bytes, three merges
262
>>> tok.pieces("red shed")  # a new word: the same merges, in the same order, as far as they go
[b' red', b' ', b's', b'h', b'ed']
>>> tok.encode("red shed")
[261, 223, 85, 74, 259]
>>> tok.decode([261, 223, 85, 74, 259])
'red shed'

Sources: Sennrich, Haddow, Birch 2016, arXiv 1508.07909 (the algorithm); Radford et al. 2019, sec. 2.2 (bytes; GPT-2).
The algorithm itself is in merges.py, what a word is in words.py.
"""

from collections import Counter

import numpy as np
import regex

from . import files
from .merges import apply_merges, learn_merges
from .words import BYTES, CHARACTERS, END_OF_WORD, SPECIAL_NAME, as_bytes, as_text, split

# Which special token plays which part: the first of these names that the tokenizer has.
_PARTS = {
    "pad": ("<pad>", "<|endoftext|>"),
    "start": ("<start>", "<|startoftext|>", "<|endoftext|>"),
    "end": ("<end>", "<|endoftext|>"),
}
_CACHED_WORDS = 1 << 16
_CACHED_LENGTH = 100  # a longer word is not met often enough to be kept


class ByteLevelBPE:
    """A tokenizer: made by `train`, `load`, `from_clip` or `from_gpt2`.

    flavour "gpt2": words keep the space before them. With `add_prefix_space` (our default, not GPT-2's own) the text is
        encoded with a space in front, so that "red" is one token wherever it stands, and decoding takes the space away.
        Unless `lower` is set, any text and any bytes come back exactly.
    flavour "clip": words carry a mark at their end. Decoding gives back the words, but not what the clean-up took: case
        (if `lower`), the kind and amount of white space, HTML entities, and the spelling of spaces beside punctuation
        ("don't." comes back as "don 't ."). OpenAI's code also runs ftfy.fix_text first. Its common repairs are done
        here (NFC, curly quotes, ligatures, full and half width, control characters); ids differ where ftfy does more:
        wrongly decoded text (mojibake, C1 controls), lone surrogates, terminal escapes, the letters ŉ and ﬅ.

    vocab_size        how many ids there are
    merges            [(left bytes, right bytes)], the first learnt first
    special_tokens    {name: id}; they come from text only if `encode` is asked to
    """

    def __init__(self, tokens, merges, special_tokens, *, flavour="gpt2", lower=False, add_prefix_space=False):
        """tokens: names, index = id; merges: pairs of names; special_tokens: which names are special."""
        ids = {token: i for i, token in enumerate(tokens)}
        last = END_OF_WORD if flavour == "clip" else ""
        self.flavour, self.lower, self.add_prefix_space = flavour, lower, add_prefix_space
        self.special_tokens = {name: ids[name] for name in special_tokens}
        self._names, self._merge_names = list(tokens), list(merges)
        self._bytes = [self._bytes_of(token) for token in tokens]
        self._ranks = {(ids[a], ids[b]): (rank, ids[a + b]) for rank, (a, b) in enumerate(merges)}
        self._byte_ids = [ids[CHARACTERS[byte]] for byte in range(256)]
        self._last_byte_ids = [ids[CHARACTERS[byte] + last] for byte in range(256)]
        self._cache = {}

    @classmethod
    def train(
        cls,
        texts,
        vocab_size,
        special_tokens=("<pad>", "<start>", "<end>"),
        *,
        flavour="gpt2",
        lower=None,
        add_prefix_space=None,
        min_count=2,
    ):
        """Learns merges until there are `vocab_size` ids, special ones included, or no pair occurs `min_count` times.

        texts: iterable of str or bytes, read once. The same texts in any order give the same tokenizer (ties: see
        `learn_merges`). `lower` and `add_prefix_space` default to the flavour's way: gpt2 False and True, clip True and
        False. Ids: special tokens first, then bytes, then merges; in the clip flavour special tokens last, as in CLIP.
        """
        special_tokens = tuple(special_tokens)
        clip = flavour == "clip"
        lower = clip if lower is None else lower
        add_prefix_space = not clip if add_prefix_space is None else add_prefix_space
        symbols = [*CHARACTERS.values()] + clip * [c + END_OF_WORD for c in CHARACTERS.values()]
        _check_training(texts, vocab_size, special_tokens, symbols, flavour, add_prefix_space, min_count)

        first, last = ((), special_tokens) if clip else (special_tokens, ())
        settings = {"flavour": flavour, "lower": lower, "add_prefix_space": add_prefix_space}
        untrained = cls([*first, *symbols, *last], [], special_tokens, **settings)
        words = Counter(word for text in texts for word in untrained._words(as_text(text)))
        words = {tuple(untrained._symbols(word)): count for word, count in words.items()}
        merges, tokens = learn_merges(words, [*first, *symbols], vocab_size - len(last), min_count)
        return cls([*tokens, *last], [(tokens[a], tokens[b]) for a, b in merges], special_tokens, **settings)

    @classmethod
    def from_clip(cls, path):
        """CLIP's `bpe_simple_vocab_16e6.txt.gz`: 49,408 ids, the last <|startoftext|>, <|endoftext|>; pads with 0."""
        return cls(*files.read_clip(path), flavour="clip", lower=True)

    @classmethod
    def from_gpt2(cls, encoder_json, vocab_bpe, *, lower=False, add_prefix_space=False):
        """GPT-2's two files: 50,257 ids. <|endoftext|>, its one special token, is start, end and padding.

        The files do not say `lower` and `add_prefix_space`: for one of ours, saved by `to_gpt2`, say them again.
        """
        return cls(*files.read_gpt2(encoder_json, vocab_bpe), lower=lower, add_prefix_space=add_prefix_space)

    @classmethod
    def load(cls, folder):
        return cls(**files.read_own(folder))

    def save(self, folder):
        """Writes `tokenizer.json`, with everything that `load` needs to give the same ids, into `folder`."""
        files.write_own(
            folder,
            flavour=self.flavour,
            lower=self.lower,
            add_prefix_space=self.add_prefix_space,
            special_tokens=list(self.special_tokens),
            tokens=self._names,
            merges=self._merge_names,
        )

    def to_clip(self, path):
        """Writes the merges as CLIP does, zipped if `path` ends in .gz."""
        fits = len(self._merge_names) <= files.CLIP_MERGES and tuple(self.special_tokens) == files.CLIP_SPECIAL
        if self.flavour != "clip" or not self.lower or not fits:
            wanted = f"the clip flavour, lower, at most 49408 ids, the special tokens {files.CLIP_SPECIAL}"
            raise ValueError(f"to_clip: the format is for {wanted}; this is {self!r}. Use save()")
        files.write_clip(path, self._merge_names)

    def to_gpt2(self, encoder_json, vocab_bpe):
        """Writes the ids and the merges as GPT-2 does. `lower` and `add_prefix_space` are not in these files."""
        if self.flavour != "gpt2":
            raise ValueError(f"to_gpt2: the format is for the gpt2 flavour; this is {self!r}. Use save()")
        files.write_gpt2(encoder_json, vocab_bpe, self._names, self._merge_names)

    @property
    def vocab_size(self):
        return len(self._names)

    @property
    def merges(self):
        return [(self._bytes_of(a), self._bytes_of(b)) for a, b in self._merge_names]

    @property
    def pad_id(self):
        """Padding. CLIP pads with 0, which is also "!": only `lengths` tells them apart."""
        return 0 if self.flavour == "clip" and "<pad>" not in self.special_tokens else self._part("pad")

    @property
    def start_id(self):
        return self._part("start")

    @property
    def end_id(self):
        return self._part("end")

    def special_id(self, name):
        if name not in self.special_tokens:
            raise ValueError(f"unknown special token {name!r}; this tokenizer has {list(self.special_tokens)}")
        return self.special_tokens[name]

    def __call__(self, texts, context_length=None, *, start=True, end=True):
        """A batch: start token, ids, end token, padding.

        texts: one str, or a list of B   context_length T: None takes the longest of the batch
        ->  ids (B, T) int64, lengths (B,) int64 (start and end counted). Long texts are cut, and keep their end token.
        """
        texts = [texts] if isinstance(texts, (str, bytes)) else texts
        head, tail = [self.start_id] if start else [], [self.end_id] if end else []
        room = None
        if context_length is not None:
            room = _checked_length(context_length, least=max(1, len(head + tail))) - len(head + tail)
        #: A text becomes the numbers of its pieces, between a start and an end | y = (y_{start}, y_1, \ldots, y_{end})
        rows = [head + self.encode(text)[:room] + tail for text in texts]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        ids = np.full((len(rows), context_length or lengths.max(initial=0)), self.pad_id, dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        return ids, lengths

    def encode(self, text, allow_special=False):
        """The ids of a str, or of bytes, which need not be UTF-8; no start, no end.

        Names of special tokens in the text are ordinary text, since anybody may have typed them; with `allow_special`
        they become their ids, as they always do in OpenAI's code for CLIP.
        """
        text = as_text(text)
        if not (allow_special and self.special_tokens):
            return self._encode(text)
        ids, names = [], sorted(self.special_tokens, key=len, reverse=True)  # of <a> and <a>>, try the longer first
        for part in regex.split(f"({'|'.join(map(regex.escape, names))})", text):
            ids += [self.special_tokens[part]] if part in self.special_tokens else self._encode(part)
        return ids

    def decode(self, ids, skip_special=True):
        """The text of one sequence of ids. What is not UTF-8 (half a character, say) becomes U+FFFD."""
        return self.decode_bytes(ids, skip_special).decode("utf-8", "replace")

    def decode_bytes(self, ids, skip_special=True):
        """The bytes of one sequence of ids; special tokens are left out, or stand there by name."""
        names = {i: name.encode("utf-8") for name, i in self.special_tokens.items()}
        out, run = [], []
        ids = self._checked(ids)
        for i in self._without_padding(ids) if skip_special else ids:
            if i in names:
                out += [self._joined(run), b"" if skip_special else names[i]]
                run = []
            else:
                run.append(self._bytes[i])
        return b"".join([*out, self._joined(run)])

    def pieces(self, text):
        """The bytes of each token of `text`, as they are stored: for showing how a text is cut."""
        return [self._bytes[i] for i in self.encode(text)]

    def __repr__(self):
        flags = "".join(f", {name}" for name in ("lower", "add_prefix_space") if getattr(self, name))
        return f"ByteLevelBPE({self.flavour}, {self.vocab_size} ids{flags}, special tokens {list(self.special_tokens)})"

    def _words(self, text):
        return split(text, self.flavour, self.lower, self.add_prefix_space)

    def _symbols(self, word):
        raw = as_bytes(word)
        return [*(self._byte_ids[byte] for byte in raw[:-1]), self._last_byte_ids[raw[-1]]]

    def _encode(self, text):
        ids = []
        for word in self._words(text):
            known = self._cache.get(word)
            if known is None:
                known = apply_merges(self._symbols(word), self._ranks)
                if len(self._cache) >= _CACHED_WORDS:
                    self._cache.clear()
                if len(word) <= _CACHED_LENGTH:
                    self._cache[word] = known
            ids += known
        return ids

    def _bytes_of(self, name):
        """What a token stands for; the end of a word is a space."""
        if name in self.special_tokens:
            return b""
        stem = name.removesuffix(END_OF_WORD) if self.flavour == "clip" else name
        return bytes(BYTES[character] for character in stem) + b" " * (stem != name)

    def _joined(self, run):
        """A run of tokens between special ones, without the space that encoding added."""
        joined = b"".join(run)
        if self.flavour == "clip":
            return joined.removesuffix(b" ")
        return joined.removeprefix(b" ") if self.add_prefix_space else joined

    def _without_padding(self, ids):
        """Where padding is no special token (CLIP's 0 is "!" too), cuts the run of it that follows an end token."""
        if self.flavour != "clip":
            return ids
        stop, ends = len(ids), [self.special_tokens.get(name) for name in _PARTS["end"]]
        while stop and ids[stop - 1] == self.pad_id:
            stop -= 1
        return ids[:stop] if stop and ids[stop - 1] in ends else ids

    def _checked(self, ids):
        ids = np.asarray(ids)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise ValueError(f"ids must be one sequence of integers, got shape {ids.shape} of {ids.dtype}")
        ids = ids.tolist()
        for place, i in enumerate(ids):
            if not 0 <= i < self.vocab_size:
                raise ValueError(f"ids[{place}] is {i}; it must be in 0 ... {self.vocab_size - 1}")
        return ids

    def _part(self, part):
        for name in _PARTS[part]:
            if name in self.special_tokens:
                return self.special_tokens[name]
        raise ValueError(f"no {part} token: the special tokens {list(self.special_tokens)} have none of {_PARTS[part]}")


def _checked_length(length, least):
    if isinstance(length, bool) or not isinstance(length, (int, np.integer)) or length < least:
        raise ValueError(f"context_length must be an integer of at least {least}, got {length!r}")
    return length


def _check_training(texts, vocab_size, special_tokens, symbols, flavour, add_prefix_space, min_count):
    if flavour not in ("gpt2", "clip"):
        raise ValueError(f'flavour must be "gpt2" or "clip", got {flavour!r}')
    if flavour == "clip" and add_prefix_space:
        raise ValueError("add_prefix_space must be False in the clip flavour, whose words do not keep spaces")
    if isinstance(texts, (str, bytes)):
        raise TypeError("texts must be an iterable of texts, got a single one")
    for name in special_tokens:
        if not isinstance(name, str) or not SPECIAL_NAME.fullmatch(name) or special_tokens.count(name) > 1:
            raise ValueError(f"special_tokens must be different names like <name> or [name], got {name!r}")
    least = len(symbols) + len(special_tokens)
    if vocab_size < least:
        raise ValueError(
            f"vocab_size must be at least {least} ({len(symbols)} for single bytes, {len(special_tokens)} special "
            f"tokens), got {vocab_size}"
        )
    if min_count < 1:
        raise ValueError(f"min_count must be at least 1, got {min_count}")
