"""The files that tokenizers live in: CLIP's, GPT-2's, and our own `tokenizer.json`.

A reader gives the names of the tokens (index = id), the merges as pairs of names, and the names of the special tokens;
it refuses a file that is not whole, with the line. A writer writes beside the file, then renames.
"""

import gzip
import json
import os
import zlib
from pathlib import Path

from .words import CHARACTERS, END_OF_WORD, SPECIAL_NAME

HEADER = "#version: 0.2"  # the first line of both published merge files, read by nobody but expected by everybody
CLIP_MERGES = 49_152 - 256 - 2  # the real file has 262,144; CLIP stops here: 512 + 48,894 + 2 = 49,408 ids
CLIP_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
FORMAT = "minivl byte-level BPE, version 1"


def read_clip(path):
    """`bpe_simple_vocab_16e6.txt.gz`, zipped or not. Ids: 256 bytes, 256 bytes that end a word, merges, start, end."""
    merges = _read_merges(path)[:CLIP_MERGES]
    tokens = [*CHARACTERS.values(), *(c + END_OF_WORD for c in CHARACTERS.values())]
    known = set(tokens)
    for n, pair in enumerate(merges):
        for part in pair:
            if part not in known:
                raise ValueError(f"{path}, line {n + 2}: {part!r} is neither a byte nor made by a line above")
        if "".join(pair) in known:
            raise ValueError(f"{path}, line {n + 2}: {''.join(pair)!r} is made by a line above already")
        tokens.append("".join(pair))
        known.add(tokens[-1])
    return [*tokens, *CLIP_SPECIAL], merges, CLIP_SPECIAL


def write_clip(path, merges):
    text = "\n".join([HEADER, *map(" ".join, merges), ""]).encode("utf-8")
    _write(path, gzip.compress(text, mtime=0) if str(path).endswith(".gz") else text)


def read_gpt2(encoder_json, vocab_bpe):
    """`encoder.json` {token: id} and `vocab.bpe`. Special tokens are those that look like one: <name> or [name]."""
    ids = _read_json(encoder_json)
    whole = isinstance(ids, dict) and all(type(i) is int for i in ids.values())
    if not whole or set(ids.values()) != set(range(len(ids))):
        raise ValueError(f"{encoder_json}: must map each token to an id, the ids being 0, 1, 2, ... without a gap")
    merges = _read_merges(vocab_bpe)
    tokens = sorted(ids, key=ids.get)
    special = tuple(filter(SPECIAL_NAME.fullmatch, tokens))
    _check(tokens, merges, [*CHARACTERS.values()], special, encoder_json, lambda n: f"{vocab_bpe}, line {n + 2}")
    return tokens, merges, special


def write_gpt2(encoder_json, vocab_bpe, tokens, merges):
    _write(encoder_json, json.dumps({token: i for i, token in enumerate(tokens)}).encode("utf-8"))
    _write(vocab_bpe, "\n".join([HEADER, *map(" ".join, merges), ""]).encode("utf-8"))


def read_own(folder):
    """The settings of the `tokenizer.json` in `folder`: what `write_own` was given."""
    path = Path(folder) / "tokenizer.json"
    settings = _read_json(path)
    if not isinstance(settings, dict) or settings.pop("format", None) != FORMAT:
        raise ValueError(f'{path}: is no tokenizer of ours: it must be an object with "format": "{FORMAT}"')
    _check_settings(path, settings)
    merges = [_pair(line, f"{path}: merges[{n}]") for n, line in enumerate(settings["merges"])]
    symbols = [*CHARACTERS.values()]
    if settings["flavour"] == "clip":
        symbols += [c + END_OF_WORD for c in symbols]
    _check(settings["tokens"], merges, symbols, settings["special_tokens"], path, lambda n: f"{path}: merges[{n}]")
    return settings | {"merges": merges}


def _check_settings(path, settings):
    kinds = {"flavour": str, "lower": bool, "add_prefix_space": bool}
    kinds |= {"special_tokens": list, "tokens": list, "merges": list}
    for name, kind in kinds.items():
        value = settings.get(name)
        if not isinstance(value, kind):
            raise ValueError(f'{path}: "{name}" must be a JSON {kind.__name__}, got {value!r:.60}')
        for n, entry in enumerate(value if kind is list else ()):
            if not isinstance(entry, str):
                raise ValueError(f"{path}: {name}[{n}] must be a string, got {entry!r:.60}")
    if settings["flavour"] not in ("gpt2", "clip"):
        raise ValueError(f'{path}: "flavour" must be "gpt2" or "clip", got {settings["flavour"]!r}')
    if settings.keys() != kinds.keys():
        raise ValueError(f"{path}: unknown entries {sorted(settings.keys() - kinds.keys())}")


def write_own(folder, **settings):
    Path(folder).mkdir(parents=True, exist_ok=True)
    settings["merges"] = list(map(" ".join, settings["merges"]))
    text = json.dumps({"format": FORMAT, **settings}, ensure_ascii=False, indent=0)  # a token a line: diffs can be read
    _write(Path(folder) / "tokenizer.json", text.encode("utf-8"))


def _read_merges(path):
    """[(left, right)] of a file with a header line, then `left right` on each line."""
    data = Path(path).read_bytes()
    try:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as (gzipped) UTF-8 text: {error}") from None
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if "#version" not in lines[0]:
        raise ValueError(f"{path}, line 1: must be a header like {HEADER!r}, got {lines[0]!r:.60}")
    return [_pair(line, f"{path}, line {n}") for n, line in enumerate(lines[1:], 2)]


def _pair(line, where):
    parts = tuple(line.split(" "))
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"{where}: a merge is two tokens with one space between them, got {line!r:.60}")
    return parts


def _check(tokens, merges, symbols, special, tokens_file, where):
    """A token has one id and is a byte, special, or made by a merge; a merge is made of tokens, and makes one."""
    known = set(tokens)
    if len(known) != len(tokens):
        twice = next(token for i, token in enumerate(tokens) if token in tokens[:i])
        raise ValueError(f"{tokens_file}: the token {twice!r} stands there twice")
    for token in (*symbols, *special):
        if token not in known:
            raise ValueError(f"{tokens_file}: the token {token!r} is missing")
    for n, (left, right) in enumerate(merges):
        for token in (left, right, left + right):
            if token not in known or token in special:
                raise ValueError(f"{where(n)}: {token!r} is no ordinary token of {tokens_file}")
    made = {*symbols, *special, *map("".join, merges)}
    for token in tokens:
        if token not in made:
            raise ValueError(f"{tokens_file}: the token {token!r} is neither a byte, nor special, nor made by a merge")
    if len(set(merges)) != len(merges):
        twice = next(n for n, pair in enumerate(merges) if pair in merges[:n])
        raise ValueError(f"{where(twice)}: this merge stands there twice")


def _read_json(path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"{path}{line}: is not JSON in UTF-8: {error}") from None


def _write(path, data):
    beside = Path(f"{path}.{os.getpid()}.part")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
