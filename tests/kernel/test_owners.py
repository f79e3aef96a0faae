"""Owners against real processes and sockets, and against a plain walk of everything as the judge."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sockrec.kernel import host
from sockrec.kernel.owners import Owners
from tests.support.holders import Holder, truth
from tests.support.netns import Namespace


@pytest.fixture
def crew() -> Iterator[list[Holder]]:
    """Give a list for holders; whoever is in it at the end is ended."""
    members: list[Holder] = []
    yield members
    for member in members:
        member.end()


def array(*inodes: int) -> npt.NDArray[np.int64]:
    return np.array(sorted(inodes), np.int64)


def settle(owners: Owners, inodes: npt.NDArray[np.int64], wanted: dict[int, tuple[int, ...]]) -> set[int]:
    """Update until the holders are those wanted, and return what changed meanwhile.

    How many updates that takes depends on what else runs on the machine; the bound itself is tested
    where nothing else does.
    """
    changed: set[int] = set()
    for _ in range(2000):
        changed |= owners.update(inodes, 0)
        if all(owners.holders(inode) == pids for inode, pids in wanted.items()):
            return changed
    found = {inode: owners.holders(inode) for inode in wanted}
    raise AssertionError(f"found {found}, not {wanted}")


def not_found(owners: Owners) -> str:
    """Return the reason to expect: root may lack a capability that some process of the machine has."""
    return "no permission" if owners.refused else "exited"


def test_every_holder_of_a_shared_listener_is_known_the_lowest_first(crew: list[Holder]) -> None:
    crew.append(Holder())
    inode, _ = crew[0].do("listen")
    forks = [crew[0].do("fork")[0] for _ in range(3)]
    owners = Owners()
    assert owners.update(array(inode), host.boot_us()) == {inode}
    assert owners.holders(inode) == tuple(sorted([crew[0].pid, *forks]))
    assert owners.reason(inode) == ""


def test_a_process_that_is_born_with_known_sockets_is_a_holder_at_once(crew: list[Holder]) -> None:
    crew.append(Holder())
    (inode,) = crew[0].do("open", 1)
    owners = Owners()
    owners.update(array(inode), host.boot_us())
    (child,) = crew[0].do("fork")
    assert owners.update(array(inode), host.boot_us()) == {inode}
    assert owners.holders(inode) == tuple(sorted((crew[0].pid, child)))


def test_a_child_that_closes_what_it_inherited_is_no_holder_one_update_later(crew: list[Holder]) -> None:
    """As each child does that is seen between fork and exec; the patrol alone would take many updates."""
    crew += [Holder(), Holder()]
    others = [inode for _ in range(4) for inode in crew[0].do("open", 700)]
    (inode,) = crew[1].do("open", 1)
    inodes = array(inode, *others)
    owners = Owners()
    owners.update(inodes, 0)
    (child,) = crew[1].do("fork")
    owners.update(inodes, 0)
    assert child in owners.holders(inode)
    os.kill(child, signal.SIGUSR1)
    for _ in range(500):
        if not list(Path(f"/proc/{child}/fd").iterdir()):
            break
        time.sleep(0.01)
    assert owners.update(inodes, 0) == {inode}
    assert owners.holders(inode) == (crew[1].pid,)


def test_a_holder_that_exits_leaves_the_others_at_once(crew: list[Holder]) -> None:
    crew.append(Holder())
    (inode,) = crew[0].do("open", 1)
    (child,) = crew[0].do("fork")
    owners = Owners()
    owners.update(array(inode), host.boot_us())
    crew[0].kill(child)
    assert owners.update(array(inode), host.boot_us()) == {inode}
    assert owners.holders(inode) == (crew[0].pid,)
    assert owners.processes & {child, crew[0].pid} == {crew[0].pid}
    assert owners.update(array(inode), host.boot_us()) == set()


def test_the_last_holder_is_kept_for_one_update_and_then_it_exited(crew: list[Holder]) -> None:
    """A socket read just before its holder died is gone by the next reading: no row between."""
    holder = Holder()
    (inode,) = holder.do("open", 1)
    owners = Owners()
    owners.update(array(inode), 0)
    holder.end()
    assert owners.update(array(inode), 1_000) == set()
    assert (owners.holders(inode), owners.reason(inode)) == ((holder.pid,), "")
    assert holder.pid not in owners.processes
    assert owners.update(array(inode), 2_000) == {inode}
    assert (owners.holders(inode), owners.reason(inode)) == ((), not_found(owners))
    assert owners.update(array(), 3_000) == set()
    assert owners.holders(inode) == ()


def test_the_whole_family_dying_at_once_changes_nothing_before_the_socket_is_gone(crew: list[Holder]) -> None:
    holder = Holder()
    (inode,) = holder.do("open", 1)
    (child,) = holder.do("fork")
    owners = Owners()
    owners.update(array(inode), 0)
    holder.end()
    assert owners.update(array(inode), 1_000) == set()
    assert owners.holders(inode) == tuple(sorted((holder.pid, child)))
    assert not owners.processes & {holder.pid, child}


def test_a_holder_that_closes_while_another_keeps_is_noticed(crew: list[Holder]) -> None:
    crew.append(Holder())
    (inode,) = crew[0].do("open", 1)
    (child,) = crew[0].do("fork")
    owners = Owners()
    owners.update(array(inode), 0)
    owners.update(array(inode), 0)
    crew[0].do("close", inode)
    assert settle(owners, array(inode), {inode: (child,)}) == {inode}


def test_a_socket_that_is_passed_on_gains_and_loses_holders(crew: list[Holder]) -> None:
    left, right = socket.socketpair()
    with left, right:
        crew.append(Holder(left))
        crew.append(Holder(right))
    giver, taker = crew
    (inode,) = giver.do("open", 1)
    owners = Owners()
    owners.update(array(inode), 0)
    giver.do("send", inode)
    assert taker.do("receive") == [inode]
    settle(owners, array(inode), {inode: tuple(sorted((giver.pid, taker.pid)))})
    giver.do("close", inode)
    settle(owners, array(inode), {inode: (taker.pid,)})


def test_a_pid_used_again_is_another_process(crew: list[Holder]) -> None:
    last_pid = Path("/proc/sys/kernel/ns_last_pid")
    first = Holder()
    (old,) = first.do("open", 1)
    owners = Owners()
    owners.update(array(old), 0)
    first.end()
    for _ in range(20):
        last_pid.write_text(str(first.pid - 1))
        crew.append(Holder())
        if crew[-1].pid == first.pid:
            break
        crew.pop().end()
    assert crew, "the kernel did not give the pid again"
    for _ in range(2000):
        owners.update(array(old), 0)
        if not owners.holders(old):
            break
    assert (owners.holders(old), owners.reason(old)) == ((), not_found(owners))


def test_agrees_with_ss_and_netstat_on_200_sockets_in_20_processes(
    crew: list[Holder], netns: Namespace
) -> None:
    crew += [Holder(namespace=netns) for _ in range(20)]
    inodes = []
    for holder in crew:
        inode, port = holder.do("listen")
        inodes.append(inode)
        inodes += [crew[random.randrange(20)].do("connect", port)[0] for _ in range(9)]
    for holder in crew[::3]:
        holder.do("fork")
    owners = Owners()
    owners.update(array(*inodes), host.boot_us())

    listing = netns.run("ss", "-tanpeH").stdout
    by_ss: dict[int, tuple[int, ...]] = {}
    for line in listing.splitlines():
        inode_found = re.search(r"\bino:(\d+)", line)
        if inode_found and int(inode_found[1]) in inodes:
            by_ss[int(inode_found[1])] = tuple(sorted({int(pid) for pid in re.findall(r"pid=(\d+)", line)}))
    assert by_ss == {inode: owners.holders(inode) for inode in inodes}

    by_netstat: dict[int, str] = {}
    for line in netns.run("netstat", "-antpe").stdout.splitlines()[2:]:
        words = line.split()
        by_netstat[int(words[7])] = words[8].partition("/")[0]
    assert {inode: by_netstat[inode] for inode in inodes} == {
        inode: str(owners.holders(inode)[0]) for inode in inodes
    }


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_walk_of_everything_whatever_happens(crew: list[Holder], seed: int) -> None:
    """After a burst of changes two updates credit no socket to a stranger; a patrol finds all its holders.

    Two, as the last known holder is kept for one update more. Whoever begins then finds all at once.
    """
    rng = random.Random(seed)
    ends = [end for _ in range(3) for end in socket.socketpair()]
    crew += [Holder(end) for end in ends]
    for end in ends:
        end.close()
    held: dict[int, list[int]] = {holder.pid: [] for holder in crew}
    owners = Owners()
    for _ in range(12):
        passed = set()
        for _ in range(rng.randrange(1, 8)):
            place = rng.randrange(6)
            holder, mine = crew[place], held[crew[place].pid]
            match rng.choice(["open", "open", "close", "close", "fork", "kill", "pass"]):
                case "open":
                    mine += holder.do("open", rng.choice([1, 2, 30, 70]))
                case "close" if mine:
                    closed = rng.sample(mine, rng.randrange(1, len(mine) + 1))
                    holder.do("close", *closed)
                    held[holder.pid] = [inode for inode in mine if inode not in closed]
                case "fork" if len(holder.forks) < 3:
                    holder.do("fork")
                case "kill" if holder.forks:
                    holder.kill(rng.choice(holder.forks))
                case "pass" if mine:
                    holder.do("send", rng.choice(mine))
                    passed.add(inode := crew[place ^ 1].do("receive")[0])
                    theirs = held[crew[place ^ 1].pid]
                    if inode not in theirs:
                        theirs.append(inode)
        every = truth()
        family = {holder.pid for holder in crew} | {pid for holder in crew for pid in holder.forks}
        ours = {inode: pids for inode, pids in every.items() if family.intersection(pids)}
        # The channels and other sockets nobody asks about are left out now and then, as a netns would.
        asked = array(*(inode for inode in ours if rng.random() < 0.95))
        for _ in range(2):
            owners.update(asked, host.boot_us())
        for inode in set(asked.tolist()) - passed:
            known = set(owners.holders(inode))
            assert not known or known & set(every[inode]), f"{inode}: credited to a stranger"
        settle(owners, asked, {inode: ours[inode] for inode in asked.tolist()})
        first = Owners()
        first.update(asked, host.boot_us())
        assert first.holders_of_each(asked.tolist()) == [ours[inode] for inode in asked.tolist()]


def test_the_descriptors_of_a_socket(crew: list[Holder]) -> None:
    """Each of each process, those that it made of another one too."""
    with socket.socket() as one, socket.socket() as other:
        again = os.dup(one.fileno())
        try:
            inodes = [os.fstat(made.fileno()).st_ino for made in (one, other)]
            owners = Owners()
            owners.update(array(*inodes), host.boot_us())
            found = owners.descriptors([os.getpid(), 1 << 30], [inodes[1], 1, inodes[0]])
            (pid, places, numbers), *rest = found
            assert (pid, rest) == (os.getpid(), [])
            assert list(zip(places, numbers, strict=True)) == [
                (0, other.fileno()),
                *((2, number) for number in sorted((one.fileno(), again))),
            ]
        finally:
            os.close(again)
