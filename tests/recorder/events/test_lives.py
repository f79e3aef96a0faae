"""Lives of TCP sockets, made of their chains."""

from __future__ import annotations

import errno
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockrec.kernel.endings import CAUSES
from sockrec.recorder.events import marks
from sockrec.recorder.events.chains import Chains
from sockrec.recorder.events.lives import CLIENT, SERVER, Lives, lives
from sockrec.recorder.seen import NEVER
from tests.recorder.events.support import (
    CLOSE,
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    LAST_ACK,
    LISTEN,
    PEER,
    SYN_RECV,
    SYN_SENT,
    US,
    Change,
    cookies_of,
    raw,
    transitions_of,
)

RECEIVED, SENT, ERROR = marks.RESET_RECEIVED, marks.RESET_SENT, marks.ERROR
# A step of a socket's life: states before and after (or a mark twice), and the thread that did it.
Step = tuple[int, int, int]
CONNECTS: list[Step] = [(CLOSE, SYN_SENT, 7), (SYN_SENT, ESTABLISHED, -1)]
CLIENT_LIFE: list[Step] = [
    *CONNECTS, (ESTABLISHED, FIN_WAIT1, 8), (FIN_WAIT1, FIN_WAIT2, -1), (FIN_WAIT2, CLOSE, -1)
]  # fmt: skip
SERVER_LIFE: list[Step] = [
    (LISTEN, SYN_RECV, -1), (SYN_RECV, ESTABLISHED, -1), (ESTABLISHED, CLOSE_WAIT, -1),
    (CLOSE_WAIT, LAST_ACK, 9), (LAST_ACK, CLOSE, -1),
]  # fmt: skip
LISTENER_LIFE: list[Step] = [(CLOSE, LISTEN, 3), (LISTEN, CLOSE, 4)]
REFUSED_LIFE: list[Step] = [(CLOSE, SYN_SENT, 7), (RECEIVED, RECEIVED, -1), (SYN_SENT, CLOSE, -1)]
RESET_LIFE: list[Step] = [*CONNECTS, (RECEIVED, RECEIVED, -1), (ESTABLISHED, CLOSE, -1)]
SENT_LIFE: list[Step] = [*CONNECTS, (ESTABLISHED, CLOSE, 8), (SENT, SENT, 8)]
LATE_SENT_LIFE: list[Step] = [*CONNECTS, (SENT, SENT, 8), (ESTABLISHED, CLOSE, 8)]
TIMED_OUT_LIFE: list[Step] = [*CONNECTS, (ESTABLISHED, CLOSE, -1), (ERROR, ERROR, errno.ETIMEDOUT)]
NO_ROUTE_LIFE: list[Step] = [
    (CLOSE, SYN_SENT, 7), (SYN_SENT, CLOSE, -1), (ERROR, ERROR, errno.EHOSTUNREACH)
]  # fmt: skip
ABORTED_LIFE: list[Step] = [(CLOSE, SYN_SENT, 7), (SYN_SENT, CLOSE, 7)]
# Reset by its peer, and used again: the second connection is closed by us.
AGAIN_LIFE: list[Step] = [*RESET_LIFE, *CLIENT_LIFE]
# A refused one, and then nothing but a listener.
TURNED_LIFE: list[Step] = [*REFUSED_LIFE, *LISTENER_LIFE]
TAIL_LIFE: list[Step] = [(FIN_WAIT2, CLOSE, -1)]
KINDS: list[list[Step]] = [
    CLIENT_LIFE, SERVER_LIFE, LISTENER_LIFE, REFUSED_LIFE, RESET_LIFE, SENT_LIFE, LATE_SENT_LIFE,
    TIMED_OUT_LIFE, NO_ROUTE_LIFE, ABORTED_LIFE, AGAIN_LIFE, TURNED_LIFE, TAIL_LIFE, [],
]  # fmt: skip


def chain(steps: list[Step], skaddr: int = 1, began: int = 1000, port: int = 4000) -> list[Change]:
    """Return the changes of a socket, 10 ns after each other; an error's errno stands for its thread."""
    found = []
    for number, (old, new, thread) in enumerate(steps):
        change = Change(began + 10 * number, skaddr, old, new, port, thread=thread)
        if old == ERROR:
            change = replace(change, local_port=0, remote_port=thread, thread=-1)
        elif old >= marks.FIRST:
            change = replace(change, local_port=0, remote_port=0)
        elif LISTEN in (old, new) and new != SYN_RECV:
            change = replace(change, remote_port=0, remote="0.0.0.0")
        elif new == SYN_SENT:
            change = replace(change, local_port=0)
        found.append(change)
    return found


