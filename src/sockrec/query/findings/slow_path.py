"""A path on which answers take much longer than they did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sockrec.catalog.sources import literal
from sockrec.model import durations
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count

Row = dict[str, Any]
_TIMES: Final = Threshold("times", 3, "times the usual", "twice is how much a path varies by itself")
_RISE: Final = Threshold(
    "rise", 0.05, "seconds", "above the usual; an acknowledgement that is put off makes 0.04 alone"
)
_SECONDS: Final = Threshold("seconds", 10, "seconds", "a burst fills a queue on the way for a moment only")
_READINGS: Final = 3
_STEP_US: Final = 5_000_000
_PART_US: Final = 600_000_000
_MOST_PEERS: Final = 1_000
# What is slow took at least the rise: of peers to which nothing did no more is read. Which peers vary is
# asked by the id alone, in half the time and memory: one that is another socket's, too, only makes one more.
_VARYING: Final = """
WITH ends AS (
    SELECT host, remote_address, rtt_us
    FROM base.events WHERE kind = 'closed' AND protocol = 'tcp' AND rtt_us > 0 AND {ended}
), far AS MATERIALIZED (
    SELECT row_number() OVER () AS path, host, remote_address FROM (
        SELECT DISTINCT host, remote_address FROM sockets SEMI JOIN (
            SELECT DISTINCT socket_id FROM activity WHERE rtt_us >= {rise} * 1000000 AND {read}
        ) risen USING (socket_id)
        UNION SELECT host, remote_address FROM ends WHERE rtt_us >= {rise} * 1000000
    )
), extremes AS (
    SELECT w.path, min(a.rtt_us) AS least, max(a.rtt_us) AS most
    FROM activity a JOIN (
        SELECT socket_id, path FROM sockets JOIN far USING (host, remote_address)
    ) w USING (socket_id)
    WHERE a.rtt_us > 0 AND {read_a} GROUP BY path
    UNION ALL
    SELECT path, rtt_us, rtt_us FROM ends JOIN far USING (host, remote_address)
), wide AS (
    SELECT path, max(most) - min(least) AS width FROM extremes GROUP BY path
    HAVING max(most) >= {times}e0 * min(least) AND width >= {rise} * 1000000
)
SELECT host, remote_address FROM far JOIN wide USING (path)
ORDER BY width DESC, host, remote_address LIMIT {peers}
"""
# Only parts of the time with two slow readings, and those around them, are looked at step by step.
# The usual is what a quarter of the readings stays below: an incident may fill most of a capture. A step is
# slow if most of its readings are: one socket that stood still keeps an old number.
_SLOW: Final = """
WITH varying AS (
    SELECT row_number() OVER () AS path, * FROM (VALUES {varying}) given(host, remote_address)
), who AS (
    SELECT host, recording, socket_id, any_value(path) AS path
    FROM sockets JOIN varying USING (host, remote_address)
    WHERE protocol = 'tcp' AND remote_port <> 0 AND state NOT IN ('SYN_SENT', 'SYN_RECV', 'TIME_WAIT')
    GROUP BY ALL
), readings AS (
    SELECT w.path, a.read_at, a.rtt_us
    FROM activity a JOIN who w USING (host, recording, socket_id)
    WHERE a.rtt_us > 0 AND {read_a}
    UNION ALL
    SELECT path, not_after, rtt_us FROM base.events JOIN varying USING (host, remote_address)
    WHERE kind = 'closed' AND protocol = 'tcp' AND rtt_us > 0 AND {ended}
), usual AS (
    SELECT path, usual, greatest({times}e0 * usual, usual + {rise} * 1000000) AS slow
    FROM (SELECT path, quantile_disc(rtt_us, 0.25) AS usual FROM readings GROUP BY path)
), suspects AS (
    SELECT DISTINCT path, part + near AS part
    FROM (
        SELECT path, epoch_us(read_at) // {part} AS part
        FROM readings JOIN usual USING (path) WHERE rtt_us >= slow
        GROUP BY ALL HAVING count(*) >= 2
    ) CROSS JOIN (VALUES (-1), (0), (1)) around(near)
), steps AS (
    SELECT r.path, epoch_us(r.read_at) // {step} AS step, any_value(u.usual) AS usual,
        count(*) FILTER (r.rtt_us >= u.slow) * 2 > count(*) AS is_slow, count(*) AS readings,
        max(r.rtt_us) AS worst, min(r.read_at) AS first, max(r.read_at) AS last
    FROM readings r JOIN suspects s ON s.path = r.path AND s.part = epoch_us(r.read_at) // {part}
    JOIN usual u ON u.path = r.path
    GROUP BY ALL
), judged AS (
    SELECT *, lag(last) OVER run AS before, sum((NOT is_slow)::INT) OVER run AS stretch
    FROM steps WINDOW run AS (PARTITION BY path ORDER BY step)
), stretches AS (
    SELECT path, any_value(usual) AS usual, min(first) AS not_after,
        arg_min_null(before, step) AS not_before, max(last) AS last, max(worst) AS worst,
        sum(readings)::BIGINT AS readings, epoch_us(max(last)) - epoch_us(min(first)) AS took
    FROM judged WHERE is_slow GROUP BY path, stretch
)
SELECT v.host, replace(v.remote_address, '::ffff:', '') AS peer, s.*,
    count(*) OVER (PARTITION BY path) AS spikes
