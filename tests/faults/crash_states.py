"""A folder on a disk of which the power may be cut: what is there for certain, and what may be.

Stricter than any one file system: what was not synced may be there or not, each write and each name by
itself, in any order, a write torn anywhere, a file grown with nothing in it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.syscalls import Op

_SECTOR: Final = 512
STATES: Final = ("dropped", "applied", "some", "torn", "sectors", "grown", "names", "data")
"""Ways in which what was not synced may have come to the disk.

Of names and data nothing or all; all of the one and nothing of the other; half of the names, and of the data
some writes, the first of them and one torn, some sectors, or sizes only.
"""


@dataclass(slots=True, eq=False)
class File:
    """A file's content that lasts, and what was done to it since; `folder` marks one that has none."""

    folder: bool = False
    durable: bytes = b""
    pending: list[Op] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        """What a program reads."""
        return _applied(self.durable, self.pending)

    def sync(self) -> None:
        """Make the content last."""
        self.durable, self.pending = self.content, []


@dataclass(frozen=True, slots=True)
class _Name:
    """A change of the names in a folder: `gone` no longer means a file, `name` means `file`."""

    file: File
    name: str = ""
    gone: str = ""


class Disk:
    """A folder as operation after operation changes it."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.names: dict[str, File] = {self.root: File(folder=True)}
        """What a program finds."""
        self.lasting: dict[str, File] = dict(self.names)
        """Names that last."""
        self.pending: dict[str, list[_Name]] = {}
        """What was done to the names in each folder since it was synced."""

    def apply(self, op: Op) -> None:
        """Do it."""
        if op.kind in ("create", "mkdir"):
            if op.path not in self.names and op.path != self.root:
                made = File(folder=op.kind == "mkdir")
                self._change(op.path, _Name(made, name=op.path))
        elif op.kind == "rename":
            self._change(op.path, _Name(self.names[op.path], name=op.to, gone=op.path))
        elif op.kind == "unlink":
            self._change(op.path, _Name(self.names[op.path], gone=op.path))
        elif op.kind == "sync":
            found = self.names[op.path]
            if found.folder:
                for change in self.pending.pop(op.path, []):
                    _rename(self.lasting, change)
            else:
                found.sync()
        else:
            self.names[op.path].pending.append(op)

    def _change(self, path: str, change: _Name) -> None:
        _rename(self.names, change)
        self.pending.setdefault(path.rpartition("/")[0], []).append(change)

    @property
    def unsynced(self) -> set[str]:
        """Names of the files that have data which may be lost."""
        return {path for path, file in self.names.items() if file.pending}

    def after_a_cut(self, state: str, luck: random.Random) -> dict[str, bytes | None]:
        """Return files and their contents, folders and None, as they may be after the power is back."""
        share = {"dropped": 0.0, "data": 0.0, "applied": 1.0, "names": 1.0}.get(state, 0.5)
        names = dict(self.lasting)
        for changes in self.pending.values():
            for change in changes:
                if luck.random() < share:
                    _rename(names, change)
        found: dict[str, bytes | None] = {}
        for path in sorted(names):
            parent = path.rpartition("/")[0]
            if path == self.root or parent in found:
                file = names[path]
                found[path] = None if file.folder else _content(file, state, luck)
        return found


def _rename(names: dict[str, File], change: _Name) -> None:
    if names.get(change.gone) is change.file:
        del names[change.gone]
    if change.name:
        names[change.name] = change.file


def _applied(content: bytes, ops: list[Op]) -> bytes:
    data = bytearray(content)
    for op in ops:
        if op.kind == "truncate":
            del data[op.offset :]
            data.extend(bytes(op.offset - len(data)))
        else:
            data.extend(bytes(max(0, op.offset - len(data))))
            data[op.offset : op.offset + len(op.data)] = op.data
    return bytes(data)


def _content(file: File, state: str, luck: random.Random) -> bytes:
    ops = file.pending
    if state in ("dropped", "names") or not ops:
        return file.durable
    if state in ("applied", "data"):
        return file.content
    if state == "some":
        return _applied(file.durable, [op for op in ops if luck.random() < 0.5])
    if state == "torn":
        last = luck.randrange(len(ops))
        whole, torn = ops[:last], ops[last]
        data = torn.data[: luck.randrange(len(torn.data) + 1)]
        return _applied(file.durable, [*whole, Op(torn.kind, torn.path, torn.at, data, torn.offset)])
    new = file.content
    old = file.durable[: len(new)].ljust(len(new), b"\0")
    if state == "grown":
        return old
    return b"".join(_sectors(old, new, luck))


def _sectors(old: bytes, new: bytes, luck: random.Random) -> Iterator[bytes]:
    for offset in range(0, len(new), _SECTOR):
        which = new if luck.random() < 0.5 else old
        yield which[offset : offset + _SECTOR]