FUTURE = 1 << 62


def ended(sockets: list[list[Change]], ends: list[tuple[int, int, int]], *, whole: bool = True) -> Lives:
    changes = sorted((change for one in sockets for change in one), key=lambda change: change.time)
    finished = Chains().add(transitions_of(changes), cookies_of(sorted(ends)))
    return lives(finished, np.zeros(len(ends), np.bool_), whole_since=NEVER if whole else FUTURE)


def one(steps: list[Step], *, whole: bool = True) -> Lives:
    return ended([chain(steps)], [(5000, 1, 77)], whole=whole)


def cause(found: Lives, row: int = 0) -> str | None:
    return CAUSES[int(found.cause[row])]


def test_a_client() -> None:
    found = one(CLIENT_LIFE)
    assert (found.cookie.item(), found.role.item(), cause(found)) == (77, CLIENT, "closed by us")
    assert (found.opened.item(), found.established.item(), found.closed.item()) == (1000, 1010, 1040)
    assert (found.opener.item(), found.closer.item(), found.ended.item()) == (7, -1, 5000)
    assert (found.last_state.item(), found.listened.item()) == (FIN_WAIT2, False)
    # Its port came after SYN_SENT.
    assert (found.family.item(), found.local_port.item(), found.remote_port.item()) == (2, 4000, 80)
    assert (found.local[0] == raw(US)).all()
    assert (found.remote[0] == raw(PEER)).all()


def test_a_server() -> None:
    found = one(SERVER_LIFE)
    assert (found.role.item(), cause(found), found.listened.item()) == (SERVER, "closed by the peer", False)
    assert (found.opened.item(), found.established.item(), found.closed.item()) == (1000, 1010, 1040)
    assert found.last_state.item() == LAST_ACK


def test_a_listener() -> None:
    found = one(LISTENER_LIFE)
    assert (found.listened.item(), cause(found), found.role.item()) == (True, None, 0)
    assert (found.opened.item(), found.closed.item(), found.established.item()) == (1000, 1010, NEVER)
    assert (found.opener.item(), found.closer.item()) == (3, 4)
    assert (found.local_port.item(), found.remote_port.item()) == (4000, 0)


def test_a_socket_has_not_the_endpoints_of_the_one_that_had_its_address_before() -> None:
    """The end of the one before was not traced: tracepoints are enabled one after the other."""
    before = [Change(900, 1, ESTABLISHED, CLOSE, local_port=4000, remote_port=80)]
    listens = [
        Change(1000, 1, CLOSE, LISTEN, local_port=7001, remote_port=0),
        Change(1500, 1, LISTEN, CLOSE, local_port=7001, remote_port=0),
    ]
    found = ended([[*before, *listens]], [(1600, 1, 7)])
    assert (found.local_port.tolist(), found.remote_port.tolist()) == ([7001], [0])
    assert (found.opened.tolist(), found.listened.tolist()) == ([1000], [True])


def test_a_listener_whose_beginning_was_not_seen() -> None:
    found = one(LISTENER_LIFE[1:])
    assert (found.listened.item(), found.opened.item(), found.closed.item()) == (True, NEVER, 1000)
    assert (found.closer.item(), found.local_port.item()) == (4, 4000)


def test_a_connection_whose_beginning_was_not_seen() -> None:
    found = one(TAIL_LIFE)
    assert (found.role.item(), found.opened.item(), found.established.item()) == (0, NEVER, NEVER)
    assert (found.closed.item(), found.closer.item(), found.opener.item()) == (1000, -1, -1)
    assert (found.local_port.item(), found.remote_port.item()) == (4000, 80)


@pytest.mark.parametrize(
    ("steps", "word", "in_part"),
    [
        (REFUSED_LIFE, "refused", "refused"),
        (RESET_LIFE, "reset by the peer", "reset by the peer"),
        (SENT_LIFE, "reset by us", "reset by us"),
        (LATE_SENT_LIFE, "reset by us", "reset by us"),
        (TIMED_OUT_LIFE, "timed out", "timed out"),
        (NO_ROUTE_LIFE, "unreachable", "unreachable"),
        (ABORTED_LIFE, "closed by us", None),
        ([*CONNECTS, (ESTABLISHED, FIN_WAIT1, 8), (FIN_WAIT1, CLOSE, -1)], "timed out", None),
        # A reset on the way is none of the end's.
        ([*CONNECTS[:1], (RECEIVED, RECEIVED, -1), *CLIENT_LIFE[1:]], "closed by us", "closed by us"),
    ],
)
def test_marks_and_states_tell_the_cause(steps: list[Step], word: str, in_part: str | None) -> None:
    assert cause(one(steps)) == word
    # What is told by absence alone is not known where something may be missing.
    assert cause(one(steps, whole=False)) == in_part


