"""What can be read of a damaged segment: the row groups that are proved to be what was written.

The check block proves the footer, and a row group by the checksums of its stretches. In formats without one,
page checksums and the statistics of each column have to: they prove less, but both.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sockrec.model.tables import TABLES
from sockrec.store import check_block, layout
from sockrec.store.check_block import Block
from sockrec.store.parquet import columns_of, misfit
from sockrec.store.schema import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sockrec.model.columns import Table

# More than any part makes; what is larger is not read into memory.
_LARGEST: Final = 1 << 30
_BLOCKS: Final = 16
_ERRORS: Final = (pa.ArrowException, OSError, ValueError, MemoryError, KeyError, IndexError)


@dataclass(slots=True)
class Salvage:
    """What is left of a segment.

    `belongs` is where it was written as, None if that can't be told; `rows` are those that are proved, None
    if nothing is; `total` how many there were, None if unknown. `healed` are the bytes as they were
    written, where all of them could be proved. `metadata` is the file's own, empty where it is not proved.
    """

    belongs: Path | None = None
    rows: pa.Table | None = None
    total: int | None = None
    healed: bytes | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def salvage(path: Path) -> Salvage:
    """Read what can be read of the file at `path`; raises `OSError` if it can't be opened."""
    if path.lstat().st_size > _LARGEST or path.is_symlink() or not path.is_file():
        return Salvage()
    content = path.read_bytes()
    put_right = _put_right(content)
    if put_right is None:
        return _by_pages(path, content)
    content, block, bad, footer_is_whole = put_right
    if not footer_is_whole:
        # Arrow can be brought down by a damaged footer, and nothing else tells where the columns are.
        return Salvage(belongs=path if block.place == check_block.place_of(path) else None)
    found = Salvage(metadata=check_block.metadata_in(content[block.end :]))
    is_here = block.place == check_block.place_of(path)
    found.belongs = path if is_here else _belongs(path, found.metadata, block.place)
    if not bad and _fits(found.belongs, content):
        found.healed = content
    if found.belongs == path:
        _read(found, path, content, bad, trusts_footer=True)
    return found


def _fits(belongs: Path | None, content: bytes) -> bool:
    """Tell whether a file whose bytes are right has the columns of the table that it belongs to."""
    try:
        return (
            belongs is not None and misfit(pa.BufferReader(content), TABLES[belongs.parents[2].name]) is None
        )
    except _ERRORS:
        return False


def _put_right(content: bytes) -> tuple[bytes, Block, list[tuple[int, int]], bool] | None:
    """Return the file with all in its place that can be put there, and its check block.

    Then which stretches are bad, and whether the footer is whole. None if no check block is whole: nothing
    tells then what should be where.
    """
    at = len(content)
    for _ in range(_BLOCKS):
        at = content.rfind(check_block.MAGIC, 0, at)
        if at < 0:
            return None
        block = check_block.block_ending(content, at + len(check_block.MAGIC))
        if block is not None:
            break
    else:
        return None
    footer = content[block.end : block.end + block.behind]
    whole = False
    for one in (footer, _with_tail(footer)):
        if len(one) == block.behind and zlib.crc32(one) == block.footer_crc:
            footer, whole = one, True
            break
    # What was cut out or put in has moved the bytes behind it, the block's among them.
    shift = block.begin - block.check.data
    data = bytearray(block.check.data)
    bad = []
    for (begin, end), crc in zip(pairwise((0, *block.check.ends)), block.check.crcs, strict=True):
        for piece in _candidates(content, begin, end, shift):
            if zlib.crc32(piece) == crc and len(piece) == end - begin:
                data[begin:end] = piece
                break
        else:
            bad.append((begin, end))
            data[begin:end] = content[begin:end].ljust(end - begin, b"\0")
    put_right = bytes(data) + content[block.begin : block.end] + footer
    end = len(data) + block.end - block.begin
    moved = Block(len(data), end, block.check, block.place, block.behind, block.footer_crc)
    return put_right, moved, bad, whole


def _candidates(content: bytes, begin: int, end: int, shift: int) -> Iterator[bytes]:
    """Give what a stretch may be."""
    yield content[begin:end]
    if not begin:
        yield check_block.PARQUET + content[len(check_block.PARQUET) : end]
    if shift:
        yield content[max(0, begin + shift) : max(0, end + shift)]


def _with_tail(footer: bytes) -> bytes:
    """Return a footer with its last eight bytes as they must be."""
    thrift = footer[: -check_block.TAIL]
    return thrift + len(thrift).to_bytes(4, "little") + check_block.PARQUET


