"""Damage: what transport, disks, other programs and ill will do to bytes, JSON and tables; all of it from a seed."""

import json

import numpy as np

ODD = [  # values where others were meant
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e308, -1e308, float("nan"), float("inf"),
    "", " ", "\0", "x", "0", "-1", "../../etc/passwd", "/etc/passwd", "a/b\\c", "\n", "\u2028", "é犬😀", "\ud800",
    "x" * 20_000, [], {}, [[]], [None], {"": None}, [0] * 1000, [[[[[[[[0]]]]]]]],
]  # fmt: skip
TOKENS = [
    b"\0",
    b"\xff",
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"\\",
    b",",
    b":",
    b"\t",
    b"\n",
    b"#",
    b"9" * 400,
]
TOKENS += [
    b"1e999",
    b"NaN",
    b"-",
    b"\xed\xa0\x80",
    b"null",
    b"\xef\xbb\xbf",
    b"\r",
    b";",
    b"|",
    b"c",
    b"R",
    b"o",
    b"b",
    b".",
]


def mutated(content, random, name=""):
    """`content` (bytes) after a few changes; JSON is now and then changed as what it says."""
    if name.endswith(".json") and random.random() < 0.6:
        try:
            return json.dumps(_changed(json.loads(content), random)).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            pass
    content = bytearray(content)
    for _ in range(1 + random.geometric(0.5)):
        _CHANGES[random.integers(len(_CHANGES))](content, random)
    return bytes(content)


# ---- bytes


def _place(content, random):
    """Somewhere; often near the beginning, where headers are."""
    most = len(content) if random.random() < 0.6 else min(len(content), 64)
    return int(random.integers(most + 1))


def _flip(content, random):
    if content:
        content[_place(content, random) % len(content)] ^= 1 << int(random.integers(8))


def _replace(content, random):
    at, n = _place(content, random), int(random.integers(1, 9))
    content[at : at + n] = random.integers(0, 256, n, dtype=np.uint8).tobytes()


def _number(content, random):
    """A field of 1, 2, 4 or 8 bytes becomes a number that headers should not have."""
    at, n = _place(content, random), int(2 ** random.integers(4))
    value = int([0, 1, 2 ** (8 * n) - 1, 2 ** (8 * n - 1), 2 ** (8 * n - 1) - 1][random.integers(5)])
    content[at : at + n] = value.to_bytes(n, ["big", "little"][random.integers(2)])


def _delete(content, random):
    at = _place(content, random)
    del content[at : at + int(random.geometric(0.05))]


def _truncate(content, random):
    del content[_place(content, random) :]


def _repeat(content, random):
    at, n = _place(content, random), int(random.integers(1, 600))
    content[at:at] = content[at : at + n] * int(random.integers(1, 20))


def _move(content, random):
    at, n, to = _place(content, random), int(random.integers(1, 600)), _place(content, random)
    part = content[at : at + n]
    del content[at : at + n]
    content[to:to] = part


def _insert(content, random):
    at = _place(content, random)
    content[at:at] = TOKENS[random.integers(len(TOKENS))] * int(random.geometric(0.3))


_CHANGES = [_flip, _replace, _number, _delete, _truncate, _repeat, _move, _insert]


# ---- JSON


def _changed(value, random):
    """One or a few of the values in a JSON value become something else."""
    for _ in range(1 + random.geometric(0.6)):
        holder, key = None, None
        at = value
        while isinstance(at, (list, dict)) and at and (holder is None or random.random() < 0.85):
            holder = at
            keys = list(at) if isinstance(at, dict) else range(len(at))
            key = keys[random.integers(len(keys))]
            at = holder[key]
        odd = ODD[random.integers(len(ODD))]
        choice = random.integers(6)
        if holder is None:
            return odd
        if choice < 3:
            holder[key] = odd
        elif choice == 3:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(int(random.integers(len(holder) + 1)), odd if choice == 4 else at)
        else:
            holder[str(odd)[:20]] = at
    return value
