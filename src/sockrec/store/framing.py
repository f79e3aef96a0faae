"""Frames: pieces of a file that count only if they are whole.

Every frame begins with 32 bytes, little-endian:

    magic 4s | file id 8s | sequence u32 | kind u8 | codec u8 | zero u16 | stored u32 | raw u32 | crc u32

and goes on with `stored` bytes, which are `raw` bytes once decompressed. `crc` is the CRC-32 (zlib) of
the 28 bytes before it and the stored bytes. The file id is random for each file: bytes of another
journal that a file system gives back after a power cut, or a command line that imitates a frame, are
never taken for one.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAGIC: Final = b"\x89SRJ"
HEADER_KIND: Final = 1
SAMPLE_KIND: Final = 2
END_KIND: Final = 3
# Room for the first sample of a million sockets; a bound for what a hostile file can make us allocate.
LARGEST: Final = 1 << 30
ID_BYTES: Final = 8

_HEADER = struct.Struct("<4s8sIBBHIII")
_CRC = struct.Struct("<I")
_CRC_AT = _HEADER.size - _CRC.size
_PLAIN, _ZSTD = 0, 1
# Below this, compressing costs more time than the bytes are worth.
_COMPRESS_FROM = 512
_CHUNK = 1 << 20
# What a false beginning costs at least, as bytes: with `_Scan.budget` it bounds the search in hostile files.
_CANDIDATE = 256


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame: bytes [offset, end) of the file, its place in the sequence, kind and raw payload."""

    offset: int
    end: int
    sequence: int
    kind: int
    payload: memoryview


@dataclass(frozen=True, slots=True)
class Bad:
    """Bytes [offset, end) that are no whole frame, and why.

    `torn` is what a recorder that died, or is still writing, leaves: the first part of a frame, or
    zeros, up to the end of the file.
    """

    offset: int
    end: int
    why: str
    torn: bool


def pack(file_id: bytes, sequence: int, kind: int, payload: Sequence[bytes | pa.Buffer]) -> list[bytes]:
    """Return the bytes of a frame, as pieces to be written one after the other.

    Raises `OverflowError` if the payload is larger than `LARGEST`.
    """
    raw = sum(map(len, payload))
    if raw > LARGEST:
        raise OverflowError(f"{raw} bytes in one frame; at most {LARGEST} fit")
    codec, body = _PLAIN, b""
    if raw >= _COMPRESS_FROM:
        codec, body = _ZSTD, _compress(payload)
    if not codec or len(body) >= raw:
        codec, body = _PLAIN, b"".join(payload)
    head = _HEADER.pack(MAGIC, file_id, sequence, kind, codec, 0, len(body), raw, 0)[:_CRC_AT]
    return [head + _CRC.pack(zlib.crc32(body, zlib.crc32(head))), body]


def _compress(payload: Sequence[bytes | pa.Buffer]) -> bytes:
    # A first sample of a large host is 60 MB: piece by piece, it is never copied together.
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        for piece in payload:
            stream.write(piece)
    compressed: bytes = sink.getvalue().to_pybytes()
    return compressed


def scan(file: BinaryIO, size: int, start: int = 0) -> Iterator[Frame | Bad]:
    """Give, in order, every whole frame in the first `size` bytes of a file and every bad stretch between.

    `start` is where to begin: the end of a frame that was given before. Raises nothing but `OSError`:
    whatever the bytes are, they are frames or bad.
    """
    return _Scan(file, size, start).run()


class _Scan:
    def __init__(self, file: BinaryIO, size: int, start: int) -> None:
        self.file = file
        self.size = size
        self.start = start
        self.file_id: bytes | None = None
        # A file of nothing but false beginnings must not cost its square.
        self.budget = 4 * (size - start) + _CHUNK

    def run(self) -> Iterator[Frame | Bad]:
        offset = self.start
        while offset < self.size:
            got = self._frame(offset)
            if isinstance(got, tuple):
                yield got[0]
                offset = got[1]
                continue
            found = self._resynchronise(offset + 1)
            if found is None:
                yield Bad(offset, self.size, got, self._is_torn(offset))
                return
            yield Bad(offset, found, got, torn=False)
            offset = found

    def _read(self, offset: int, length: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(length)

    def _frame(self, offset: int) -> tuple[Frame, int] | str:
        """Return the frame there and where it ends, or why there is none."""
        head = self._read(offset, min(_HEADER.size, self.size - offset))
        if len(head) < _HEADER.size:
            return "a frame is cut short"
        magic, file_id, sequence, kind, codec, zero, stored, raw, crc = _HEADER.unpack(head)
        if magic != MAGIC or (self.file_id is not None and file_id != self.file_id):
            return "no frame begins where one should"
        if codec not in (_PLAIN, _ZSTD) or zero or max(stored, raw) > LARGEST:
            return "a frame has an impossible header"
        end = offset + _HEADER.size + stored
        if end > self.size:
            return "a frame is cut short"
        body = self._read(offset + _HEADER.size, stored)
        if zlib.crc32(body, zlib.crc32(head[:_CRC_AT])) != crc:
            self.budget -= stored
            return "a frame fails its checksum"
        payload = _unpack(body, codec, raw)
        if payload is None:
            return "a frame does not decompress"
        self.file_id = file_id
        return Frame(offset, end, sequence, kind, payload), end

    def _resynchronise(self, offset: int) -> int | None:
        """Return where the next whole frame begins; None if there is none."""
        needle = MAGIC + (self.file_id or b"")
        while offset < self.size:
            chunk = self._read(offset, min(_CHUNK, self.size - offset))
            at = chunk.find(needle)
            while at >= 0:
                self.budget -= _CANDIDATE
                if self.budget < 0:
                    return None
                if isinstance(self._frame(offset + at), tuple):
                    return offset + at
                at = chunk.find(needle, at + 1)
            if len(chunk) < _CHUNK:
                return None
            offset += len(chunk) - len(needle) + 1
        return None

    def _is_torn(self, offset: int) -> bool:
        head = self._read(offset, min(_HEADER.size, self.size - offset))
        begin = MAGIC + (self.file_id or b"")
        if len(head) < _HEADER.size:
            if begin.startswith(head[: len(begin)]):
                return True
        elif head.startswith(begin):
            return offset + _HEADER.size + int(_HEADER.unpack(head)[6]) > self.size
        return self._only_zeros(offset)

    def _only_zeros(self, offset: int) -> bool:
        while chunk := self._read(offset, min(_CHUNK, self.size - offset)):
            if chunk.count(0) != len(chunk):
                return False
            offset += len(chunk)
        return True


def _unpack(body: bytes, codec: int, raw: int) -> memoryview | None:
    if codec == _PLAIN:
        return memoryview(body) if len(body) == raw else None
    try:
        return memoryview(pa.Codec("zstd").decompress(body, decompressed_size=raw))
    except (pa.ArrowException, OSError, MemoryError):
        return None
