"""Kernel tracepoints through a private tracefs instance: chosen, filtered in the kernel, read in bulk.

Every event has the time at which it happened, CLOCK_BOOTTIME to the nanosecond. The buffers are read
binary, a page at a time and never waited for; the fields lie where the event's `format` file says.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sockrec.errors import KernelError
from sockrec.kernel import ring_buffer
from sockrec.kernel.arrays import I64
from sockrec.kernel.host import boot_us
from sockrec.kernel.ring_buffer import Records
from sockrec.kernel.tracefs import Folder, Instance, open_tracefs

# Pages are decoded so many at a time: 1 MiB of them.
_PAGES: Final = 256
_TOTAL_KIB: Final = 32 << 10
_LEAST_KIB: Final = 1 << 10
# A record gets its time when its room is reserved and can be read a little later.
SETTLED_US: Final = 1000
_FIELD: Final = re.compile(
    r"^\tfield:(?P<type>[^;]*?)\b(?P<name>\w+)(?:\[\w*\])?;"
    r"\s*offset:(?P<offset>\d+);\s*size:(?P<size>\d+);\s*signed:(?P<signed>[01]);",
    re.MULTILINE,
)
_STATS: Final = re.compile(r"^(?:overrun|commit overrun|dropped events): (\d+)$", re.MULTILINE)

IN_INTERRUPT: Final = 0x08 | 0x10 | 0x40
"""Bits of `common_flags` that say hard interrupt, soft interrupt, NMI: the thread is a bystander."""


@dataclass(slots=True)
class Events:
    """The events of one tracepoint, ordered by time.

    `times` are CLOCK_BOOTTIME nanoseconds. `records` has the fields of the event's `format` file by their
    names: integers as they are, arrays as raw bytes, char arrays as strings of bytes.
    """

    times: I64
    records: npt.NDArray[np.void]
    raw: npt.NDArray[np.uint8] = field(repr=False)

    def __len__(self) -> int:
        return len(self.times)

    def text(self, name: str) -> list[str]:
        """Return a text of any length (`__data_loc char[]`) of every event; what is not UTF-8 is escaped."""
        found = []
        for raw, where in zip(self.raw, self.records[name].tolist(), strict=True):
            start, size = where & 0xFFFF, where >> 16
            word = raw[start : start + size].tobytes().split(b"\0", 1)[0]
            found.append(word.decode("utf-8", "backslashreplace"))
        return found


@dataclass(slots=True)
class Trace:
    """What one reading gave: events by the name of their tracepoint, all names that are enabled.

    Every event that happened by `until` (CLOCK_BOOTTIME microseconds) is in here or in earlier readings, but
    for `lost` ones: the kernel dropped them between `since`, when the last reading began, and
    `ended_at`.
    """

    events: dict[str, Events]
    since: int
    until: int
    ended_at: int
    lost: int

    @property
    def is_silent(self) -> bool:
        """Whether nothing happened, as on most readings of an idle host."""
        return not self.lost and not any(map(len, self.events.values()))


class _Event:
    """An enabled tracepoint: its layout, and events that are newer than the last `until`."""

    def __init__(self, record: np.dtype[np.void]) -> None:
        self.record = record
        self.newer: list[tuple[I64, npt.NDArray[np.uint32]]] = []
        raw = np.empty((0, record.itemsize), np.uint8)
        self.none = Events(np.empty(0, np.int64), np.empty(0, record), raw)


class Tracer:
    """A tracing instance with no event enabled yet. Tracepoints know no namespaces: they see the whole host.

    `buffer_kib` is the ring buffer of each CPU, by default 32 MiB shared out but at least 1 MiB each:
    memory that is taken at once. `tracefs` is the root of one that is open already. Needs root. Raises
    `KernelError`.
    """

    def __init__(self, buffer_kib: int | None = None, tracefs: Folder | None = None) -> None:
        self._pipes: list[int] = []
        self._stats: list[int] = []
        tracefs = open_tracefs() if tracefs is None else tracefs.enter(".")
        try:
            self._instance = Instance(tracefs)
        except BaseException:
            tracefs.close()
            raise
        self._tracefs = tracefs
        self._events: dict[int, tuple[str, _Event]] = {}
        self._drops = 0
        try:
            self._set_up(buffer_kib)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise KernelError(f"a tracing instance can't be set up: {error.strerror}") from error
            raise
        self._since = boot_us()

    def enable(self, name: str, condition: str = "") -> None:
        """Enable a tracepoint (`sock/inet_sock_set_state`), with an in-kernel filter (events.rst, 5.).

        Raises `KernelError` if this kernel lacks it or refuses the filter.
        """
        try:
            text = self._tracefs.read(f"events/{name}/format")
            if condition:
                self._instance.folder.write(f"events/{name}/filter", condition)
            self._events[_number(text)] = (name, _Event(_record(text)))
            self._instance.folder.write(f"events/{name}/enable", "1")
        except OSError as error:
            raise KernelError(f"tracepoint {name} can't be enabled: {error.strerror}") from error

    def fields(self, name: str) -> frozenset[str]:
        """Return the names of the fields that an enabled tracepoint has on this kernel."""
        for known, event in self._events.values():
            if known == name:
                return frozenset(event.record.names or ())
        raise KeyError(name)

    def read(self) -> Trace:
        """Return what happened since the last reading up to about a millisecond ago, without waiting."""
        since, began = self._since, boot_us()
        for pipe in self._pipes:
            self._drain(pipe, began * 1000)
        drops = sum(self._count_drops(stats) for stats in self._stats)
        lost, self._drops = drops - self._drops, drops
        self._since = began
        until = began - SETTLED_US
        events = {name: _settle(event, until * 1000) for name, event in self._events.values()}
        return Trace(events, since, until, boot_us(), lost)

    def close(self) -> None:
        """End tracing and remove the instance. Raises `KernelError` if it can't be removed."""
        for fd in self._pipes + self._stats:
            os.close(fd)
        self._pipes, self._stats = [], []
        try:
            self._instance.close()
        finally:
            self._tracefs.close()

    def __enter__(self) -> Tracer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set_up(self, buffer_kib: int | None) -> None:
        folder = self._instance.folder
        cpus = [name for name in folder.names("per_cpu") if name.startswith("cpu")]
        # CLOCK_BOOTTIME since Linux 3.17.
        folder.write("trace_clock", "boot")
        folder.write("buffer_size_kb", str(buffer_kib or max(_TOTAL_KIB // len(cpus), _LEAST_KIB)))
        page = {match["name"]: match for match in _FIELD.finditer(self._tracefs.read("events/header_page"))}
        self._header_words = int(page["data"]["offset"]) // 4
        size = int(page["data"]["offset"]) + int(page["data"]["size"])
        if int(page["timestamp"]["offset"]) or int(page["commit"]["offset"]) != 8:
            raise KernelError("this kernel's trace pages are laid out in an unknown way")
        self._buffer = np.zeros((_PAGES, size // 4), np.uint32)
        self._rows = [row.data.cast("B") for row in self._buffer]
        for cpu in cpus:
            self._pipes.append(folder.open(f"per_cpu/{cpu}/trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK))
            self._stats.append(folder.open(f"per_cpu/{cpu}/stats", os.O_RDONLY))

    def _drain(self, pipe: int, until: int) -> None:
        """Read one CPU's buffer until it is empty or holds only what happened after `until`."""
        count = 0
        while True:
            row = self._rows[count]
            try:
                size = os.readv(pipe, [row])
            except BlockingIOError:
                break
            if not size:
                break
            count += 1
            newest = struct.unpack_from("=q", row)[0]
            if count == _PAGES:
                self._decode(count)
                count = 0
            if newest > until:
                break
        if count:
            self._decode(count)

    def _decode(self, count: int) -> None:
        found = ring_buffer.walk(self._buffer[:count], self._header_words)
        kinds = found.kinds()
        for number, (_, event) in self._events.items():
            rows = np.flatnonzero(kinds == number)
            if len(rows):
                event.newer.append((found.times[rows], _copy(found, rows, event.record.itemsize // 4)))

    @staticmethod
    def _count_drops(stats: int) -> int:
        return sum(map(int, _STATS.findall(os.pread(stats, 4096, 0).decode())))


def _copy(found: Records, rows: npt.NDArray[np.intp], least: int) -> npt.NDArray[np.uint32]:
    """Return the words of some records as a matrix; what follows the shorter ones means nothing."""
    width = max(least, int(found.lengths[rows].max()))
    starts = found.starts[rows]
    words = found.words
    if starts[-1] + width > len(words):
        words = np.concatenate([words, np.zeros(width, np.uint32)])
    copy: npt.NDArray[np.uint32] = np.lib.stride_tricks.sliding_window_view(words, width)[starts]
    return copy


def _settle(event: _Event, until: int) -> Events:
    """Take what happened by `until` out of an event's parts, ordered by time."""
    if not event.newer:
        return event.none
    width = max([event.record.itemsize // 4, *(words.shape[1] for _, words in event.newer)])
    times = np.concatenate([times for times, _ in event.newer])
    words = np.concatenate([_widened(words, width) for _, words in event.newer])
    order = np.argsort(times, kind="stable")
    settled = int(np.searchsorted(times[order], until, side="right"))
    later = order[settled:]
    event.newer = [(times[later], words[later])] if len(later) else []
    times, words = times[order[:settled]], words[order[:settled]]
    raw = words.view(np.uint8)
    records = np.ascontiguousarray(raw[:, : event.record.itemsize]).view(event.record)[:, 0]
    return Events(times, records, raw)


def _widened(words: npt.NDArray[np.uint32], width: int) -> npt.NDArray[np.uint32]:
    return words if words.shape[1] == width else np.pad(words, ((0, 0), (0, width - words.shape[1])))


def _number(text: str) -> int:
    found = re.search(r"^ID: (\d+)$", text, re.MULTILINE)
    if found is None:
        raise KernelError("an event's format file names no ID")
    return int(found[1])


def _record(text: str) -> np.dtype[np.void]:
    """Return the layout that an event's format file states, as a record type of whole words."""
    fields: dict[str, tuple[Any, int]] = {}
    for match in _FIELD.finditer(text):
        kind, size = match["type"], int(match["size"])
        array = "[" in match[0] and "__data_loc" not in kind
        if array:
            form = f"{'S' if kind.startswith('char') else 'V'}{size}"
        else:
            form = f"={'i' if match['signed'] == '1' else 'u'}{size}"
        fields[match["name"]] = (form, int(match["offset"]))
    end = max(offset + np.dtype(form).itemsize for form, offset in fields.values())
    forms, offsets = zip(*fields.values(), strict=True)
    layout: Any = {
        "names": list(fields),
        "formats": forms,
        "offsets": offsets,
        "itemsize": (end + 3) // 4 * 4,
    }
    record: np.dtype[np.void] = np.dtype(layout)
    return record
