"""The Python API: a capture and the questions it answers, each as a DuckDB relation.

    import sockrec

    with sockrec.open("incident") as capture:
        print(capture.when("port 7071 stopped listening"))
        capture.sql("SELECT program, count(*) FROM connections GROUP BY program").df()

Times in relations are TIMESTAMP WITH TIME ZONE, shown in UTC.
"""

from __future__ import annotations

import shlex
import time as clock
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sockrec.catalog import Catalog, open_catalog
from sockrec.catalog import times as _times
from sockrec.catalog.sources import literal
from sockrec.errors import UsageError
from sockrec.model import durations, timeexpr, timetext
from sockrec.query import baseline as _baseline
from sockrec.query import diff as _diff
from sockrec.query import events as _events
from sockrec.query import findings as _findings
from sockrec.query import grammar
from sockrec.query import lifecycle as _lifecycle
from sockrec.query import own_findings as _own_findings
from sockrec.query import rate_names as _rate_names
from sockrec.query import rates as _rates
from sockrec.query import top as _top
from sockrec.query import traffic as _traffic
from sockrec.query.baseline import seen as _seen
from sockrec.query.info import info as _info
from sockrec.query.port import port as _port
from sockrec.query.when import when as _when
from sockrec.render import sentences
from sockrec.render.names import Names
from sockrec.render.netstat import netstat_text
from sockrec.render.netstat_flags import parse_flags
from sockrec.replay.moment import Moments
from sockrec.store import baselines as _baselines
from sockrec.store.locate import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    import duckdb

    from sockrec.model.baseline import Baseline
    from sockrec.query.diff import Difference
    from sockrec.query.findings import Finding
    from sockrec.store.damage import Damage

Moment = datetime | str


