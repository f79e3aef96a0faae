"""Who was called when: what goes out at even times shows itself."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Final

from sockrec.errors import NothingMatchedError
from sockrec.model.programs import known_as_sql
from sockrec.plots.chart import BLUE, MICROSECOND, RED, Chart, rows_of, shown
from sockrec.render import sentences

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from sockrec.api import Capture

_MOST_LANES: Final = 40
# Dots nearer to each other than a thousandth of the axis are one, which tells how many it is.
_PLACES: Final = 1000
_CALLS: Final = f"""
WITH calls AS (
    SELECT host, coalesce({known_as_sql("program")}, '?') AS program, remote_address, remote_port,
        established, opened_not_after AS moment
    FROM connections WHERE role = 'client' AND opened_as NOT IN ('found', 'gap')
), lanes AS (
    SELECT host, program, remote_address, remote_port, count(*) AS calls FROM calls GROUP BY ALL
), drawn AS (
    SELECT *, count(*) OVER () AS lanes FROM lanes
    ORDER BY calls DESC, host, program, remote_address, remote_port LIMIT {_MOST_LANES}
)
SELECT host, program, remote_address, remote_port, calls, lanes, established,
    epoch_us(moment) // $apart AS place, min(moment) AS moment, count(*) AS dots
FROM drawn JOIN calls USING (host, program, remote_address, remote_port) GROUP BY ALL
ORDER BY calls DESC, host, program, remote_address, remote_port, moment
"""


def calls(capture: Capture) -> Figure:
    """Return when programs connected to whom: a dot for each TCP connection, a line for program and peer.

    Even distances are a timer. Red is a connection that never came about. At most forty lines are drawn,
    those with the most calls; the title then says of how many. What was open before recording began, or
    opened in a gap, has no moment and is left out. Raises `NothingMatchedError` if nothing was called,
    `UsageError` if plotly is missing.
    """
    chart = Chart(capture)
    apart = max(1, (chart.last - chart.first) // MICROSECOND // _PLACES)
    found = rows_of(capture, _CALLS, {"apart": apart})
    if not found:
        raise NothingMatchedError("nobody here connected to anywhere while this was recorded")
    dots: dict[bool, list[tuple[str, dict[str, Any]]]] = {True: [], False: []}
    lanes: dict[str, None] = {}
    for row in found:
        host = f"{row['host']}: " if chart.several_hosts else ""
        peer = sentences.endpoint(row["remote_address"], row["remote_port"])
        lane = f"{shown(host + row['program'])} → {html.escape(peer, quote=False)}"
        lanes[lane] = None
        dots[bool(row["established"])].append((lane, row))
    title = "Who was called when"
    if len(lanes) < found[0]["lanes"]:
        title += f": the {len(lanes)} with the most calls, of {found[0]['lanes']:,}"
    figure = chart.figure(title, height=170 + 30 * len(lanes))
    for name, established, colour in (("connected", True, BLUE), ("never connected", False, RED)):
        if not dots[established]:
            continue
        figure.add_scatter(
            x=[chart.local(row["moment"]) for _, row in dots[established]],
            y=[lane for lane, _ in dots[established]],
            mode="markers",
            marker={"color": colour, "size": 7, "opacity": 0.75},
            customdata=[row["dots"] for _, row in dots[established]],
            hovertemplate="%{y}<br>%{customdata:,} at %{x|%H:%M:%S.%L}",
            name=name,
        )
    figure.update_layout(showlegend=True)  # plotly hides the name where there is one kind only
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=list(lanes)[::-1], automargin=True
    )
    return figure
