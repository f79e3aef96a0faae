"""Figures: what they show is what the capture says, moment by moment, and nothing else."""

from __future__ import annotations

import bisect
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import sockrec
import sockrec.plots
from sockrec.errors import NothingMatchedError, UsageError
from tests.catalog.captures import Part, began, ended

SAMPLE = Path(__file__).parents[1] / "sample_captures" / "port-7071" / "capture"
FIGURES: dict[str, Callable[[sockrec.Capture], Any]] = {
    "listening": sockrec.plots.listening,
    "listening on a port": lambda capture: sockrec.plots.listening(capture, 7071),
    "states": sockrec.plots.states,
    "connections": sockrec.plots.connections,
    "connections to a port": lambda capture: sockrec.plots.connections(capture, 7071),
    "queues": lambda capture: sockrec.plots.queues(capture, 7071),
    "programs": sockrec.plots.programs,
}


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat()


def _bars(figure: Any) -> dict[str, list[tuple[str, str, float]]]:
    return {trace.name: list(zip(trace.y, trace.base, trace.x, strict=True)) for trace in figure.data}


def _level(trace: Any, moment: datetime) -> int:
    """Return the height of a stepped line at a moment; 0 before it begins and where it is broken."""
    times = [(datetime.fromisoformat(x).replace(tzinfo=UTC) if x else None) for x in trace.x]
    known = [(time, height) for time, height in zip(times, trace.y, strict=True) if time is not None]
    place = bisect.bisect_right([time for time, _ in known], moment)
    return int(known[place - 1][1]) if place else 0


def _milliseconds(first: datetime, last: datetime) -> float:
    return (last - first) / timedelta(milliseconds=1)


def test_a_bar_ends_where_certainty_ends_and_doubt_begins(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 10)
    part.socket(1, 2, 5)
    part.socket(2, 8, 10, ended_as="stopped", pid=4377)
    part.socket(3, 0, 10, "found", "stopped", local_port=22, program="sshd", pid=7)
    part.write()
    with sockrec.open(tmp_path) as capture:
        bars = _bars(sockrec.plots.listening(capture, 7071))
        everything = _bars(sockrec.plots.listening(capture))
    one, two = "10.0.0.5:7071  myapp[4121]", "10.0.0.5:7071  myapp[4377]"
    assert bars["listening"] == [
        (one, _text(ended(2)), _milliseconds(ended(2), began(5))),
        (two, _text(ended(8)), _milliseconds(ended(8), began(10))),
    ]
    assert bars["perhaps"] == [
        (one, _text(began(1)), _milliseconds(began(1), ended(2))),
        (one, _text(began(5)), _milliseconds(began(5), ended(6))),
        (two, _text(began(7)), _milliseconds(began(7), ended(8))),
    ]
    assert [lane for lane, _, _ in everything["listening"]] == ["10.0.0.5:22  sshd[7]", one, two]


def test_gaps_are_grey_in_every_figure_and_no_end_of_listening(tmp_path: Path) -> None:
    for first, last, name in ((0, 4, "aaaa"), (10, 14, "bbbb")):
        part = Part(tmp_path, first, last, recording=f"20261120T1032{first:02}-{name}")
        part.socket(1, first, last, "found", "stopped")
        part.connection(2, first, last, "found", "stopped")
        part.active(1, first + 0.01, recv_q=1, backlog_limit=8)
        part.write()
    with sockrec.open(tmp_path) as capture:
        figures = {name: make(capture) for name, make in FIGURES.items()}
    for name, figure in figures.items():
        gaps = [shape for shape in figure.layout.shapes if shape.type == "rect"]
        assert [(gap.x0, gap.x1) for gap in gaps] == [(_text(ended(4)), _text(began(10)))], name
    assert len(_bars(figures["listening"])["listening"]) == 1
    # The line is broken over the gap: nothing says that it was 1 in it.
    for trace in (*figures["states"].data, *figures["queues"].data):
        assert trace.x.count(None) == trace.y.count(None) == 1


def test_times_are_local_at_one_offset_that_is_named(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 4, facts={"time_zone": "Europe/Berlin"})
    part.socket(1, 0, 4, "found", "stopped")
    part.write()
    with sockrec.open(tmp_path) as capture:
        figure = sockrec.plots.listening(capture)
    assert figure.data[0].base == ("2026-11-20T11:32:00.010000",)
    assert figure.layout.xaxis.title.text == "web-1, 2026-11-20, UTC+01:00"


