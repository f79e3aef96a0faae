"""SQL of the views underneath the derived ones: runs of the recorder, and periods of one state.

`base.periods` puts the rows of a socket that only segment edges, changes of owner and stops of the
recorder cut apart together again (gaps and islands). All its windows are partitioned by the socket's
identity and state, so that DuckDB pushes filters on ports, addresses and states into the Parquet scan.
"""

from __future__ import annotations

from typing import Final

from sockrec.catalog import unsampled

# A recording without a readable description still counts as a boot of its own: no socket of it is
# taken for one of another boot. `life` numbers the boots of all hosts: to group millions of sockets by a
# number takes half the time of grouping by two names.
#
# `base.whole` has the whole samples of each run, in memory: as small as they can be told.
RUNS: Final = """
CREATE TABLE base.sampled AS SELECT host, recording, began_at, ended_at, complete FROM main.samples;
CREATE TABLE base.runs AS
WITH run AS (
    SELECT host, recording, min(began_at) AS began, max(ended_at) AS ended, count(*) AS samples,
        min(ended_at) FILTER (complete) AS first_whole, max(began_at) FILTER (complete) AS last_whole
    FROM base.sampled GROUP BY host, recording
), told AS (
    SELECT run.*, coalesce(r.boot_id, run.recording) AS boot, r.netns
    FROM run LEFT JOIN main.recordings r ON r.host = run.host AND r.recording = run.recording
)
SELECT row_number() OVER () AS run, host, recording, boot, dense_rank() OVER (ORDER BY host, boot) AS life,
    began, ended, samples,
    lag(last_whole IGNORE NULLS) OVER w AS before_whole,
    lead(first_whole IGNORE NULLS) OVER w AS after_whole
FROM told
WINDOW w AS (PARTITION BY host, netns ORDER BY began);
CREATE TABLE base.whole AS
SELECT r.run, s.began_at, s.ended_at
FROM base.sampled s JOIN base.runs r ON r.host = s.host AND r.recording = s.recording WHERE s.complete;
DROP TABLE base.sampled
"""

# Both bounds of a beginning or an end in a gap come from the samples on both sides of it.
_BEGAN: Final = """
    CASE WHEN {first}.begun_as IN ('found', 'carried') THEN {run}.before_whole ELSE {first}.begun_after END
        AS {began}_not_before,
    {at} AS {began}_not_after,
    CASE WHEN {first}.begun_as NOT IN ('found', 'carried') THEN {first}.begun_as
        WHEN {run}.before_whole IS NOT NULL THEN 'gap' ELSE 'found' END AS {as_},
    CASE WHEN {first}.begun_as IN ('found', 'carried') AND {run}.before_whole IS NOT NULL THEN 'inferred'
        ELSE {first}.begun_evidence END AS {evidence},"""
_ENDED: Final = """
    CASE WHEN {last}.ended_as IN ('closed', 'changed') OR {run}.after_whole IS NOT NULL
        THEN {last}.last_seen END AS {ended}_not_before,
    CASE WHEN {last}.ended_as IN ('closed', 'changed') THEN {last}.ended_by ELSE {run}.after_whole END
        AS {ended}_not_after,
    CASE WHEN {last}.ended_as IN ('closed', 'changed') THEN {last}.ended_as
        WHEN {run}.after_whole IS NOT NULL THEN 'gap'
        WHEN {last}.ended_as IN ('stopped', 'gap') THEN 'stopped' END AS {as_},
    CASE WHEN {last}.ended_as IN ('closed', 'changed') THEN {last}.ended_evidence
        WHEN {run}.after_whole IS NOT NULL THEN 'inferred' END AS {evidence}"""


def began(
    first: str, run: str, prefix: str = "began", kind: str = "begun", at: str = "{first}.first_seen"
) -> str:
    """Return the four columns of a beginning, from the first row and the run it belongs to.

    `at` is where the first row's `first_seen` stands, if not in it.
    """
    return _BEGAN.format(
        first=first,
        run=run,
        began=prefix,
        as_=f"{kind}_as",
        evidence=f"{kind}_evidence",
        at=at.format(first=first),
    )


def ended(last: str, run: str, prefix: str = "ended", kind: str = "ended") -> str:
    """Return the four columns of an end, from the last row and the run it belongs to."""
    return _ENDED.format(last=last, run=run, ended=prefix, as_=f"{kind}_as", evidence=f"{kind}_evidence")


# The first and last rows of each group travel as structs: one pass, no join back.
_FIRST: Final = (
    "recording",
    "begun_after",
    "first_seen",
    "begun_as",
    "begun_evidence",
    "pid",
    "program",
    "state",
)
_LAST: Final = (
    "recording",
    "last_seen",
    "ended_by",
    "ended_as",
    "ended_evidence",
    "pid",
    "program",
    "state",
)


