"""Reading a tar from front to back, whoever made it.

The headers are walked here, rather than by `tarfile`, because a data set comes from anywhere: each size is checked
before it is believed, nothing is remembered, nothing is ever written to a disk, and what nobody wants is stepped over.
"""

import gzip
import re
import tarfile
import zlib
from contextlib import contextmanager

MAX_PICTURE = 1 << 26  # bytes of a picture file in a shard
MAX_TEXT = 1 << 20  # bytes of captions, or of JSON, in a shard
MAX_NAME = 1 << 20  # bytes of a name too long for a header
MAX_SEEK = 1 << 60  # no file is so large, and operating systems cannot step further
BLOCK = 512  # a tar is made of these


class DataError(ValueError):
    """Data that cannot be used, and where it stands. `kind` is what `Problems` counts."""

    def __init__(self, message, kind="broken"):
        super().__init__(message)
        self.kind = kind


@contextmanager
def open_tar(path):
    """Walks a tar, gzipped or not: `with open_tar(path) as files: for name, size, read in files: ...`

    `read()` gives the bytes of a file, before the next is asked for. Whatever breaks in between is a `DataError`.
    """
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.open(file) if zipped else file as stream:
                yield _walk(stream)
    except (OSError, EOFError, zlib.error, OverflowError, tarfile.TarError) as error:
        kind = "truncated tar" if isinstance(error, (EOFError, tarfile.TruncatedHeaderError)) else "broken tar"
        raise DataError(f"{path}: {kind} ({error})", kind) from error


def _walk(stream):
    """Header, content, padding to a full block, header, ... until a block of zeros.

    A name longer than a header stands in a member of its own before it: GNU's type L, or `path=` of POSIX's type x.
    """
    name = size = None
    place = "its first header"
    while any(block := _take(stream, BLOCK, place)):
        header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        special = header.type in b"Lx"
        size = header.size if size is None or special else size
        if not 0 <= size < (MAX_NAME if special else MAX_SEEK):
            raise tarfile.InvalidHeaderError(f"a header claims {size} bytes")
        end = stream.tell() + size + -size % BLOCK
        if special:
            content = _take(stream, size, place)
            records = _pax(content) if header.type == b"x" else {"path": content.rstrip(b"\0").decode(errors="replace")}
            name, pax_size = records.get("path", name), records.get("size")
            size = int(pax_size) if re.fullmatch(r"\d{1,19}", pax_size or "") else None
        else:
            place = name or header.name
            if header.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
                yield place, size, lambda size=size, place=place: _take(stream, size, place)
            name = size = None
        _step(stream, end, place)
        place = f"the header after {place}" if not special else place


def _pax(content):
    """{keyword: value} of records "LENGTH KEYWORD=VALUE\\n", where LENGTH counts all of it."""
    records = {}
    while match := re.match(rb"(\d{1,7}) ([^=]+)=", content):
        length = max(int(match[1]), match.end())
        records[match[2].decode(errors="replace")] = content[match.end() : length - 1].decode(errors="replace")
        content = content[length:]
    return records


def _take(stream, size, place):
    """Exactly `size` bytes; they are asked for in pieces, because a size in a header is only a claim."""
    parts = []
    while size and (part := stream.read(min(size, 1 << 20))):
        parts.append(part)
        size -= len(part)
    if size:
        raise EOFError(f"it ends {size} bytes early, in {place}")
    return b"".join(parts)


def _step(stream, position, place):
    """Moves ahead to `position`; its last byte is read, since seeking past the end of a file is no error."""
    if stream.tell() < position:
        stream.seek(position - 1)
        _take(stream, 1, place)