def test_hostile_names_are_no_markup(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 4)
    part.socket(1, 0, 4, "found", "stopped", program='<a href="x">\x1b[2J')
    part.write()
    with sockrec.open(tmp_path) as capture:
        (lane,) = sockrec.plots.listening(capture).data[0].y
    assert lane == '10.0.0.5:7071  &lt;a href="x"&gt;\\x1b[2J[4121]'


def test_too_many_addresses_are_not_left_out_silently(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 4)
    for number in range(201):
        part.socket(number, 0, 4, "found", "stopped", local_port=1000 + number)
    part.write()
    with sockrec.open(tmp_path) as capture:
        figure = sockrec.plots.listening(capture)
    assert len(figure.data[0].y) == 200
    assert "200 of 201" in figure.layout.title.text


def test_the_states_of_each_sample_add_up_to_its_sockets() -> None:
    with sockrec.open(SAMPLE) as capture:
        figure = sockrec.plots.states(capture)
        samples = capture.sql("SELECT began_at, sockets FROM samples ORDER BY number").fetchall()
        counted = capture.at(samples[40][0]).aggregate("state, count(*)").fetchall()
    assert len(samples) > 60
    for moment, sockets in samples:
        assert sum(_level(trace, moment) for trace in figure.data) == sockets
    at_40 = {trace.name: _level(trace, samples[40][0]) for trace in figure.data}
    assert {state: number for state, number in at_40.items() if number} == dict(counted)


def test_a_segments_edge_is_no_change_of_states(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 4)
    part.socket(1, 0, 4, "found", "carried")
    part.connection(2, 2, 4, "opened", "carried")
    part.write()
    part = Part(tmp_path, 5, 9, part=1)
    part.socket(1, 5, 9, "carried", "stopped")
    part.connection(2, 5, 5, "carried", "closed")  # gone in sample 6
    part.connection(3, 5, 9, "opened", "stopped")
    part.write()
    with sockrec.open(tmp_path) as capture:
        traces = {trace.name: trace for trace in sockrec.plots.states(capture).data}
    shown = {name: [_level(trace, began(n)) for n in range(10)] for name, trace in traces.items()}
    assert shown["LISTEN"] == [1] * 10
    assert shown["ESTABLISHED"] == [0, 0, 1, 1, 1, 2, 1, 1, 1, 1]


def test_connections_are_counted_in_the_interval_they_were_first_seen_in(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 9, "found", "stopped")
    part.connection(10, 0, 3, "found", "closed")
    part.connection(11, 2, 3)
    part.connection(12, 2, 9, ended_as="stopped")
    part.connection(13, 5, 6)
    part.connection(20, 5, 6, local_port=40001, remote_port=443)  # to elsewhere
    part.write()
    with sockrec.open(tmp_path) as capture:
        here = {trace.name: trace for trace in sockrec.plots.connections(capture, 7071).data}
        there = {trace.name: trace for trace in sockrec.plots.connections(capture, 443).data}
        opened = sum(sockrec.plots.connections(capture).data[0].y)
        for port in (444, 40001):  # nobody came to 40001: it is where one of ours went out from
            with pytest.raises(NothingMatchedError, match=f"port {port}"):
                sockrec.plots.connections(capture, port)
    middle = [_text(began(n) + timedelta(seconds=0.5)) for n in range(10)]
    assert dict(zip(here["opened"].x, here["opened"].y, strict=True)) == {middle[2]: 2, middle[5]: 1}
    assert dict(zip(here["closed"].x, here["closed"].y, strict=True)) == {middle[4]: -2, middle[7]: -1}
    assert list(there["opened"].y) == [1]
    assert opened == 4


def test_what_opened_in_a_gap_is_told_apart(tmp_path: Path) -> None:
    Part(tmp_path, 0, 4, recording="20261120T103200-aaaa").write()
    part = Part(tmp_path, 10, 14, recording="20261120T103210-bbbb")
    part.socket(1, 10, 14, "found", "stopped")
    part.connection(2, 10, 14, "found", "stopped")
    part.write()
    with sockrec.open(tmp_path) as capture:
        traces = {trace.name: list(trace.y) for trace in sockrec.plots.connections(capture, 7071).data}
    assert traces == {"opened": [], "opened in a gap": [1], "closed": []}


