"""Trace pages taken apart: both ways of walking them against pages made here, whole and garbled."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockrec.kernel import ring_buffer
from sockrec.kernel.ring_buffer import Records, walk_each, walk_together

PAGE = 4096
HEADER_WORDS = 4
MISSED = 1 << 31
WALKS = [walk_each, walk_together]

# What a page is made of: kind, delta, payload words.
Item = tuple[str, int, int]
SMALL = st.tuples(st.just("small"), st.integers(0, 1 << 20), st.integers(1, 28))
LARGE = st.tuples(st.just("large"), st.integers(0, 1 << 20), st.integers(29, 120))
GONE = st.tuples(st.just("gone"), st.integers(1, 1 << 20), st.integers(1, 40))
EXTEND = st.tuples(st.just("extend"), st.integers(0, (1 << 27) - 1), st.integers(0, (1 << 20) - 1))
STAMP = st.tuples(st.just("stamp"), st.integers(0, (1 << 27) - 1), st.integers(0, (1 << 31) - 1))
PAGES = st.lists(
    st.tuples(
        st.integers(0, 1 << 60),
        st.lists(st.one_of(SMALL, SMALL, SMALL, LARGE, GONE, EXTEND, STAMP), max_size=90),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


def page(start: int, items: list[Item], flags: int = 0) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return a page and the time and data of each of its records; what does not fit is left out."""
    data = b""
    now = start
    truth = []
    for number, (kind, delta, size) in enumerate(items):
        payload = (
            struct.pack("=I", number).ljust(4 * size, bytes([number])) if kind in ("small", "large") else b""
        )
        if kind == "small":
            record = struct.pack("=I", size | delta << 5) + payload
        elif kind == "large":
            record = struct.pack("=II", delta << 5, len(payload) + 4) + payload
        elif kind == "gone":
            record = struct.pack("=II", 29 | delta << 5, 4 * size) + bytes(4 * size - 4)
        else:
            record = struct.pack("=II", (30 if kind == "extend" else 31) | delta << 5, size)
        if len(data) + len(record) > PAGE - 16:
            break
        data += record
        if kind == "stamp":
            now = (now & ~((1 << 59) - 1)) | (size << 27) + delta
        else:
            now += delta + (size << 27 if kind == "extend" else 0)
        if payload:
            truth.append((now, payload))
    head = struct.pack("=QQ", start, len(data) | flags)
    return (head + data).ljust(PAGE, b"\xff"), truth


def found(records: Records) -> list[tuple[int, bytes]]:
    return [
        (time, records.words[start : start + length].tobytes())
        for time, start, length in zip(
            records.times.tolist(), records.starts.tolist(), records.lengths.tolist(), strict=True
        )
    ]


def matrix(*pages: bytes) -> ring_buffer.Words:
    return np.frombuffer(b"".join(pages), np.uint32).reshape(len(pages), -1)


@given(PAGES)
def test_both_walks_find_every_record_with_its_time(
    made: list[tuple[int, list[Item], bool]],
) -> None:
    parts = [page(start, items, MISSED if missed else 0) for start, items, missed in made]
    truth = [record for _, records in parts for record in records]
    for walk in WALKS:
        assert found(walk(matrix(*(raw for raw, _ in parts)), HEADER_WORDS)) == truth


@given(st.lists(st.binary(min_size=256, max_size=256), min_size=1, max_size=4), st.integers(0, 1 << 32))
def test_garbage_ends_and_never_reaches_over_a_page(pages: list[bytes], commit: int) -> None:
    whole = [raw[:8] + struct.pack("=Q", commit) + raw[16:] for raw in pages]
    results = [walk(matrix(*whole), HEADER_WORDS) for walk in WALKS]
    for records in results:
        assert ((records.starts + records.lengths - 1) // 64 == records.starts // 64).all()
    assert found(results[0]) == found(results[1])


def test_padding_ends_a_page() -> None:
    raw, truth = page(5, [("small", 1, 3)] * 4)
    ended = bytearray(raw)
    struct.pack_into("=I", ended, 16 + 2 * 16, 29)
    for walk in WALKS:
        assert found(walk(matrix(bytes(ended), raw), HEADER_WORDS)) == truth[:2] + truth


def test_an_empty_page_has_no_records() -> None:
    for walk in WALKS:
        assert len(walk(matrix(page(1, [])[0]), HEADER_WORDS)) == 0


@pytest.mark.parametrize("count", [1, 200])
def test_few_pages_and_many_are_read_alike(count: int) -> None:
    raw, truth = page(7, [("small", 2, 18), ("small", 3, 20)] * 20)
    records = ring_buffer.walk(matrix(*[raw] * count), HEADER_WORDS)
    assert found(records) == truth * count
    assert records.kinds().tolist() == list(range(40)) * count
