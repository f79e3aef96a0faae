"""The log of what happened: announcements and traces made one, socket by socket, as they end."""

from __future__ import annotations

from socket import IPPROTO_TCP
from typing import Final

import numpy as np

from sockrec.kernel import endings, host, process_events, transitions
from sockrec.kernel.arrays import InetSockets
from sockrec.kernel.connector import ProcessExits
from sockrec.kernel.destroyed import Destroyed
from sockrec.kernel.sockets import Reading
from sockrec.kernel.tracing import SETTLED_US, Trace
from sockrec.kernel.transitions import Cookies, Transitions
from sockrec.model.states import CLOSE, LISTEN
from sockrec.recorder.events import chains, marks
from sockrec.recorder.events.announced import Announced, correct, fill_endpoints, unannounced
from sockrec.recorder.events.causes import Causes, Closing
from sockrec.recorder.events.chains import Chains, Finished
from sockrec.recorder.events.exact import Exact, Moments
from sockrec.recorder.events.happened import Closed, Happened, Lost, StoppedListening
from sockrec.recorder.events.lives import Lives, lives
from sockrec.recorder.events.owners import Holders
from sockrec.recorder.events.people import People
from sockrec.recorder.events.sources import Sources
from sockrec.recorder.events.told import ToldEarly
from sockrec.recorder.ledger import Ledger
from sockrec.recorder.seen import NEVER, Ints, Mask, Rows

# An announcement trails its event by a few milliseconds, on a busy host by more: a socket that ended so long
# ago and was not announced in this namespace is another's, if no sample saw it.
_ANNOUNCED_SOON_US: Final = 3_000
_ANNOUNCED_WITHIN_US: Final = 100_000
_ANNOUNCED_AT_LAST_US: Final = 1_000_000
_READING_AND_NEXT: Final = 2
_NEVER_COMPLETE: Final = int(np.iinfo(np.int64).max)