def test_queues_add_up_over_the_sockets_of_a_port_and_end_with_them(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 9, "found", "stopped")
    part.connection(2, 1, 5)
    part.connection(3, 2, 9, ended_as="stopped")
    part.connection(4, 2, 9, ended_as="stopped", local_port=80)
    part.active(1, 0.01, backlog_limit=16)
    part.active(1, 3.01, recv_q=5, backlog_limit=16)
    part.active(1, 4.01, recv_q=0, backlog_limit=16)
    part.active(2, 1.01, recv_q=100, send_q=7)
    part.active(2, 3.01, recv_q=40, send_q=7)
    part.active(2, 3.01, recv_q=40, send_q=7, rcvbuf=131_072, snd_cwnd=10)
    part.active(3, 2.01, recv_q=1000)
    part.active(4, 2.01, recv_q=9999)
    part.write()
    with sockrec.open(tmp_path) as capture:
        figure = sockrec.plots.queues(capture, 7071)
        with pytest.raises(NothingMatchedError, match="port 81"):
            sockrec.plots.queues(capture, 81)
    shown = {trace.name: [_level(trace, ended(n)) for n in range(9)] for trace in figure.data}
    assert shown == {
        "waiting for accept": [0, 0, 0, 5, 0, 0, 0, 0, 0],
        "Recv-Q, bytes": [0, 100, 1100, 1040, 1040, 1040, 1000, 1000, 1000],
        "Send-Q, bytes": [0, 7, 7, 7, 7, 7, 0, 0, 0],
    }
    assert [shape.y0 for shape in figure.layout.shapes] == [16]


