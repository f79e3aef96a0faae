"""A client runs out of local ports towards one place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.catalog.sources import literal
from sockrec.model.addresses import endpoint
from sockrec.model.programs import known_as_sql
from sockrec.query.findings import sweep
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold

_SHARE: Final = Threshold(
    "share", 80, "percent", "from there on a burst of a few thousand takes the rest of the range"
)
_NAMED: Final = 3
_USUAL: Final = (32768, 60999)
_SETTING: Final = "net.ipv4.ip_local_port_range"
_REUSE: Final = "net.ipv4.tcp_tw_reuse"
_MOST_ADDRESSES: Final = 100
# Of many million rows most peers have few: they are counted by address first.
_ADDRESSES: Final = """
SELECT remote_address FROM sockets WHERE protocol = 'tcp' AND remote_port <> 0 AND {seen}
GROUP BY remote_address HAVING count(*) * 100 >= {share} * least({high} - {low} + 1, (
    SELECT min(TRY_CAST(split_part(value, ' ', 2) AS BIGINT) - TRY_CAST(split_part(value, ' ', 1) AS BIGINT))
    FROM limits WHERE name = '{setting}'
))
"""
# A connection that no sample saw alive leaves a TIME_WAIT of nobody's: who it was is in the event of its end.
# Of many million rows most places have few: only those that have enough in all are counted moment by moment.
_TAKEN: Final = """
WITH settings AS (
    SELECT host, netns, name, value, first_seen FROM limits WHERE name IN ('{setting}', '{reuse}')
), ranges AS (
    SELECT host, netns, first_seen, TRY_CAST(split_part(value, ' ', 1) AS BIGINT) AS low,
        TRY_CAST(split_part(value, ' ', 2) AS BIGINT) AS high
    FROM settings WHERE name = '{setting}' AND high >= low
), whole AS (
    SELECT host, netns, min(low) AS low, max(high) AS high, min(high - low + 1) AS fewest,
        arg_min(low, first_seen) AS first_low, arg_min(high, first_seen) AS first_high
    FROM ranges GROUP BY host, netns
), places AS (
    SELECT s.host, s.netns, s.local_address, s.remote_address, s.remote_port, count(*) AS socks
    FROM sockets s
    WHERE s.protocol = 'tcp' AND s.remote_port <> 0 AND s.state <> 'LISTEN' AND {seen} AND {near}
    GROUP BY ALL
), crowded AS (
    SELECT p.* FROM places p LEFT JOIN whole r USING (host, netns)
    WHERE p.socks * 100 >= {share} * coalesce(r.fewest, {high} - {low} + 1)
), taken AS (
    SELECT s.host, s.recording, s.netns, s.local_address, s.remote_address, s.remote_port, s.state, s.program,
        {began} AS began, {after} AS after, {ended} AS ended
    FROM sockets s SEMI JOIN crowded USING (host, netns, local_address, remote_address, remote_port)
    LEFT JOIN whole r USING (host, netns)
    WHERE s.protocol = 'tcp' AND s.state <> 'LISTEN' AND {seen}
        AND s.local_port BETWEEN coalesce(r.low, {low}) AND coalesce(r.high, {high})
), {swept}, measured AS (
    SELECT w.*, f.low IS NOT NULL AS recorded, coalesce(r.low, f.first_low, {low}) AS low,
        coalesce(r.high, f.first_high, {high}) AS high
    FROM (SELECT *, make_timestamptz(moment) AS at_ FROM swept) w
    ASOF LEFT JOIN ranges r ON r.host = w.host AND r.netns = w.netns AND r.first_seen <= w.at_
    LEFT JOIN whole f ON f.host = w.host AND f.netns = w.netns
), peaks AS (
    SELECT {key}, any_value(recorded) AS recorded, arg_max(low, at_once) AS low,
        arg_max(high, at_once) AS high, max(at_once) AS peak, arg_max(moment, at_once) AS peak_us,
        min(at_) AS not_after, make_timestamptz(arg_min_null(before, moment)) AS not_before
    FROM measured WHERE at_once * 100 >= {share} * (high - low + 1) GROUP BY ALL
), named AS (
    SELECT {key}, {known} AS named FROM taken SEMI JOIN peaks USING ({key})
    UNION ALL
    SELECT {key}, {known} FROM base.events SEMI JOIN peaks USING ({key})
    WHERE kind = 'closed' AND protocol = 'tcp'
), counted AS (
    SELECT {key}, named, count(*) AS times FROM named WHERE named IS NOT NULL GROUP BY ALL
), callers AS (
    SELECT {key}, list(named ORDER BY times DESC, named) AS programs FROM counted GROUP BY ALL
)
SELECT p.*, n.programs, (
        SELECT count(*) FROM taken t WHERE t.host = p.host AND t.recording = p.recording
            AND t.local_address = p.local_address AND t.remote_address = p.remote_address
            AND t.remote_port = p.remote_port AND t.state = 'TIME_WAIT'
            AND t.began <= p.peak_us AND coalesce(t.ended, p.peak_us + 1) > p.peak_us
    ) AS time_wait, (
        SELECT arg_max(value, first_seen) FROM settings s
        WHERE s.host = p.host AND s.netns = p.netns AND s.name = '{reuse}'
    ) AS reuse
