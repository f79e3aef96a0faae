"""What the viewer lays over its table: a socket's life, a difference, events, findings, the keys."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import duckdb
from textual import work
from textual.app import App

from sockrec.errors import SockrecError
from sockrec.model import timetext
from sockrec.render.escape import terminal
from sockrec.view import texts
from sockrec.view.keys import HELP
from sockrec.view.widgets.screens import Findings, Reading
from sockrec.view.widgets.sockets import Sockets

if TYPE_CHECKING:
    from textual.screen import Screen

    from sockrec.query.findings import Finding
    from sockrec.view.background import Background
    from sockrec.view.source import Happened, Source
    from sockrec.view.timeline import Stop, Timeline


class Overlays(App[None]):
    """The part of the viewer that shows them; the rest of it has the table and the cursor."""

    source: Source
    timeline: Timeline
    place: int
    mark: int | None
    following: bool
    _asked: Background
    _found: list[Finding] | None
    _happened: dict[int, Happened]

    @property
    @abstractmethod
    def stop(self) -> Stop:
        """Where the cursor stands."""

    @property
    @abstractmethod
    def below(self) -> Screen[Any]:
        """The screen with the table."""

    @abstractmethod
    def go(self, place: int, notice: str = "") -> None:
        """Put the cursor somewhere; `notice` says what is to be known of it."""

    def action_life(self) -> None:
        """Show the whole life of the selected socket."""
        sockets = self.below.query_one(Sockets)
        if sockets.table is None or sockets.subject is None:
            return
        pid = None if sockets.place is None else sockets.table.line(sockets.place).row.pid
        subject, at_us = sockets.subject, self.stop.sample.ended_us
        self._read(texts.name(subject), lambda: texts.life(self.source, subject, at_us, pid))

    def action_diff(self) -> None:
        """Show what is not as it was at the mark."""
        before, after = sorted((self.mark or 0, self.place))
        title = "Since the mark" if self.mark is not None else "Since the first sample (m marks another)"
        samples = self.timeline[before].sample, self.timeline[after].sample
        self._read(title, lambda: texts.difference(self.source, *samples))

    def action_events(self) -> None:
        """Show all that happened since the sample before."""
        if (happened := self._happened.get(self.stop.sample.began_us)) is not None:
            lines = texts.event_lines(happened.rows, self.source.zone)
            title = f"Since the sample before: {texts.summary(happened)}"
            self.push_screen(Reading(title, "\n".join(lines)))

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Reading("Keys", HELP))

    @work(exclusive=True, group="read")
    async def _read(self, title: str, text: Callable[[], str]) -> None:
        screen = Reading(title, "reading ...")
        await self.push_screen(screen)
        try:
            screen.fill(await self._asked.ask(text))
        except (SockrecError, duckdb.Error) as error:
            screen.fill(texts.problem(error))

    def action_findings(self) -> None:
        """Show what was found, and go to the moment of the one chosen."""

        def chosen(number: int | None) -> None:
            if number is not None and self._found is not None:
                self._go_to(self._found[number])

        self._findings = Findings(self._shown_findings())
        self.push_screen(self._findings, chosen)

    def _shown_findings(self) -> list[tuple[str, str]] | None:
        if self._found is None:
            return None
        return [(one.severity, texts.finding(one, self.source.zone)) for one in self._found]

    def _go_to(self, finding: Finding) -> None:
        """Go to the first sample that shows what was found, and select what it is about."""
        from sockrec.query.findings.interest import interest

        self.following = False
        self.below.query_one(Sockets).wish(interest(finding))
        place = self.timeline.shows(timetext.from_datetime(finding.not_after))
        self.go(place, f"{finding.severity}: {terminal(finding.title)}")