def test_calls_are_a_line_for_each_program_and_peer_with_a_dot_each(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    for id_, sample in ((1, 2), (2, 4), (3, 6)):
        part.connection(id_, sample, sample, remote_address="203.0.113.7", remote_port=443, local_port=40001)
        part.exactly(begun=sample - 0.5)
    part.connection(4, 3, 5, remote_address="10.0.0.1", remote_port=80, local_port=40002, state="SYN_SENT")
    part.connection(5, 0, 9, "found", "stopped", remote_address="10.0.0.2", remote_port=80, local_port=40003)
    part.write()
    with sockrec.open(tmp_path) as capture:
        figure = sockrec.plots.calls(capture)
    dots = {trace.name: list(zip(trace.y, trace.x, strict=True)) for trace in figure.data}
    assert dots["connected"] == [("myapp → 203.0.113.7:443", _text(began(n - 0.5))) for n in (2, 4, 6)]
    assert dots["never connected"] == [("myapp → 10.0.0.1:80", _text(ended(3)))]
    assert set(dots) == {"connected", "never connected"}


def test_calls_too_near_to_each_other_are_one_dot_that_counts_them(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    for id_ in range(5):
        part.connection(id_, 3, 5, remote_address="10.0.0.1", remote_port=80, local_port=40000 + id_)
    part.write()
    with sockrec.open(tmp_path) as capture:
        (trace,) = sockrec.plots.calls(capture).data
    assert (list(trace.x), list(trace.customdata)) == ([_text(ended(3))], [5])


def test_a_host_that_calls_nobody_has_no_calls_to_draw(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 4)
    part.socket(1, 0, 4, "found", "stopped")
    part.write()
    with sockrec.open(tmp_path) as capture, pytest.raises(NothingMatchedError, match="nobody here connected"):
        sockrec.plots.calls(capture)


def test_what_a_program_holds_is_counted_under_its_name_and_only_while_it_is_held(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 9, "found", "stopped", program="nginx: master process", pid=1)
    part.connection(2, 2, 5, program="nginx: worker process", pid=2)
    part.connection(3, 3, 9, ended_as="stopped", program="nginx: worker process", pid=2)
    part.connection(4, 3, 9, ended_as="stopped", program="nginx", pid=2, owner="last", state="TIME_WAIT")
    part.connection(5, 3, 9, ended_as="stopped", program="<b>x", pid=3)
    part.write()
    with sockrec.open(tmp_path) as capture:
        traces = {trace.name: trace for trace in sockrec.plots.programs(capture).data}
    shown = {name: [_level(trace, began(n)) for n in range(10)] for name, trace in traces.items()}
    assert shown == {
        "nginx": [1, 1, 2, 3, 3, 3, 2, 2, 2, 2],
        "&lt;b&gt;x": [0, 0, 0, 1, 1, 1, 1, 1, 1, 1],
    }


def test_of_many_programs_those_with_the_most_sockets_are_drawn_and_it_is_said(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 4)
    for number in range(9):
        for more in range(2 if number == 7 else 1):
            id_ = 10 * number + more
            part.socket(
                id_, 0, 4, "found", "stopped", local_port=1000 + id_, program=f"p{number}", pid=number
            )
    part.write()
    with sockrec.open(tmp_path) as capture:
        figure = sockrec.plots.programs(capture)
    assert [trace.name for trace in figure.data] == ["p7", "p0", "p1", "p2", "p3", "p4", "p5", "p6"]
    assert "8 with the most, of 9" in figure.layout.title.text


def test_a_counter_has_a_bar_from_reading_to_reading_and_none_where_it_did_not_move() -> None:
    with sockrec.open(SAMPLE.parents[1] / "backlog-full" / "capture") as capture:
        figure = sockrec.plots.rates(capture, "ListenOverflows", "Tcp.RetransSegs", "OutRsts")
        readings = capture.rates(counters=["ListenOverflows"]).fetchall()
    overflows, resent, resets = figure.data
    assert [trace.name for trace in figure.data] == ["TcpExt.ListenOverflows", "Tcp.RetransSegs", "OutRsts"]
    assert list(overflows.y) == [per_second for *_, per_second, _, _ in readings]
    ends = [
        datetime.fromisoformat(x).replace(tzinfo=UTC) + timedelta(milliseconds=width)
        for x, width in zip(overflows.x, overflows.width, strict=True)
    ]
    assert ends == [time for time, *_ in readings]
    assert list(resent.x) == list(overflows.x)[1:]  # none was sent again in the first ten seconds
    assert not resets.x
    assert [note.text for note in figure.layout.annotations] == [trace.name for trace in figure.data]


def test_counters_have_to_be_named_and_recorded() -> None:
    with sockrec.open(SAMPLE) as capture:
        with pytest.raises(UsageError, match="name some counters"):
            sockrec.plots.rates(capture)
        with pytest.raises(NothingMatchedError, match="OutRsts"):
            sockrec.plots.rates(capture, "OutRsts")


@pytest.mark.parametrize("name", [*FIGURES, "calls"])
def test_every_figure_has_the_same_axis_a_title_and_outlives_its_capture(name: str) -> None:
    with sockrec.open(SAMPLE) as capture:
        figure = (FIGURES | {"calls": sockrec.plots.calls})[name](capture)
        first, last = capture.sql("SELECT min(began_at), max(ended_at) FROM samples").fetchall()[0]
    drawn = json.loads(figure.to_json())
    axes = [axis for key, axis in drawn["layout"].items() if key.startswith("xaxis")]
    low, high = (datetime.fromisoformat(edge).replace(tzinfo=UTC) for edge in axes[0]["range"])
    assert timedelta(0) < first - low < timedelta(seconds=1)
    assert timedelta(0) < high - last < timedelta(seconds=1)
    assert all(axis["range"] == axes[0]["range"] for axis in axes)
    assert drawn["layout"]["title"]["text"]
    assert axes[-1]["title"]["text"].endswith(f"{first.astimezone(UTC).date()}, UTC")


@pytest.mark.parametrize("port", [0, -1, 70000])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with sockrec.open(SAMPLE) as capture:
        for draw in (sockrec.plots.listening, sockrec.plots.connections, sockrec.plots.queues):
            with pytest.raises(UsageError, match="not a port"):
                draw(capture, port)


def test_a_capture_without_listeners_has_nothing_to_draw(tmp_path: Path) -> None:
    Part(tmp_path, 0, 4).write()
    with sockrec.open(tmp_path) as capture:
        with pytest.raises(NothingMatchedError):
            sockrec.plots.listening(capture)
        assert len(sockrec.plots.states(capture).data) == 0


def test_without_plotly_one_line_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['plotly'] = None\n"
        "import sockrec, sockrec.plots\n"
        "try: sockrec.plots.states(sockrec.open(sys.argv[1]))\n"
        "except sockrec.errors.UsageError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, SAMPLE], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "figures need plotly: pip install 'sockrec[plots]'\n"
