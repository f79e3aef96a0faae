"""Rows as text in the formats people ask for: table, CSV, JSON, JSON lines, Markdown.

Times are ISO 8601 in UTC with microseconds and Z. Numbers stay numbers; only text is escaped, each
format in its own way (`sockrec.render.escape`).
"""

from __future__ import annotations

import csv
import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from sockrec.errors import UsageError
from sockrec.model import timetext
from sockrec.render import escape
from sockrec.render.table import Table

Row = Sequence[Any]


def plain(value: object) -> str:
    """Return a value as unescaped text; an empty one for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, (datetime, date, time, timedelta, bytes)):
        return _special(value)
    if isinstance(value, (Mapping, list, tuple)):
        return json_value(value)
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def json_value(value: object) -> str:
    """Return a value as JSON, exactly: decimals keep their digits, what JSON lacks becomes text."""
    if isinstance(value, Mapping):
        inside = (f"{_json_string(plain(key))}: {json_value(item)}" for key, item in value.items())
        return "{" + ", ".join(inside) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(json_value(item) for item in value) + "]"
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else f'"{value}"'
    if isinstance(value, float) and not math.isfinite(value):
        return f'"{value}"'
    if value is None or isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return _json_string(plain(value))


def _json_string(text: str) -> str:
    return escape.json_text(json.dumps(text, ensure_ascii=False))


def _special(value: datetime | date | time | timedelta | bytes) -> str:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return timetext.iso(timetext.from_datetime(value.astimezone(UTC)))
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, timedelta):
        return str(value)
    return value.isoformat()


class Format(ABC):
    """Turns batches of rows into text: `head`, then `rows` for each batch, then `tail`.

    `numeric` tells which columns hold numbers.
    """

    def __init__(self, columns: Sequence[str], numeric: Sequence[bool]) -> None:
        self.columns = columns
        self.numeric = numeric

    def head(self) -> str:
        """Return what stands before all rows."""
        return ""

    @abstractmethod
    def rows(self, rows: Sequence[Row]) -> str:
        """Return a batch of rows."""

    def tail(self) -> str:
        """Return what stands after all rows."""
        return ""


class TableFormat(Format):
    """Columns aligned for a person; control characters are shown."""

    def __init__(self, columns: Sequence[str], numeric: Sequence[bool]) -> None:
        super().__init__(columns, numeric)
        self._table = Table(columns, numeric)
        self._begun = False

    def rows(self, rows: Sequence[Row]) -> str:
        """Return the rows aligned, under the titles if they are the first."""
        self._begun = True
        return self._table.batch([[plain(value) for value in row] for row in rows])

    def tail(self) -> str:
        """Return the titles if there was no row."""
        return "" if self._begun else self._table.batch([])


class CsvFormat(Format):
    """RFC 4180 with a header, lines ended by a line feed; formulas are neutralised."""

    def head(self) -> str:
        """Return the header line."""
        return self._lines([[escape.spreadsheet(name) for name in self.columns]])

    def rows(self, rows: Sequence[Row]) -> str:
        """Return the rows; null is an empty cell."""
        return self._lines([[self._cell(value) for value in row] for row in rows])

    @staticmethod
    def _cell(value: object) -> str:
        text = plain(value)
        return text if isinstance(value, (int, float, Decimal)) else escape.spreadsheet(text)

    @staticmethod
    def _lines(rows: Sequence[Sequence[str]]) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(rows)
        return out.getvalue()


class JsonFormat(Format):
    """One array of objects."""

    _begun = False

    def head(self) -> str:
        """Return the opening bracket."""
        return "["

    def rows(self, rows: Sequence[Row]) -> str:
        """Return the objects, one a line."""
        parts = []
        for row in rows:
            parts.append(",\n" if self._begun else "\n")
            parts.append(json_value(dict(zip(self.columns, row, strict=True))))
            self._begun = True
        return "".join(parts)

    def tail(self) -> str:
        """Return the closing bracket."""
        return "\n]\n" if self._begun else "]\n"


class JsonLinesFormat(Format):
    """One object a line."""

    def rows(self, rows: Sequence[Row]) -> str:
        """Return the objects."""
        return "".join(json_value(dict(zip(self.columns, row, strict=True))) + "\n" for row in rows)


class MarkdownFormat(Format):
    """A table of GitHub Flavored Markdown; numbers to the right."""

    def head(self) -> str:
        """Return the title line and the rule under it."""
        rule = ["---:" if number else "---" for number in self.numeric]
        return self._line([escape.markdown(name) for name in self.columns]) + self._line(rule)

    def rows(self, rows: Sequence[Row]) -> str:
        """Return the rows."""
        return "".join(self._line([self._cell(value) for value in row]) for row in rows)

    @staticmethod
    def _cell(value: object) -> str:
        text = plain(value)
        return text if isinstance(value, (int, float, Decimal, datetime)) else escape.markdown(text)

    @staticmethod
    def _line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |\n"


FORMATS: Final[Mapping[str, type[Format]]] = {
    "table": TableFormat,
    "csv": CsvFormat,
    "json": JsonFormat,
    "jsonl": JsonLinesFormat,
    "markdown": MarkdownFormat,
}


def make(name: str, columns: Sequence[str], numeric: Sequence[bool]) -> Format:
    """Return a new format by its name.

    Raises `UsageError` for an unknown one, and for columns of one name in JSON.
    """
    if name not in FORMATS:
        raise UsageError(f"there is no format {name!r}: give one of {', '.join(FORMATS)}")
    if name in ("json", "jsonl") and len(set(columns)) < len(columns):
        raise UsageError("two columns have the same name: give one of them another with AS")
    return FORMATS[name](columns, numeric)


def whole(name: str, columns: Sequence[str], rows: Sequence[Row], numeric: Sequence[bool]) -> str:
    """Return all rows at once in the format of that name; raises `UsageError` as `make`."""
    text = make(name, columns, numeric)
    return text.head() + (text.rows(rows) if rows else "") + text.tail()
