"""How many sockets each program held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sockrec.errors import NothingMatchedError
from sockrec.plots import counts
from sockrec.plots.chart import Chart, rows_of, shown

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from sockrec.api import Capture

# More lines than colours that the eye tells apart can't be read.
_COLOURS: Final = ("#2f5d8a", "#b8503c", "#4f8f6b", "#c9a24b", "#7b5ea7", "#8a5a44", "#3c4043", "#9aa0a6")


def programs(capture: Capture) -> Figure:
    """Return how many internet sockets each program held, sample by sample: what only rises is a leak.

    At most eight programs are drawn, those that ever held the most; the title then says of how many. Raises
    `NothingMatchedError` if no holder is known, `UsageError` if plotly is missing.
    """
    series: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows_of(capture, counts.PROGRAMS):
        series.setdefault((row["program"], row["host"]), []).append(row)
    if not series:
        raise NothingMatchedError("of no socket in this capture it is known who held it")
    chart = Chart(capture)
    most = sorted(series, key=lambda of: (-_peak(series[of]), of))[: len(_COLOURS)]
    title = "Sockets held by each program"
    if len(most) < len(series):
        title += f": the {len(most)} with the most, of {len(series):,}"
    figure = chart.figure(title, "sockets", height=300)
    for colour, (program, host) in zip(_COLOURS, most, strict=False):
        name = f"{program} on {host}" if chart.several_hosts else program
        chart.stepped(figure, series[program, host], "step", host, shown(name), colour)
    figure.update_layout(showlegend=True)  # plotly hides the name where there is one line only
    return figure


def _peak(moves: list[dict[str, Any]]) -> int:
    """Return the most that were held at once, in any recording."""
    levels: dict[str, int] = {}
    peak = 0
    for move in moves:
        levels[move["recording"]] = levels.get(move["recording"], 0) + int(move["step"])
        peak = max(peak, levels[move["recording"]])
    return peak