class EventLog:
    """Takes the sources' events in; tells the ledger exact moments, and the disk whole lives.

    Cookies are identities: a socket is ours if it was announced in our namespace, or a sample saw it.
    """

    def __init__(self, sources: Sources, ledger: Ledger, netns: int) -> None:
        self._paused_at: int | None = None
        self._begun: tuple[int, int] | None = None
        self.resync = False
        """Whether something was lost that no sample has made up for: the next one should not wait."""
        self._resync_next = False
        self._sources = sources
        self._ledger = ledger
        self._anchor = ledger.anchor_us
        self._netns = netns
        self._people = People(numbers_tell=sources.has_threads)
        self._causes = Causes(self._people, ledger.ownership.program_of)
        self._holders = Holders(ledger, self._people, netns)
        self._chains = Chains()
        self._forgotten = 0
        self._just_ended = chains.none()
        self._traced_until = self._traced_before = self._announced_until = 0
        self._complete_since = self._sampled_at = self._sampled_before = host.boot_us() + self._anchor
        self._left, self._closed, self._announced = Moments(), Moments(), Moments()
        self._ours, self._anybodys, self._untraced = (Moments() for _ in range(3))
        self._told: list[Ints] = []
        self._half_closed: set[int] = set()
        self._told_early = ToldEarly()
        self._latest = chains.none()
        self._lives = Lives.blank(np.empty(0, np.int64))
        self._whole_since = NEVER
        self._waiting = Announced.none()
        self._closing: list[tuple[Closed, int, Closing]] = []

    def settles_in_us(self, boot_us: int) -> int:
        """Return how long it takes until all that happened by a moment can be drained, microseconds."""
        settled = SETTLED_US
        if self._sources.tracer is None:
            settled = 0 if self._sources.destroyed is None else _ANNOUNCED_SOON_US
        return max(0, boot_us + settled - host.boot_us())

    def drain(self, reading: Reading | None = None, *, last: bool = False) -> Happened:
        """Take in what the sources have, and return what can be told; at the `last` time, all.

        A `reading` was just made, and the ledger will take it in next.
        """
        if reading is not None:
            self._holders.reading(reading)
            self._begun = self._begun or (reading.began_us + self._anchor, reading.ended_us + self._anchor)
        happened = Happened()
        now = host.boot_us()
        if self._paused_at is not None:
            if reading is not None or last:
                self._account_for_pause(now, happened)
            self._tell(happened, last=True)
            self._find_causes(happened, now, last=last)
            return happened
        drained = self._sources.drain()
        for what, why in drained.failed:
            happened.lost.append(Lost(f"{what} ({why})", None, self._sampled_at, now + self._anchor))
        if drained.announced_exits is not None:
            self._exits(drained.announced_exits, happened)
        if drained.trace is not None:
            self._trace(drained.trace, happened)
        self._causes.ended(drained.exits)
        if drained.destroyed is not None:
            self._announce(drained.destroyed, happened)
        else:
            self._announced_until = self._traced_until + self._anchor
        self._tell(happened, last=last)
        self._find_causes(happened, now, last=last)
        if happened.lost and reading is not None:
            self._resync_next = True
        self.resync |= bool(happened.lost)
        return happened

    @property
    def paused(self) -> bool:
        """Whether events are left out for now."""
        return self._paused_at is not None

    def pause(self) -> None:
        """Leave events out from now on: each sample then notes that as a loss. Their sources are closed."""
        self._sources.pause()
        now = host.boot_us()
        self._paused_at = now + self._anchor
        self._give_up_what_is_open(now)

    def resume(self) -> Happened:
        """Take events in again."""
        happened = Happened()
        self._sources.open()
        now = host.boot_us()
        self._account_for_pause(now, happened)
        self._paused_at = None
        self._give_up_what_is_open(now)
        return happened

    def _account_for_pause(self, now: int, happened: Happened) -> None:
        """Note what was left out since this was last noted."""
        if self._paused_at is not None:
            until = now + self._anchor
            happened.lost.append(Lost("all events, to keep the CPU budget", None, self._paused_at, until))
            self._paused_at = until

    def _give_up_what_is_open(self, boot_us: int) -> None:
        """Forget the changes seen so far, as others are missing: kernel addresses are used again."""
        self._chains.clear()
        self._just_ended = self._latest = chains.none()
        self._whole_since = boot_us * 1000
        self._complete_since = boot_us + self._anchor

    def exact(self) -> Exact:
        """Return what is known of the changes that a reading found; after a drain that followed it."""
        complete = self._complete_since if self._sources.tracer is not None else _NEVER_COMPLETE
        return Exact(
            self._anchor,
            self._netns,
            chains.joined(self._chains.recent, self._just_ended),
            complete,
            self._left,
            self._closed,
            (self._ours, self._anybodys),
            self._announced,
            self._untraced,
            np.concatenate([np.empty(0, np.int64), *self._told]),
            self._half_closed,
            self._people.namespace_of,
        )

    def observed(self, began_us: int, exact: Exact, *, whole: bool) -> None:
        """Note that the ledger took in a reading that began then (CLOCK_BOOTTIME microseconds)."""
        self._holders.observed(began_us, exact.told, exact.remnant_keys, whole=whole)
        if self._half_closed:
            self._half_closed.difference_update(self._ledger.inet.gone.key.tolist())
        self._sources.keep(self._holders.watched())
        self._tell_early(exact)
        if not whole:
            return
        self._chains.settle(began_us * 1000, np.fromiter(exact.matched, np.int64, len(exact.matched)))
        # What happened after the reading is the next one's; the last of it may be announced already.
        for moments in (
            self._left,
            self._closed,
            self._announced,
            self._ours,
            self._anybodys,
            self._untraced,
        ):
            moments.forget(began_us + self._anchor)
        self._told = self._told[-_READING_AND_NEXT:]
        self._sampled_before, self._sampled_at = self._sampled_at, began_us + self._anchor
        self.resync, self._resync_next = self._resync_next, False

    def _trace(self, trace: Trace, happened: Happened) -> None:
        sources = self._sources
        self._people.begin()
        self._traced_before, self._traced_until = self._traced_until, trace.until
        if trace.is_silent and self._chains.forgotten == self._forgotten:
            self._causes.known_until(trace.until * 1000)
            self._latest = self._just_ended = chains.none()
            self._listening(self._latest)
            return
        exits = process_events.exits(trace)
        execs = [] if sources.processes is None else sources.processes.execs(trace)
        self._people.observe(exits, execs)
        until_ns = trace.until * 1000
        self._causes.observe(
            exits, execs, process_events.signals(trace), process_events.oom_kills(trace), until_ns
        )
        watched = set(self._holders.watched()) if execs else set()
        program_of = self._ledger.ownership.program_of
        happened.execs = [(one, program_of(one.pid)) for one in execs if one.pid in watched]
        since, until = trace.since + self._anchor, trace.ended_at + self._anchor
        if self._chains.forgotten > self._forgotten:
            count, self._forgotten = self._chains.forgotten - self._forgotten, self._chains.forgotten
            happened.lost.append(Lost("state changes, for want of memory", count, since, until))
        if trace.lost:
            happened.lost.append(Lost("state changes", trace.lost, since, until))
            self._give_up_what_is_open(trace.ended_at)
            return
        changes = transitions.transitions(trace)
        ends = transitions.cookies(trace)
        near = chains.joined(self._latest, changes)
        self._latest = changes
        finished = self._chains.add(chains.joined(changes, marks.of(trace, near)), ends)
        self._just_ended = finished.changes
        found = lives(finished, endings.ended_in_interrupt(trace), whole_since=self._whole_since)
        self._lives = Lives.concat([self._lives, found.take(self._told_early.others(found.cookie))])
        closed, zero = self._us(found.closed), np.zeros(len(found), np.int64)
        known = self._holders.seen(found.cookie, found.closed)
        self._closed.add(found.cookie[known], zero[known], closed[known])
        self._anybodys.add(found.pairs, zero, closed)
        mine = np.isin(finished.cookie, found.cookie[known]) & (finished.changes.old_state < marks.FIRST)
        self._left.add(
            finished.cookie[mine],
            finished.changes.old_state[mine].astype(np.int64),
            self._us(finished.changes.times[mine]),
        )
        self._listening(changes)

    def _listening(self, changes: Transitions) -> None:
        """Watch the processes that are new among those that listen."""
        if self._holders.listening(changes):
            self._sources.keep(self._holders.watched())

    def _tell_early(self, exact: Exact) -> None:
        """Tell of connections that are over while their programs still hold the sockets.

        Their last counters are told by the sample before: the kernel announces them much later.
        """
        for key in self._ledger.inet.gone.key.tolist():
            address = exact.left_at.get(key)
            chain = None if address is None else self._chains.of(address)
            if chain is None or CLOSE not in chain.new_state:
                continue
            end = Cookies(chain.times[-1:], chain.skaddr[-1:], np.array([key]))
            cookie = np.full(len(chain), key)
            found = lives(
                Finished(chain, cookie, end, np.ones(1, np.bool_)),
                np.zeros(1, np.bool_),
                whole_since=self._whole_since,
            )
            found.ended -= 2 * _ANNOUNCED_WITHIN_US * 1000
            self._lives = Lives.concat([self._lives, found])
            self._told_early.add(key)

    def _exits(self, exits: ProcessExits, happened: Happened) -> None:
        if exits.lost:
            since, until = exits.since + self._anchor, exits.ended_at + self._anchor
            happened.lost.append(Lost("exits of processes", exits.lost, since, until))
        self._causes.announced(exits)

    def _announce(self, destroyed: Destroyed, happened: Happened) -> None:
        if destroyed.lost:
            since, until = destroyed.queued_after + self._anchor, destroyed.ended_at + self._anchor
            happened.lost.append(Lost("destroyed sockets", destroyed.lost, since, until))
        self._announced_until = destroyed.until + self._anchor
        if not len(destroyed):
            return
        cookie, read_by = destroyed.sockets.cookie, destroyed.read_by + self._anchor
        mine = self._holders.seen(cookie, np.full(len(cookie), NEVER))
        self._announced.add(cookie[mine], np.zeros(int(mine.sum()), np.int64), read_by[mine])
        fresh = Announced(destroyed.sockets, read_by).take(self._told_early.others(cookie))
        self._told_early.forget(cookie)
        self._waiting = self._waiting.joined(fresh)

    def _tell(self, happened: Happened, *, last: bool) -> None:
        """Put together what was announced and what was traced, as far as both are there."""
        announced, traced = self._waiting, self._lives
        if not len(announced) and not len(traced):
            return
        order = np.argsort(traced.cookie, kind="stable")
        place = np.minimum(
            np.searchsorted(traced.cookie[order], announced.sockets.cookie), max(len(traced) - 1, 0)
        )
        place = order[place] if len(traced) else np.full(len(announced), -1)
        known = (place >= 0) & ((traced.cookie[place] if len(traced) else place) == announced.sockets.cookie)
        late = announced.read_by > self._traced_until + self._anchor
        next_time = np.zeros(len(announced), np.bool_)
        if not last:
            next_time[known] = self._unnamed(traced, place[known])
        due = known | (announced.sockets.protocol != IPPROTO_TCP)
        due |= ~late if self._sources.tracer is not None else True
        due |= last
        due &= ~next_time
        unannounced = np.ones(len(traced), np.bool_)
        unannounced[place[known]] = False
        # Lost, or never announced here: ours all the same if a sample saw it.
        ours = self._holders.knows(traced.cookie, traced.closed) | traced.ours
        within = np.where(ours, _ANNOUNCED_WITHIN_US, _ANNOUNCED_AT_LAST_US)
        past = unannounced & ((self._us(traced.ended) < self._announced_until - within) | last)
        orphans = np.flatnonzero(past & ours)
        # A busy kernel announces some of them yet.
        self._told_early.add(*traced.cookie[orphans].tolist())
        rows = np.flatnonzero(due)
        if len(rows) or len(orphans):
            life = Lives.blank(announced.sockets.cookie[rows])
            life.put(np.flatnonzero(known[rows]), traced.take(place[rows[known[rows]]]))
            self._close(happened, announced.take(rows), life, traced.take(orphans), known[rows])
        self._waiting = announced.take(np.flatnonzero(~due))
        kept = unannounced & ~past
        kept[place[next_time]] = True
        self._lives = traced.take(kept)

    def _unnamed(self, traced: Lives, rows: Rows) -> Mask:
        """Mark those whose process is gone: its exit, in the trace's next part, tells who that was."""
        new = traced.ended[rows] > self._traced_before * 1000
        result: Mask = new & self._holders.unnamed(traced, rows)
        return result

    def _close(
        self, happened: Happened, announced: Announced, life: Lives, orphans: Lives, traced: Mask
    ) -> None:
        n, more = len(announced), len(orphans)
        sockets = InetSockets.concat([announced.sockets, unannounced(orphans)])
        life = Lives.concat([life, orphans])
        traced = np.concatenate((traced, np.ones(more, np.bool_)))
        counted = np.arange(n + more) < n
        fill_endpoints(life, sockets)
        self._holders.fill_endpoints(life)
        # A socket that was disconnected has lost its peer's port, and its counters with it.
        kept = (sockets.protocol != IPPROTO_TCP) | (sockets.remote_port != 0) | (life.remote_port == 0)
        sockets.activity[:, ~kept] = NEVER
        correct(life, sockets, traced & counted & kept)
        owned = self._holders.of(sockets.cookie, life)
        closed_us = self._us(life.closed)
        read_by = np.concatenate((announced.read_by, closed_us[n:]))
        # One announced right after a sample may have ended before that.
        late = read_by - self._sampled_at < _ANNOUNCED_WITHIN_US
        unseen = np.where(late, self._sampled_before, self._sampled_at)
        last_seen = np.where(owned.last_seen == NEVER, unseen, owned.last_seen)
        not_before = np.where(traced, closed_us, np.minimum(last_seen, read_by))
        closed = Closed(sockets, life, counted, not_before, np.where(traced, closed_us, read_by), owned)
        before = self._ended_before(closed, traced)
        self._told.append(sockets.cookie[counted & kept])
        known = traced & counted
        pairs, zero = life.pairs, np.zeros(len(life), np.int64)
        self._ours.add(pairs[known], zero[known], closed_us[known])
        self._untraced.add(pairs[~traced], zero[~traced], read_by[~traced])
        happened.closed = closed
        listened = life.listened | (owned.state == LISTEN)
        reportable = (life.remote_port != 0) | owned.sampled
        reportable |= (sockets.protocol != IPPROTO_TCP) & (life.local_port != 0)
        happened.plain = np.flatnonzero(reportable & ~listened & ~before)
        for row in np.flatnonzero(listened & ~before).tolist():
            named = owned.of(row)
            closing = Closing(
                (int(closed.not_before[row]) - self._anchor) * 1000,
                int(life.closed[row]) if traced[row] else (int(closed.not_after[row]) - self._anchor) * 1000,
                int(life.closer[row]) if traced[row] and life.listened[row] else None,
                named.holders,
                named.pid,
                named.program,
            )
            self._closing.append((closed, row, closing))

    def _ended_before(self, closed: Closed, traced: Mask) -> Mask:
        """Mark what ended before the first sample was over, unseen by it: that was before this recording.

        A busy host announces a socket long after its end. Then the trace, which was whole by the first
        sample, has nothing of it.
        """
        if self._begun is None:
            return np.zeros(len(traced), np.bool_)
        began, ended = self._begun
        untraced = ~traced & (closed.sockets.protocol == IPPROTO_TCP) & (self._complete_since <= began)
        untraced &= (closed.not_after < ended + _ANNOUNCED_AT_LAST_US) & (self._sources.tracer is not None)
        unseen = (closed.owned.last_seen == NEVER) & (closed.lives.opened == NEVER)
        result: Mask = unseen & (untraced | (closed.not_before < np.where(traced, ended, began)))
        return result

    def _find_causes(self, happened: Happened, now: int, *, last: bool) -> None:
        waiting = []
        for closed, row, closing in self._closing:
            cause = self._causes.of(closing, now, at_once=last)
            if cause is None:
                waiting.append((closed, row, closing))
            else:
                happened.listeners.append(StoppedListening(closed, row, cause))
        self._closing = waiting
        happened.processes = self._causes.process_ends(now, at_once=last)

    def _us(self, times: Ints) -> Ints:
        """Return CLOCK_BOOTTIME nanoseconds as recorded microseconds."""
        result: Ints = np.where(times == NEVER, NEVER, times // 1000 + self._anchor)
        return result
