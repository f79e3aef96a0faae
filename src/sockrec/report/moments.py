"""The sockets of every moment, as changes: what netstat shows, from which sample to which.

A moment shows the latest sample that had begun, as `replay` does, and by the same rules
(`sockrec.catalog.moments`, `sockrec.replay.rows`). Where there are too many changes for a page, only every
so-manieth sample is kept, and those next to the findings: of these the page is exact, and says so.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from sockrec.catalog.moments import LONGEST_STEP_US
from sockrec.render import names, netstat
from sockrec.report import packing
from sockrec.report.scope import Scope

if TYPE_CHECKING:
    import pyarrow as pa

# Rows and moves of queues together: a page of so many has some 12 MB.
MOST_CHANGES: Final = 1_200_000
_MOST_KEPT: Final = 100_000
LONGEST_NAME: Final = 511
"""As much of a command line netstat reads, in bytes."""
_EVERY: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)

_KEPT: Final = """
kept AS MATERIALIZED (
    SELECT unnest($places) AS n, unnest($recordings) AS recording,
        make_timestamptz(unnest($began)) AS began_at, make_timestamptz(unnest($ended)) AS ended_at,
        make_timestamptz(unnest($until)) AS until
)"""


# What the joins find no sample for is best not read at all.
_IN_TIME: Final = "last_seen >= make_timestamptz($began[1]) AND first_seen <= make_timestamptz($ended[-1])"


def _spans(table: str, columns: str) -> str:
    """Return the SELECT of rows with the first and last kept sample in which each held."""
    return f"""
    SELECT {columns}, r.recording, r.first_seen,
        a.n + (r.begun_as IS NOT DISTINCT FROM 'carried' AND a.began_at <= r.first_seen)::INT AS lo,
        z.n - coalesce(r.ended_evidence = 'event' AND r.last_seen = r.ended_by AND r.ended_by <= z.ended_at,
            false)::INT AS hi
    FROM {table} r
    ASOF JOIN kept a ON a.recording = r.recording AND r.first_seen <= a.ended_at
    ASOF JOIN kept z ON z.recording = r.recording AND r.last_seen >= z.began_at
    WHERE r.host = $host AND {_IN_TIME}"""


# netstat shows no TCP socket that neither listens nor connects.
_SHOWN: Final = f"""
spans AS ({
    _spans(
        "sockets",
        "r.socket_id, r.protocol, r.family, r.local_address, r.local_port, r.remote_address, r.remote_port, "
        "r.state, CASE WHEN r.inode <> 0 AND r.owner = 'held' THEN r.pid END AS pid, r.program, r.rank",
    )
}), held AS (
    SELECT * REPLACE (least(hi, min(lo) OVER (PARTITION BY recording, socket_id ORDER BY lo, first_seen
        ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) - 1) AS hi)
    FROM spans WHERE lo <= hi
), shown AS (
    FROM held WHERE lo <= hi AND NOT (protocol = 'tcp' AND state = 'CLOSE')
)"""
_ROWS: Final = f"""WITH {_KEPT}, {_SHOWN}
SELECT lo, hi - lo AS more, protocol, family, local_address, local_port, remote_address, remote_port, state,
    coalesce(pid, 0) AS pid, CASE WHEN pid IS NULL THEN '' ELSE coalesce(program, '') END AS program,
    recording, socket_id, dense_rank() OVER (ORDER BY rank) AS rank
