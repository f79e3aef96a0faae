"""How fast protocol counters moved."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sockrec.errors import UsageError
from sockrec.plots.chart import BLUE, MILLISECOND, Chart, shown

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from sockrec.api import Capture


def rates(capture: Capture, *counters: str) -> Figure:
    """Return how fast protocol counters rose, per second: one below the other, each on a scale of its own.

    A bar lasts from one reading to the next, between which it rose by so much; where there is none, it did
    not rise, or nothing is known (grey). Raises `UsageError` if none is named or plotly is missing,
    `NothingMatchedError` for one that was not recorded.
    """
    if not counters:
        raise UsageError('name some counters: rates(capture, "ListenOverflows")')
    found = capture.rates(counters=counters)
    chart = Chart(capture)
    readings: dict[str, list[dict[str, Any]]] = {}
    for row in (dict(zip(found.columns, values, strict=True)) for values in found.fetchall()):
        name = f"{row['host']}: {row['counter']}" if chart.several_hosts else row["counter"]
        readings.setdefault(name, []).append(row)
    panels: dict[str, list[dict[str, Any]]] = {}
    for asked in counters:
        moved = [
            name for name in readings if re.split("[.:] ?", name)[-1].lower() == asked.split(".")[-1].lower()
        ]
        panels |= {shown(name): readings[name] for name in moved} or {shown(asked): []}
    title = "How fast counters rose, per second"
    figure = chart.figure(title, height=110 + 140 * len(panels), panels=[""] * len(panels))
    for panel, (name, rows) in enumerate(panels.items(), 1):
        bars = [row for row in rows if row["per_second"]]
        took = [timedelta(seconds=row["seconds"]) for row in bars]
        figure.add_bar(
            x=[chart.local(row["time"] - time) for row, time in zip(bars, took, strict=True)],
            y=[row["per_second"] for row in bars],
            # Plotly takes lengths on an axis of dates in milliseconds; with no offset a bar begins at its x.
            width=[time / MILLISECOND for time in took],
            offset=0,
            customdata=[row["increase"] for row in bars],
            hovertemplate="%{y:,.3~f} a second, %{customdata:,} from %{x|%H:%M:%S} on<extra></extra>",
            marker={"color": BLUE, "line": {"width": 1, "color": "white"}},
            name=name,
            showlegend=False,
            row=panel,
            col=1,
        )
        # Above its panel: beside it long names would run into each other.
        figure.add_annotation(
            text=name,
            x=0,
            xref="paper",
            xanchor="left",
            y=1,
            yref=f"y{'' if panel == 1 else panel} domain",
            yanchor="bottom",
            showarrow=False,
        )
    return figure
