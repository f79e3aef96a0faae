"""The tables of `sockrec.model.tables` as Arrow schemas: final, and as the journal writes them.

A table of spans is journaled as two: `<table>.begun` has all columns but the ending ones;
`<table>.ended` has `row` (which begun row of that part, counted from 0) and the ending columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from sockrec.errors import CaptureError
from sockrec.model.columns import ENDING
from sockrec.model.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockrec.model.columns import Column, Table

BEGUN: Final = ".begun"
ENDED: Final = ".ended"
ROW: Final = "row"
TIME: Final = pa.timestamp("us", tz="UTC")
ARROW_TYPES: Final = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "time": TIME,
    "ints": pa.list_(pa.int64()),
    "texts": pa.list_(pa.string()),
}


def _schema(columns: Iterable[Column]) -> pa.Schema:
    return pa.schema([pa.field(column.name, ARROW_TYPES[column.type]) for column in columns])


def arrow_schema(table: Table) -> pa.Schema:
    """Return the schema of a whole table, as in segments."""
    return _schema(table.columns)


def begun_schema(table: Table) -> pa.Schema:
    """Return the schema of `<table>.begun`: everything known when a row begins."""
    return _schema(column for column in table.columns if column not in ENDING)


def ended_schema(table: Table) -> pa.Schema:
    """Return the schema of `<table>.ended`: `row` and the four ending columns; of span tables only."""
    if not table.spans:
        raise ValueError(f"rows of {table.name} do not end")
    return _schema(ENDING).insert(0, pa.field(ROW, pa.int64()))


def journal_schemas() -> dict[str, pa.Schema]:
    """Return every journal table's schema by name, in the order in which frames count them."""
    schemas = {}
    for table in TABLES.values():
        if table.spans:
            schemas[table.name + BEGUN] = begun_schema(table)
            schemas[table.name + ENDED] = ended_schema(table)
        else:
            schemas[table.name] = arrow_schema(table)
    return schemas


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return `table` with exactly the columns of `schema`: missing ones null, unknown ones left out.

    Raises `CaptureError` if a column has another type, or its name twice.
    """
    if table.schema.equals(schema):
        return table
    columns = []
    for field in schema:
        found = table.schema.get_all_field_indices(field.name)
        if not found:
            columns.append(pa.nulls(table.num_rows, field.type))
        elif len(found) > 1 or table.schema.field(found[0]).type != field.type:
            raise CaptureError(f"column {field.name!r} is not the one {field.type} it should be")
        else:
            columns.append(table.column(found[0]))
    return pa.Table.from_arrays(columns, schema=schema)
