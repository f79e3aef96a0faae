"""SQL of counters with how fast they rose: between the reading before and the one that found them moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sockrec.model.network_tables import COUNTERS as STORED
from sockrec.model.network_tables import LINK_COUNTERS as STORED_LINKS

# What goes up and down says nothing about a rate.
GAUGES: Final = """
(source IN ('sockstat', 'sockstat6', 'conntrack') OR name IN (
    'CurrEstab', 'Forwarding', 'DefaultTTL', 'RtoAlgorithm', 'RtoMin', 'RtoMax', 'MaxConn', 'MPCurrEstab',
    'SctpCurrEstab', 'SctpRtoAlgorithm', 'SctpRtoMin', 'SctpRtoMax', 'SctpRtoInitial', 'SctpValCookieLife',
    'SctpMaxInitRetr'))
"""
_LINK_READ: Final = frozenset({"recording", "netns", "ifindex", "name", "read_before", "read_at"})
LINK_RATES: Final = tuple(name for name in STORED_LINKS.names if name not in _LINK_READ)


def _increase(value: str, before: str, difference: str) -> str:
    """Return by how much a counter rose; null where that can't be told.

    `difference` is the column `value - before`, as HUGEINT: written out each time it would slow the opening
    of every capture. Numbers from 2**63 on are stored less 2**64: a rise across either of the two is a
    difference like any other. One that fell began anew, or was of 32 bits and full: that is taken to be so
    where it was in the upper half and has come less than half way. One that fell to a number from 2**63 on
    went below 0.
    """
    return f"""CASE WHEN {difference} BETWEEN 0 AND 9223372036854775807 THEN {difference}
        WHEN {difference} < -9223372036854775808 THEN {difference} + 18446744073709551616
        WHEN {before} BETWEEN 2147483648 AND 4294967295 AND {value} >= 0 AND {difference} < -2147483648
        THEN {difference} + 4294967296
        WHEN {difference} IS NOT NULL AND {value} >= 0 THEN {value} END::BIGINT"""


def _is_reset(value: str, before: str, increase: str) -> str:
    """Return whether it began anew at 0: then all of it counts."""
    return f"{increase} = {value} AND {before} <> 0"


# The kernel names these from their first message on: before that they were 0.
_NAMED_LATE: Final = r"(section = 'IcmpMsg' OR regexp_full_match(name, 'Icmp6(In|Out)Type\d+'))"
_SECONDS: Final = "nullif(epoch_us(read_at) - epoch_us(read_before), 0) / 1e6"
_STORED: Final = ", ".join(STORED.names)
# A segment begins with every counter again, without the reading before: such rows are left out, unless what
# came between is missing. What came before a row is the one right before it, of those too.
COUNTERS: Final = f"""
CREATE VIEW counters AS
WITH ordered AS (
    SELECT *, coalesce(lag(value) OVER every,
        CASE WHEN read_before IS NOT NULL AND {_NAMED_LATE} THEN 0 END) AS before
    FROM base.counters
    WINDOW every AS (
        PARTITION BY host, recording, netns, source, section, name ORDER BY read_at, read_before NULLS LAST)
), told AS (
    SELECT *, {_increase("value", "before", "difference")} AS increase
    FROM (SELECT *, CASE WHEN read_before IS NULL OR {GAUGES} THEN NULL
            ELSE value::HUGEINT - before END AS difference
        FROM ordered WHERE read_before IS NOT NULL OR value IS DISTINCT FROM before)
)
SELECT host, {_STORED}, increase, increase / ({_SECONDS}) AS per_second,
    coalesce({_is_reset("value", "before", "increase")}, false) AS is_reset
FROM told
"""
_LINK_STORED: Final = ", ".join(STORED_LINKS.names)


def link_increases(numbers: Sequence[str]) -> str:
    """Return a SELECT of the rows of `link_counters` by how much some of its numbers rose.

    For each of them it has `<name>_increase`; besides `is_reset`, whether one of them began anew, and
    `seconds`, since the reading before.
    """
    before = ", ".join(f"lag({name}) OVER every AS {name}_before" for name in numbers)
    moved = " OR ".join(f"{name} IS DISTINCT FROM {name}_before" for name in numbers)
    differences = ", ".join(
        f"CASE WHEN read_before IS NOT NULL THEN {name}::HUGEINT - {name}_before END AS {name}_difference"
        for name in numbers
    )
    increases = ", ".join(
        f"{_increase(name, f'{name}_before', f'{name}_difference')} AS {name}_increase" for name in numbers
    )
    resets = " OR ".join(_is_reset(name, f"{name}_before", f"{name}_increase") for name in numbers)
    return f"""SELECT *, coalesce({resets}, false) AS is_reset, {_SECONDS} AS seconds FROM (
    SELECT *, {increases} FROM (
        SELECT *, {differences} FROM (
            SELECT *, {before} FROM base.link_counters WINDOW every AS (
                PARTITION BY host, recording, netns, ifindex, name ORDER BY read_at, read_before NULLS LAST))
        WHERE read_before IS NOT NULL OR {moved}))"""


LINK_COUNTERS: Final = f"""
CREATE VIEW link_counters AS
SELECT host, {_LINK_STORED},
    {", ".join(f"{name}_increase / seconds AS {name}_per_second" for name in LINK_RATES)}, is_reset
FROM ({link_increases(LINK_RATES)})
"""
