"""The items of the lists in a JSON file, one at a time: whole, files of annotations would need many times their size.

{"info": {...}, "images": [item, item, ...], "annotations": [item, ...]}     items(path, "images")
[item, item, ...]                                                            items(path)
"""

import json
from contextlib import contextmanager

from minivl.data.shards import DataError

_CHUNK = 1 << 20  # characters read at a time
_LARGEST = 1 << 26  # characters of one item
_DECODER = json.JSONDecoder()
_SPACE = " \t\n\r"


def items(path, *names):
    """Yields (name, item) of the lists under these names of the outermost object; ("", item) if a list is outermost.

    DataError: the file holds no JSON, or neither a list nor an object; the items before the place were given by then.
    """
    with _open(path) as text:
        if text.next() == "[":
            yield from (("", item) for item in text.array())
        elif text.next() == "{":
            for name in text.names():
                if text.next() != "[":
                    text.value()
                elif name in names:
                    yield from ((name, item) for item in text.array())
                else:
                    for _ in text.array():  # stepped over one by one: it may be large
                        pass
        else:
            raise ValueError("it must be a list or an object")
        if text.next():
            raise ValueError("something follows its end")


def grouped(path, name, by):
    """{item[by]: [item, ...]} of the list under `name`; items that have no such field are left out."""
    found = {}
    for _, item in items(path, name):
        if isinstance(item, dict) and isinstance(item.get(by), (int, str)):
            found.setdefault(item[by], []).append(item)
    return found


@contextmanager
def _open(path):
    text = None
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = _Text(file)
            yield text
    except (ValueError, RecursionError, OSError) as error:  # ValueError: no UTF-8, no JSON, a number of too many digits
        if isinstance(error, DataError):
            raise
        place = f" about character {text.passed + text.at}" if text else ""
        raise DataError(f"{path}: cannot be read{place}: {' '.join(str(error).split())[:200]}", "bad file") from error


class _Text:
    """A window on the text of a file: buffer[at:] is what was read and not yet used."""

    def __init__(self, file):
        self.file, self.buffer, self.at, self.passed, self.ended = file, "", 0, 0, False

    def more(self):
        """Reads on, as much again as there is; False at the end of the file."""
        rest = self.buffer[self.at :]
        part = self.file.read(max(_CHUNK, len(rest)))
        self.buffer, self.passed, self.at = rest + part, self.passed + self.at, 0
        self.ended = not part
        return bool(part)

    def next(self):
        """The next character that is no space; "" at the end."""
        while True:
            while self.at < len(self.buffer) and self.buffer[self.at] in _SPACE:
                self.at += 1
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self.more():
                return ""

    def skip(self, wanted):
        """Steps over one of the characters in `wanted`, and gives it."""
        found = self.next()
        if not found or found not in wanted:
            raise ValueError(f"{found or 'its end'!r} where {' or '.join(wanted)} must be")
        self.at += 1
        return found

    def value(self):
        """The value that begins here, whole."""
        self.next()
        while True:
            try:
                found, end = _DECODER.raw_decode(self.buffer, self.at)
                if len(self.buffer) - end > 3 or self.ended:  # else a number may go on: 1 of 1e-9
                    self.at = end
                    return found
            except json.JSONDecodeError:
                if self.ended:
                    raise
            if len(self.buffer) - self.at > _LARGEST:
                raise ValueError(f"an item of more than {_LARGEST} characters")
            self.more()

    def array(self):
        """The items of the list that begins here."""
        self.skip("[")
        if self.next() == "]":
            self.at += 1
            return
        yield self.value()
        while self.skip(",]") == ",":
            yield self.value()

    def names(self):
        """The names in the object that begins here; whoever takes one reads its value before the next."""
        self.skip("{")
        if self.next() == "}":
            self.at += 1
            return
        more = True
        while more:
            if self.next() != '"':
                raise ValueError(f"{self.next()!r} where a key must be")
            name = self.value()
            self.skip(":")
            self.next()
            yield name
            more = self.skip(",}") == ","
