"""The table in memory: at every sample the very rows that `sockrec replay` prints, and filters over them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from sockrec.catalog import open_catalog
from sockrec.errors import UsageError
from sockrec.model.netstat_row import NetstatRow
from sockrec.render.names import printable
from sockrec.replay.moment import Moments, Sample
from sockrec.replay.stretch import Stretch
from sockrec.view import columns
from sockrec.view.filter import Filter
from sockrec.view.source import Source
from sockrec.view.table import Line, Table
from tests.support.command import sockrec
from tests.view.driving import SAMPLES

CAPTURES = ("nginx-upstream-down", "port-7071", "quiet-workers", "udp-drops")
PORT_7071 = SAMPLES / "port-7071" / "capture"


def _lines(table: Table) -> list[Line]:
    return [table.line(place) for place in range(len(table))]


@pytest.fixture(scope="module")
def whole() -> tuple[Stretch, list[Sample]]:
    """Give all of port-7071."""
    source = Source(PORT_7071)
    try:
        return source.stretch(source.timeline.samples), source.timeline.samples
    finally:
        source.close()


@pytest.mark.parametrize("name", CAPTURES)
def test_every_sample_is_what_replay_prints(name: str) -> None:
    """The judge is the command: netstat's lines without what fills up the columns."""
    capture = SAMPLES / name / "capture"
    words = ("-anpW", "--tcp", "--udp", "--from", "start", "--to", "end", "--speed", "max")
    printed = sockrec("replay", "-C", capture, *words).stdout.split("Active Internet connections")
    expected = [[" ".join(line.split()) for line in text.splitlines()[2:]] for text in printed[1:]]
    source = Source(capture)
    try:
        samples = source.timeline.samples
        stretch = source.stretch(samples)
    finally:
        source.close()
    shown = [
        [
            " ".join(" ".join(columns.texts(line)).split())
            for line in _lines(Table(stretch, one, one.ended_us))
        ]
        for one in samples
    ]
    assert len(expected) == len(samples)
    assert shown == expected
    assert any(shown)


@pytest.mark.parametrize("name", ["port-7071", "udp-drops"])
def test_a_stretch_has_the_rows_of_each_moment_timers_and_all(name: str) -> None:
    """However long it is, and wherever in it the sample lies."""
    with open_catalog(SAMPLES / name / "capture") as catalog:
        moments = Moments(catalog)
        samples = moments.after(0)
        for length in (1, 7, len(samples)):
            for first in range(0, len(samples) - length + 1, 13):
                near = samples[first : first + length]
                stretch = Stretch(catalog, near)
                for sample in {near[0], near[-1]}:
                    found = stretch.at(sample)
                    rows = [
                        stretch.row(int(row), int(moved), int(argv0), sample.ended_us)
                        for row, moved, argv0 in zip(*found, strict=True)
                    ]
                    assert rows == moments.rows(sample)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("port=7071", lambda row: 7071 in (row.local_port, row.remote_port)),
        ("program=CLIENT", lambda row: "client" in row.argv0),
        ("peer=10.0.0.2", lambda _: False),
        ("peer=10.0.0.21", lambda row: row.remote_address == "10.0.0.21"),
        ("peer=10.0.0.", lambda row: row.remote_address.startswith("10.0.0.")),
        ("peer=10.0.0.16/28", lambda row: row.remote_address in ("10.0.0.21", "10.0.0.22", "10.0.0.23")),
        ("state=est", lambda row: row.state == "ESTABLISHED"),
        ("!state=TIME_WAIT", lambda row: row.state != "TIME_WAIT"),
        ("pid=30351", lambda row: row.pid == 30351),
        ("30351", lambda row: row.pid == 30351),
        ("9100", lambda row: row.local_port == 9100),
        ("metrics", lambda row: row.argv0 == "metricsd"),
        ("proto=tcp6", lambda _: False),
        ("proto=tcp myapp listen", lambda row: (row.argv0, row.state) == ("myapp", "LISTEN")),
    ],
)
def test_a_filter_lets_through_what_it_says(
    whole: tuple[Stretch, list[Sample]], text: str, fits: Callable[[NetstatRow], bool]
) -> None:
    stretch, samples = whole
    sample = samples[30]
    everything = _lines(Table(stretch, sample, sample.ended_us))
    shown = _lines(Table(stretch, sample, sample.ended_us, wanted=Filter(text)))
    assert [line.row for line in shown] == [line.row for line in everything if fits(line.row)]
    assert len(shown) < len(everything)


@pytest.mark.parametrize(
    "text", ["port=x", "port=70000", "colour=red", "peer=10.0.0.0/99", "state=", "!", "=1", "pid=-1"]
)
def test_what_is_no_filter_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match="write"):
        Filter(text)


def test_lines_that_are_new_and_that_changed_are_marked(whole: tuple[Stretch, list[Sample]]) -> None:
    stretch, samples = whole
    signs = set()
    for before, sample in pairwise(samples):
        table = Table(stretch, sample, sample.ended_us, before)
        was = {one.subject: one.row.state for one in _lines(Table(stretch, before, before.ended_us))}
        for line in _lines(table):
            state = was.get(line.subject)
            # A listener that came back at once would be another socket on the same place: here none does.
            assert line.sign == ("+" if state is None else " " if state == line.row.state else "~")
            signs.add(line.sign)
    assert signs == {"+", "~", " "}


@pytest.mark.parametrize("room", [60, 79, 99, 120, 200])
def test_columns_fit_and_ports_stay_whole(room: int) -> None:
    remote = "2001:db8:ffff:eeee:dddd:cccc:bbbb:aaaa:51234"
    cells = ("tcp6", "0", "123456", "2001:db8:1234:5678::10:443", remote,
             "ESTABLISHED", "123456/redis-server")  # fmt: skip
    wide = columns.widths([len(cell) for cell in cells], room)
    line = columns.text(cells, wide)
    assert len(line) <= max(room, sum(wide) + 6)
    assert ":443" in line
    assert ":51234" in line
    assert len(columns.titles(wide)) == len(line)
    if room >= 79:
        assert len(line) <= room


def test_names_are_made_harmless(whole: tuple[Stretch, list[Sample]]) -> None:
    """What netstat replaces stays replaced; what it lets through and would confuse a terminal is escaped."""
    stretch, samples = whole
    line = Table(stretch, samples[0], samples[0].ended_us).line(0)
    hostile = "\x1b[2J[bold]x\u202e\udcff"
    cells = columns.texts(line._replace(cells=line.cells._replace(program=printable(hostile))))
    assert cells[-1] == "?[2J[bold]x???\\udcff"
