"""What a program did to the files below a folder, in order, as strace(1) saw it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TRACED: Final = (
    "write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range,"
    "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,open,openat,creat,link,linkat,symlink,"
    "symlinkat,copy_file_range,sendfile,lseek"
)
_LONGEST: Final = 1 << 26


def under_strace(log: Path, *more: str) -> tuple[str | Path, ...]:
    """Return the command that runs another and logs what it does to files, whole."""
    what = ("-f", "--seccomp-bpf", "-ttt", "-y", "-xx", "-s", str(_LONGEST), "-e", f"trace={TRACED}")
    return ("strace", *what, *more, "-o", log)


@dataclass(frozen=True, slots=True)
class Op:
    """One call that changed something, or made it last.

    `kind` is create, truncate (to `offset`), write, sync (of a file's data or a folder's names), rename
    (to `to`), unlink or mkdir; `at` is when it began, in microseconds.
    """

    kind: str
    path: str
    at: int
    data: bytes = b""
    offset: int = 0
    to: str = ""


_LINE = re.compile(r"(?P<pid>\d+) +(?P<at>\d+\.\d+) (?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<words>.*)\) += (?P<result>-?\d+|\?)(?P<after>.*)")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
_FD = re.compile(r"\d+<(?P<path>(?:\\x[0-9a-f]{2})*)>")
_OPENED = re.compile(r"<(?P<path>(?:\\x[0-9a-f]{2})*)>")
_TEXT = re.compile(r'"(?P<text>(?:\\x[0-9a-f]{2})*)"')


def calls(lines: Iterable[str]) -> Iterator[tuple[str, str, int, str, int]]:
    """Give name, arguments, result, what follows it, and time of each call as it ended; failed ones not."""
    begun: dict[str, tuple[str, int]] = {}
    for line in lines:
        match = _LINE.fullmatch(line.rstrip("\n"))
        if match is None:
            raise AssertionError(f"strace says what we can't read: {line[:200]}")
        rest, at = match["rest"], int(match["at"].replace(".", ""))
        if rest.endswith("<unfinished ...>"):
            begun[match["pid"]] = rest.removesuffix("<unfinished ...>"), at
            continue
        if resumed := _RESUMED.match(rest):
            head, at = begun.pop(match["pid"])
            rest = head + rest[resumed.end() :]
        call = _CALL.fullmatch(rest)
        if call is not None and call["result"] not in ("-1", "?"):
            yield call["name"], call["words"], int(call["result"]), call["after"], at


def operations(log: Path, folder: Path) -> list[Op]:
    """Return what was done to a folder and all below it."""
    return list(_operations(log, str(folder)))


def _operations(log: Path, folder: str) -> Iterator[Op]:
    places: dict[str, int] = {}  # where the next write(2) to a file goes
    with log.open() as lines:
        for name, words, result, after, at in calls(lines):
            handle = _FD.match(words)
            path = _text(handle["path"]) if handle else ""
            texts = [_text(match["text"]) for match in _TEXT.finditer(words)] if not handle else []
            if name in ("open", "openat", "creat"):
                opened = _OPENED.match(after)
                if opened is None:
                    raise AssertionError(f"strace did not say what was opened: {name}({words[:200]}")
                path = _text(opened["path"])
                places[path] = 0
                if _inside(path, folder) and "O_CREAT" in words:
                    yield Op("create", path, at)
                    if "O_TRUNC" in words:
                        yield Op("truncate", path, at)
            elif name == "lseek":
                places[path] = result
            elif name == "rename":
                if _inside(texts[0], folder):
                    yield Op("rename", texts[0], at, to=texts[1])
            elif name in ("unlink", "mkdir"):
                if _inside(texts[0], folder):
                    yield Op(name, texts[0], at)
            elif not _inside(path, folder):
                if not handle and any(_inside(text, folder) for text in texts):
                    raise AssertionError(f"a call that this does not know: {name}({words[:200]}")
            elif name in ("fsync", "fdatasync"):
                yield Op("sync", path, at)
            elif name == "ftruncate":
                yield Op("truncate", path, at, offset=int(words.rpartition(", ")[2]))
            elif name in ("write", "pwrite64", "pwritev", "pwritev2"):
                if '"...' in words:
                    raise AssertionError("strace cut what was written")
                data = b"".join(_bytes(match["text"]) for match in _TEXT.finditer(words))[:result]
                assert len(data) == result
                offset = _offset(name, words, places.get(path, 0))
                if name == "write":
                    places[path] = offset + result
                yield Op("write", path, at, data, offset)
            else:
                raise AssertionError(f"a call that this does not know: {name}({words[:200]}")


def _offset(name: str, words: str, place: int) -> int:
    if name == "write":
        return place
    last = words.rsplit(", ", 2)
    return int(last[-2] if name == "pwritev2" else last[-1])


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _text(text: str) -> str:
    return _bytes(text).decode().removesuffix(" (deleted)")
