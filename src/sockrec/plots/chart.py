"""What all figures share: the time axis, the gaps in it, the look."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

from sockrec.errors import NothingMatchedError, UsageError
from sockrec.render import escape, sentences

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from sockrec.api import Capture

MICROSECOND: Final = timedelta(microseconds=1)
MILLISECOND: Final = timedelta(milliseconds=1)
BLUE: Final = "#2f5d8a"
PALE_BLUE: Final = "#b5cbe0"
RED: Final = "#b8503c"
PALE_RED: Final = "#e8c3ba"
INK: Final = "#3c4043"
GREY: Final = "#9aa0a6"
_GRID: Final = "#eceff1"
_GAP: Final = "rgba(120, 124, 130, 0.22)"
_TICKS: Final = (
    {"dtickrange": [None, 1_000], "value": "%H:%M:%S.%L"},
    {"dtickrange": [1_000, 60_000], "value": "%H:%M:%S"},
    {"dtickrange": [60_000, None], "value": "%H:%M"},
)
_RUNS: Final = """
SELECT host, recording, min(began_at) AS first, max(ended_at) AS last, min(ended_at) AS first_ended,
    max(interval_us) AS interval_us
FROM samples GROUP BY ALL ORDER BY first
"""
_MOST_BARS: Final = 120
_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)


@dataclass
class Chart:
    """What all figures of a capture share: its time axis, its gaps, its look."""

    capture: Capture
    runs: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        """Read when was recorded; raises `NothingMatchedError` if no sample was taken yet."""
        self.runs = rows_of(self.capture, _RUNS)
        if not self.runs:
            raise NothingMatchedError("this capture holds no sample yet")
        self.first: datetime = self.runs[0]["first"]
        self.last: datetime = max(run["last"] for run in self.runs)
        # One offset for the whole axis: no hour is drawn twice where clocks went back.
        self.offset = self.first.astimezone(self.capture.zone).utcoffset() or timedelta(0)
        self.days = list(dict.fromkeys(self.local(moment)[:10] for moment in (self.first, self.last)))
        self.several_hosts = len({run["host"] for run in self.runs}) > 1

    def local(self, moment: datetime) -> str:
        """Return a moment as plotly wants it: local and without an offset, which it would ignore."""
        return moment.astimezone(timezone(self.offset)).replace(tzinfo=None).isoformat()

    def clock(self, moment: datetime) -> str:
        """Return the time of day, to the millisecond."""
        return f"{moment.astimezone(timezone(self.offset)):%H:%M:%S.%f}"[:-3]

    def step(self) -> timedelta:
        """Return the shortest round length that is no shorter than a sample and gives few enough bars."""
        least = max(
            (self.last - self.first) / _MOST_BARS, max(run["interval_us"] for run in self.runs) * MICROSECOND
        )
        rounded = (timedelta(seconds=seconds) for seconds in _STEPS_S)
        return next(
            (step for step in rounded if step >= least), timedelta(days=least // timedelta(days=1) + 1)
        )

    def grid(self, step: timedelta) -> dict[str, int]:
        """Return where the bars begin and how long each is, in microseconds."""
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return {"first": (self.first - epoch) // MICROSECOND, "step": step // MICROSECOND}

    def lane(self, period: Mapping[str, Any]) -> str:
        """Return the label of a period of listening: where and who."""
        where = sentences.endpoint(period["local_address"], period["local_port"])
        protocol = "" if period["protocol"] == "tcp" else f"{period['protocol']} "
        host = f"{shown(period['host'])}: " if self.several_hosts else ""
        who = html.escape(sentences.holder(period["pid"], period["program"]), quote=False)
        return f"{host}{protocol}{where}  {who}"

    def figure(self, title: str, unit: str = "", height: int = 320, panels: Sequence[str] = ()) -> Figure:
        """Return an empty figure with the time axis and the gaps in it."""
        go, subplots = _plotly()
        if panels:
            figure = subplots.make_subplots(
                rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.08
            )
        else:
            figure = go.Figure()
        margin = (self.last - self.first) / 100
        figure.update_layout(
            template="none",
            title={"text": title, "x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 16}},
            font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
            height=height,
            margin={"l": 64, "r": 24, "t": 76, "b": 56},
            legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
            paper_bgcolor="white",
            plot_bgcolor="white",
        )
        figure.update_xaxes(
            type="date",
            range=[self.local(self.first - margin), self.local(self.last + margin)],
            gridcolor=_GRID,
            linecolor=GREY,
            ticks="outside",
            tickcolor=GREY,
            # The day stands under the axis, unless there are several.
            tickformatstops=_TICKS if len(self.days) == 1 else None,
        )
        figure.update_yaxes(gridcolor=_GRID, zerolinecolor=_GRID, rangemode="tozero")
        for number, name in enumerate(panels or [unit], 1):
            figure.layout["yaxis" if number == 1 else f"yaxis{number}"].title.text = name
        bottom = "xaxis" if len(panels) < 2 else f"xaxis{len(panels)}"
        figure.layout[bottom].title.text = self._axis_title(self._shade_gaps(figure))
        return figure

    def _axis_title(self, gaps: bool) -> str:
        zone = f"{timezone(self.offset)}"
        where = "" if self.several_hosts else f"{shown(self.runs[0]['host'])}, "
        shade = "; grey: not recorded, or not whole" if gaps else ""
        return f"{where}{' to '.join(self.days)}, {zone}{shade}"

    def _shade_gaps(self, figure: Figure) -> bool:
        gaps = rows_of(self.capture, "FROM gaps ORDER BY not_after")
        for gap in gaps:
            figure.add_shape(
                type="rect",
                xref="x",
                yref="paper",
                x0=self.local(gap["not_before"]),
                x1=self.local(gap["not_after"]),
                y0=0,
                y1=1,
                fillcolor=_GAP,
                line={"width": 0},
                layer="below",
            )
        return bool(gaps)

    def stepped(
        self,
        figure: Figure,
        moves: Iterable[Mapping[str, Any]],
        column: str,
        host: str,
        name: str,
        colour: str,
        panel: int | None = None,
    ) -> None:
        """Add a stepped line that rises by `column` at each of the moves; it breaks between recordings."""
        by_run: dict[str, list[Mapping[str, Any]]] = {}
        for move in moves:
            by_run.setdefault(move["recording"], []).append(move)
        x: list[str | None] = []
        y: list[int | None] = []
        for run in (run for run in self.runs if run["host"] == host):
            found = by_run.get(run["recording"], [])
            # What the first sample found was there when recording began.
            early = [move for move in found if move["moment"] <= run["first_ended"]]
            level = sum(int(move[column]) for move in early)
            x.append(self.local(run["first"]))
            y.append(level)
            for move in found[len(early) :]:
                if move[column]:
                    level += int(move[column])
                    x.append(self.local(move["moment"]))
                    y.append(level)
            x += [self.local(run["last"]), None]
            y += [level, None]
        place = {} if panel is None else {"row": panel, "col": 1}
        figure.add_scatter(
            x=x[:-1],
            y=y[:-1],
            mode="lines",
            line={"shape": "hv", "width": 1.8, "color": colour},
            hovertemplate="%{y:,} at %{x|%H:%M:%S}",
            name=name,
            **place,
        )


def _plotly() -> tuple[Any, Any]:
    try:
        from plotly import graph_objects, subplots
    except ImportError:
        raise UsageError("figures need plotly: pip install 'sockrec[plots]'") from None
    return graph_objects, subplots


def rows_of(capture: Capture, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a query as dicts."""
    found = capture.sql(sql, params)
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def port_number(port: int) -> int:
    """Return `port`; raises `UsageError` if it is none."""
    if not 0 < port < 65536:
        raise UsageError(f"{port} is not a port: give one from 1 to 65535")
    return port


def shown(name: str) -> str:
    """Return a recorded name with nothing in it that plotly takes for markup."""
    return html.escape(escape.terminal(name), quote=False)


def ticks(least: int, most: int) -> list[int]:
    """Return a few round whole numbers from `least` to `most`, 0 among them."""
    apart = max(1, most - least) / 5
    scale = 10 ** int(math.log10(max(1, apart)))
    step = max(1, next(scale * by for by in (1, 2, 5, 10) if scale * by >= apart))
    return list(range(-(-least // step) * step if least < 0 else 0, most + 1, step))
