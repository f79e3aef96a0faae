"""`sockrec sql`: DuckDB's SQL over the views of a capture."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from sockrec.catalog import Catalog

_BATCH_ROWS = 2_000
_BINARY = ("parquet", "arrow")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("sql")(sql)


def sql(
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="One statement that reads; - takes it from stdin.")
    ] = None,
    capture: CaptureOption = None,
    format_: Annotated[
        str,
        typer.Option(
            "--format", "-f", help="table, csv, json, jsonl, markdown, parquet or arrow (a stream)."
        ),
    ] = "table",
    schema: Annotated[
        bool, typer.Option("--schema", help="Print every view with its columns; needs no capture.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read every file whole first, and leave damaged ones out.")
    ] = False,
) -> None:
    """Run SQL over a capture; rows are printed as they come. `--schema` shows what there is.

    Only the capture can be read, nothing can be written, and no extension can be loaded.
    """
    from sockrec.errors import UsageError

    if schema:
        from sockrec.catalog.views import schema_text

        _capture.write(schema_text())
        return
    if query is None:
        raise UsageError("the SQL is missing: give it in quotes, - to read it from stdin, or --schema")
    _capture.check_format(format_, *_BINARY)
    if format_ in _BINARY and sys.stdout.isatty():
        raise UsageError(f"{format_} is not for a terminal: send it to a file with > or to a program with |")
    text = sys.stdin.read() if query == "-" else query
    with _capture.opened(capture) as catalog:
        catalog.check(text)
        if check:
            catalog.check_files()
        if format_ in _BINARY:
            _print_binary(catalog, text, format_)
        else:
            _print_text(catalog, text, format_)


def _print_text(catalog: Catalog, text: str, format_: str) -> None:
    from sockrec.render import formats

    def batches(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
        answer = connection.execute(text)
        columns = answer.description or []
        out = formats.make(
            format_, [column[0] for column in columns], _capture.numeric([column[1] for column in columns])
        )
        rows = answer.fetchmany(_BATCH_ROWS)
        yield out.head()
        while rows:
            yield out.rows(rows)
            rows = answer.fetchmany(_BATCH_ROWS)
        yield out.tail()

    _capture.stream(catalog, batches, _capture.write, trusted=False)


def _print_binary(catalog: Catalog, text: str, format_: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.PythonFile(_Pipe(sys.stdout.buffer), mode="w")
    writers: list[Any] = []

    def batches(connection: duckdb.DuckDBPyConnection) -> Iterator[Any]:
        reader = connection.sql(text).to_arrow_reader(_BATCH_ROWS)
        yield reader.schema
        yield from reader

    def put(piece: Any) -> None:
        if writers:
            writers[0].write_batch(piece)
        elif format_ == "parquet":
            writers.append(pq.ParquetWriter(sink, piece, compression="zstd"))
        else:
            writers.append(pa.ipc.new_stream(sink, piece))

    _capture.stream(catalog, batches, put, trusted=False)
    for writer in writers:
        writer.close()


class _Pipe:
    """A pipe that tells how much was written to it, which Parquet's writer asks."""

    closed = False

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._written = 0

    def write(self, content: bytes) -> int:
        """Write all of it."""
        self._pipe.write(content)
        self._written += len(content)
        return len(content)

    def tell(self) -> int:
        """Return how much was written."""
        return self._written

    def flush(self) -> None:
        """Hand everything on."""
        self._pipe.flush()

    def close(self) -> None:
        """Leave stdout open: it is not ours."""
        self.flush()
