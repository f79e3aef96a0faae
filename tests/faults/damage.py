"""Files of a capture damaged in every way that disks and people have, each by a number."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

BLOCK: Final = 4096


def _flip_bit(content: bytearray, dice: random.Random) -> None:
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)


def _change_byte(content: bytearray, dice: random.Random) -> None:
    content[dice.randrange(len(content))] = dice.randrange(256)


def _run(content: bytearray, dice: random.Random) -> tuple[int, int]:
    """Return a stretch: short ones as often as long ones."""
    length = min(len(content), 1 << dice.randrange(14)) or 1
    begin = dice.randrange(len(content) - length + 1)
    return begin, begin + length


def _overwrite(content: bytearray, dice: random.Random) -> None:
    begin, end = _run(content, dice)
    content[begin:end] = dice.randbytes(end - begin)


def _cut_end(content: bytearray, dice: random.Random) -> None:
    del content[dice.randrange(len(content)) :]


def _cut_out(content: bytearray, dice: random.Random) -> None:
    begin, end = _run(content, dice)
    del content[begin:end]


def _swap(content: bytearray, dice: random.Random) -> None:
    length = min(len(content) // 2, 1 << dice.randrange(12)) or 1
    one = dice.randrange(len(content) - length + 1)
    other = dice.randrange(len(content) - length + 1)
    one, other = min(one, other), max(one, other)
    if other - one >= length:
        first, second = content[one : one + length], content[other : other + length]
        content[one : one + length], content[other : other + length] = second, first


def _zero_block(content: bytearray, dice: random.Random) -> None:
    begin = dice.randrange((len(content) + BLOCK - 1) // BLOCK) * BLOCK
    end = min(len(content), begin + BLOCK)
    content[begin:end] = bytes(end - begin)


def _repeat(content: bytearray, dice: random.Random) -> None:
    begin, end = _run(content, dice)
    at = dice.randrange(len(content) + 1)
    content[at:at] = content[begin:end]


def _append(content: bytearray, dice: random.Random) -> None:
    length = 1 << dice.randrange(13)
    content += dice.choice((bytes(length), dice.randbytes(length), bytes(content[-length:])))


WAYS: Final[dict[str, Callable[[bytearray, random.Random], None]]] = {
    "a bit flipped": _flip_bit,
    "a byte changed": _change_byte,
    "a stretch overwritten": _overwrite,
    "the end cut off": _cut_end,
    "a stretch cut out": _cut_out,
    "two stretches swapped": _swap,
    "a block zeroed": _zero_block,
    "a stretch repeated": _repeat,
    "bytes appended": _append,
}
SWAPPED: Final = "two files swapped"


_AT_ONCE: Final = 12


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Some damages at once: of each file that is damaged the way, and what it holds then."""

    seeds: list[int] = field(default_factory=list)
    ways: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


class Original:
    """A whole capture, and copies of it with damage in them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = sorted(
            path.relative_to(root).as_posix()
            for path in root.rglob("*")
            if path.is_file() and path.name != "lock"
        )
        self._kinds: dict[str, list[str]] = {}
        journaled = {
            (Path(name).parts[1], Path(name).stem) for name in self.files if name.endswith(".journal")
        }
        for name in map(Path, self.files):
            # Until a part is sealed nobody reads what is there of its segments.
            counts = name.suffix != ".parquet" or (name.parts[1], name.stem) not in journaled
            if counts and not name.name.startswith("."):
                self._kinds.setdefault(name.suffix, []).append(name.as_posix())

    def trials(self, seeds: Iterable[int]) -> Iterator[Trial]:
        """Give the damages of all seeds, up to eight of different files at once."""
        begun: list[Trial] = []
        for seed in seeds:
            way, damaged = self._case(seed)
            trial = next((one for one in begun if one.files.keys().isdisjoint(damaged)), None)
            if trial is None:
                begun.append(trial := Trial())
            trial.seeds.append(seed)
            trial.ways.update(dict.fromkeys(damaged, way))
            trial.files.update(damaged)
            if len(trial.seeds) == _AT_ONCE:
                begun.remove(trial)
                yield trial
        yield from begun

    def _case(self, seed: int) -> tuple[str, dict[str, bytes]]:
        """Return the damage of a seed: its way, and what the files that it changes hold then."""
        dice = random.Random(seed)
        while True:
            # Journals and descriptions are few: each kind of file is as likely, but segments twice.
            kind = dice.choice((".parquet", ".parquet", ".journal", ".json"))
            if dice.randrange(12) == 0:
                one, other = dice.sample(self._kinds[kind], 2)
                if self.content(one) != self.content(other):
                    return SWAPPED, {one: self.content(other), other: self.content(one)}
                continue
            name = dice.choice(self._kinds[kind])
            way = dice.choice(sorted(WAYS))
            content = bytearray(self.content(name))
            WAYS[way](content, dice)
            if content != self.content(name):
                return way, {name: bytes(content)}

    def content(self, name: str) -> bytes:
        """Return what a file holds."""
        return (self.root / name).read_bytes()

    def copy(self, folder: Path, trial: Trial) -> Path:
        """Make a capture with the damages of a trial in it; what is whole is linked, not copied."""
        for name in self.files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name in trial.files:
                path.write_bytes(trial.files[name])
            else:
                os.link(self.root / name, path)
        return folder
