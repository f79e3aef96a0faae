"""The check block of a segment: checksums of all its bytes, right before the Parquet footer.

Parquet readers find the footer from the end of the file and the pages by the footer, so they never look
at what lies between. Page checksums do not cover the footer, whose statistics decide what is read at all,
and DuckDB does not compare them. The block is a table and a trailer, little-endian:

    length u32, crc u32     for each stretch of the file, from byte 0 up to the table, in order
    place 8s | data u64 | behind u32 | behind crc u32 | crc u32 | magic 4s

`data` is how many bytes lie before the table, `behind` how many after the block: the footer, its length
and the file's last magic. `place` is the BLAKE2b hash, of 8 bytes, of the file's path within the capture,
so that a file in another's place is noticed. `crc` is the CRC-32 (zlib) of the block before it.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC: Final = b"\x89SRC"
PARQUET: Final = b"PAR1"
# Formats before this one have no check block.
SINCE: Final = 3
STRETCH: Final = 65_536
TAIL: Final = 8  # the footer's length, and the magic
MISPLACED: Final = "is not the file that belongs here: it was written as another"
_TRAILER: Final = struct.Struct("<8sQIII4s")
_ENTRY: Final = struct.Struct("<II")
_CRC: Final = struct.Struct("<I")
_SEALED: Final = _TRAILER.size - len(MAGIC) - _CRC.size  # bytes of the trailer that its CRC is of
# Most footers and their blocks are smaller: one read finds both.
_GUESS: Final = 1 << 15
# A footer has some hundred bytes for each column of each row group; a larger one is hostile.
_LARGEST_BEHIND: Final = 64 << 20
# Of a segment of 128 MiB; a larger one whose length has changed is put right no more.
_MOST_ENTRIES: Final = 2048
_METADATA: Final = re.compile(rb"\x18(.)(sockrec\.[a-z_]+)\x18", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Check:
    """A segment's checksums: the CRC-32 of each stretch, and where each stretch ends."""

    data: int
    ends: tuple[int, ...]
    crcs: tuple[int, ...]

    def stretches(self, first: int, end: int) -> range:
        """Return the numbers of the stretches that bytes [first, end) lie in."""
        return range(
            bisect_right(self.ends, first), min(len(self.ends), bisect_right(self.ends, end - 1) + 1)
        )

    def bounds(self, number: int) -> tuple[int, int]:
        """Return where a stretch begins and ends."""
        return self.ends[number - 1] if number else 0, self.ends[number]

    def is_whole(self, fd: int, number: int) -> bool:
        """Read a stretch and compare it with its checksum; raises `OSError`."""
        begin, end = self.bounds(number)
        return zlib.crc32(os.pread(fd, end - begin, begin)) == self.crcs[number]


@dataclass(frozen=True, slots=True)
class End:
    """What the end of a segment says: its metadata, and its checksums unless its format has none."""

    metadata: dict[str, str]
    check: Check | None


@dataclass(frozen=True, slots=True)
class Block:
    """A whole check block, at bytes [begin, end) of a file that may be damaged around it."""

    begin: int
    end: int
    check: Check
    place: bytes
    behind: int
    footer_crc: int


class CheckedFile:
    """What Parquet is written to: a file that keeps checksums of what passes.

    `cut` ends a stretch; after `hold` what is written is the footer, kept until `finish` has put the block
    before it. Raises `OSError`.
    """

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._entries: list[bytes] = []
        self._data = self._length = self._crc = 0
        self._footer: list[bytes] | None = None
        self._held = 0

    def write(self, content: bytes) -> int:
        """Take bytes, all of them."""
        if self._footer is not None:
            self._footer.append(bytes(content))
            self._held += len(content)
            return len(content)
        left = memoryview(content)
        while len(left):
            piece = left[: STRETCH - self._length]
            self._file.write(piece)
            self._crc = zlib.crc32(piece, self._crc)
            self._length += len(piece)
            self._data += len(piece)
            left = left[len(piece) :]
            if self._length == STRETCH:
                self.cut()
        return len(content)

    def cut(self) -> None:
        """Let the next byte begin a stretch."""
        if self._length:
            self._entries.append(_ENTRY.pack(self._length, self._crc))
            self._length = self._crc = 0

    def hold(self) -> None:
        """Keep what is written from now on: it is the footer."""
        self.cut()
        self._footer = []

    def finish(self, place: bytes) -> None:
        """Write the block, and the footer behind it."""
        footer = b"".join(self._footer or ())
        table = b"".join(self._entries)
        facts = _TRAILER.pack(place, self._data, len(footer), zlib.crc32(footer), 0, MAGIC)[:_SEALED]
        self._file.write(table + facts + _CRC.pack(zlib.crc32(facts, zlib.crc32(table))) + MAGIC + footer)

    def tell(self) -> int:
        """Return how much was taken."""
        return self._data + self._held

    def flush(self) -> None:
        """Do nothing: whoever opened the file syncs it."""

    def close(self) -> None:
        """Do nothing: whoever opened the file closes it."""


