"""Conceptual Captions: a TSV of captions and the addresses of pictures, which whoever has it has fetched before.

    a very typical bus station <tab> http://lh6.ggpht.com/-IvRtNLNcG8o/TpFyrudaT6I/AAAAAAAAM6o/...

What a fetched picture is called depends on the program that fetched it. For line n (from 0) with address u these names
are tried, with and without an extension: the CRC-32 of u (as DownloadConceptualCaptions has it), n, n in 8 or 9 digits,
n_CRC-32, and the last part of u. A line without a picture is counted: of so old a list many addresses are dead.
"""

import re
import zlib
from urllib.parse import unquote, urlsplit

from data_tools.readers.record import DataError, Record, good, key_of, sentence, split_of

_EXTENSIONS = ("", ".jpg", ".jpeg", ".png", ".webp", ".gif")


def read(images, problems, tsv, split=None):
    """images: the folder of the pictures   tsv: Train_GCC-training.tsv, Validation_GCC-1.1.0-Validation.tsv, ..."""
    split = split or split_of(tsv)

    def makers():
        with open(tsv, encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file):
                yield lambda number=number, line=line: _record(number, line, images, split, tsv.name)

    return good(makers(), problems), None


def _record(number, line, images, split, name):
    where = f"{name}: line {number + 1}"
    caption, tab, address = line.rstrip("\r\n").partition("\t")
    address = address.split("\t")[0].strip()
    if not tab or not address:
        raise DataError(f"{where}: {line[:60]!r}; it must be a caption, a tab and an address", "bad record")
    caption, address = sentence(caption, where), sentence(address, where)
    crc = zlib.crc32(address.encode())
    names = [str(crc), str(number), f"{number:08d}", f"{number:09d}", f"{number}_{crc}", *_last_part(address)]
    for candidate in (images / f"{name}{extension}" for name in names for extension in _EXTENSIONS):
        if candidate.is_file():
            return Record(key_of("cc", number, f"{crc:08x}"), candidate, [caption], {"split": split, "url": address})
    raise DataError(f"{where}: no picture of {address[:80]} in {images}", "no picture")


def _last_part(address):
    """[the name of the file that an address tells], if that is a name."""
    try:
        last = unquote(urlsplit(address).path.rpartition("/")[2])
    except ValueError:
        return []
    return [last] if re.fullmatch(r"[\w][\w.~-]{0,150}", last) else []