class Capture:
    """An open capture; made by `open`, closed by `close` or at the end of a `with` statement.

    Relations are read while the capture is open. Every question raises `sockrec.errors.UsageError`
    if it makes no sense, and `CaptureError` if nothing can be read.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.zone = _times.zone_of(catalog)

    @property
    def path(self) -> Path:
        """Where the capture lies."""
        return self._catalog.root

    @property
    def recordings(self) -> list[dict[str, Any]]:
        """What is known of each run of the recorder, oldest first."""
        return self._catalog.recordings

    @property
    def damages(self) -> list[Damage]:
        """What could not be read and is left out; questions may add to it."""
        return self._catalog.damages

    @property
    def hosts(self) -> list[str]:
        """The recorded hosts."""
        return self._catalog.survey.hosts

    def info(self) -> dict[str, Any]:
        """Return what the capture holds (`sockrec.query.info.info`)."""
        return _info(self._catalog)

    def time(self, text: str) -> datetime:
        """Return the moment that a time expression means: `10:32`, `start+30s`, `2026-11-20T10:32:05Z`.

        Times without an offset are in the capture's time zone, as is the result.
        """
        context = _times.context(self._catalog, self.zone, clock.time_ns() // 1000)
        return timetext.to_datetime(timeexpr.parse(text, context), self.zone)

    def when(self, text: str) -> duckdb.DuckDBPyRelation:
        """Return when something began or ended: `port 7071 stopped listening`; no rows if it never did.

        The columns are `sockrec.query.when.COLUMNS`; the true moment lies in [not_before, not_after].
        """
        return _when(self._catalog, text)

    def sentences(self, text: str) -> list[str]:
        """Return the answers of `when` as sentences."""
        question = grammar.parse(text)
        answers = _when(self._catalog, question)
        rows = (dict(zip(answers.columns, row, strict=True)) for row in answers.fetchall())
        return [
            sentences.answer(row, question.topic, question.begins, self.zone, name_host=len(self.hosts) > 1)
            for row in rows
        ]

    def port(self, port: int | str) -> duckdb.DuckDBPyRelation:
        """Return the story of a port, `7071` or `"53/udp"`; the columns are `sockrec.query.port.COLUMNS`."""
        return _port(self._catalog, *grammar.port_and_protocol(str(port)))

    def at(self, moment: Moment) -> duckdb.DuckDBPyRelation:
        """Return every internet socket at a moment, with its activity (the view `sockets_at`)."""
        return self._catalog.relation(f"FROM sockets_at({self._literal(moment)})")

    def changes(self, first: Moment, last: Moment) -> duckdb.DuckDBPyRelation:
        """Return what opened, closed or changed, for certain or possibly, between two moments."""
        return self._catalog.relation(
            f"FROM changes_between({self._literal(first)}, {self._literal(last)}) "
            "ORDER BY coalesce(not_before, not_after), not_after, what"
        )

    def diagnose(
        self,
        first: Moment | None = None,
        last: Moment | None = None,
        host: str | None = None,
        settings: Sequence[str] = (),
        baseline: Baseline | None = None,
        also: Sequence[Callable[[Capture], Iterable[Finding]]] = (),
    ) -> list[Finding]:
        """Return what happened (`sockrec.Finding`), the most telling first.

        `settings` are thresholds, such as `"close-wait.sockets=50"`. Raises `UsageError` for what is none.
        With a `baseline` (`sockrec.baseline`) it tells what that does not have, too. `also` are functions of
        your own that take the capture and return what they found, after ours of the same severity.
        """
        first_us, last_us = self._us(first), self._us(last)
        wanted = _findings.parse_settings(settings, _findings.KINDS)
        asked = _findings.Asked(self._catalog, first_us, last_us, host, wanted, baseline)
        own = (finding for find in also for finding in find(self))
        return _own_findings.among(_findings.diagnose(asked), own, asked)

    def baseline(
        self, first: Moment | None = None, last: Moment | None = None, host: str | None = None
    ) -> Baseline:
        """Return what a host had open (`sockrec.model.baseline.Baseline`); `added` makes one of two.

        The host has to be named where several are recorded. Raises `NothingMatchedError` if nothing was
        recorded in that time.
        """
        return _baseline.learn(self._catalog, self._span(first, last, host))

    def baseline_diff(
        self,
        baseline: Baseline,
        first: Moment | None = None,
        last: Moment | None = None,
        host: str | None = None,
    ) -> list[_baseline.Difference]:
        """Return how what a host had open differs from a baseline (`sockrec.query.baseline.Difference`)."""
        span = self._span(first, last, host)
        now = _baseline.learn(self._catalog, span)
        return _baseline.differences(baseline, now, _seen.facts(self._catalog), span.host or "")

    def diff(
        self,
        first: Moment = "start",
        last: Moment = "end",
        other: Capture | None = None,
        host: str | None = None,
        other_host: str | None = None,
    ) -> list[Difference]:
        """Return what differs between two moments, by service (`sockrec.query.diff.Difference`).

        `last` is a moment of `other`, if given. Hosts have to be named where several are recorded; without
        `other`, `other_host` is `host` unless it is given.
        """
        beside = self if other is None else other
        sides = [
            (self._catalog, host, self._moment(first)),
            (beside._catalog, other_host or (host if other is None else None), beside._moment(last)),
        ]
        before, after = (
            _diff.services(catalog, Moments(catalog, name).host, timetext.from_datetime(moment))
            for catalog, name, moment in sides
        )
        return _diff.differences(before, after)

    def listeners(self) -> duckdb.DuckDBPyRelation:
        """Return a row for each period of listening (the view `listeners`)."""
        return self._view("listeners", "began_not_after")

    def connections(self) -> duckdb.DuckDBPyRelation:
        """Return a row for each TCP connection (the view `connections`)."""
        return self._view("connections", "opened_not_after")

    def events(
        self,
        port: int | str | None = None,
        pid: int | None = None,
        peer: str | None = None,
        kinds: Sequence[str] = (),
    ) -> duckdb.DuckDBPyRelation:
        """Return what happened in order of time (the view `events`), of everything or of what is given.

        `port` is that of either end, `7071` or `"53/udp"`; `peer` is `"10.0.0.9"` or `"10.0.0.9:443"`;
        `kinds` are of `sockrec.query.events.KINDS`. Losses are among them: any event may have been lost.
        """
        asked = _events.ordered(_events.wanted(port, pid, peer, kinds))
        return self._catalog.run(
            lambda connection: connection.sql(f"SELECT * EXCLUDE (told, is_match) FROM ({asked})")
        )

    def gaps(self) -> duckdb.DuckDBPyRelation:
        """Return the stretches of time of which nothing, or not everything, is known (the view `gaps`)."""
        return self._view("gaps", "not_after")

    def samples(self) -> duckdb.DuckDBPyRelation:
        """Return a row for each reading of all sockets (the table `samples`)."""
        return self._view("samples", "began_at")

    def rates(
        self,
        interfaces: Sequence[str] = (),
        counters: Sequence[str] = (),
        first: Moment | None = None,
        last: Moment | None = None,
        every: str | None = None,
        host: str | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """Return how fast interfaces and protocol counters moved, in the readings from `first` to `last`.

        Of everything, the totals, means and peaks: the columns are `sockrec.query.rates.COLUMNS`. Of some
        `interfaces`, or of some `counters` such as `"ListenOverflows"`, a row for each reading, or for each
        step of `every` (`"1m"`): `INTERFACE_COLUMNS` or `COUNTER_COLUMNS`. Raises `UsageError` for both at
        once, and `NothingMatchedError` for a name that was not recorded.
        """
        if interfaces and counters:
            raise UsageError("ask for interfaces or for counters, one after the other")
        if every and not (interfaces or counters):
            raise UsageError("steps are of interfaces or of counters: name some")
        _rate_names.hosts(self._catalog, host)
        first_us, every_us, ahead = self._steps(first, every)
        last_us = self._us(last)
        wanted = _rates.wanted(first_us, last_us, host, every_us, ahead)
        if interfaces:
            names = _rate_names.interfaces(self._catalog, interfaces, host)
            return _rates.of_interfaces(self._catalog, wanted, names)
        if counters:
            return _rates.of_counters(
                self._catalog, wanted, _rate_names.counters(self._catalog, counters, host)
            )
        return _rates.overview(self._catalog, wanted)

    def traffic(
        self,
        by: str = "service",
        first: Moment | None = None,
        last: Moment | None = None,
        every: str | None = None,
        host: str | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """Return how many bytes went where from `first` to `last`, the most first; UDP has no counts.

        `by` is service, port, program, process or peer (`sockrec.query.traffic.GROUPS`); `every` is a step,
        `"1m"`. Raises `UsageError` for what makes no sense.
        """
        first_us, every_us, ahead = self._steps(first, every)
        last_us = self._us(last)
        return _traffic.traffic(self._catalog, _traffic.Wanted(by, first_us, last_us, every_us, ahead, host))

    def top(
        self,
        *by: str,
        most: int = 10,
        first: Moment | None = None,
        last: Moment | None = None,
        host: str | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """Return the largest by each name in `by` (`sockrec.query.top.ORDERS`; all of them if none is named).

        The columns are `sockrec.query.top.COLUMNS`. Raises `UsageError` for what makes no sense.
        """
        first_us, last_us = self._us(first), self._us(last)
        return _top.top(self._catalog, _top.Wanted(by or tuple(_top.ORDERS), most, first_us, last_us, host))

    def lifecycle(
        self, port: int | None = None, socket: int | None = None, host: str | None = None
    ) -> duckdb.DuckDBPyRelation:
        """Return the states that TCP connections went through: of all on a port, or of one socket_id.

        The columns are `TRANSITION_COLUMNS` or `STEP_COLUMNS` of `sockrec.query.lifecycle`. Raises
        `UsageError` for both at once, or neither.
        """
        if (port is None) == (socket is None):
            raise UsageError("name a port or a socket")
        if socket is not None:
            return _lifecycle.of_socket(self._catalog, socket, host)
        return _lifecycle.of_port(self._catalog, port or 0, host)

    def sql(
        self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> duckdb.DuckDBPyRelation:
        """Return the rows of one statement that reads, run anew each time the relation is read.

        `params` are bound to `?`, `$1` or `$name`. `sockrec sql --schema` prints the views. Raises
        `UsageError` if the statement is wrong, or does anything but read.
        """
        self._catalog.check(query)
        return self._catalog.run(lambda connection: connection.sql(query, params=params), trusted=False)

    def netstat(self, at: Moment = "end", flags: str = "-tulpn", host: str | None = None) -> str:
        r"""Return what `LC_ALL=C netstat FLAGS` would have printed of internet sockets at a moment.

        `host` has to be named if several are recorded. Bytes that are no UTF-8 are shown as `\xNN`.
        Raises `UsageError` for flags that netstat does not know, or that ask for no internet sockets.
        """
        wanted = parse_flags(shlex.split(flags))
        if not wanted.titled:
            raise UsageError("this returns internet sockets: ask for them, as with -tun")
        moments = Moments(self._catalog, host)
        moment_us = timetext.from_datetime(self._moment(at))
        sample = moments.at(moment_us)
        facts = next((facts for facts in self.recordings if facts.get("recording") == sample.recording), {})
        names = Names.from_json(facts.get("names") or {})
        text = netstat_text(moments.rows(sample, moment_us), wanted, names)
        return text.decode("utf-8", "backslashreplace")

    def refresh(self) -> None:
        """Read again what a recorder has written since the capture was opened."""
        self._catalog.refresh()

    def close(self) -> None:
        """Close the capture and its relations."""
        self._catalog.close()

    def _view(self, name: str, order: str) -> duckdb.DuckDBPyRelation:
        return self._catalog.run(lambda connection: connection.sql(f"FROM {name} ORDER BY {order}"))

    def _moment(self, moment: Moment) -> datetime:
        found = self.time(moment) if isinstance(moment, str) else moment
        if found.tzinfo is None:
            raise UsageError(f"{found} has no time zone: add one, as in datetime(..., tzinfo=UTC)")
        return found

    def _steps(self, first: Moment | None, every: str | None) -> tuple[int | None, int | None, int]:
        """Return when steps begin, how long they are, and by how much clocks were ahead of UTC then."""
        began = _times.context(self._catalog, self.zone, clock.time_ns() // 1000).start_us
        first_us = self._us(first)
        every_us = None if every is None else durations.parse(every)
        return first_us, every_us, _rates.ahead_us(began if first_us is None else first_us, self.zone)

    def _span(self, first: Moment | None, last: Moment | None, host: str | None) -> _baseline.Span:
        return _baseline.Span(Moments(self._catalog, host).host, self._us(first), self._us(last))

    def _us(self, moment: Moment | None) -> int | None:
        return None if moment is None else timetext.from_datetime(self._moment(moment))

    def _literal(self, moment: Moment) -> str:
        return f"TIMESTAMPTZ {literal(timetext.iso(timetext.from_datetime(self._moment(moment))))}"

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open(path: str | Path | None = None) -> Capture:  # noqa: A001 - `sockrec.open` is the name people expect
    """Open a capture: at `path`, else at $SOCKREC_CAPTURE, else the newest in the default folder.

    Raises `sockrec.errors.CaptureError` if there is none, or nothing of it can be read.
    """
    return Capture(open_catalog(locate(None if path is None else Path(path))))


def baseline(path: str | Path) -> Baseline:
    """Return a baseline from its file; raises `sockrec.errors.UsageError` if it is none, with the line."""
    return _baselines.read(Path(path))