def place_of(path: Path) -> bytes:
    """Return what stands for a segment's path within its capture: table, host, day and stem."""
    return hashlib.blake2b(
        "/".join(path.parts[-4:]).encode("utf-8", "surrogateescape"), digest_size=8
    ).digest()


def read_end(fd: int, size: int, path: Path) -> End | str:
    """Read the end of the segment at `path`, or say what is wrong with it; raises `OSError`.

    The footer is compared with its checksum, so what it says can be trusted; the data is not.
    """
    tail = _Tail(fd, size)
    length = int.from_bytes(tail.read(size - TAIL, size - TAIL + 4), "little")
    if not 0 < length <= size - TAIL - len(PARQUET) or tail.read(size - 4, size) != PARQUET:
        return "has no whole footer: it is cut short or overwritten"
    if length + TAIL > _LARGEST_BEHIND:
        return f"has a footer of {length} bytes, more than any segment's: not read"
    end = size - TAIL - length
    footer = tail.read(end, size)
    metadata = metadata_in(footer)
    trailer = tail.read(max(0, end - _TRAILER.size), end)
    if not trailer.endswith(MAGIC):
        version = metadata.get("sockrec.format_version", "")
        if version.isdecimal() and 0 < int(version) < SINCE:
            return End(metadata, None)
        return "lacks its check block: it is cut short, overwritten, or not written by sockrec"
    check = _parse(tail, size, end, trailer)
    if isinstance(check, str):
        return check
    if zlib.crc32(footer) != _TRAILER.unpack(trailer)[3]:
        return "has a footer that fails its checksum"
    if trailer[:8] != place_of(path):
        return MISPLACED
    return End(metadata, check)


def metadata_in(footer: bytes) -> dict[str, str]:
    """Return sockrec's key-value metadata in a Parquet footer, without parsing all of it.

    Thrift's compact protocol writes each pair as two fields of type binary: 0x18, a length, the bytes.
    They stand behind everything that recorded text is part of, so that the last of a key is the true one.
    """
    found = {}
    for match in _METADATA.finditer(footer):
        if match[1][0] == len(match[2]):
            length, at = _varint(footer, match.end())
            if length <= len(footer) - at:
                found[match[2].decode()] = footer[at : at + length].decode("utf-8", "replace")
    return found


def block_ending(content: bytes, end: int) -> Block | None:
    """Return the whole check block that ends there, wherever in the file that is; None if there is none."""
    begin = end - _TRAILER.size
    if begin < 0:
        return None
    place, data, behind, footer_crc, crc, magic = _TRAILER.unpack_from(content, begin)
    if magic != MAGIC:
        return None
    facts = content[begin : begin + _SEALED]
    # Where bytes before it were cut out or put in, the table does not begin where `data` says.
    for size in (begin - data, *range(0, min(begin, _MOST_ENTRIES * _ENTRY.size) + 1, _ENTRY.size)):
        if not 0 <= size <= _LARGEST_BEHIND or size % _ENTRY.size:
            continue
        table = content[begin - size : begin]
        if zlib.crc32(facts, zlib.crc32(table)) == crc:
            check = _check(table, data)
            if check is not None:
                return Block(begin - size, end, check, place, behind, footer_crc)
    return None


def _check(table: bytes, data: int) -> Check | None:
    lengths, crcs = [], []
    for length, one in _ENTRY.iter_unpack(table):
        lengths.append(length)
        crcs.append(one)
    if sum(lengths) != data or not all(0 < length <= STRETCH for length in lengths):
        return None
    return Check(data, tuple(accumulate(lengths)), tuple(crcs))


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        byte = content[at] if at < len(content) else 0
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value, at


def _parse(tail: _Tail, size: int, end: int, trailer: bytes) -> Check | str:
    if len(trailer) < _TRAILER.size:
        return "has a damaged check block"
    _, data, behind, _, crc, _ = _TRAILER.unpack(trailer)
    table_size = end - _TRAILER.size - data
    if behind != size - end or table_size % _ENTRY.size or not 0 <= table_size <= _LARGEST_BEHIND:
        return "is not as long as its check block says"
    table = tail.read(data, data + table_size)
    if zlib.crc32(trailer[:_SEALED], zlib.crc32(table)) != crc:
        return "has a damaged check block"
    return _check(table, data) or "has a damaged check block"


@dataclass(slots=True)
class _Tail:
    """The end of a file, read in few pieces."""

    fd: int
    size: int
    begin: int = field(init=False)
    content: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.begin = max(0, self.size - _GUESS)
        self.content = os.pread(self.fd, self.size - self.begin, self.begin)

    def read(self, begin: int, end: int) -> bytes:
        """Return bytes [begin, end) of the file."""
        if begin >= self.begin:
            return self.content[begin - self.begin : end - self.begin]
        return os.pread(self.fd, end - begin, begin)


def damaged_stretches(fd: int, check: Check) -> Iterator[int]:
    """Read all data, and give the number of each stretch that fails its checksum; raises `OSError`."""
    return (number for number in range(len(check.ends)) if not check.is_whole(fd, number))
