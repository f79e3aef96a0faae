"""Pages of a trace ring buffer as trace_pipe_raw gives them (kernel/trace/ring_buffer.c, events/header_page).

Few pages are walked one by one. Many are walked side by side: one step finds the next record of each, so
that Python code runs once per record of the fullest page and not once per record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sockrec.kernel.arrays import I64

# From so many pages on, walking them together is quicker.
_MANY: Final = 64

_LAST_DATA: Final = 28
_PADDING: Final = 29
_TIME_EXTEND: Final = 30
_TIME_STAMP: Final = 31
_DELTA_BITS: Final = 27
_COMMIT_MASK: Final = (1 << 27) - 1
# Absolute times have 59 bits; the rest is the page's.
_STAMP_MASK: Final = (1 << 59) - 1
_TIME_MASK: Final = (1 << 64) - 1

Words = npt.NDArray[np.uint32]
Places = npt.NDArray[np.intp]


@dataclass(slots=True)
class Records:
    """Records in the order of their times within each page, pages in their order.

    `words` are the pages, flat. Record i's data begins at word `starts[i]` with struct trace_entry, is
    `lengths[i]` words long and was written at `times[i]`, nanoseconds of the instance's clock.
    """

    words: Words
    starts: Places
    lengths: Places
    times: I64

    def __len__(self) -> int:
        return len(self.starts)

    def kinds(self) -> npt.NDArray[np.uint32]:
        """Return each record's common_type: the id of its event."""
        kinds: npt.NDArray[np.uint32] = self.words[self.starts] & np.uint32(0xFFFF)
        return kinds


def first_times(pages: Words) -> I64:
    """Return when the first record of each page was written, nanoseconds."""
    times: I64 = np.ascontiguousarray(pages[:, :2]).view(np.int64)[:, 0]
    return times


def walk(pages: Words, header_words: int) -> Records:
    """Find the records of whole pages, one a row, whose data begins behind `header_words` words.

    A record that overruns its page ends the walk of that page, as padding does.
    """
    return (walk_each if len(pages) < _MANY else walk_together)(pages, header_words)


def walk_each(pages: Words, header_words: int) -> Records:
    """Walk page by page: what is quicker for few."""
    width = pages.shape[1]
    flat = pages.reshape(-1)
    words = flat.data
    found: list[tuple[int, int, int]] = []
    for page, now in enumerate(first_times(pages).tolist()):
        at = page * width + header_words
        end = page * width + _used(int(words[page * width + 2]), header_words, width)
        while at < end:
            head = words[at]
            kind, delta = head & 31, head >> 5
            at += 1
            if 0 < kind <= _LAST_DATA:
                now += delta
                if at + kind <= end:
                    found.append((at, kind, now))
                at += kind
                continue
            if at == end or (kind == _PADDING and not delta):
                break
            second = words[at]
            if kind == _TIME_STAMP:
                now = (now & ~_STAMP_MASK) | (((second << _DELTA_BITS) + delta) & _STAMP_MASK)
                at += 1
            elif kind == _TIME_EXTEND:
                now += (second << _DELTA_BITS) + delta
                at += 1
            else:
                now += delta
                length = second // 4
                if kind == 0 and 1 < length <= end - at:
                    found.append((at + 1, length - 1, now))
                # Padding that is not a page's end is a record that was taken back.
                at += max(length, 1)
    try:
        columns = np.array(found, np.int64).reshape(-1, 3)
    except OverflowError:  # a garbled time: it wraps, as it does in arrays
        wrapped = [(start, length, time & _TIME_MASK) for start, length, time in found]
        columns = np.array(wrapped, np.uint64).view(np.int64)
    return Records(flat, columns[:, 0], columns[:, 1], np.ascontiguousarray(columns[:, 2]))


def walk_together(pages: Words, header_words: int) -> Records:
    """Walk all pages at once: what is quicker for many."""
    width = pages.shape[1]
    words = pages.reshape(-1)
    last = len(words) - 1
    times = first_times(pages)
    begins = np.arange(len(pages), dtype=np.intp) * width
    at = begins + header_words
    ends = begins + _used(pages[:, 2].astype(np.intp), header_words, width)
    found: list[tuple[Places, Places, I64]] = []
    while True:
        going = np.flatnonzero(at < ends)
        if len(going) < len(at):
            at, ends, times = at[going], ends[going], times[going]
        if not len(at):
            break
        head = words[at]
        kind = (head & 31).astype(np.intp)
        delta = (head >> 5).astype(np.int64)
        starts, lengths = at + 1, kind
        data = (kind > 0) & (kind <= _LAST_DATA)
        times = times + delta
        if not data.all():
            second = words[np.minimum(starts, last)].astype(np.int64)
            high = second << _DELTA_BITS
            absolute = ((times - delta) & ~_STAMP_MASK) | ((high + delta) & _STAMP_MASK)
            times = np.where(kind == _TIME_STAMP, absolute, times)
            times = np.where(kind == _TIME_EXTEND, times + high, times)
            large = kind == 0
            starts = starts + large
            sized = np.maximum(second // 4, 1) - large
            sized = np.where((kind == _PADDING) & (delta == 0), width, sized)
            lengths = np.where(data, kind, np.where(kind >= _TIME_EXTEND, 1, sized))
            data |= large
        at = starts + lengths
        whole = np.flatnonzero(data & (lengths > 0) & (at <= ends))
        found.append((starts[whole], lengths[whole], times[whole]))
    return _in_order(words, found)


def _used(commit: Any, header_words: int, width: int) -> Any:
    """Return where the data of a page ends, from the low word of its `commit`."""
    return np.minimum(header_words + (commit & _COMMIT_MASK) // 4, width)


def _in_order(words: Words, found: list[tuple[Places, Places, I64]]) -> Records:
    if not found:
        none = np.empty(0, np.intp)
        return Records(words, none, none, np.empty(0, np.int64))
    starts, lengths, times = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(starts)
    return Records(words, starts[order], lengths[order], times[order])