FROM shown ORDER BY lo, shown.rank, protocol, family"""
# Most sockets never had anything in their queues: those never move.
_MOVED: Final = """
waited AS (
    SELECT DISTINCT recording, socket_id FROM activity SEMI JOIN shown USING (recording, socket_id)
    WHERE host = $host AND (recv_q <> 0 OR send_q <> 0)
), read AS (
    SELECT r.recording, r.socket_id, a.n, arg_max(coalesce(r.recv_q, 0), r.read_at) AS recv_q,
        arg_max(coalesce(r.send_q, 0), r.read_at) AS send_q
    FROM activity r SEMI JOIN waited w ON w.recording = r.recording AND w.socket_id = r.socket_id
    ASOF JOIN kept a ON a.recording = r.recording AND r.read_at <= a.until
    WHERE r.host = $host GROUP BY ALL
), moved AS (
    FROM read WINDOW told AS (PARTITION BY recording, socket_id ORDER BY n)
    QUALIFY recv_q <> lag(recv_q, 1, 0) OVER told OR send_q <> lag(send_q, 1, 0) OVER told
)"""
_MOVES: Final = f"WITH {_KEPT}, {_SHOWN}, {_MOVED} SELECT * FROM moved ORDER BY n"
_STORED: Final = f"""SELECT (SELECT count(*) FROM sockets WHERE host = $host AND {_IN_TIME})
    + (SELECT count(*) FROM activity WHERE host = $host
        AND read_at BETWEEN make_timestamptz($began[1]) AND make_timestamptz($ended[-1])) AS stored"""
_ROW_PLACES: Final = f"WITH {_KEPT}, {_SHOWN} SELECT hash(recording, socket_id) AS socket, lo, hi FROM shown"
_MOVE_PLACES: Final = f"""WITH {_KEPT}, {_SHOWN}, {_MOVED}
SELECT hash(recording, socket_id) AS socket, n FROM moved"""
_PROCESSES: Final = f"""
WITH {_KEPT}, spans AS ({_spans("processes", "r.pid, coalesce(r.argv[1], '') AS argv0")})
SELECT pid, lo, hi, argv0 FROM spans WHERE lo <= hi ORDER BY pid, first_seen"""


@dataclass(frozen=True)
class Moments:
    """What a page needs to show any moment.

    `facts` is JSON-ready: the kept samples, dictionaries of texts, and how `packed` is made; `every` tells
    that only every so-manieth sample was kept, besides those next to findings; `sockets` are the socket ids
    by their numbers in `packed`.
    """

    facts: dict[str, Any]
    packed: str
    every: int
    sockets: npt.NDArray[np.int64]


def make_moments(scope: Scope, marked_us: Iterable[int], most: int = MOST_CHANGES) -> Moments:
    """Return the sockets of every moment of the time; `marked_us` are moments next to which all is kept.

    `most` is how many changes fit.
    """
    marked = sorted(set(marked_us))
    for every in _fewer(scope, marked, most):
        kept = _kept(scope, every, marked)
        values = _values(scope, kept)
        found = _arrow(scope, _ROWS, values), _arrow(scope, _MOVES, values)
        if sum(map(len, found)) <= most:
            break
    return _packed(scope, kept, values, every, *found)


def _fewer(scope: Scope, marked: list[int], most: int) -> list[int]:
    """Return which samples to try, every so-manieth: from the first on that can have so few changes."""
    count = len(scope.began)
    # The last to try keeps the first and the last sample alone, and what is marked.
    tried = [every for every in _EVERY[: bisect_left(_EVERY, count) + 1] if count // every <= _MOST_KEPT]
    most_kept = _kept(scope, tried[0], marked)
    values = _values(scope, most_kept)
    # What may be far too much is counted before it is read.
    if _arrow(scope, _STORED, values)["stored"][0].as_py() <= 4 * most:
        return tried
    rows, moves = (_arrow(scope, sql, values) for sql in (_ROW_PLACES, _MOVE_PLACES))
    sockets = np.concatenate([_numbers(rows, "socket"), _numbers(moves, "socket")])
    sockets = np.unique(sockets, return_inverse=True)[1]
    of_row, of_move = sockets[: len(rows)], sockets[len(rows) :]
    first, last = most_kept[_numbers(rows, "lo")], most_kept[_numbers(rows, "hi")]
    moved = most_kept[_numbers(moves, "n")]

    def fits(every: int) -> bool:
        kept = _kept(scope, every, marked)
        shown = np.searchsorted(kept, first) < np.searchsorted(kept, last, "right")
        is_shown = np.bincount(of_row[shown], minlength=len(sockets)) > 0
        places = of_move * (count + 1) + np.searchsorted(kept, moved)
        return bool(np.count_nonzero(shown) + len(np.unique(places[is_shown[of_move]])) <= most)

    return tried[min(bisect_left(tried, True, key=fits), len(tried) - 1) :]


def _kept(scope: Scope, every: int, marked: list[int]) -> npt.NDArray[np.int64]:
    """Return the places of the samples that are kept: the ends, each `every`, and around what is marked."""
    count = len(scope.began)
    places = {*range(0, count, every), count - 1}
    for moment in marked:
        place = int(np.searchsorted(scope.began, moment, "right")) - 1
        places |= {min(max(0, one), count - 1) for one in (place - 1, place, place + 1)}
    return np.array(sorted(places))


def _values(scope: Scope, kept: npt.NDArray[np.int64]) -> dict[str, Any]:
    ended, thinned = scope.ended[kept], scope.thinned_us[kept]
    # The row that is left of each minute stands for all of it (`sockrec.replay.moment.found_by`).
    step = np.where((thinned > 0) & (thinned <= LONGEST_STEP_US), thinned, 1)
    return {
        "places": list(range(len(kept))),
        "recordings": scope.recording[kept].tolist(),
        "began": scope.began[kept].tolist(),
        "ended": ended.tolist(),
        "until": (ended + step - 1 - ended % step).tolist(),
    }


def _packed(
    scope: Scope,
    kept: npt.NDArray[np.int64],
    values: dict[str, Any],
    every: int,
    rows: pa.Table,
    moves: pa.Table,
) -> Moments:
    number, sockets = _numbered(rows, moves)
    dictionaries = {
        "protocol": _texts(_glued(rows, "protocol", "family"), _protocol),
        "local": _texts(_column(rows, "local_address"), netstat.shown_address),
        "remote": _texts(_column(rows, "remote_address"), netstat.shown_address),
        "state": _texts(_glued(rows, "protocol", "state"), _state),
        "program": _texts(_column(rows, "program"), _program),
    }
    columns = {name: _numbers(rows, name) for name in ("lo", "more", "local_port", "remote_port", "pid")}
    columns |= {name: places for name, (_, places) in dictionaries.items()}
    columns |= {"socket": number[: len(rows)], "place": _netstat_order(rows)}
    # Within a sample the order of moves is free: by number their differences are small.
    order = np.lexsort((number[len(rows) :], _numbers(moves, "n")))
    columns |= {
        "move_n": _numbers(moves, "n")[order],
        "move_socket": number[len(rows) :][order],
        "move_recv": _numbers(moves, "recv_q")[order],
        "move_send": _numbers(moves, "send_q")[order],
    }
    listed, packed = packing.pack(columns)
    facts = {
        "columns": listed,
        "texts": {name: texts for name, (texts, _) in dictionaries.items()},
        "names": [[pid, lo, hi, _program(argv0)] for pid, lo, hi, argv0 in scope.rows(_PROCESSES, **values)],
        "samples": [(one - scope.first_us) / 1e6 for one in values["began"]],
        "ends": [(one - scope.first_us) / 1e6 for one in values["ended"]],
        "place": kept.tolist(),
    }
    return Moments(facts, packed, every, sockets)


def _arrow(scope: Scope, sql: str, values: dict[str, Any]) -> pa.Table:
    given = {"host": scope.host} | {name: values[name] for name in values if f"${name}" in sql}
    return scope.catalog.run(lambda connection: connection.sql(sql, params=given).to_arrow_table())


def _numbered(rows: pa.Table, moves: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return a number for the socket of each row and move, counted as rows begin; and their ids."""
    import pyarrow as pa

    recordings = pa.chunked_array([*rows["recording"].chunks, *moves["recording"].chunks], pa.string())
    _, run = _texts(recordings, str)
    ids = np.concatenate([_numbers(rows, "socket_id"), _numbers(moves, "socket_id")])
    keys = np.empty(len(ids), dtype=[("run", np.int64), ("id", np.int64)])
    keys["run"], keys["id"] = run, ids
    _, first, places = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    renumbered = np.empty_like(order)
    renumbered[order] = np.arange(len(order))
    return renumbered[places], ids[np.sort(first)]


