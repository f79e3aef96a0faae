"""The check block: what it says byte by byte, and that no byte of a segment changes unseen."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sockrec.model.tables import SAMPLES
from sockrec.store import check_block, parquet
from sockrec.store.schema import arrow_schema
from sockrec.store.survey import check_end
from sockrec.store.whole import check_whole
from tests.store.rows import RECORDING, sample

METADATA = {"sockrec.format_version": "3", "sockrec.recording": RECORDING, "sockrec.part": "0"}


def segment(root: Path, rows: int = 20, row_group: int = 8) -> Path:
    """Write a segment of three row groups."""
    path = root / "samples" / "host=web-1" / "date=2026-11-20" / f"{RECORDING}-000000.parquet"
    table = pa.Table.from_pylist([sample(number) for number in range(rows)], schema=arrow_schema(SAMPLES))
    parquet.write(path, SAMPLES, table, METADATA, row_group=row_group)
    return path


def test_the_block_as_the_format_page_has_it(tmp_path: Path) -> None:
    path = segment(tmp_path)
    content = path.read_bytes()
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    place, data, behind, behind_crc, crc, magic = struct.unpack("<8sQIII4s", content[end - 32 : end])
    assert magic == b"\x89SRC"
    assert crc == zlib.crc32(content[data : end - 8])
    assert behind_crc == zlib.crc32(content[end:])
    assert behind == len(content) - end
    within = f"samples/host=web-1/date=2026-11-20/{path.name}"
    assert place == hashlib.blake2b(within.encode(), digest_size=8).digest()
    stretches = list(struct.iter_unpack("<II", content[data : end - 32]))
    assert len(stretches) == 3
    at = 0
    for length, one in stretches:
        assert one == zlib.crc32(content[at : at + length])
        at += length
    assert at == data
    # A stretch ends where a row group ends.
    groups = pq.read_metadata(path)
    last = groups.row_group(0).column(groups.num_columns - 1)
    assert stretches[0][0] == last.data_page_offset + last.total_compressed_size or last.has_dictionary_page


def test_long_row_groups_are_of_several_stretches(tmp_path: Path) -> None:
    path = segment(tmp_path, rows=40_000, row_group=65_536)
    found = check_end(path)
    assert isinstance(found, tuple)
    check = found[1].check
    assert check is not None
    lengths = [end - begin for begin, end in (check.bounds(number) for number in range(len(check.ends)))]
    assert len(lengths) > 1
    assert set(lengths[:-1]) == {65_536}
    assert 0 < lengths[-1] <= 65_536
    assert list(check.stretches(65_535, 65_537)) == [0, 1]
    assert list(check.stretches(0, 1 << 60)) == list(range(len(lengths)))
    assert list(check.stretches(65_536, 65_537)) == [1]
    assert list(check.stretches(check.data, check.data + 1)) == []


def test_other_engines_read_past_it(tmp_path: Path) -> None:
    path = segment(tmp_path)
    wanted = list(range(20))
    assert pq.ParquetFile(path, page_checksum_verification=True).read()["number"].to_pylist() == wanted
    rows = duckdb.execute(f"SELECT number FROM read_parquet('{path}') ORDER BY ALL").fetchall()
    assert rows == [(number,) for number in wanted]


def test_a_segment_without_rows_is_whole(tmp_path: Path) -> None:
    path = segment(tmp_path, rows=0)
    assert check_whole(path) is None
    assert pq.ParquetFile(path).read().num_rows == 0
    assert duckdb.execute(f"SELECT count(*) FROM read_parquet('{path}')").fetchall() == [(0,)]


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_no_byte_changes_unseen(tmp_path: Path, change: int) -> None:
    """Every byte of the file, footer, block and magics included."""
    path = segment(tmp_path)
    assert check_whole(path) is None
    content = bytearray(path.read_bytes())
    with path.open("r+b") as file:
        for at in range(len(content)):
            os.pwrite(file.fileno(), bytes([content[at] ^ change]), at)
            assert check_whole(path) is not None, at
            os.pwrite(file.fileno(), bytes([content[at]]), at)
    assert check_whole(path) is None


def test_no_length_changes_unseen(tmp_path: Path) -> None:
    path = segment(tmp_path)
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        for changed in (content[:at], content[:at] + content[at + 1 :], content[:at] + b"\0" + content[at:]):
            path.write_bytes(changed)
            assert check_whole(path) is not None, at
    path.write_bytes(content + b"\0")
    assert check_whole(path) is not None


@pytest.mark.parametrize(
    "place",
    [
        f"sockets/host=web-1/date=2026-11-20/{RECORDING}-000000.parquet",
        f"samples/host=web-2/date=2026-11-20/{RECORDING}-000000.parquet",
        f"samples/host=web-1/date=2026-11-21/{RECORDING}-000000.parquet",
        f"samples/host=web-1/date=2026-11-20/{RECORDING}-000001.parquet",
    ],
)
def test_a_file_in_another_place_is_noticed(tmp_path: Path, place: str) -> None:
    content = segment(tmp_path).read_bytes()
    other = tmp_path / place
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(content)
    damage = check_whole(other)
    assert damage is not None
    assert damage.what == check_block.MISPLACED


def test_a_capture_may_be_moved_as_a_whole(tmp_path: Path) -> None:
    segment(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two=x")
    (path,) = (tmp_path / "two=x").rglob("*.parquet")
    assert check_whole(path) is None


def bare(path: Path, version: str | None) -> None:
    """Write a Parquet file without a check block."""
    table = pq.ParquetFile(path).read()
    metadata = None if version is None else {"sockrec.format_version": version}
    pq.write_table(table.replace_schema_metadata(metadata), path, write_page_checksum=True)


@pytest.mark.parametrize("version", ["1", "2"])
def test_older_formats_have_none(tmp_path: Path, version: str) -> None:
    path = segment(tmp_path)
    bare(path, version)
    assert check_whole(path) is None
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(1)
    begin = column.dictionary_page_offset or column.data_page_offset
    content[begin + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    assert check_whole(path) is not None


@pytest.mark.parametrize("version", ["3", "4", "0", "-1", "two", "", None])
def test_a_file_that_does_not_say_it_is_older_has_to_have_one(tmp_path: Path, version: str | None) -> None:
    path = segment(tmp_path)
    bare(path, version)
    damage = check_whole(path)
    assert damage is not None
    assert "check block" in damage.what


def test_recorded_text_is_not_taken_for_metadata() -> None:
    """A program's arguments stand in the statistics of a footer, before the true key-value metadata."""
    fake = b"\x18\x16sockrec.format_version\x18\x011"
    true = b"\x18\x16sockrec.format_version\x18\x013"
    found = check_block.metadata_in(b"\x15\x04" + fake + b"....\x19\x2c" + true + b"\x00")
    assert found == {"sockrec.format_version": "3"}


@pytest.mark.parametrize("length", [1, 1 << 31, (1 << 32) - 1, 0])
def test_lengths_are_not_believed(tmp_path: Path, length: int) -> None:
    path = segment(tmp_path)
    content = bytearray(path.read_bytes())
    content[-8:-4] = length.to_bytes(4, "little")
    path.write_bytes(content)
    assert check_whole(path) is not None
    path.write_bytes(b"PAR1" + b"\x89SRC" * 20 + content[-8:])
    assert check_whole(path) is not None
