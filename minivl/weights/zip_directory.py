"""Where the members of a zip file lie.

The directory stands at the end of a zip file: for each member its name, its length and where it begins. A checkpoint is
a zip file whose members are stored as they are, so that they can be mapped into memory, and that is all that is read
here: what is compressed or encrypted is refused, and with it every bomb. Zip64, which PyTorch always writes, is for
lengths that need more than 32 bits.

Source: PKWARE, APPNOTE.TXT, .ZIP File Format Specification, 4.3.7 (local header), 4.3.12 to 4.3.16 (directory), 4.5.3.
"""

import struct
import zlib
from dataclasses import dataclass

from .fit import WeightsError

_END = struct.Struct("<4s4H2LH")
_LOCATOR_64 = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = 2**16
_LARGEST_DIRECTORY = 2**24  # bytes; 600 tensors take 40,000


@dataclass(frozen=True)
class Member:
    """A member of the file lies in its bytes `start` to `stop`."""

    start: int
    stop: int
    crc: int

    def check(self, whole, where):
        """WeightsError unless the bytes of this member in `whole` have the checksum that the directory says."""
        if zlib.crc32(whole[self.start : self.stop]) != self.crc:
            raise WeightsError(f"{where}: its bytes do not have the checksum that was written with them: damaged")


def members(whole, path):
    """{name: Member} of a zip file, given its bytes `whole` (uint8, may be mapped).

    Raises WeightsError for a directory that is not there, that is broken, that has a name twice or points outside the
    file, and for members that are compressed, encrypted or overlap. Takes memory for the directory alone.
    """
    try:
        count, size, offset = _end_of_directory(whole, path)
        entries = _entries(bytes(whole[offset : offset + size]), count, path)
        found = {name: _member(whole, offset, name, *entry, path) for name, entry in entries.items()}
    except struct.error:  # a field that would lie behind the last byte
        raise WeightsError(f"{path}: the directory of this zip file is cut off") from None
    reached = 0
    for name, member in sorted(found.items(), key=lambda item: (item[1].start, item[1].stop)):
        if member.start < reached:
            raise WeightsError(f"{path}: {name!r} begins at byte {member.start}, inside the member before it")
        reached = member.stop
    return found


def _end_of_directory(whole, path):
    """(members, bytes, offset) of the directory."""
    tail_start = max(0, len(whole) - _END.size - _LONGEST_COMMENT)
    tail = bytes(whole[tail_start:])
    at = tail.rfind(b"PK\5\6")
    if at < 0:
        raise WeightsError(f"{path}: begins as a zip file and has no directory at its end: it is cut off")
    _, disk, first_disk, _, count, size, offset, _ = _END.unpack_from(tail, at)
    locator = tail_start + at - _LOCATOR_64.size
    if locator >= 0 and bytes(whole[locator : locator + 4]) == b"PK\6\7":
        _, _, end, _ = _LOCATOR_64.unpack(bytes(whole[locator : locator + _LOCATOR_64.size]))
        name, _, _, _, disk, first_disk, _, count, size, offset = _END_64.unpack(bytes(whole[end : end + _END_64.size]))
        if name != b"PK\6\6":
            raise WeightsError(f"{path}: byte {end} should be the end of the zip directory, and is not")
    if disk or first_disk:
        raise WeightsError(f"{path}: is one of several parts of a zip file")
    if offset + size > len(whole) or size > _LARGEST_DIRECTORY or count * _ENTRY.size > size:
        raise WeightsError(f"{path}: a directory of {count} members in {size} bytes at {offset} cannot be")
    return count, size, offset


def _entries(directory, count, path):
    """{name: (offset of the local header, bytes, checksum)}"""
    entries, at = {}, 0
    for _ in range(count):
        fields = _ENTRY.unpack_from(directory, at)
        signature, _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, _, offset = fields
        name_end = at + _ENTRY.size + lengths[0]
        extra_end = name_end + lengths[1]
        name = directory[at + _ENTRY.size : name_end].decode("utf-8", "backslashreplace")
        size, packed, offset = _wide(directory[name_end:extra_end], [size, packed, offset])
        if signature != b"PK\1\2" or extra_end + lengths[2] > len(directory) or not name.isprintable():
            raise WeightsError(f"{path}: the directory of this zip file is broken at entry {len(entries) + 1}")
        if name in entries:
            raise WeightsError(f"{path}: {name!r} stands there twice")
        # Code of a TorchScript archive is compressed: noted without a place, for nobody here reads it.
        stored = method == 0 and packed == size and not flags & 1
        entries[name] = (offset, size if stored else None, crc)
        at = extra_end + lengths[2]
    return entries


def _wide(extra, values):
    """The values, each from its Zip64 field where it is 2^32 - 1."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            place = at + 4
            for i, value in enumerate(values):
                if value == 0xFFFFFFFF:
                    (values[i],) = struct.unpack_from("<Q", extra, place)
                    place += 8
            break
        at += 4 + length
    return values


def _member(whole, directory, name, offset, size, crc, path):
    if size is None:
        return Member(offset, offset, -1)
    header = bytes(whole[offset : offset + _LOCAL.size])
    signature, *_, name_length, extra_length = _LOCAL.unpack(header)
    start = offset + _LOCAL.size + name_length + extra_length
    if signature != b"PK\3\4" or start + size > directory:
        raise WeightsError(f"{path}: {name!r}, {size} bytes at {start}, does not lie where the directory says")
    return Member(start, start + size, crc)