def _netstat_order(rows: pa.Table) -> npt.NDArray[np.int64]:
    """Return the place of each row among all, in the order in which netstat prints: block by block."""
    blocks = netstat.PROTOCOLS
    texts, numbers = _texts(_glued(rows, "family", "protocol"), str)
    keys = [text.split("\t", 1) for text in texts]
    block = [
        (blocks.index(one) if one in blocks else len(blocks)) * 2 + (family == "inet6")
        for family, one in keys
    ]
    order = np.lexsort((_numbers(rows, "rank"), np.array(block, dtype=np.int64)[numbers]))
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places


def _numbers(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = table[name].fill_null(0).to_numpy().astype(np.int64)
    return found


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    return table[name].fill_null("")


def _glued(table: pa.Table, first: str, second: str) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(_column(table, first), _column(table, second), "\t")


def _texts(column: pa.ChunkedArray, shown: Any) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the different texts as they are shown, and the place of each row's among them."""
    coded = column.combine_chunks().dictionary_encode()
    return [shown(text) for text in coded.dictionary.to_pylist()], coded.indices.to_numpy().astype(np.int64)


def _protocol(glued: str) -> str:
    protocol, family = glued.split("\t", 1)
    return netstat.shown_protocol(protocol, family)


def _state(glued: str) -> str:
    protocol, state = glued.split("\t", 1)
    return netstat.shown_state(protocol, state)


def _program(argv0: str) -> str:
    """Return the name of a process as netstat takes it from its command line; a page holds no longer one."""
    argv0 = names.cut(argv0, LONGEST_NAME)
    return names.printable(argv0[argv0.rindex("/") + 1 :] if argv0.startswith("/") else argv0)
