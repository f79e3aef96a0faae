"""What a column and a table of a capture are, and the columns that several tables share.

Types are `int` (64-bit signed), `float`, `bool`, `text`, `time` (UTC, microseconds), `ints` and `texts`
(lists).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Type = Literal["int", "float", "bool", "text", "time", "ints", "texts"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its type, what it means to a reader, and the format version that brought it."""

    name: str
    type: Type
    meaning: str
    since: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its name, what a row is, its columns, and how a segment of it is sorted.

    `spans` tables hold conditions that last: the journal writes a row's beginning and its end
    apart, as the two become known. The others hold facts of one moment. Rows that have none of the
    `sparse` columns stand behind the others in a segment.
    """

    name: str
    row: str
    columns: tuple[Column, ...]
    order: tuple[str, ...]
    spans: bool = False
    sparse: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(column.name for column in self.columns)


RECORDING: Final = Column("recording", "text", "the run of the recorder that wrote this row")

BEGINNING: Final = (
    Column("begun_after", "time", "last evidence that it did not hold yet; null if it was found so"),
    Column("first_seen", "time", "first evidence that it held"),
    Column(
        "begun_as",
        "text",
        "opened | changed | carried (from the segment before) | found (there already when recording began)",
    ),
    Column("begun_evidence", "text", "how the beginning is known: sample | event | inferred"),
)
ENDING: Final = (
    Column("last_seen", "time", "last evidence that it held"),
    Column("ended_by", "time", "first evidence that it no longer held; null if there is none"),
    Column(
        "ended_as",
        "text",
        "closed | changed | carried (into the next segment) | stopped (the recording) | gap; null while it is being recorded",
    ),
    Column("ended_evidence", "text", "how the end is known: sample | event | inferred"),
)
NETNS: Final = Column("netns", "int", "inode number of the network namespace")
RANK: Final = Column("rank", "float", "place in the kernel's own order among the rows of one moment")