def test_a_socket_used_again_is_told_of_with_its_last_connection() -> None:
    found = one(AGAIN_LIFE)
    second = 1000 + 10 * len(RESET_LIFE)
    assert cause(found) == "closed by us"
    assert (found.opened.item(), found.established.item()) == (second, second + 10)
    assert found.closed.item() == second + 40


def test_a_second_connection_that_never_was_established_does_not_take_the_firsts_moments() -> None:
    found = one([*CLIENT_LIFE, *REFUSED_LIFE])
    assert (cause(found), found.established.item()) == ("refused", NEVER)
    assert found.opened.item() == 1000 + 10 * len(CLIENT_LIFE)


def test_a_connection_turned_listener_is_a_listener() -> None:
    found = one(TURNED_LIFE)
    assert (found.listened.item(), found.role.item(), cause(found)) == (True, 0, None)


def test_a_listener_that_connects_is_a_client() -> None:
    found = one([*LISTENER_LIFE, *CLIENT_LIFE])
    assert (found.listened.item(), found.role.item()) == (False, CLIENT)
    assert found.remote_port.item() == 80


def test_a_socket_without_changes_ended_when_the_kernel_gave_it_up() -> None:
    found = ended([], [(5000, 1, 77)])
    assert (found.cookie.tolist(), found.closed.tolist(), found.ended.tolist()) == ([77], [5000], [5000])
    assert (found.opened.item(), found.last_state.item(), cause(found)) == (NEVER, 0, None)
    assert (found.closer.item(), found.family.item()) == (-1, 0)


def test_ended_long_after_it_closed() -> None:
    """A peer's reset closes a socket at once; its program may close the descriptor any time later."""
    found = one(RESET_LIFE)
    assert (found.closed.item(), found.ended.item()) == (1030, 5000)


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 30)), min_size=1, max_size=6), st.booleans())
def test_lives_of_a_union_are_the_union_of_the_lives(
    kinds: list[tuple[list[Step], int]], whole: bool
) -> None:
    """Neighbours in the arrays do not bleed into each other, whatever the order of cookies and ends."""
    sockets = [
        chain(steps, skaddr=number + 1, began=1000 + shift, port=4000 + number)
        for number, (steps, shift) in enumerate(kinds)
    ]
    # Cookies run against the kernel addresses, ends against both.
    count = len(sockets)
    ends = [(5000 + 7 * (number * 5 % 11), number + 1, 100 - number) for number in range(count)]
    together = ended(sockets, ends, whole=whole)
    assert together.cookie.tolist() == [cookie for _, _, cookie in sorted(ends)]
    for number in range(count):
        alone = ended([sockets[number]], [ends[number]], whole=whole)
        row = together.cookie.tolist().index(ends[number][2])
        for column in fields(Lives):
            apart, among = getattr(alone, column.name)[0], getattr(together, column.name)[row]
            assert np.array_equal(apart, among), column.name


def test_one_kernel_address_used_by_two_sockets_makes_two_lives() -> None:
    sockets = [chain(CLIENT_LIFE, began=1000), chain(SERVER_LIFE, began=3000)]
    found = ended(sockets, [(2000, 1, 8), (4000, 1, 5)])
    assert found.role.tolist() == [CLIENT, SERVER]
    assert found.opened.tolist() == [1000, 3000]


def test_put_take_and_concat_keep_all_columns() -> None:
    found = ended([chain(CLIENT_LIFE), chain(LISTENER_LIFE, 2)], [(5000, 1, 8), (5001, 2, 5)])
    blank = Lives.blank(np.array([1, 2, 3]))
    blank.put(np.array([2, 0]), found)
    again = Lives.concat([blank.take(np.array([2])), blank.take(np.array([0]))])
    for column in fields(Lives):
        assert np.array_equal(getattr(again, column.name), getattr(found, column.name)), column.name
    assert (blank.opened[1], blank.cookie[1]) == (NEVER, 2)
    assert found.pairs[0] != found.pairs[1]
