"""The JSON file of each recording: how it was made, on what, and what could not be seen."""

from __future__ import annotations

import json
import os
import re
import stat
import zlib
from typing import TYPE_CHECKING, Any, Final

from sockrec.model.tables import FORMAT_VERSION
from sockrec.store import layout
from sockrec.store.check_block import MISPLACED, SINCE
from sockrec.store.damage import Damage
from sockrec.store.files import make_folder, write_atomically
from sockrec.store.format_version import check_version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LARGEST: Final = 16 << 20
# The last member: the CRC-32 (zlib) of all bytes before its comma.
_CRC: Final = re.compile(rb',\n "crc32": "([0-9a-f]{8})"\n}\n\Z')
_OPEN = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
)


def write_recording(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a recording's facts, with the format version and a checksum, over what stands there.

    Raises `CaptureError`.
    """
    make_folder(path.parent)
    text = json.dumps({"format_version": FORMAT_VERSION, **facts}, indent=1, ensure_ascii=True)
    content = text.removesuffix("\n}").encode()
    write_atomically(path, content + f',\n "crc32": "{zlib.crc32(content):08x}"\n}}\n'.encode())


def read_recording(path: Path, *, anywhere: bool = False) -> dict[str, Any] | Damage:
    """Read a recording's facts, or say what is wrong with the file.

    Facts of another recording than the file's name tells are damage, unless they may be `anywhere`.
    Raises `CaptureError` if a newer sockrec wrote it, and `FileNotFoundError` if it is not there.
    """
    try:
        fd = os.open(path, _OPEN)
        with os.fdopen(fd, "rb") as file:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                return Damage(path, "is no regular file: not read")
            if facts.st_size > LARGEST:
                return Damage(path, f"has {facts.st_size} bytes, more than any recording's facts: not read")
            content = file.read(LARGEST)
    except FileNotFoundError:
        raise
    except OSError as error:
        return Damage(path, f"can't be read: {error.strerror}")
    return _parsed(path, content, anywhere=anywhere)


def _parsed(path: Path, content: bytes, *, anywhere: bool) -> dict[str, Any] | Damage:
    crc = _CRC.search(content)
    if crc is not None and zlib.crc32(content[: crc.start()]) != int(crc[1], 16):
        return Damage(path, "fails its checksum")
    try:
        recording = json.loads(content)
    except (ValueError, RecursionError):
        return Damage(path, "is not whole JSON")
    try:
        json.dumps(recording, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # Lone surrogates, which JSON can write and no database takes.
        recording = json.loads(json.dumps(recording, ensure_ascii=False).encode("utf-8", "replace"))
    if not isinstance(recording, dict) or not isinstance(recording.get("format_version"), int):
        return Damage(path, "names no format version")
    check_version(path, recording["format_version"])
    if recording["format_version"] >= SINCE:
        if crc is None:
            return Damage(path, "lacks its checksum: it was cut short or changed")
        if not (anywhere or is_in_its_place(path, recording)):
            return Damage(path, MISPLACED)
    recording.pop("crc32", None)
    return recording


def is_in_its_place(path: Path, recording: Mapping[str, Any]) -> bool:
    """Tell whether a recording's facts are of the recording and host that its path names.

    What either leaves open fits.
    """
    host = recording.get("host")
    is_of_host = not isinstance(host, str) or layout.host_folder(host) == path.parent.name
    return recording.get("recording", path.stem) == path.stem and (
        is_of_host or layout.host_of(path.parent.name) is None
    )
