"""What the verbs that read share: opening a capture, telling its damage, printing rows."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import tzinfo

    import duckdb

    from sockrec.catalog import Catalog

CaptureOption = Annotated[
    Path | None,
    typer.Option(
        "--capture",
        "-C",
        help="The capture to read; else $SOCKREC_CAPTURE, else the newest in the default folder.",
    ),
]
TimeZoneOption = Annotated[
    str | None, typer.Option("--tz", help="Time zone of the times shown; else that of the recorded host.")
]
FromOption = Annotated[str | None, typer.Option("--from", help="First moment: 10:32, '5m ago', ...")]
ToOption = Annotated[str | None, typer.Option("--to", help="Last moment.")]
HostOption = Annotated[str | None, typer.Option(help="Only this host, if the capture holds several.")]
Rows = list[tuple[Any, ...]]
Piece = TypeVar("Piece")


@contextmanager
def opened(capture: Path | None) -> Iterator[Catalog]:
    """Open the capture that is meant; when it is left, say on stderr what of it could not be read."""
    import duckdb

    from sockrec.catalog import open_catalog
    from sockrec.catalog.guard import one_line
    from sockrec.errors import CaptureError
    from sockrec.store.locate import locate

    with open_catalog(locate(capture)) as catalog:
        try:
            with interruptible(catalog):
                yield catalog
        except BrokenPipeError:
            # Who reads our output has had enough: no error. Python would flush, and complain, at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except duckdb.Error as error:
            # A row that DuckDB can read and Python can't hold: a time in the year 290,000.
            raise CaptureError(f"{catalog.root} holds what can't be shown: {one_line(error)}") from None
        finally:
            tell_damages(catalog)


def tell_damages(catalog: Catalog) -> None:
    """Print one line on stderr for everything that is left out."""
    from sockrec.render.escape import terminal

    for damage in catalog.damages:
        what = "lost" if damage.known else "left out"
        typer.echo(f"sockrec: {what}: {terminal(str(damage))}", err=True)


def zone(catalog: Catalog, name: str | None) -> tzinfo:
    """Return the time zone asked for, else the capture's; raises `UsageError` for an unknown one."""
    from sockrec.catalog import times
    from sockrec.model import timetext

    return timetext.zone(name) if name else times.zone_of(catalog)


def numeric(kinds: Iterable[object]) -> list[bool]:
    """Tell which of some DuckDB types are numbers."""
    names = ("DECIMAL", "DOUBLE", "FLOAT", "BIGINT", "HUGEINT", "INTEGER", "SMALLINT", "TINYINT")
    return [str(kind).removeprefix("U").split("(")[0] in names for kind in kinds]


def dicts(relation: duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    """Return all rows as mappings from column names."""
    columns = relation.columns
    return [dict(zip(columns, row, strict=True)) for row in relation.fetchall()]


def show(name: str, relation: duckdb.DuckDBPyRelation) -> None:
    """Print a small relation in a format by its name; raises `UsageError` for an unknown one."""
    from sockrec.render import formats

    write(formats.whole(name, relation.columns, relation.fetchall(), numeric(relation.types)))


def show_rows(name: str, columns: Sequence[str], rows: Rows) -> None:
    """Print rows without number columns in a format by its name; raises `UsageError` for an unknown one."""
    from sockrec.render import formats

    write(formats.whole(name, columns, rows, [False] * len(columns)))


def stream(
    catalog: Catalog,
    pieces: Callable[[duckdb.DuckDBPyConnection], Iterable[Piece]],
    put: Callable[[Piece], None],
    *,
    trusted: bool = True,
) -> None:
    """Put out the pieces of an answer as they come; of a statement that is not `trusted`, see `Catalog.run`.

    Nothing is put out that was read from a file that fails its checksum. Until the first piece is out,
    damaged files are left out and the query is run again; after that, what was printed can't be taken
    back, and `CaptureError` is raised.
    """
    import duckdb

    from sockrec.errors import CaptureError

    def run(connection: duckdb.DuckDBPyConnection) -> None:
        begun = False
        try:
            for piece in pieces(connection):
                catalog.compare_read()
                begun = True
                put(piece)
            catalog.compare_read()
        except duckdb.Error as error:
            if begun:
                catalog.leave_out_damaged(error)
                raise CaptureError(
                    "a damaged file was met, so what was printed is not all: run it again with --check"
                ) from None
            raise

    catalog.run(run, trusted=trusted)


@contextmanager
def interruptible(connection: Catalog) -> Iterator[None]:
    """Let Ctrl-C end what a connection does at once: DuckDB by itself may not look for minutes.

    It then raises `duckdb.InterruptException`, or `KeyboardInterrupt` comes first. For the main thread.
    """
    awake, bell = os.pipe()
    os.set_blocking(bell, False)

    def watch() -> None:
        while rung := os.read(awake, 1):
            if rung[0] == signal.SIGINT:
                connection.interrupt()

    watcher = threading.Thread(target=watch, name="sockrec-interrupt", daemon=True)
    watcher.start()
    # Python rings it in the signal itself, while the main thread is still inside of DuckDB.
    before = signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(bell)
        watcher.join()
        os.close(awake)


def check_format(name: str, *more: str) -> None:
    """Raise `UsageError` for a format that is none: before any work is done."""
    from sockrec.errors import UsageError
    from sockrec.render.formats import FORMATS

    if name not in FORMATS and name not in more:
        raise UsageError(f"there is no format {name!r}: give one of {', '.join((*more, *FORMATS))}")


def write(text: str) -> None:
    """Write to stdout at once; what its encoding can't hold is written as a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()
