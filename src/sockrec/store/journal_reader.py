"""Reading a journal: everything that is whole, and a name for everything that is not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from sockrec.errors import CaptureError
from sockrec.store import framing, layout
from sockrec.store.check_block import MISPLACED
from sockrec.store.damage import Damage
from sockrec.store.format_version import check_version
from sockrec.store.payload import BadPayloadError, counts_struct, parse_batches, parse_end, parse_header
from sockrec.store.schema import BEGUN, ENDED, ROW, conform, journal_schemas

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# A part has far fewer; a frame that counts more is hostile.
_MOST_ROWS: Final = 1 << 40
# A part is of some mebibytes and one sample more; a sparse file can have as many zeros as it likes.
_LARGEST_FILE: Final = 4 << 30


class JournalVanishedError(CaptureError):
    """The journal was sealed and dropped after it was listed: list the capture again."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Frames missing in the middle.

    `read` counts the rows of each journal table read before it; `lost` counts those that went with it,
    -1 where nothing whole follows to tell; `last_sample` is when the last sample before it began (UTC
    microseconds), None if there is none.
    """

    read: dict[str, int]
    lost: dict[str, int]
    last_sample: int | None


@dataclass(frozen=True, slots=True)
class Journal:
    """What a journal holds.

    `tables` are the journal tables, with the model's columns; `rows` gives, for each `<table>.begun`,
    the number of each of its rows, which `row` in `<table>.ended` refers to (always to one of them, and
    to each at most once). `ended_as` is `carried`, `stopped`, or None without an end frame. `torn` is
    true where the file ends within a frame: its recorder died there or is writing it now, which is no
    damage. `size` is how many bytes were looked at.
    """

    path: Path
    header: dict[str, Any]
    tables: dict[str, pa.Table]
    rows: dict[str, NDArray[np.int64]]
    ended_as: str | None
    damages: tuple[Damage, ...]
    losses: tuple[Loss, ...]
    torn: bool
    size: int

    @property
    def damage(self) -> Damage | None:
        """The first damage, if any."""
        return self.damages[0] if self.damages else None

    @property
    def last_sample(self) -> int | None:
        """When the last committed sample began (UTC microseconds); None if there is none."""
        began = self.tables["samples"]["began_at"]
        return int(began[-1].value) if len(began) and began[-1].is_valid else None


def read_journal(path: Path, size: int | None = None, *, anywhere: bool = False) -> Journal:
    """Read a journal, at most its first `size` bytes; it may be growing meanwhile.

    One that was written as another part's is damage, unless it may be `anywhere`.
    Damage is reported in the result. Raises `JournalVanishedError` if there is no such file, and
    `CaptureError` if it can't be opened or a newer sockrec wrote it.
    """
    reading = _Reading(path, anywhere=anywhere)
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            end = end if size is None else min(end, size)
            if end > _LARGEST_FILE:
                reading.bad(framing.Bad(0, end, f"it has {end} bytes, more than any journal", torn=False))
                return reading.finish(0)
            for found in framing.scan(file, end):
                if isinstance(found, framing.Bad):
                    reading.bad(found)
                else:
                    reading.frame(found)
    except FileNotFoundError:
        raise JournalVanishedError(f"{path} is gone: it was sealed meanwhile, so read again") from None
    except OSError as error:
        raise CaptureError(f"cannot read {path}: {error.strerror}; run as the user who recorded it") from None
    return reading.finish(end)


@dataclass(slots=True)
class _Batches:
    """The messages of one journal table, to be read in one go."""

    schema: pa.Schema
    schema_message: bytes
    messages: list[memoryview] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    total: int = 0  # rows appended so far as the frames count them, lost ones included
    read: int = 0


class _Reading:
    def __init__(self, path: Path, *, anywhere: bool) -> None:
        self.path = path
        self.anywhere = anywhere
        self.header: dict[str, Any] | None = None
        self.tables: dict[str, _Batches] = {}
        self.order: list[_Batches] = []
        self.counts = counts_struct(0)
        self.ended_as: str | None = None
        self.damages: list[Damage] = []
        self.gaps: list[tuple[dict[str, int], dict[str, int]]] = []
        self.pending: dict[str, int] | None = None  # rows read before a loss whose extent is not known yet
        self.torn = False
        self.headless = False
        self.sequence = -1

    def bad(self, bad: framing.Bad) -> None:
        if bad.torn:
            self.torn = True
            return
        self._damage(bad.why, bad.offset)
        self._lose()

    def frame(self, frame: framing.Frame) -> None:
        try:
            self._frame(frame)
        except BadPayloadError as error:
            self._damage(str(error), frame.offset)
            self._lose()

    def _frame(self, frame: framing.Frame) -> None:
        if frame.sequence <= self.sequence:
            raise BadPayloadError("a frame comes twice")
        missing = frame.sequence - self.sequence - 1
        if missing and self.pending is None and self.header is not None:
            self._damage(f"{missing} frames before this one are missing", frame.offset)
            self._lose()
        self.sequence = frame.sequence
        if frame.kind == framing.HEADER_KIND:
            self._header(frame.payload)
        elif self.header is None:
            self._without_header(frame.offset)
        elif self.ended_as is not None:
            raise BadPayloadError("a frame comes after the end")
        elif frame.kind == framing.SAMPLE_KIND:
            self._sample(frame.payload)
        elif frame.kind == framing.END_KIND:
            self._end(frame.payload)
        else:
            raise BadPayloadError(f"a frame is of unknown kind {frame.kind}")

    def finish(self, size: int) -> Journal:
        if self.pending is not None:
            self.gaps.append((self.pending, dict.fromkeys(self.tables, -1)))
        if self.header is None and not self.damages and not self.torn:
            self.torn = True  # made, and not one frame written
        tables: dict[str, pa.Table] = {}
        rows: dict[str, NDArray[np.int64]] = {}
        for name, schema in journal_schemas().items():
            table = self._table(name, schema)
            tables[name] = table
            if name.endswith(BEGUN):
                rows[name.removesuffix(BEGUN)] = self._numbers(name, table.num_rows)
        for name, numbers in rows.items():
            tables[name + ENDED] = self._checked_ends(name, tables[name + ENDED], numbers)
        began = tables["samples"]["began_at"]
        losses = []
        for read, lost in self.gaps:
            seen = min(read.get("samples", 0), len(began))
            value = began[seen - 1] if seen else None
            losses.append(
                Loss(read, lost, int(value.value) if value is not None and value.is_valid else None)
            )
        return Journal(
            self.path,
            self.header or {},
            tables,
            rows,
            self.ended_as,
            tuple(self.damages),
            tuple(losses),
            self.torn,
            size,
        )

    def _damage(self, what: str, offset: int | None = None) -> None:
        self.damages.append(Damage(self.path, what, offset))

    def _lose(self) -> None:
        if self.pending is None and self.header is not None:
            self.pending = {name: batches.read for name, batches in self.tables.items()}

    def _header(self, payload: memoryview) -> None:
        if self.header is not None:
            return  # its second copy
        header, texts = parse_header(payload)
        version = header.get("format_version")
        if not isinstance(version, int):
            raise BadPayloadError("its header names no format version")
        check_version(self.path, version)
        if not (self.anywhere or is_in_its_place(self.path, header)):
            raise BadPayloadError(MISPLACED)
        tables: dict[str, _Batches] = {}
        for name, message in texts:
            try:
                schema = pa.ipc.read_schema(pa.py_buffer(message))
            except (pa.ArrowException, OSError, ValueError) as error:
                raise BadPayloadError("its header holds an unreadable schema") from error
            if not len(schema) or name in tables:
                raise BadPayloadError("its header holds an impossible table")
            tables[name] = _Batches(schema, message)
        self.tables = tables
        self.order = list(tables.values())
        self.counts = counts_struct(len(tables))
        self.header = header

    def _without_header(self, offset: int) -> None:
        """Report once that no frame can be understood."""
        if not self.headless:
            self.headless = True
            self._damage("both copies of its header are damaged: its rows can't be read", offset)

    def _count(self, payload: memoryview) -> memoryview:
        """Compare the frame's row counts with what was read, and return what follows them."""
        if len(payload) < self.counts.size:
            raise BadPayloadError("a frame is too short for its row counts")
        before = self.counts.unpack_from(payload)
        if any(
            not batches.total <= count <= _MOST_ROWS
            for count, batches in zip(before, self.order, strict=True)
        ):
            raise BadPayloadError("a frame's row counts do not fit what came before it")
        lost = {
            name: count - batches.total
            for count, (name, batches) in zip(before, self.tables.items(), strict=True)
        }
        if self.pending is not None:
            self.gaps.append((self.pending, lost))
            self.pending = None
        elif any(lost.values()):
            raise BadPayloadError("a frame counts more rows than came before it")
        for count, batches in zip(before, self.order, strict=True):
            batches.total = count
        return payload[self.counts.size :]

    def _sample(self, payload: memoryview) -> None:
        entries = parse_batches(payload[self.counts.size :], len(self.order))
        self._count(payload)
        for table, rows, message in entries:
            batches = self.order[table]
            batches.first.append(batches.total)
            batches.lengths.append(rows)
            batches.messages.append(message)
            batches.total += rows
            batches.read += rows

    def _end(self, payload: memoryview) -> None:
        self.ended_as = parse_end(self._count(payload))

    def _table(self, name: str, schema: pa.Schema) -> pa.Table:
        batches = self.tables.get(name)
        if batches is None or not batches.messages:
            return schema.empty_table()
        stream = b"".join([batches.schema_message, *batches.messages])
        try:
            return conform(_read_stream(stream, batches.lengths), schema)
        except (pa.ArrowException, OSError, ValueError, MemoryError, CaptureError) as error:
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._damage(f"the rows of {name} can't be read: {what}")
            batches.first.clear()
            batches.lengths.clear()
            return schema.empty_table()

    def _numbers(self, name: str, rows: int) -> NDArray[np.int64]:
        batches = self.tables.get(name)
        if batches is None or not rows:
            return np.empty(0, np.int64)
        lengths = np.array(batches.lengths, np.int64)
        shift = np.array(batches.first, np.int64) - (np.cumsum(lengths) - lengths)
        numbers: NDArray[np.int64] = np.arange(rows, dtype=np.int64) + np.repeat(shift, lengths)
        return numbers

    def _checked_ends(self, name: str, ends: pa.Table, numbers: NDArray[np.int64]) -> pa.Table:
        """Return the ends without those that name no row, or one that ended before."""
        if not ends.num_rows:
            return ends
        row = ends[ROW].fill_null(-1).to_numpy()
        place = np.searchsorted(numbers, row)
        known = np.zeros(len(row), bool)
        inside = place < len(numbers)
        known[inside] = numbers[place[inside]] == row[inside]
        _, first = np.unique(row, return_index=True)
        once = np.zeros(len(row), bool)
        once[first] = True
        good = known & once
        if good.all():
            return ends
        self._damage(f"{int((~good).sum())} ends of {name} name no row, or one that had ended: left out")
        return ends.filter(pa.array(good))


def is_in_its_place(path: Path, header: Mapping[str, Any]) -> bool:
    """Tell whether a journal's header is of the part that its path names; what either leaves open fits."""
    named = layout.split_stem(path.stem)
    told = header.get("recording"), header.get("part")
    if named is not None and None not in told and told != named:
        return False
    host = header.get("host")
    return (
        layout.host_of(path.parent.name) is None
        or not isinstance(host, str)
        or layout.host_folder(host) == path.parent.name
    )


def _read_stream(stream: bytes, lengths: list[int]) -> pa.Table:
    """Read an Arrow IPC stream whose batches have these lengths."""
    # One call for all of them: a call for each batch costs a hundred times as much.
    table = pa.ipc.open_stream(pa.py_buffer(stream)).read_all()
    table.validate(full=True)
    if [batch.num_rows for batch in table.to_batches()] != lengths:
        raise CaptureError("its batches are not as long as its frames say")
    return table
