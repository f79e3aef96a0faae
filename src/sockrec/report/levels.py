"""How many sockets were in each state, and how much waited in their queues, sample by sample."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from sockrec.plots import counts
from sockrec.report.figure import Figure, Samples, Series
from sockrec.report.scope import Scope

# A colour and whether it is dashed: states that come and go together must be told apart.
_LOOKS: Final = {
    "ESTABLISHED": ("blue", False),
    "LISTEN": ("ink", False),
    "UNCONN": ("grey", False),
    "TIME_WAIT": ("gold", False),
    "CLOSE_WAIT": ("red", False),
    "SYN_SENT": ("violet", True),
    "SYN_RECV": ("violet", False),
    "FIN_WAIT1": ("green", False),
    "FIN_WAIT2": ("green", True),
    "LAST_ACK": ("brown", True),
    "CLOSING": ("brown", False),
    "CLOSE": ("grey", True),
}
# What ended before the first sample rose and fell before it, and what begins after the last is in none.
_HELD: Final = (
    "{0}host = $host AND {0}last_seen >= make_timestamptz($began)"
    " AND {0}first_seen <= make_timestamptz($ended)"
)
_STATES: Final = f"""
SELECT recording, state, epoch_us(moment) AS moment, step::BIGINT AS step
FROM ({counts.STATES.format(where=_HELD.format("s."))})
"""
# Nothing ever waited for most sockets, and they are most of the rows.
_WAITED: Final = """(recording, socket_id) IN (
    SELECT (recording, socket_id) FROM activity WHERE host = $host AND (recv_q <> 0 OR send_q <> 0))"""
_QUEUES: Final = f"""
SELECT recording, accepts, epoch_us(moment) AS moment, recv_q::BIGINT AS recv_q, send_q::BIGINT AS send_q
FROM ({counts.QUEUES.format(where=f"{_HELD.format('')} AND {_WAITED}")})
"""


def states(scope: Scope, samples: Samples) -> list[Figure]:
    """Return the figure of states; one more of TIME_WAIT, which outnumbers the rest and is nobody's."""
    found = scope.arrays(_STATES, **scope.sampled)
    series = []
    for state in sorted(set(found["state"].tolist())):
        mine = found["state"] == state
        values = samples.levels(found["recording"][mine], found["moment"][mine], found["step"][mine])
        colour, dashed = _LOOKS.get(state, ("ink", True))
        series.append(Series(state, colour, values, dashed))
    series = [one for one in series if np.nanmax(one.values) > 0]
    series.sort(key=lambda one: -np.nanmax(one.values))
    waiting = [one for one in series if one.name == "TIME_WAIT"]
    figure = Figure(
        "states",
        "Sockets by state",
        "count",
        "samples",
        "Internet sockets in each state, as each sample found them.",
        "No internet socket was open in that time.",
        [one for one in series if one not in waiting],
        thinned=samples.thinned,
    )
    left = Figure(
        "time-wait",
        "Connections in TIME_WAIT",
        "count",
        "samples",
        "What the kernel keeps for a minute of connections that were closed here; no process has them.",
        "No connection was in TIME_WAIT.",
        waiting,
        thinned=samples.thinned,
    )
    return [figure, left]


def queues(scope: Scope, samples: Samples) -> list[Figure]:
    """Return the figures of bytes in queues, and of connections that wait for accept."""
    found = scope.arrays(_QUEUES, **scope.sampled)

    def of(column: str, accepts: bool) -> Any:
        mine = (found["accepts"] == accepts) & (found[column] != 0)
        return samples.levels(found["recording"][mine], found["moment"][mine], found[column][mine])

    byte = [
        Series("Recv-Q: not read by the program", "blue", of("recv_q", False)),
        Series("Send-Q: not acknowledged by the peer", "red", of("send_q", False)),
    ]
    waiting = [Series("waiting for accept", "ink", of("recv_q", True))]
    return [
        Figure(
            "queues",
            "Queues",
            "bytes",
            "samples",
            "Bytes in the queues of all sockets but the listening ones, together.",
            "The queues of all sockets were empty in every sample.",
            byte if any(np.nanmax(one.values) > 0 for one in byte) else [],
            thinned=samples.thinned,
        ),
        Figure(
            "accept",
            "Connections that wait for accept",
            "count",
            "samples",
            "Established, and not yet taken by the programs that listen: Recv-Q of all listeners together.",
            "No connection had to wait for accept in any sample.",
            waiting if np.nanmax(waiting[0].values) > 0 else [],
            thinned=samples.thinned,
        ),
    ]