def first_of(row: str, run: str | None = None) -> str:
    """Return what is needed of a group's first row, as a struct, with `before_whole` of its run.

    All of a struct is read once any of it is: what few questions need, like `holders`, stays outside.
    """
    return _struct(row, _FIRST, f"{run}.before_whole" if run else None)


def last_of(row: str, run: str | None = None) -> str:
    """Return what is needed of a group's last row, as a struct, with `after_whole` of its run."""
    return _struct(row, _LAST, f"{run}.after_whole" if run else None)


def _struct(row: str, names: tuple[str, ...], also: str | None) -> str:
    values = [f"{row}.{name}" for name in names] + ([also] if also else [])
    return "{" + ", ".join(f"'{value.partition('.')[2]}': {value}" for value in values) + "}"


PERIODS: Final = f"""
CREATE VIEW base.periods AS
WITH placed AS (
    SELECT s.*, runs.boot,
        row_number() OVER w AS place,
        lag(s.ended_as) OVER w AS ended_before,
        lag(s.ended_by) OVER w AS ended_before_by
    FROM main.sockets s JOIN base.runs runs ON runs.host = s.host AND runs.recording = s.recording
    WINDOW w AS (
        PARTITION BY s.host, runs.boot, s.netns, s.protocol, s.family, s.local_address, s.local_port,
            s.remote_address, s.remote_port, s.state, s.socket_id
        ORDER BY s.first_seen, s.last_seen, s.begun_as = 'carried'
    )
), cut AS (
    SELECT *, sum(CASE
        WHEN ended_before IN ('carried', 'stopped', 'gap') AND begun_as IN ('carried', 'found') THEN 0
        WHEN ended_before = 'changed' AND begun_as = 'changed' AND first_seen <= ended_before_by THEN 0
        ELSE 1 END) OVER (
        PARTITION BY host, boot, netns, protocol, family, local_address, local_port,
            remote_address, remote_port, state, socket_id
        ORDER BY place ROWS UNBOUNDED PRECEDING
    ) AS period
    FROM placed
), merged AS (
    SELECT host, boot, netns, protocol, family, local_address, local_port, remote_address, remote_port, state,
        socket_id, period, any_value(interface) AS interface,
        arg_min({first_of("cut")}, place) AS first, arg_max({last_of("cut")}, place) AS last,
        arg_max_null(holders, place) AS holders,
        min(first_seen) AS first_seen, max(last_seen) AS last_seen
    FROM cut
    GROUP BY host, boot, netns, protocol, family, local_address, local_port, remote_address, remote_port,
        state, socket_id, period
)
SELECT m.host, m.netns, m.socket_id, m.protocol, m.family, m.local_address, m.local_port, m.remote_address,
    m.remote_port, m.state, m.interface, m.first.pid AS first_pid, m.first.program AS first_program,
    m.last.pid AS pid, m.last.program AS program, m.holders,{began("m.first", "f")}
    m.last_seen,{ended("m.last", "l")},
    m.last.recording AS recording
FROM merged m
JOIN base.runs f ON f.host = m.host AND f.recording = m.first.recording
JOIN base.runs l ON l.host = m.host AND l.recording = m.last.recording
"""

# Why a listener ended stands in its event. Those are few and lie together, but in every file: they are
# read once for all that is asked of them.
_CAUSE: Final = "cause, exit_code, signal, by_pid, by_program, detail"
LISTENING: Final = f"""
CREATE VIEW base.listening AS
WITH stopped AS MATERIALIZED (FROM base.events WHERE kind = 'stopped listening')
SELECT p.* REPLACE (coalesce(e.pid, p.pid) AS pid,
        CASE WHEN e.pid IS NULL AND p.pid IS NOT NULL THEN p.program ELSE e.program END AS program),
    {", ".join(f"e.{name}" for name in _CAUSE.split(", "))}
FROM base.periods p
LEFT JOIN stopped e ON e.sampled AND e.host = p.host AND e.recording = p.recording
    AND e.socket_id = p.socket_id AND p.ended_not_after IS NOT NULL
WHERE p.state IN ('LISTEN', 'UNCONN') AND p.remote_port = 0
    AND (p.state = 'LISTEN') = (p.protocol IN ('tcp', 'sctp'))
UNION ALL BY NAME
SELECT u.host, u.netns, u.socket_id, u.protocol, u.family, u.local_address, u.local_port,
    u.remote_address, u.remote_port, 'LISTEN' AS state, u.pid AS first_pid, u.program AS first_program,
    u.pid, u.program, CASE WHEN u.pid IS NULL THEN [] ELSE [u.pid] END AS holders,
    u.began_not_before, u.began_not_after, u.begun_as, u.begun_evidence, u.not_before AS last_seen,
    u.not_before AS ended_not_before, u.not_after AS ended_not_after, 'closed' AS ended_as,
    u.evidence AS ended_evidence, u.recording, {", ".join(f"u.{name}" for name in _CAUSE.split(", "))}
FROM ({unsampled.select("stopped")}) u
"""

