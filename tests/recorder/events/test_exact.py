"""When a socket came into its state and when it left one, by what a reading's changes leave possible."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockrec.recorder import endpoints
from sockrec.recorder.events.exact import Moments
from sockrec.recorder.observed import INET_ROW
from tests.recorder.events.readings import ask_entered, ask_leave, exact, moments, seen
from tests.recorder.events.support import (
    CLOSE,
    CLOSE_WAIT,
    ELSEWHERE,
    ESTABLISHED,
    FIN_WAIT2,
    LISTEN,
    NETNS,
    SYN_SENT,
    TIME_WAIT,
    Change,
)

US = 1000  # nanoseconds
OPEN = {"cookie": 1, "state": ESTABLISHED, "inode": 5}
LISTENER = {"cookie": 1, "state": LISTEN, "remote_port": 0, "remote": "0.0.0.0", "inode": 5}
WAITS = {"cookie": 9, "state": TIME_WAIT}


def established(time: int, skaddr: int = 1, thread: int = -1, port: int = 4000) -> Change:
    return Change(time * US, skaddr, SYN_SENT, ESTABLISHED, port, thread=thread)


def pair_of(socket: dict[str, Any]) -> int:
    _, condition = seen(socket)
    names = (
        "family", "local_port", "remote_port", "local_high", "local_low", "remote_high", "remote_low",
    )  # fmt: skip
    return int(endpoints.mixed(condition[INET_ROW[name]] for name in names)[0])


def test_the_change_into_the_state_tells_when_it_began() -> None:
    found = exact(established(150))
    assert ask_entered(found, OPEN) == ([150], [False])
    assert found.matched == {1}


@pytest.mark.parametrize("other", [{"local_port": 4001}, {"remote_port": 81}, {"remote": "10.0.0.8"}])
def test_another_pair_of_endpoints_is_another_socket(other: dict[str, Any]) -> None:
    found = exact(established(150))
    assert ask_entered(found, OPEN | other) == ([None], [False])
    assert found.matched == set()


def test_ipv6_and_ipv4_are_told_apart() -> None:
    mapped = {"local": "::ffff:10.0.0.5", "remote": "::ffff:10.0.0.9"}
    six = Change(140 * US, 2, SYN_SENT, ESTABLISHED, local=mapped["local"], remote=mapped["remote"])
    found = exact(established(150), six)
    assert ask_entered(found, OPEN, OPEN | mapped | {"cookie": 2}) == ([150, 140], [False, False])


def test_a_change_into_another_state_tells_nothing() -> None:
    assert ask_entered(exact(established(150)), OPEN | {"state": CLOSE_WAIT}) == ([None], [False])


@pytest.mark.parametrize("time", [99, 201])
def test_moments_outside_are_never_given(time: int) -> None:
    found = exact(
        established(time),
        left=moments((1, ESTABLISHED, time)),
        closed=moments((9, 0, time)),
        remnants=(moments((pair_of(WAITS), 0, time)),),
        announced=moments((1, 0, time)),
    )
    assert ask_entered(found, OPEN, WAITS) == ([None, None], [False, False])
    assert ask_leave(found, OPEN) == ([None], [False])


@pytest.mark.parametrize("time", [100, 200])
def test_moments_at_the_edges_are(time: int) -> None:
    assert ask_entered(exact(established(time)), OPEN) == ([time], [False])
    assert ask_leave(exact(left=moments((1, ESTABLISHED, time))), OPEN) == ([time], [True])


def test_a_state_entered_twice_began_the_last_time_and_one_left_twice_ended_the_first() -> None:
    there_and_back = (
        Change(120 * US, 1, LISTEN, CLOSE, remote_port=0, remote="0.0.0.0"),
        Change(130 * US, 1, CLOSE, LISTEN, remote_port=0, remote="0.0.0.0"),
        Change(140 * US, 1, LISTEN, CLOSE, remote_port=0, remote="0.0.0.0"),
        Change(150 * US, 1, CLOSE, LISTEN, remote_port=0, remote="0.0.0.0"),
    )
    assert ask_entered(exact(*there_and_back), LISTENER) == ([150], [False])
    assert ask_leave(exact(*there_and_back), LISTENER) == ([120], [True])


def test_where_changes_are_missing_nothing_is_claimed() -> None:
    found = exact(established(150), Change(160 * US, 1, ESTABLISHED, CLOSE), complete_since=101)
    assert ask_entered(found, OPEN) == ([None], [False])
    assert ask_leave(found, OPEN) == ([None], [False])
    # A moment by cookie needs no others.
    assert ask_leave(exact(complete_since=101, left=moments((1, ESTABLISHED, 160))), OPEN) == ([160], [True])
    assert ask_entered(exact(established(150), complete_since=100), OPEN) == ([150], [False])


def test_udp_has_no_changes() -> None:
    found = exact(established(150), Change(160 * US, 1, ESTABLISHED, CLOSE))
    assert ask_entered(found, OPEN | {"protocol": 17}) == ([None], [False])
    assert ask_leave(found, OPEN | {"protocol": 17}) == ([None], [False])


@pytest.mark.parametrize("ours", [1, 2])
def test_of_two_namespaces_the_threads_tell(ours: int) -> None:
    found = exact(
        established(150, 1, thread=11),
        established(160, 2, thread=12),
        namespace_of=lambda thread, _: NETNS if thread == 10 + ours else ELSEWHERE,
    )
    assert ask_entered(found, OPEN) == ([140 + 10 * ours], [False])
    assert found.matched == {ours}


@pytest.mark.parametrize("netns", [None, NETNS])
def test_of_two_kernel_addresses_nothing_is_claimed_unless_one_alone_is_ours(netns: int | None) -> None:
    found = exact(
        established(150, 1, thread=11), established(160, 2, thread=12), namespace_of=lambda *_: netns
    )
    assert ask_entered(found, OPEN) == ([None], [False])
    assert found.matched == set()


def test_an_interrupts_thread_is_not_asked() -> None:
    found = exact(established(150, 1), established(160, 2), namespace_of=lambda *_: NETNS)
    assert ask_entered(found, OPEN) == ([None], [False])


def test_a_change_of_another_state_tells_the_namespace_too() -> None:
    opened = Change(140 * US, 1, CLOSE, SYN_SENT, 0, thread=11)
    found = exact(opened, established(150, 1), established(160, 2), namespace_of=lambda *_: NETNS)
    assert ask_entered(found, OPEN) == ([150], [False])


def test_a_port_reused_within_one_interval() -> None:
    """An old listener closed, a new one opened: each has its own moment."""
    any_peer = {"remote_port": 0, "remote": "0.0.0.0"}
    changes = (
        Change(120 * US, 1, LISTEN, CLOSE, remote_port=0, remote="0.0.0.0"),
        Change(150 * US, 2, CLOSE, LISTEN, remote_port=0, remote="0.0.0.0"),
    )
    new = {"cookie": 2, "state": LISTEN, "inode": 6} | any_peer
    assert ask_entered(exact(*changes), new) == ([150], [False])
    assert ask_leave(exact(*changes), LISTENER) == ([120], [True])


def test_a_bound_socket_did_not_begin_when_a_listener_there_closed() -> None:
    """Binding is no state change: a socket seen bound has no moment of its own among the changes."""
    closes = Change(120 * US, 1, LISTEN, CLOSE, remote_port=0, remote="0.0.0.0")
    bound = {"cookie": 2, "state": CLOSE, "inode": 6, "remote_port": 0, "remote": "0.0.0.0"}
    assert ask_entered(exact(closes), bound) == ([None], [False])


def test_a_remnant_with_a_cookie_of_its_own_is_inferred_by_its_endpoints() -> None:
    pair = pair_of(WAITS)
    found = exact(closed=moments((9, 0, 120)), remnants=(moments((pair, 0, 150)), moments((pair, 0, 160))))
    assert ask_entered(exact(remnants=found.remnants), WAITS | {"cookie": 8}) == ([150], [True])
    later = exact(remnants=(Moments(), moments((pair, 0, 160))))
    assert ask_entered(later, WAITS | {"cookie": 8}) == ([160], [True])
    # FIN_WAIT2 without a process is one too, with a process it is the socket itself.
    half = {"cookie": 8, "state": FIN_WAIT2}
    assert ask_entered(found, half) == ([150], [True])
    assert ask_entered(found, half | {"inode": 7}) == ([None], [False])
    # What was seen before as something else is no remnant of another.
    assert ask_entered(found, WAITS | {"cookie": 6}, fresh=False) == ([None], [False])


def test_a_remnant_that_kept_its_cookie_began_as_its_socket_closed() -> None:
    assert ask_entered(exact(closed=moments((9, 0, 120))), WAITS, fresh=False) == ([120], [False])
    assert ask_entered(exact(closed=moments((9, 0, 120))), WAITS) == ([120], [True])


def test_a_moment_by_its_own_cookie_is_surer_than_one_by_endpoints() -> None:
    found = exact(closed=moments((9, 0, 120)), remnants=(moments((pair_of(WAITS), 0, 120)),))
    assert ask_entered(found, WAITS) == ([120], [True])


def test_an_announcement_is_a_bound_and_not_exact() -> None:
    assert ask_leave(exact(announced=moments((1, 0, 150))), OPEN) == ([150], [False])
    both = exact(left=moments((1, ESTABLISHED, 140)), announced=moments((1, 0, 150)))
    assert ask_leave(both, OPEN) == ([140], [True])


def test_a_socket_is_announced_as_it_goes_to_time_wait_and_not_as_that_ends() -> None:
    assert ask_leave(exact(announced=moments((9, 0, 150))), WAITS) == ([None], [False])


def test_the_state_must_be_the_one_that_was_left() -> None:
    found = exact(left=moments((1, SYN_SENT, 140)))
    assert ask_leave(found, OPEN) == ([None], [False])


@given(
    st.lists(st.tuples(st.integers(90, 210), st.integers(1, 3), st.sampled_from([4000, 4001])), max_size=8),
    st.sets(st.integers(1, 3)),
)
def test_whatever_is_claimed_is_a_change_of_that_socket_in_time(
    events: list[tuple[int, int, int]], ours: set[int]
) -> None:
    """Neither the order of the sockets nor others' changes move what is found; a model says what it is."""
    changes = [established(time, skaddr, thread=skaddr, port=port) for time, skaddr, port in sorted(events)]
    found = exact(*changes, namespace_of=lambda thread, _: NETNS if thread in ours else ELSEWHERE)
    sockets = [OPEN | {"cookie": port, "local_port": port} for port in (4001, 4000, 4002)]
    expected = []
    for port in (4001, 4000, 4002):
        may = [(time, skaddr) for time, skaddr, at in events if at == port and 100 <= time <= 200]
        several = {skaddr for _, skaddr in may}
        picked = several if len(several) == 1 else several & ours
        times = [time for time, skaddr in may if skaddr in picked]
        expected.append(max(times) if len(picked) == 1 else None)
    assert ask_entered(found, *sockets)[0] == expected
