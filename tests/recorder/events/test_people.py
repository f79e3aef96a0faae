"""Who a thread was: looked up while it lives, named by its exit when it does not."""

from __future__ import annotations

import pytest

from sockrec.errors import KernelError
from sockrec.kernel import tasks
from sockrec.kernel.process_events import Exec
from sockrec.recorder.events import people
from sockrec.recorder.events.people import Actor, People, untold
from tests.recorder.events.support import ELSEWHERE, NETNS, Host, made_up, thread_exits

AT = 5_000_000_000
SECOND = 1_000_000_000


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Host:
    found = made_up(monkeypatch)
    found.add(100, "server", started=1000)
    found.add(100, "server", thread=107, started=2000)
    found.add(200, "foreign", netns=ELSEWHERE)
    return found


def test_a_thread_is_its_process(made: Host) -> None:
    who = People()
    assert who.find(107, AT) == Actor(100, "server", NETNS)
    assert who.namespace_of(200, AT) == ELSEWHERE
    assert who.find(300, AT) is None
    assert who.namespace_of(300, AT) is None


@pytest.mark.parametrize("thread", [0, -1])
def test_an_interrupt_is_nobody(made: Host, thread: int) -> None:
    assert People().find(thread, AT) is None
    assert made.looked_up == 0


def test_a_number_that_is_anothers_by_now_is_nobody(made: Host) -> None:
    assert People().find(107, 1999) is None
    assert People().find(107, 2000) == Actor(100, "server", NETNS)


def test_the_dead_are_named_by_their_exit(made: Host) -> None:
    who = People()
    who.observe(thread_exits([(AT, 400, b"gone\xff")]), [])
    assert who.find(400, AT - 1000) == Actor(400, "gone\\xff", None)
    # Its sockets are closed after that.
    assert who.find(400, AT + SECOND) == Actor(400, "gone\\xff", None)
    assert who.find(400, AT + SECOND + 1) is None


def test_a_dead_thread_that_was_not_the_last_may_be_of_any_process(made: Host) -> None:
    who = People()
    who.observe(thread_exits([(AT, 400, b"worker")], others={400}), [])
    assert who.find(400, AT) == Actor(None, "worker", None, whole=False)


@pytest.mark.parametrize("first", ["exit", "announcement"])
def test_a_dead_thread_is_its_process_once_it_is_announced(made: Host, first: str) -> None:
    """Threads have names of their own. Its announcement may be read before the trace has its exit."""
    who = People()
    exits, announced = thread_exits([(AT, 400, b"worker")], others={400}), ([AT + 9], [400], [100])
    if first == "announcement":
        who.belonged(*announced)
        who.observe(exits, [])
    else:
        who.observe(exits, [])
        assert untold(who.find(400, AT))
        who.belonged(*announced)
    assert who.find(400, AT) == Actor(100, "server", NETNS)
    assert not untold(who.find(400, AT))


def test_an_announcement_of_an_earlier_thread_of_that_number_is_not_its(made: Host) -> None:
    who = People()
    who.belonged([AT - 1], [400], [100])
    who.observe(thread_exits([(AT, 400, b"worker")], others={400}), [])
    assert who.find(400, AT) == Actor(None, "worker", None, whole=False)


def test_a_dead_thread_of_a_process_that_is_gone_too_has_its_name(made: Host) -> None:
    who = People()
    made.remove(100)
    who.observe(thread_exits([(AT, 400, b"worker"), (AT + 1, 100, b"main")], others={400}), [])
    who.belonged([AT + 9], [400], [100])
    assert who.find(400, AT) == Actor(100, "main", None)


def test_numbers_that_were_used_again_crosswise_end_the_search(made: Host) -> None:
    """A thread of a process, and later a process of the thread's number with a thread of the process's."""
    who = People()
    who.observe(thread_exits([(AT, 400, b"one"), (AT + 1, 500, b"two")], others={400, 500}), [])
    who.belonged([AT + 2] * 2, [400, 500], [500, 400])
    assert who.find(400, AT) == Actor(500, "two", None)
    assert who.find(500, AT) == Actor(400, "one", None)


def test_the_dead_that_were_known_keep_their_name_and_namespace(made: Host) -> None:
    who = People()
    who.find(107, AT)
    made.remove(100)
    who.observe(thread_exits([(AT, 107, b"worker-7"), (AT, 100, b"main")]), [])
    assert who.find(107, AT) == Actor(100, "server", NETNS)
    assert who.find(100, AT) == Actor(100, "main", None), "never looked up by itself"


def test_a_number_of_a_dead_thread_may_be_used_again(made: Host) -> None:
    who = People()
    who.find(100, AT)
    who.observe(thread_exits([(AT, 100, b"main")]), [])
    made.remove(100)
    made.add(100, "another", started=AT + 100)
    assert who.find(100, AT - 5) == Actor(100, "server", NETNS)
    assert who.find(100, AT + 2 * SECOND) == Actor(100, "another", NETNS)


def test_an_exec_forgets_what_it_was(made: Host) -> None:
    who = People()
    assert who.find(100, AT) == Actor(100, "server", NETNS)
    made.add(100, "worker", started=1000)
    assert who.find(100, AT) == Actor(100, "server", NETNS), "until somebody says so"
    who.observe(thread_exits([]), [Exec(AT + 10, AT + 20, 100, 100, "/bin/worker")])
    assert who.find(100, AT + 20) == Actor(100, "worker", NETNS)
    # Before that it was another program, and which one can't be seen any more.
    assert who.find(100, AT + 19) == Actor(100, None, NETNS)
    assert not untold(who.find(100, AT + 19))


def test_an_exec_by_another_thread_forgets_both(made: Host) -> None:
    who = People()
    who.find(100, AT)
    who.find(107, AT)
    made.remove(100)
    made.add(100, "worker", started=2000)
    who.observe(thread_exits([]), [Exec(None, AT + 20, 100, 107, "/bin/worker")])
    assert who.find(107, AT + 30) is None
    assert who.find(100, AT + 30) == Actor(100, "worker", NETNS)


def test_lookups_are_bounded_and_come_back_with_the_next_trace(
    made: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "_LOOKED_UP_A_TIME", 3)
    for pid in range(1000, 1010):
        made.add(pid, "many")
    who = People()
    who.begin()
    found = [who.find(pid, AT) for pid in range(1000, 1010)]
    assert [one is not None for one in found] == [True] * 3 + [False] * 7
    assert made.looked_up == 3
    assert who.find(1001, AT) is not None, "known ones cost nothing"
    who.begin()
    assert who.find(1009, AT) is not None


def test_what_is_kept_is_bounded(made: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "_KEPT", 4)
    who = People()
    who.observe(thread_exits([(AT + n, 1000 + n, b"x") for n in range(10)]), [])
    known = [n for n in range(10) if who.find(1000 + n, AT) is not None]
    assert known == [6, 7, 8, 9]
    execs = [Exec(None, AT, 2000 + n, 2000 + n, "/x") for n in range(10)]
    who.observe(thread_exits([]), execs)
    assert len(who._became) == 4
    who.belonged([AT] * 10, list(range(3000, 3010)), [3000] * 10)
    assert len(who._belonged) == 4


def test_a_hidden_thread_is_known_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(thread: int) -> tasks.Task | None:
        raise KernelError("hidden")

    monkeypatch.setattr(tasks, "read", refused)
    assert People().find(100, AT) == Actor(100, None, None)