FROM stretches s JOIN varying v USING (path)
WHERE took >= {seconds} * 1000000 AND readings >= {least}
QUALIFY row_number() OVER (PARTITION BY path ORDER BY worst DESC, not_after) = 1
ORDER BY worst DESC, host, peer
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each peer to which a round trip took `times` the usual, and `rise` more, for at least `seconds`.

    The usual is what it took to this peer at the best quarter of the capture's readings. A queue on the way
    is full, or the path became a longer one; a peer that is itself too busy to acknowledge looks the same.
    It is looked at in steps of 5 seconds; of several such times the worst is told. Of more than a thousand
    peers those whose round trips vary most are looked at.
    """
    read, rise = asked.within("read_at", "read_at"), asked.threshold("slow-path", _RISE)
    far = f"rtt_us >= {rise} * 1000000"
    if not asked.any(f"activity WHERE {far} AND {read}", f"base.events WHERE {far}"):
        return
    shared = {
        "read_a": asked.within("a.read_at", "a.read_at", "a.host"),
        "ended": asked.within("not_before", "not_after"),
        "times": asked.threshold("slow-path", _TIMES),
        "rise": rise,
    }
    varying = asked.rows(_VARYING.format(**shared, read=read, peers=_MOST_PEERS))
    if not varying:
        return
    sql = _SLOW.format(
        **shared,
        varying=", ".join(f"({literal(row['host'])}, {literal(row['remote_address'])})" for row in varying),
        seconds=asked.threshold("slow-path", _SECONDS),
        least=_READINGS,
        step=_STEP_US,
        part=_PART_US,
    )
    for row in asked.rows(sql):
        yield _finding(row)


def _finding(row: Row) -> Finding:
    peer = row["peer"]
    usual, worst = durations.show(row["usual"]), durations.show(row["worst"])
    more = f", the worst of {count(row['spikes'], 'such time')}" if row["spikes"] > 1 else ""
    return Finding(
        kind="slow-path",
        severity="warning",
        title=f"the path to {peer} became slow",
        text=(
            f"A round trip to {peer} took up to {worst} for {durations.show(row['took'])}{more}; usually it"
            f" takes {usual}."
        ),
        not_before=row["not_before"],
        not_after=row["not_after"],
        host=row["host"],
        subject=peer,
        numbers={
            "usual_us": row["usual"],
            "worst_us": row["worst"],
            "us": row["took"],
            "readings": row["readings"],
            "times": row["spikes"],
        },
        look="sockrec top --by rtt",
        sql=(
            "SELECT a.read_at, a.rtt_us, a.min_rtt_us, a.socket_id FROM activity a SEMI JOIN sockets s ON"
            " s.host = a.host AND s.recording = a.recording AND s.socket_id = a.socket_id"
            f" AND replace(s.remote_address, '::ffff:', '') = {literal(peer)} WHERE a.rtt_us > 0 UNION ALL"
            " SELECT not_after, rtt_us, NULL, socket_id FROM events WHERE kind = 'closed' AND rtt_us > 0"
            f" AND replace(remote_address, '::ffff:', '') = {literal(peer)} ORDER BY 1"
        ),
    )


KIND: Final = Kind("slow-path", find, (_TIMES, _RISE, _SECONDS))
