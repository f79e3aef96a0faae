"""What went on over time: sockets by state, connections, queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sockrec.errors import NothingMatchedError
from sockrec.model import durations
from sockrec.plots import counts
from sockrec.plots.chart import (
    BLUE,
    GREY,
    INK,
    MICROSECOND,
    MILLISECOND,
    PALE_BLUE,
    PALE_RED,
    RED,
    Chart,
    port_number,
    rows_of,
    shown,
    ticks,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from sockrec.api import Capture

_STATE_COLOURS: Final = {
    "ESTABLISHED": BLUE,
    "LISTEN": INK,
    "UNCONN": GREY,
    "TIME_WAIT": "#c9a24b",
    "CLOSE_WAIT": RED,
    "SYN_SENT": "#7b5ea7",
    "SYN_RECV": "#a78bc9",
    "FIN_WAIT1": "#4f8f6b",
    "FIN_WAIT2": "#9cc5ab",
    "LAST_ACK": "#8a5a44",
    "CLOSING": "#c08f7a",
    "CLOSE": "#c4c7ca",
}

_DOTTED: Final = {"CLOSE_WAIT", "LAST_ACK", "SYN_SENT"}


def states(capture: Capture) -> Figure:
    """Return how many internet sockets were in each state, sample by sample.

    Those in TIME_WAIT, which belong to no process and outnumber the rest, have a scale of their own
    below. Raises `UsageError` if plotly is missing.
    """
    chart = Chart(capture)
    series: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows_of(capture, counts.STATES.format(where="true")):
        series.setdefault((row["state"], row["host"]), []).append(row)
    # Those that belong to the same connections come and go together: dots let the line below be seen.
    drawn = sorted(series.items(), key=lambda item: item[0][0] in _DOTTED)
    apart = {state for state, _ in series if state == "TIME_WAIT"}
    figure = chart.figure("Sockets in each state", height=380 if apart else 300, panels=("sockets", *apart))
    for (state, host), rows in drawn:
        name = f"{state} on {shown(host)}" if chart.several_hosts else state
        panel = 2 if state in apart else 1
        chart.stepped(figure, rows, "step", host, name, _STATE_COLOURS.get(state, INK), panel)
        figure.data[-1].line.dash = "dot" if state in _DOTTED else "solid"
    return figure


def connections(capture: Capture, port: int | None = None) -> Figure:
    """Return how many TCP connections opened (upwards) and closed (downwards) in each interval.

    With a port, those accepted on it, or those made to it if none was accepted here. Without one,
    a connection within the host counts at both its ends. Each counts when it was first seen open
    or closed; what happened in a gap is drawn pale, right after it. Raises `NothingMatchedError`
    if there was no connection, `UsageError` if plotly is missing.
    """
    what = "TCP connections" if port is None else f"Connections to port {port}"
    where = "true"
    if port is not None:
        accepted = f"local_port = {port_number(port)} AND role = 'server'"
        taken = rows_of(capture, f"SELECT count(*) AS n FROM connections WHERE {accepted}")[0]["n"]
        where = accepted if taken else f"remote_port = {port}"
    if not rows_of(capture, f"SELECT 1 FROM connections WHERE {where} LIMIT 1"):
        raise NothingMatchedError(f"{what}: this capture holds none")
    chart = Chart(capture)
    step = chart.step()
    figure = chart.figure(f"{what}: opened and closed every {durations.show(step / MICROSECOND)}", height=300)
    most = {1: 0, -1: 0}
    found = rows_of(capture, counts.EVENTS.format(source="connections", where=where), chart.grid(step))
    for name, sign, colours in (("opened", 1, (BLUE, PALE_BLUE)), ("closed", -1, (RED, PALE_RED))):
        for in_gap, colour in zip((False, True), colours, strict=True):
            bars = [row for row in found if (row["way"], row["in_gap"]) == (name, in_gap)]
            most[sign] = max([most[sign], *(row["n"] for row in bars)])
            if in_gap and not bars:
                continue
            figure.add_bar(
                x=[chart.local(chart.first + step * (row["place"] + 0.5)) for row in bars],
                y=[sign * row["n"] for row in bars],
                width=0.86 * (step / MILLISECOND),
                customdata=[row["n"] for row in bars],
                hovertemplate="%{customdata} " + name + "<br>around %{x|%H:%M:%S}<extra></extra>",
                marker={"color": colour, "line": {"width": 0}},
                name=f"{name} in a gap" if in_gap else name,
            )
    marks = ticks(-most[-1], most[1])
    # Downwards is a direction here, not a negative number.
    figure.update_yaxes(tickvals=marks, ticktext=[f"{abs(mark):,}" for mark in marks], zerolinecolor=INK)
    figure.update_layout(barmode="relative")
    return figure


def queues(capture: Capture, port: int) -> Figure:
    """Return the queues of a port's sockets over time.

    Above, the connections that waited for accept (Recv-Q of the listener) and the limit of them;
    below, the bytes that all its other sockets together had not yet read (Recv-Q) or had not yet
    acknowledged (Send-Q). Raises `NothingMatchedError` if no socket of that port was seen,
    `UsageError` if plotly is missing.
    """
    rows = rows_of(capture, counts.QUEUES.format(where=f"local_port = {port_number(port)}"))
    if not rows:
        raise NothingMatchedError(f"no socket of port {port} was seen in this capture")
    chart = Chart(capture)
    figure = chart.figure(f"Queues of port {port}", height=380, panels=("connections", "bytes"))
    waiting = [row for row in rows if row["accepts"]]
    series = (
        (1, waiting, "recv_q", "waiting for accept", INK),
        (2, [row for row in rows if not row["accepts"]], "recv_q", "Recv-Q, bytes", BLUE),
        (2, [row for row in rows if not row["accepts"]], "send_q", "Send-Q, bytes", RED),
    )
    for panel, moves, column, name, colour in series:
        for host in sorted({row["host"] for row in moves}):
            label = f"{name} on {shown(host)}" if chart.several_hosts else name
            chart.stepped(
                figure, [row for row in moves if row["host"] == host], column, host, label, colour, panel
            )
    if waiting and waiting[0]["backlog"] is not None:
        figure.add_hline(
            waiting[0]["backlog"],
            row=1,
            col=1,
            line={"color": GREY, "dash": "dot", "width": 1},
            annotation={"text": f"limit {waiting[0]['backlog']:,}", "font": {"color": GREY, "size": 11}},
        )
    figure.update_yaxes(rangemode="tozero")
    return figure