# What follows an end on the same address is a restart. Each period stands twice in the order of time,
# where it ends and where it begins: the next beginning after an end is then one window away, partitioned
# by the port, and the files are read once.
LISTENERS: Final = f"""
CREATE VIEW listeners AS
WITH twice AS (
    SELECT p.*, side.ends, CASE WHEN side.ends THEN p.ended_not_before ELSE p.began_not_before END AS moment
    FROM base.listening p CROSS JOIN (VALUES (true), (false)) side(ends)
), followed AS (
    SELECT *, first_value(CASE WHEN NOT ends AND moment IS NOT NULL THEN
            {{'not_before': began_not_before, 'not_after': began_not_after,
             'pid': first_pid, 'program': first_program}}
            END IGNORE NULLS) OVER (
        PARTITION BY host, netns, protocol, local_address, local_port
        ORDER BY moment NULLS LAST, ends DESC ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
    ) AS again
    FROM twice
)
SELECT host, netns, socket_id, protocol, family, local_address, local_port, interface,
    first_pid, first_program, pid, program, holders,
    began_not_before, began_not_after, begun_as, begun_evidence,
    last_seen, ended_not_before, ended_not_after, ended_as, ended_evidence, {_CAUSE},
    again.not_before AS again_not_before, again.not_after AS again_not_after,
    again.pid AS again_pid, again.program AS again_program, recording
FROM followed WHERE ends
"""

# A process has a row for each command line it ran under; it is one process all the same. Its exit is the
# first of that pid after its start, and before the pid's next start. One that ended between two samples
# has no row but that exit.
PROCESSES: Final = f"""
CREATE VIEW base.process_spans AS
WITH whole AS (
    SELECT p.host, runs.boot, p.pid, p.start_time,
        arg_max({{'recording': p.recording, 'last_seen': p.last_seen, 'ended_by': p.ended_by,
            'ended_as': p.ended_as, 'ended_evidence': p.ended_evidence, 'comm': p.comm, 'argv': p.argv,
            'exe': p.exe}}, (p.first_seen, p.last_seen, p.begun_as = 'carried')) AS last,
        max(p.last_seen) AS last_seen
    FROM main.processes p JOIN base.runs runs ON runs.host = p.host AND runs.recording = p.recording
    GROUP BY p.host, runs.boot, p.pid, p.start_time
), spans AS (
    SELECT w.host, w.boot, w.pid, w.start_time, w.last.comm AS comm, w.last.argv AS argv, w.last.exe AS exe,
        CASE WHEN len(w.last.argv) = 0 THEN w.last.comm
            WHEN w.last.argv[1] LIKE '/%' THEN parse_filename(w.last.argv[1]) ELSE w.last.argv[1] END
            AS program,
        lead(w.start_time) OVER (PARTITION BY w.host, w.boot, w.pid ORDER BY w.start_time) AS next_start,
        w.last_seen,{ended("w.last", "l")}
    FROM whole w JOIN base.runs l ON l.host = w.host AND l.recording = w.last.recording
), exits AS (
    SELECT e.*, runs.boot
    FROM base.events e JOIN base.runs runs ON runs.host = e.host AND runs.recording = e.recording
    WHERE e.kind = 'exited'
), exited AS (
    SELECT s.*, e.not_before, e.not_after, e.evidence,
        e.not_after <= coalesce(s.next_start, TIMESTAMPTZ 'infinity') AS told,
        {", ".join(f"e.{name}" for name in _CAUSE.split(", "))}
    FROM spans s
    ASOF LEFT JOIN exits e ON e.host = s.host AND e.boot = s.boot AND e.pid = s.pid
        AND e.not_after >= s.start_time
)
SELECT s.host, s.pid, s.start_time, s.comm, s.argv, s.exe, s.program, s.last_seen,
    CASE WHEN s.told THEN s.not_before ELSE s.ended_not_before END AS ended_not_before,
    CASE WHEN s.told THEN s.not_after ELSE s.ended_not_after END AS ended_not_after,
    CASE WHEN s.told THEN 'closed' ELSE s.ended_as END AS ended_as,
    CASE WHEN s.told THEN s.evidence ELSE s.ended_evidence END AS ended_evidence,
    {", ".join(f"CASE WHEN s.told THEN s.{name} END AS {name}" for name in _CAUSE.split(", "))}
FROM exited s
UNION ALL
SELECT e.host, e.pid, NULL, NULL, NULL, NULL, e.program, e.not_before, e.not_before, e.not_after, 'closed',
    e.evidence, {", ".join(f"e.{name}" for name in _CAUSE.split(", "))}
FROM exits e
ASOF LEFT JOIN spans s ON s.host = e.host AND s.boot = e.boot AND s.pid = e.pid
    AND s.start_time <= e.not_after
WHERE s.start_time IS NULL
"""
