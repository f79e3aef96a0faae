"""An interface that counts errors: the cable, the card, or a host too slow for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sockrec.catalog.rates import link_increases
from sockrec.catalog.sources import literal
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold

Row = dict[str, Any]
_ERRORS: Final = Threshold("errors", 10, "packets", "a good link has none; a plug that is pulled makes a few")
_DROPS: Final = Threshold("drops", 100, "packets", "a switch sends a few that no host wants (LLDP, STP)")
_DROP_SHARE: Final = Threshold(
    "drop-share", 0.1, "percent", "of the packets: fewer are what nobody wanted, more are missed by somebody"
)
_COLLISIONS: Final = Threshold(
    "collisions", 5, "percent", "of the packets sent: a shared Ethernet has some, a full-duplex link none"
)
# What each of them means; the details of the first two come after them.
_RECEIVED: Final = {
    "rx_crc_errors": "with a wrong checksum (the cable)",
    "rx_frame_errors": "misaligned (the cable)",
    "rx_length_errors": "of a wrong length",
    "rx_over_errors": "overran the receiver",
    "rx_fifo_errors": "overran its queue (the host is too slow)",
    "rx_missed_errors": "missed (the host is too slow)",
}
_SENT: Final = {
    "tx_carrier_errors": "without a carrier (cable or duplex)",
    "tx_aborted_errors": "aborted",
    "tx_fifo_errors": "with an empty queue",
    "tx_heartbeat_errors": "without a heartbeat",
    "tx_window_errors": "late collisions (duplex)",
}
_TOTALS: Final = ("rx_errors", "tx_errors", "rx_dropped", "tx_dropped", "collisions")
_NUMBERS: Final = ("rx_packets", "tx_packets", *_TOTALS, *_RECEIVED, *_SENT)
_OVERRUN: Final = ("rx_over_errors", "rx_fifo_errors", "rx_missed_errors")
# Missed packets are no errors to every driver: they count for themselves.
_BAD: Final = (
    f"(rx_errors + tx_errors + {' + '.join(f'greatest(0, {name} - rx_errors)' for name in _OVERRUN)})"
)
# Of counters that began anew less is known than happened, and nothing is made of it.
_COUNTED: Final = """
WITH risen AS (
    SELECT host, netns, name, read_before, read_at, seconds, {rises}
    FROM ({rows}) WHERE read_before IS NOT NULL AND NOT is_reset AND {within}
), judged AS (
    SELECT *, {total} AS bad FROM risen
)
SELECT host, netns, name, {sums}, max(bad / seconds) AS fastest,
    min(read_at) FILTER (bad > 0) AS not_after,
    arg_min_null(read_before, read_at) FILTER (bad > 0) AS not_before
FROM judged GROUP BY host, netns, name
"""
_SHOWN: Final = """
SELECT * FROM ({counted})
WHERE {bad} >= {errors}
    OR (rx_dropped >= {drops} AND rx_dropped * 100 >= {share} * (rx_packets + rx_dropped))
    OR (tx_dropped >= {drops} AND tx_dropped * 100 >= {share} * (tx_packets + tx_dropped))
    OR (collisions >= {errors} AND collisions * 100 >= {collisions} * tx_packets)
ORDER BY {total} DESC, host, name
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each interface that counted at least `errors`, or dropped at least `drops` and `drop-share`.

    Errors of all kinds: checksums, frames, overruns, carrier; collisions from `collisions` of the packets
    sent. Errors on receiving are the cable, the card or the switch's port; overruns and misses a host too
    slow for its card; drops a queue that is full, or what no program wanted. A counter that began anew is
    none of it.
    """
    if not asked.any(f"base.link_counters WHERE greatest({', '.join(_NUMBERS[2:])}) > 0"):
        return
    total = f"({' + '.join(_TOTALS)} + rx_missed_errors)"
    thresholds = {
        "errors": asked.threshold("interface-errors", _ERRORS),
        "drops": asked.threshold("interface-errors", _DROPS),
        "share": asked.threshold("interface-errors", _DROP_SHARE),
        "collisions": asked.threshold("interface-errors", _COLLISIONS),
    }
    counted = _COUNTED.format(
        rows=link_increases(_NUMBERS),
        rises=", ".join(f"coalesce({name}_increase, 0) AS {name}" for name in _NUMBERS),
        sums=", ".join(f"sum({name})::BIGINT AS {name}" for name in _NUMBERS),
        total=total,
        within=asked.within("read_before", "read_at"),
    )
    for row in asked.rows(_SHOWN.format(counted=counted, bad=_BAD, total=total, **thresholds)):
        yield _finding(row)


def _finding(row: Row) -> Finding:
    name = row["name"]
    hurt = row["rx_errors"] + row["tx_errors"] + sum(row[one] for one in _OVERRUN)
    numbers = {one: row[one] for one in _NUMBERS if row[one] and one not in ("rx_packets", "tx_packets")}
    numbers |= {
        "rx_packets": row["rx_packets"],
        "tx_packets": row["tx_packets"],
        "most_per_second": round(row["fastest"], 3),
    }
    columns = ", ".join(f"{one}, {one}_per_second" for one in numbers if one in _NUMBERS[2:])
    moved = " OR ".join(f"{one}_per_second > 0" for one in numbers if one in _NUMBERS[2:])
    return Finding(
        kind="interface-errors",
        severity="warning",
        title=f"{name} {'has errors' if hurt else 'drops packets' if _drops(row) else 'has collisions'}",
        text=f"{name} counted {'; '.join(_parts(row))}. At worst {row['fastest']:,.3g} a second.",
        not_before=row["not_before"],
        not_after=row["not_after"],
        host=row["host"],
        subject=name,
        numbers=numbers,
        look=f"sockrec rates --iface {name}",
        sql=(
            f"SELECT read_at, {columns} FROM link_counters WHERE name = {literal(name)} AND ({moved})"
            " ORDER BY read_at"
        ),
    )


def _drops(row: Row) -> int:
    return int(row["rx_dropped"] + row["tx_dropped"])


def _parts(row: Row) -> Iterator[str]:
    """Yield what was counted, the worst first, each with its share of the packets."""
    if row["rx_errors"] or any(row[one] for one in _RECEIVED):
        found = f"{row['rx_errors']:,} errors in {row['rx_packets']:,} packets received"
        yield f"{found}{_details(row, _RECEIVED)}"
    if row["tx_errors"] or any(row[one] for one in _SENT):
        found = f"{row['tx_errors']:,} errors in {row['tx_packets']:,} packets sent"
        yield f"{found}{_details(row, _SENT)}"
    for way, said in (("rx", "received"), ("tx", "to be sent")):
        if dropped := row[f"{way}_dropped"]:
            share = dropped / max(1, row[f"{way}_packets"] + dropped)
            yield f"{dropped:,} packets {said} and dropped ({share:.2%} of them)"
    if row["collisions"]:
        share = row["collisions"] / max(1, row["tx_packets"])
        yield f"{row['collisions']:,} collisions ({share:.1%} of the packets sent)"


def _details(row: Row, meanings: dict[str, str]) -> str:
    told = [f"{row[name]:,} {meaning}" for name, meaning in meanings.items() if row[name]]
    return f": {', '.join(told)}" if told else ""


KIND: Final = Kind("interface-errors", find, (_ERRORS, _DROPS, _DROP_SHARE, _COLLISIONS))