def _belongs(path: Path, metadata: dict[str, str], place: bytes | None) -> Path | None:
    """Return the path, in the capture that `path` is in, that a file was written for.

    Nothing names the table of an older format's file: it is taken for that of its folder.
    """
    try:
        host, recording = metadata["sockrec.host"], metadata["sockrec.recording"]
        name = layout.stem(recording, int(metadata["sockrec.part"]))
        day = layout.date_of(layout.date_folder(int(metadata["sockrec.first_sample_at"]))) or ""
    except (KeyError, ValueError, OverflowError, OSError):
        return None
    root = layout.Layout(path.parents[3])
    if layout.split_stem(name) is None:
        return None
    for table in TABLES if place is not None else (path.parents[2].name,):
        there = root.segment(table, host, day, name)
        if place is None or check_block.place_of(there) == place:
            return there
    return None


def _read(
    found: Salvage, path: Path, content: bytes, bad: Sequence[tuple[int, int]], *, trusts_footer: bool
) -> None:
    """Read the row groups that are proved: by their stretches, or by pages and statistics too."""
    table = TABLES[path.parents[2].name]
    try:
        source = pa.BufferReader(content)
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            found.total = file.metadata.num_rows
            schema = _fitting(table, file.schema_arrow)
            groups = []
            for number in range(file.num_row_groups):
                rows = _group(file, number, bad, trusts_footer=trusts_footer)
                if rows is not None:
                    groups.append(rows.select(schema.names).cast(schema))
            found.rows = pa.concat_tables([schema.empty_table(), *groups])
    except _ERRORS:
        return


def _fitting(table: Table, schema: pa.Schema) -> pa.Schema:
    """Return a file's schema; raises `ValueError` if it is not of this table."""
    wanted = arrow_schema(table)
    for name, kind in zip(schema.names, schema.types, strict=True):
        if name not in wanted.names or wanted.field(name).type != kind:
            raise ValueError(f"no column {name} of this type")
    if len(set(schema.names)) != len(schema.names):
        raise ValueError("columns stand twice")
    if not {column.name for column in table.columns if column.since == 1} <= set(schema.names):
        raise ValueError("columns are missing")
    return pa.schema([wanted.field(name) for name in schema.names])


def _group(
    file: pq.ParquetFile, number: int, bad: Sequence[tuple[int, int]], *, trusts_footer: bool
) -> pa.Table | None:
    try:
        chunks = columns_of(file, number)
    except _ERRORS:
        return None
    begins = [one.dictionary_page_offset or one.data_page_offset for one in chunks]
    ends = [begin + one.total_compressed_size for begin, one in zip(begins, chunks, strict=True)]
    if any(begin < max(ends) and end > min(begins) for begin, end in bad):
        return None
    try:
        rows = file.read_row_group(number)
        rows.validate(full=True)
    except _ERRORS:
        return None
    return rows if trusts_footer or _fits_statistics(rows, chunks) else None


def _fits_statistics(rows: pa.Table, chunks: list[Any]) -> bool:
    """Tell whether a row group's values have the bounds and the nulls that its statistics tell."""
    if len(chunks) != rows.num_columns:
        return False
    for column, chunk in zip(rows.columns, chunks, strict=True):
        values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
        told = chunk.statistics
        if told is None or chunk.num_values < rows.num_rows:
            return False
        if values is column and told.has_null_count and told.null_count != column.null_count:
            return False
        bounds = pc.min_max(values).as_py()
        if told.has_min_max != (bounds["min"] is not None):
            return False
        if told.has_min_max and (told.min, told.max) != (bounds["min"], bounds["max"]):
            return False
    return True


def _by_pages(path: Path, content: bytes) -> Salvage:
    """Read a file of a format without a check block."""
    found = Salvage()
    end = len(content) - check_block.TAIL
    length = int.from_bytes(content[end : end + 4], "little")
    metadata = check_block.metadata_in(content[max(0, end - length) : end])
    version = metadata.get("sockrec.format_version", "")
    if not version.isdecimal() or not 0 < int(version) < check_block.SINCE:
        return found
    found.belongs = _belongs(path, metadata, None)
    if found.belongs is None:
        return found
    _read(found, path, content, (), trusts_footer=False)
    if found.rows is not None and found.rows.num_rows == found.total:
        found.healed = content
        found.metadata = metadata
    elif found.belongs != path:
        found.rows = None
    return found
