"""Chains against a naive model: lists of changes by kernel address, ended and forgotten one by one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockrec.recorder.events import chains
from sockrec.recorder.events.chains import UNMATCHED_FOR_NS, Chains, Finished
from tests.recorder.events.support import Change, cookies_of, numbers, transitions_of

# Times are in tenths of the time for which unmatched changes are kept.
STEP = UNMATCHED_FOR_NS // 10
CHANGE = st.tuples(st.just("change"), st.integers(1, 4), st.integers(0, 2))
END = st.tuples(st.just("end"), st.integers(1, 4), st.integers(0, 2))
DRAIN = st.lists(CHANGE | END, max_size=8)
# How many steps ago the reading began, and the kernel addresses that it found to be ours.
SETTLE = st.tuples(st.integers(0, 6), st.sets(st.integers(1, 4)))
PLAY = st.lists(st.tuples(DRAIN, st.none() | SETTLE), min_size=1, max_size=12)

Ended = dict[int, tuple[list[int], bool]]


@dataclass
class Model:
    """A dict of lists: the changes of each kernel address."""

    held: dict[int, list[list[int]]] = field(default_factory=dict)
    """A change is [its time, whether it was put away, whether it is ours]."""

    def drain(self, events: list[tuple[str, int, int, int]]) -> Ended:
        ended: Ended = {}
        for what, skaddr, time, cookie in events:
            if what == "change":
                self.held.setdefault(skaddr, []).append([time, False, False])
            else:
                found = self.held.pop(skaddr, [])
                if found:
                    ended[cookie] = [one[0] for one in found], any(one[2] for one in found)
        return ended

    def settle(self, before: int, ours: set[int]) -> None:
        for skaddr, changes in self.held.items():
            fresh = [one for one in changes if not one[1] and one[0] < before]
            stay = [
                one
                for one in changes
                if one not in fresh and (not one[1] or one[2] or one[0] > before - UNMATCHED_FOR_NS)
            ]
            self.held[skaddr] = sorted(fresh + stay)
            for one in fresh:
                one[1] = True
        for skaddr in ours & self.held.keys():
            for one in self.held[skaddr]:
                one[2] |= one[1]

    def __len__(self) -> int:
        return sum(map(len, self.held.values()))


def told(finished: Finished) -> Ended:
    known = dict(zip(finished.ends.cookie.tolist(), finished.known.tolist(), strict=True))
    found: Ended = {}
    for cookie, time in zip(finished.cookie.tolist(), finished.changes.times.tolist(), strict=True):
        found.setdefault(cookie, ([], known[cookie]))[0].append(time)
    return found


def add(held: Chains, events: list[tuple[str, int, int, int]]) -> Finished:
    changes = [Change(time, skaddr, 7, 2) for what, skaddr, time, _ in events if what == "change"]
    ends = [(time, skaddr, cookie) for what, skaddr, time, cookie in events if what == "end"]
    return held.add(transitions_of(changes), cookies_of(ends))


@given(PLAY)
def test_each_end_takes_the_changes_of_its_socket_and_no_others(
    play: list[tuple[list[tuple[str, int, int]], tuple[int, set[int]] | None]],
) -> None:
    held, model = Chains(), Model()
    now = 100 * UNMATCHED_FOR_NS
    cookie = 0
    for drain, settle in play:
        events = []
        for what, skaddr, later in drain:
            now += later * STEP + 1
            cookie += 1
            events.append((what, skaddr, now, cookie))
        assert told(add(held, events)) == model.drain(events)
        if settle is not None:
            before = now + 1 - settle[0] * STEP
            # With something new to be put away, all that is due goes.
            cookie += 1
            filler = [("change", 1000 + cookie, before - 1, cookie)]
            add(held, filler)
            model.drain(filler)
            held.settle(before, numbers(sorted(settle[1])))
            model.settle(before, settle[1])
            assert len(held) == len(model)
    assert held.forgotten == 0


def test_sockets_that_are_gone_take_no_memory() -> None:
    held = Chains()
    for number in range(50):
        began = number * STEP
        skaddr = 1 + number % 3
        add(held, [("change", skaddr, began, 0), ("change", skaddr, began + 1, 0)])
        held.settle(began + 2, numbers([skaddr]))
        assert len(held) == 2
        ended = add(held, [("change", skaddr, began + 3, 0), ("end", skaddr, began + 4, number + 1)])
        assert told(ended) == {number + 1: ([began, began + 1, began + 3], True)}
        assert len(held) == 0
    assert len(held._old) <= 4, "dead ones are thrown away"


def test_dead_changes_are_thrown_away_without_new_ones() -> None:
    held = Chains()
    add(held, [("change", skaddr, skaddr, 0) for skaddr in range(1, 11)])
    held.settle(100, numbers(range(1, 11)))
    add(held, [("end", skaddr, 200 + skaddr, skaddr) for skaddr in range(1, 9)])
    held.settle(300, numbers([]))
    assert len(held._old) == len(held) == 2


def test_what_no_reading_found_ours_vanishes_and_what_one_did_stays() -> None:
    held = Chains()
    add(held, [("change", 1, 10, 0), ("change", 2, 10, 0)])
    held.settle(20, numbers([2]))
    late = 10 + UNMATCHED_FOR_NS
    add(held, [("change", 3, late, 0)])
    held.settle(late + 1, numbers([]))
    ended = add(held, [("end", skaddr, late + 9, skaddr) for skaddr in (1, 2, 3)])
    assert told(ended) == {2: ([10], True), 3: ([late], False)}


def test_ours_is_the_socket_and_not_the_address() -> None:
    held = Chains()
    add(held, [("change", 1, 10, 0)])
    held.settle(20, numbers([1]))
    add(held, [("end", 1, 30, 5), ("change", 1, 40, 0)])
    held.settle(50, numbers([]))
    assert told(add(held, [("end", 1, 60, 6)])) == {6: ([40], False)}


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.booleans())
def test_there_are_never_more_than_most_and_the_oldest_go(sizes: list[int], settles: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chains, "MOST", 5)
        held = Chains()
        times: list[int] = []
        for number, size in enumerate(sizes):
            now = [1 + number * 10 + n for n in range(size)]
            # The newest have the lowest kernel addresses: what goes must go by time.
            add(held, [("change", 10_000 - time, time, 0) for time in now])
            times += now
            if settles:
                held.settle(number * 10 + 10, numbers([10_000 - time for time in now]))
            assert len(held) == min(len(times), 5)
            assert held.forgotten == len(times) - len(held)
        ends = [("end", 10_000 - time, 100_000, time) for time in times]
        assert sorted(told(add(held, ends))) == times[-5:]


def test_a_socket_of_which_changes_were_forgotten_keeps_its_newest() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chains, "MOST", 2)
        held = Chains()
        add(held, [("change", 1, time, 0) for time in (1, 2, 3)])
        assert (held.forgotten, len(held)) == (1, 2)
        assert told(add(held, [("end", 1, 9, 7)])) == {7: ([2, 3], False)}


def test_cleared_chains_know_nothing() -> None:
    held = Chains()
    add(held, [("change", 1, 10, 0)])
    held.settle(20, numbers([1]))
    add(held, [("change", 2, 30, 0)])
    held.clear()
    assert len(held) == 0
    assert told(add(held, [("change", 1, 40, 0), ("end", 1, 50, 3), ("end", 2, 51, 4)])) == {3: ([40], False)}


def test_ends_without_changes_are_told_as_they_are() -> None:
    finished = Chains().add(chains.none(), cookies_of([(5, 1, 8)]))
    assert (finished.ends.cookie.tolist(), finished.known.tolist(), len(finished.changes)) == (
        [8],
        [False],
        0,
    )