FROM peaks p LEFT JOIN callers n USING ({key})
QUALIFY row_number() OVER (PARTITION BY host, netns, local_address, remote_address, remote_port
    ORDER BY peak DESC) = 1
ORDER BY peak DESC
"""
_KEY: Final = "host, recording, netns, local_address, remote_address, remote_port"


def find(asked: Asked) -> Iterator[Finding]:
    """Find each place towards which at least `share` of the local ports were taken at one moment.

    A port is taken from the connect until the end of TIME_WAIT, a minute after the close. Each pair of a
    local address and a peer's address and port has the whole range (net.ipv4.ip_local_port_range) for
    itself; when it is used up, connect fails with EADDRNOTAVAIL. Connections that are kept open, or a wider
    range, help. Where tcp_tw_reuse lets the kernel take ports in TIME_WAIT again it is a notice.
    """
    usual = {
        "setting": _SETTING,
        "low": _USUAL[0],
        "high": _USUAL[1],
        "share": asked.threshold("ports-exhausted", _SHARE),
    }
    seen = asked.within("first_seen", "last_seen")
    addresses = [literal(row["remote_address"]) for row in asked.rows(_ADDRESSES.format(seen=seen, **usual))]
    if not addresses:
        return
    near = f"s.remote_address IN ({', '.join(addresses)})" if len(addresses) <= _MOST_ADDRESSES else "true"
    sql = _TAKEN.format(
        **usual,
        reuse=_REUSE,
        near=near,
        seen=asked.within("first_seen", "last_seen", "s.host"),
        began=sweep.BEGAN,
        after=sweep.AFTER,
        ended=sweep.ENDED,
        swept=sweep.at_once("taken", _KEY, 1_000_000),
        key=_KEY,
        known=known_as_sql("program"),
    )
    for row in asked.rows(sql):
        address = row["remote_address"].replace("::ffff:", "")
        place = endpoint(address, row["remote_port"])
        ports = row["high"] - row["low"] + 1
        who = " and ".join((row["programs"] or ())[:_NAMED]) or "a program not known"
        is_local = address.startswith("127.") or address == "::1"
        reused = row["reuse"] == "1" or (row["reuse"] == "2" and is_local)
        told = "" if row["recorded"] else ", the kernel's own: the host's was not recorded"
        help_ = (
            f" The kernel may take those in TIME_WAIT again (tcp_tw_reuse is {row['reuse']})."
            if reused
            else " When none is left, connect fails (EADDRNOTAVAIL)."
        )
        is_full = row["peak"] >= ports * 0.98
        yield Finding(
            kind="ports-exhausted",
            severity="notice" if reused else "critical" if is_full else "warning",
            title=f"local ports towards {place} run out",
            text=(
                f"{who} had {row['peak']:,} of {ports:,} local ports taken towards tcp {place} at once,"
                f" {row['time_wait']:,} of them in TIME_WAIT (range {row['low']}-{row['high']}{told}).{help_}"
            ),
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject=f"{who} to tcp {place}",
            numbers={
                "port": row["remote_port"],
                "taken": row["peak"],
                "time_wait": row["time_wait"],
                "ports": ports,
                "range_recorded": row["recorded"],
            },
            look="sockrec top --by churn; sockrec traffic --by peer",
            sql=(
                "SELECT state, program, count(*) AS sockets, min(first_seen) AS first_seen,"
                f" max(last_seen) AS last_seen FROM sockets WHERE remote_port = {row['remote_port']}"
                f" AND remote_address = {literal(row['remote_address'])}"
                f" AND local_address = {literal(row['local_address'])} GROUP BY ALL ORDER BY sockets DESC"
            ),
        )


KIND: Final = Kind("ports-exhausted", find, (_SHARE,))
