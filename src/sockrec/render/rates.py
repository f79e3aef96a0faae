"""Rates as tables for people, with amounts like `1.2 MB/s`; in Markdown too.

Rows are mappings with the columns of `sockrec.query.rates`; times in them are aware datetimes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Final

from sockrec.model import timetext
from sockrec.render import formats
from sockrec.render.live import size

Row = Mapping[str, Any]
# A title, how a row is shown under it, and whether it is a number.
_Column = tuple[str, Callable[[Row], str], bool]

_SECOND: Final = 1_000_000
_DAY: Final = 86_400
_DIRECTIONS: Final = ("rx", "tx")


def number(value: float | None) -> str:
    """Return a number per second, in at least two figures, or nothing for None: `0.25`, `12.5`, `1,234`."""
    if value is None:
        return ""
    if value >= 99.95:
        return f"{value:,.0f}"
    if 0 < value < 0.005:
        return "<0.01"
    return f"{value:.2f}".rstrip("0").rstrip(".")


def bytes_per_second(value: float | None) -> str:
    """Return `1.2 MB/s`, or nothing for None."""
    return "" if value is None else f"{size(value)}/s"


def whole(value: int | None) -> str:
    """Return `12,345`, or nothing for None."""
    return "" if value is None else f"{value:,}"


def overview(rows: Sequence[Row], readings: int, first_us: int, last_us: int, zone: tzinfo, form: str) -> str:
    """Return all rates in two tables: of interfaces, two lines each, and of counters, trouble first.

    `readings` is how many there were from `first_us` to `last_us`; `form` is `table` or `markdown`.
    """
    dated = _is_dated(first_us, last_us, zone)
    title = f"{timetext.span(first_us, last_us, zone)}: {readings:,} reading{'' if readings == 1 else 's'}\n"
    links = _pivoted(row for row in rows if row["what"] == "interface")
    counters = [row | {"counter": _label(row)} for row in map(dict, rows) if row["what"] == "counter"]
    text = title
    for told, columns in ((links, _link_columns(zone, dated)), (counters, _counter_columns(zone, dated))):
        if told:
            text += f"\n{_text(told, [*_where(told), *columns], form)}"
    return text if counters else f"{text}\nno counter rose\n"


def series(rows: Sequence[Row], thing: str, zone: tzinfo, form: str, step_us: int | None) -> str:
    """Return the readings, or steps, of interfaces or counters (`thing`) as one table."""
    times = [timetext.from_datetime(row["time"]) for row in rows]
    dated = _is_dated(min(times), max(times), zone)
    digits = 0 if step_us is not None and step_us % _SECOND == 0 else 3
    offset = timetext.offset(times[0], zone)
    day = timetext.to_datetime(times[0], zone).date()
    title = "" if dated else f"{day} (times in {'UTC' if offset == '+00:00' else offset})\n\n"
    columns: list[_Column] = [("time", lambda row: _time(row["time"], zone, dated, digits), False)]
    columns += _where(rows)
    if thing == "interface" or len({row[thing] for row in rows}) > 1:
        columns.append((thing, lambda row: str(row[thing]), False))
    else:
        title = f"{rows[0][thing]}, {title}" if title else f"{rows[0][thing]}\n\n"
    columns += _INTERFACE if thing == "interface" else _counter_series(rows)
    columns += _resets(rows)
    return _title(title, form) + _text(rows, columns, form)


def _title(text: str, form: str) -> str:
    from sockrec.render import escape

    escaped = escape.markdown if form == "markdown" else escape.terminal
    return "".join(f"{escaped(line)}\n" for line in text.splitlines())


def _text(rows: Sequence[Row], columns: Sequence[_Column], form: str) -> str:
    titles = [title for title, _, _ in columns]
    cells = [[show(row) for _, show, _ in columns] for row in rows]
    return formats.whole(form, titles, cells, [is_number for _, _, is_number in columns])


def _is_dated(first_us: int, last_us: int, zone: tzinfo) -> bool:
    """Tell whether times have to be shown with their dates: they are of several days, or offsets."""
    first, last = (timetext.to_datetime(time_us, zone) for time_us in (first_us, last_us))
    return (first.date(), first.utcoffset()) != (last.date(), last.utcoffset())


def _time(moment: datetime | None, zone: tzinfo, dated: bool, digits: int = 3) -> str:
    if moment is None:
        return ""
    time_us = timetext.from_datetime(moment)
    return timetext.full(time_us, zone, digits) if dated else timetext.clock(time_us, zone, digits)


def _where(rows: Iterable[Row]) -> list[_Column]:
    """Return the columns that tell rows of several hosts, or network namespaces, apart."""
    found: list[_Column] = []
    rows = list(rows)
    if len({row["host"] for row in rows}) > 1:
        found.append(("host", lambda row: str(row["host"]), False))
    if len({(row["host"], row["netns"]) for row in rows}) > len({row["host"] for row in rows}):
        found.append(("netns", lambda row: formats.plain(row["netns"]), True))
    return found


def _resets(rows: Iterable[Row]) -> list[_Column]:
    """Return the column of counters that began anew, if any did: what they counted before is lost in part."""
    return (
        [("resets", lambda row: whole(row["resets"] or None), True)]
        if any(row["resets"] for row in rows)
        else []
    )


def _label(row: Row) -> str:
    return f"{row['section']}.{row['name']}" if row["section"] else str(row["name"])


def _pivoted(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return a row for each interface and direction, with its numbers by name."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        direction, _, number_ = row["name"].partition("_")
        key = (row["section"], row["host"], row["netns"], direction)
        told = found.setdefault(
            key,
            {
                "host": row["host"],
                "netns": row["netns"],
                "interface": row["section"],
                "direction": direction,
                "resets": 0,
            },
        )
        told[number_] = row
        told["resets"] = max(told["resets"], row["resets"])
    return list(found.values())


def _link_columns(zone: tzinfo, dated: bool) -> list[_Column]:
    def of(name: str, field: str) -> Callable[[Row], Any]:
        return lambda row: row[name][field]

    def rate(name: str, show: Callable[[float | None], str], title: str) -> list[_Column]:
        mean, peak, at = of(name, "per_second"), of(name, "peak_per_second"), of(name, "peak_at")
        return [
            (title, lambda row: show(mean(row)), True),
            ("peak", lambda row: show(peak(row)), True),
            ("at", lambda row: _time(at(row), zone, dated), False),
        ]

    errors, dropped = of("errors", "total"), of("dropped", "total")
    return [
        ("interface", lambda row: str(row["interface"]), False),
        ("", lambda row: str(row["direction"]), False),
        *rate("bytes", bytes_per_second, "bytes/s"),
        *rate("packets", number, "packets/s"),
        ("errors", lambda row: whole(errors(row)), True),
        ("dropped", lambda row: whole(dropped(row)), True),
        ("resets", lambda row: whole(row["resets"] or None), True),
    ]


def _counter_columns(zone: tzinfo, dated: bool) -> list[_Column]:
    return [
        ("counter", lambda row: str(row["counter"]), False),
        ("total", lambda row: whole(row["total"]), True),
        ("per second", lambda row: number(row["per_second"]), True),
        ("peak", lambda row: number(row["peak_per_second"]), True),
        ("at", lambda row: _time(row["peak_at"], zone, dated), False),
        ("", lambda row: "trouble" if row["trouble"] else "", False),
        ("resets", lambda row: whole(row["resets"] or None), True),
    ]


_INTERFACE: Final[list[_Column]] = [
    ("rx bytes/s", lambda row: bytes_per_second(row["rx_bytes_per_second"]), True),
    ("tx bytes/s", lambda row: bytes_per_second(row["tx_bytes_per_second"]), True),
    ("rx packets/s", lambda row: number(row["rx_packets_per_second"]), True),
    ("tx packets/s", lambda row: number(row["tx_packets_per_second"]), True),
    ("rx errors", lambda row: whole(row["rx_errors"]), True),
    ("tx errors", lambda row: whole(row["tx_errors"]), True),
    ("rx dropped", lambda row: whole(row["rx_dropped"]), True),
    ("tx dropped", lambda row: whole(row["tx_dropped"]), True),
]


def _counter_series(rows: Sequence[Row]) -> list[_Column]:
    """Return the columns of counters, those of gauges, or both."""
    columns: list[_Column] = []
    if any(row["increase"] is not None for row in rows):
        columns += [
            ("increase", lambda row: whole(row["increase"]), True),
            ("per second", lambda row: number(row["per_second"]), True),
        ]
    return [*columns, ("value", lambda row: whole(row["value"]), True)]
