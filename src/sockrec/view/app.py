"""The viewer itself: what is shown at the cursor, and what the keys do."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

import duckdb
from textual import work
from textual.binding import Binding
from textual.widgets import Static

from sockrec.errors import SockrecError
from sockrec.model import durations, timetext
from sockrec.render.escape import terminal
from sockrec.view import bar, panels, texts
from sockrec.view.background import Background
from sockrec.view.filter import FORMS, Filter
from sockrec.view.keys import KEYS
from sockrec.view.overlays import Overlays
from sockrec.view.source import Source
from sockrec.view.stretches import Stretches
from sockrec.view.table import Table
from sockrec.view.widgets import styles
from sockrec.view.widgets.prompt import Prompt
from sockrec.view.widgets.screens import Findings
from sockrec.view.widgets.sockets import Sockets, Titles
from sockrec.view.widgets.timebar import TimeBar

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events
    from textual.app import ComposeResult
    from textual.screen import Screen

    from sockrec.query.findings import Finding
    from sockrec.view.source import Gap, Happened
    from sockrec.view.timeline import Stop

_MINUTE_US: Final = 60_000_000
_FIRST_SAMPLES: Final = 3
_FOLLOWED: Final = 20
_LEAST_POLL_S: Final = 0.25
_FIRST_PICTURE_S: Final = 0.2
_STILL_S: Final = 0.12
_REPAINT_S: Final = 0.25
_TALL: Final = 32
# How often it is asked anew how much changed when, while following.
_KNOWN_AGAIN_S: Final = 10
_FILTER, _JUMP = "filter", "jump to"


class Viewer(Overlays):
    """Shows the sockets of a capture at the cursor's moment.

    `at_us` is where the cursor begins, None at the last sample; `follow` stays at the newest one. `problem`
    returns what a recorder that runs along has to tell, '' for nothing.
    """

    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    # All with priority, so that keys act in the order in which they were pressed.
    BINDINGS: ClassVar = [Binding(key, action, priority=True) for key, action in KEYS]

    def __init__(
        self,
        source: Source,
        at_us: int | None = None,
        *,
        follow: bool = False,
        problem: Callable[[], str] = str,
    ) -> None:
        super().__init__()
        self.register_theme(styles.THEME)
        self.theme = styles.THEME.name
        self.source, self.timeline = source, source.timeline
        self._aside: Source | None = None
        self._asked, self._asked_aside = Background("view"), Background("view-aside")
        self._stretches = Stretches(self.timeline)
        self.place = len(self.timeline) - 1 if at_us is None else self.timeline.at(at_us)
        self.following = follow
        self._problem = problem
        self._filter: Filter | None = None
        self.mark: int | None = None
        self._gaps: list[Gap] = []
        self._found: list[Finding] | None = None
        self._happened: dict[int, Happened] = {}
        self._notice = ""
        self._changing = asyncio.Lock()
        self._has_before = True
        # The first picture needs no more than a few samples.
        self._stretches.add(source.stretch(self.timeline.around(self.stop.sample, _FIRST_SAMPLES)))

    @property
    def stop(self) -> Stop:
        """Where the cursor stands."""
        return self.timeline[self.place]

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Static(id="where")
        yield Static(id="notice")
        yield TimeBar(self.timeline, self.source.zone)
        titles = Titles()
        yield titles
        yield Sockets(titles)
        yield Static(id="detail")
        yield Static(id="happened")
        yield Prompt()
        yield Static(id="keys")

    def on_mount(self) -> None:
        """Show the first picture, then find out what takes longer."""
        self.screen.set_focus(self.below.query_one(Sockets))
        self._show()
        # The first picture needs the machine alone.
        self.set_timer(_FIRST_PICTURE_S, self._look_aside)
        if self.following:
            self._follow()

    def on_resize(self, event: events.Resize) -> None:
        """Give what happened more lines where there is room for them."""
        self.below.query_one("#happened").styles.height = 9 if event.size.height >= _TALL else 5
        self.call_after_refresh(self._tell)
        # A picture of the old size, still on its way, breaks its lines on a smaller terminal and scrolls it.
        self.set_timer(_REPAINT_S, lambda: self.screen.refresh())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:  # noqa: ARG002 - Textual's
        """Leave the keys to what is being typed, or laid over the table; Ctrl-C always ends it."""
        return action == "quit" or (len(self.screen_stack) == 1 and not self.below.query_one(Prompt).display)

    @property
    def below(self) -> Screen[Any]:
        """The screen with the table, which others may be laid over."""
        return self.screen_stack[0]

    # What is shown

    def go(self, place: int, notice: str = "") -> None:
        """Put the cursor somewhere; `notice` says what is to be known of it."""
        self.place = min(max(place, 0), len(self.timeline) - 1)
        self._notice = notice
        self._show()

    def _show(self) -> None:
        stop = self.stop
        sockets = self.below.query_one(Sockets)
        stretch = self._stretches.find(stop.sample)
        if stretch is None:
            sockets.outdate()
        else:
            number = self.timeline.number_of(stop.sample)
            before = self.timeline.samples[number - 1] if number else None
            self._has_before = before is None or stretch.covers(before)
            is_new = before is not None and stretch.covers(before) and stop.silent_until is None
            at = stop.time_us if stop.silent_until else stop.sample.ended_us
            table = Table(stretch, stop.sample, at, before if is_new else None, self._filter)
            sockets.put(table, is_old=stop.silent_until is not None)
        if stretch is None or (not self.following and self._stretches.wanted(stop.sample)):
            self._read_ahead()
        mark = None if self.mark is None else self.timeline[self.mark].time_us
        self.below.query_one(TimeBar).point(stop.time_us, mark)
        self._tell()
        if stop.sample.began_us not in self._happened:
            self._ask_happened()

    @work(exclusive=True, group="stretch")
    async def _read_ahead(self) -> None:
        """Read the samples around the cursor before they are asked for."""
        sample = self.stop.sample
        samples = self._stretches.wanted(sample)
        is_late = self._stretches.find(sample) is None
        if samples:
            self._stretches.add(await self._asked.ask(self.source.stretch, samples))
            if is_late or not self._has_before:
                self._show()

    @work(exclusive=True, group="happened")
    async def _ask_happened(self) -> None:
        """Ask what happened, once the cursor stands still: it takes longer than a step."""
        await asyncio.sleep(0 if self.following else _STILL_S)
        sample = self.stop.sample
        number = self.timeline.number_of(sample)
        # What was before the first sample is not known; what is told of its time is.
        after = self.timeline.samples[number - 1].ended_us if number else sample.began_us
        self._happened[sample.began_us] = await self._asked.ask(self.source.happened, after, sample.ended_us)
        self._tell()

    def _tell(self) -> None:
        """Write what stands around the table."""
        stop, sockets, zone = self.stop, self.below.query_one(Sockets), self.source.zone
        told = [self._notice] if self._notice else []
        if self._stretches.find(stop.sample) is None:
            told.append("reading ...")
        told += panels.unknown(stop, self._gaps, zone)
        if problem := self._problem():
            told.append(terminal(problem))
        more = [] if not self._found else [f"f: {texts.counted(self._found)}"]
        more += [] if self._filter is None else [f"filter: {terminal(self._filter.text)} (Esc: none)"]
        if self.mark is not None:
            more.append(f"mark: {timetext.clock(self.timeline[self.mark].time_us, zone)}")
        happened = self.below.query_one("#happened", Static)
        found = self._happened.get(stop.sample.began_us)
        for name, text in (
            ("#where", panels.where(self.source, stop, sockets.table, following=self.following)),
            ("#notice", panels.notices(told, more)),
            ("#detail", panels.detail(self.source, stop, sockets)),
            ("#happened", panels.happened(found, stop, zone, happened.size, is_first=self.place == 0)),
            ("#keys", panels.hints(self.size.width)),
        ):
            self.below.query_one(name, Static).update(text)

    # Time

    def action_step(self, by: int) -> None:
        """Go to the sample before, or the next one."""
        self.following = False
        self.go(self.place + by)

    def action_minute(self, by: int) -> None:
        """Go a minute back or on."""
        self.following = False
        self.go(self.timeline.moved(self.place, by * _MINUTE_US))

    def action_edge(self, place: int) -> None:
        """Go to the first sample, or the last one."""
        self.following = False
        self.go(place % len(self.timeline))

    @work(group="change")
    async def action_change(self, by: int) -> None:
        """Go to the next change of what is selected, or the one before."""
        self.following = False
        subject = self.below.query_one(Sockets).subject
        # One key after the other, so that each counts, however fast they come.
        async with self._changing:
            if subject is None:
                self.go(self.place, "nothing is selected")
                return
            places = await self._asked.ask(self.source.changes, subject)
            there = [place for place in places if (place > self.place if by > 0 else place < self.place)]
            if there:
                self.go(there[0] if by > 0 else there[-1])
            else:
                self.go(self.place, f"no {'later' if by > 0 else 'earlier'} change of what is selected")

    def action_jump(self) -> None:
        """Ask for a time."""
        self.below.query_one(Prompt).ask(_JUMP, "", "10:32  10:32:05.250  start+30s  end-10s  5m ago")

    def on_time_bar_clicked(self, message: TimeBar.Clicked) -> None:
        """Go to the moment that was clicked on."""
        self.following = False
        self.go(self.timeline.at(message.time_us))

    def action_zoom(self, by: int) -> None:
        """Show less of the time in the bar, or more."""
        self.below.query_one(TimeBar).zoom(by)

    def action_mark(self) -> None:
        """Mark this moment."""
        self.mark = self.place
        self.go(self.place)

    # Sockets

    def action_row(self, by: int) -> None:
        """Select another line."""
        self.below.query_one(Sockets).move(by)

    def action_rows(self, by: int) -> None:
        """Select a line a screen further."""
        self.below.query_one(Sockets).page(by)

    def action_filter(self) -> None:
        """Ask for a filter."""
        self.below.query_one(Prompt).ask(_FILTER, self._filter.text if self._filter else "", FORMS)

    def action_unfilter(self) -> None:
        """Show all sockets again."""
        self._filter = None
        self.go(self.place)

    async def on_prompt_answered(self, message: Prompt.Answered) -> None:
        """Take a filter or a time; what is none is asked for again."""
        prompt = self.below.query_one(Prompt)
        try:
            if message.kind == _FILTER:
                self._filter = Filter(message.text) if message.text.strip() else None
                place = self.place
            elif message.text.strip():
                place = self.timeline.at(await self._asked.ask(self.source.understood, message.text))
                self.following = False
            else:
                place = self.place
        except SockrecError as error:
            prompt.refuse(texts.problem(error))
            return
        self.on_prompt_left()
        self.go(place)
        if message.kind == _FILTER:
            self.below.query_one(Sockets).choose()

    def on_prompt_left(self) -> None:
        """Go back to the table."""
        self.below.query_one(Prompt).done()
        self.screen.set_focus(self.below.query_one(Sockets))

    def on_sockets_chosen(self) -> None:
        """Tell of another socket."""
        self._tell()

    # What takes longer

    def action_leave(self) -> None:
        """End it."""
        self.exit()

    @work(group="aside")
    async def _look_aside(self) -> None:
        """Find out what takes longer: how much changed when, what is not known, what is to be told."""
        try:
            self._aside = await self._asked_aside.ask(Source, self.source.catalog.root, self.source.host)
            await self._know()
            self._found = await self._asked_aside.ask(self._aside.findings)
        except (SockrecError, duckdb.Error) as error:
            self.go(self.place, texts.problem(error))
            return
        marks = [
            bar.Mark(moment, moment, bar.SIGNS[one.severity])
            for one in self._found
            if one.host == self.source.host and (moment := timetext.from_datetime(one.not_after))
        ]
        self.below.query_one(TimeBar).found(marks)
        self._tell()
        if isinstance(self.screen, Findings):
            self.screen.fill(self._shown_findings() or [])

    async def _know(self) -> None:
        """Take how much changed with each sample, and what is not known."""
        assert self._aside is not None  # noqa: S101 - opened before
        counts = await self._asked_aside.ask(self._aside.density)
        self._gaps = await self._asked_aside.ask(self._aside.gaps)
        self.below.query_one(TimeBar).know(counts, [(gap.first_us, gap.last_us) for gap in self._gaps])
        self._tell()

    # Following

    def action_follow(self) -> None:
        """Stay at the newest sample, or no longer."""
        self.following = not self.following
        if self.following:
            self._follow()
        self._tell()

    @work(exclusive=True, group="follow")
    async def _follow(self) -> None:
        """Read on as long as somebody records."""
        heard, known = time.monotonic(), 0.0
        while self.following:
            # Asked before reading: what is written in between is still read.
            more = self.source.is_recording
            new = await self._asked.ask(self.source.refresh)
            self.timeline.extend(new)
            last = self.timeline.samples[-1]
            if new:
                heard = time.monotonic()
                # What the last samples saw may be on disk a little later than that there were samples.
                recent = new[0].began_us - 2 * last.interval_us
                self._stretches.forget(recent)
                self._happened = {began: one for began, one in self._happened.items() if began < recent}
                near = self.timeline.around(last, _FOLLOWED)
                self._stretches.add(await self._asked.ask(self.source.stretch, near))
            elif not more:
                self.following = False
                self._notice = "nobody records here any more"
                self._tell()
            if self.following:
                quiet = time.monotonic() - heard
                late = quiet > 3 * last.interval_us / 1e6 + _LEAST_POLL_S
                self.go(
                    len(self.timeline) - 1, f"no sample for {durations.show(quiet * 1e6)}" if late else ""
                )
            if self._aside is not None and (time.monotonic() - known > _KNOWN_AGAIN_S or not self.following):
                known = time.monotonic()
                await self._know_more()
            await asyncio.sleep(max(_LEAST_POLL_S, last.interval_us / 2e6))

    async def _know_more(self) -> None:
        assert self._aside is not None  # noqa: S101 - opened before
        self._aside.timeline.extend(await self._asked_aside.ask(self._aside.refresh))
        await self._know()

    def close(self) -> None:
        """Let the capture go, and break off what is being asked; the screen is gone before."""
        self._asked.end(self.source)
        self._asked_aside.end(self._aside)
        if self._aside is not None:
            self._aside.close()
        self.source.close()
