"""SQL of counters with how fast they rose: between the reading before and the one that found them moved."""

from __future__ import annotations

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


def _increase(value: str, before: str) -> str:
    """Return by how much a counter rose; null where that can't be told.

    Numbers from 2**63 on are stored less 2**64, so that a rise across either of the two is a difference like
    any other. One that fell began anew, or was of 32 bits and full: that is taken to be so where it was in the
    upper half and has come less than half way. One that fell to a number from 2**63 on went below 0.
    """
    rise = f"({value}::HUGEINT - {before})"
    return f"""CASE WHEN {before} IS NULL THEN NULL
        WHEN {rise} BETWEEN 0 AND 9223372036854775807 THEN {rise}
        WHEN {rise} < -9223372036854775808 THEN {rise} + 18446744073709551616
        WHEN {before} BETWEEN 2147483648 AND 4294967295 AND {value} BETWEEN 0 AND {before}::HUGEINT - 2147483649
        THEN {rise} + 4294967296
        WHEN {value} >= 0 THEN {value} END::BIGINT"""


def _is_reset(value: str, before: str, increase: str) -> str:
    """Return whether it began anew at 0: then all of it counts."""
    return f"coalesce({increase} = {value} AND {before} <> 0, false)"


_SECONDS: Final = "nullif(epoch_us(read_at) - epoch_us(read_before), 0) / 1e6"
_STORED: Final = ", ".join(STORED.names)
# A segment begins with every counter again, without the reading before: such rows are left out, unless what
# came between is missing. What came before a row is the one right before it, of those too.
COUNTERS: Final = f"""
CREATE VIEW counters AS
WITH ordered AS (
    SELECT *, lag(value) OVER every AS before
    FROM base.counters
    WINDOW every AS (
        PARTITION BY host, recording, netns, source, section, name ORDER BY read_at, read_before NULLS LAST)
), told AS (
    SELECT *, CASE WHEN read_before IS NULL OR {GAUGES} THEN NULL
        ELSE {_increase("value", "before")} END AS increase
    FROM ordered WHERE read_before IS NOT NULL OR value IS DISTINCT FROM before
)
SELECT host, {_STORED}, increase, increase / ({_SECONDS}) AS per_second,
    {_is_reset("value", "before", "increase")} AS is_reset
FROM told
"""
_LINK_STORED: Final = ", ".join(STORED_LINKS.names)
_LINK_MOVED: Final = " OR ".join(f"{name} IS DISTINCT FROM {name}_before" for name in LINK_RATES)
LINK_COUNTERS: Final = f"""
CREATE VIEW base.link_increases AS
WITH ordered AS (
    SELECT *, {", ".join(f"lag({name}) OVER every AS {name}_before" for name in LINK_RATES)}
    FROM base.link_counters
    WINDOW every AS (
        PARTITION BY host, recording, netns, ifindex, name ORDER BY read_at, read_before NULLS LAST)
)
SELECT host, {_LINK_STORED}, {
    ", ".join(
        f"CASE WHEN read_before IS NOT NULL THEN {_increase(name, name + '_before')} END AS {name}_increase"
        for name in LINK_RATES
    )
}, {", ".join(f"{name}_before" for name in LINK_RATES)}
FROM ordered WHERE read_before IS NOT NULL OR {_LINK_MOVED};
CREATE VIEW link_counters AS
SELECT host, {_LINK_STORED},
    {", ".join(f"{name}_increase / ({_SECONDS}) AS {name}_per_second" for name in LINK_RATES)},
    {" OR ".join(_is_reset(name, name + "_before", name + "_increase") for name in LINK_RATES)} AS is_reset
FROM base.link_increases
"""
