"""Who listened when."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sockrec.errors import NothingMatchedError
from sockrec.plots.chart import BLUE, MILLISECOND, PALE_BLUE, Chart, port_number, rows_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from sockrec.api import Capture

# More rows than this can't be read.
_MOST_ROWS: Final = 200


def listening(capture: Capture, port: int | None = None) -> Figure:
    """Return who listened when: a bar for each period, a line of bars for each address and holder.

    Pale ends are doubt: the period began, or ended, somewhere in there. Without a port at most
    200 addresses are drawn; the title then says of how many. Raises `NothingMatchedError` if
    nothing listened (on that port), `UsageError` if plotly is missing.
    """
    where = "" if port is None else f"WHERE local_port = {port_number(port)}"
    periods = rows_of(capture, f"FROM listeners {where} ORDER BY local_port, protocol, began_not_after")
    if not periods:
        raise NothingMatchedError("nothing listened here" if port is None else f"nobody listened on {port}")
    chart = Chart(capture)
    lanes: dict[str, list[dict[str, Any]]] = {}
    for period in periods:
        lanes.setdefault(chart.lane(period), []).append(period)
    shown = list(lanes)[:_MOST_ROWS]
    bars: dict[str, list[tuple[str, datetime, datetime]]] = {"listening": [], "perhaps": []}
    for lane in shown:
        for period in lanes[lane]:
            begun, held = period["began_not_after"], period["ended_not_before"] or period["last_seen"]
            bars["listening"].append((lane, begun, held))
            bars["perhaps"].append((lane, period["began_not_before"] or begun, begun))
            bars["perhaps"].append((lane, held, period["ended_not_after"] or held))
    title = "Who listened when" if port is None else f"Who listened on port {port}, and when"
    if len(shown) < len(lanes):
        title += f": {len(shown)} of {len(lanes):,}; name a port for another"
    figure = chart.figure(title, height=170 + 34 * len(shown))
    for name, colour in (("listening", BLUE), ("perhaps", PALE_BLUE)):
        drawn = [bar for bar in bars[name] if name == "listening" or bar[2] > bar[1]]
        figure.add_bar(
            orientation="h",
            y=[lane for lane, _, _ in drawn],
            base=[chart.local(first) for _, first, _ in drawn],
            # Plotly takes lengths on an axis of dates in milliseconds.
            x=[(last - first) / MILLISECOND for _, first, last in drawn],
            text=[f"{chart.clock(first)} to {chart.clock(last)}" for _, first, last in drawn],
            textposition="none",
            hovertemplate="%{y}<br>%{text}",
            marker={"color": colour, "line": {"width": 0}},
            width=0.55,
            name=name,
        )
    figure.update_yaxes(categoryorder="array", categoryarray=shown[::-1], showgrid=False, automargin=True)
    figure.update_layout(barmode="overlay")
    return figure
