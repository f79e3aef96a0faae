"""What a capture says when it is opened, as facts (`tests.faults.journals`), and who was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from sockrec.catalog import Catalog
from sockrec.model.columns import Table
from sockrec.model.tables import TABLES
from tests.faults.journals import ENDING, ENDS, Fact, end_of, rows


def stored_as(table: str) -> str:
    """Return what to select a table's rows from: views of some names tell more, or less, than is stored."""
    return f"base.{table}" if table in {"events", "counters", "link_counters"} else table


def facts(catalog: Catalog) -> Counter[Fact]:
    """Return every row that a capture gives, each as often as it does."""
    found: Counter[Fact] = Counter()
    for table in TABLES.values():
        found.update(_facts(catalog, table))
    return found


def _facts(catalog: Catalog, table: Table) -> Iterable[Fact]:
    lasting = table.spans
    begun = [column for column in table.names if not (lasting and column in ENDING)]
    columns = ", ".join(f'"{column}"' for column in [*begun, *(ENDING if lasting else ())])
    answer = catalog.relation(f"SELECT {columns} FROM {stored_as(table.name)}").to_arrow_table()
    for row in rows(answer):
        fact = (table.name, *row[: len(begun)])
        yield fact
        ending = row[len(begun) :]
        if lasting and ending[2] in ENDS:
            yield end_of(fact, ending)


def beyond(some: Counter[Fact], others: Counter[Fact]) -> Counter[Fact]:
    """Return what is in `some` more often than in `others`: `some - others`, which would go through both."""
    return Counter({fact: count - others[fact] for fact, count in some.items() if count > others[fact]})


def describe(some: Counter[Fact], most: int = 3) -> str:
    """Return how many facts there are, and a few of them."""
    return f"{some.total()}, such as {list(some)[:most]}"


def temporary_files(capture: Path) -> list[Path]:
    """Return the files that were to be renamed or removed before a recorder goes on."""
    return [path for path in capture.rglob(".*") if path.is_file()]
