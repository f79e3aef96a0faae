"""Owners in processes of their own: without permission, in PID namespaces, and with every read counted."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src"

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

ASK = """
import sys
import numpy as np
from sockrec.kernel.owners import Owners
owners = Owners()
inode = int(sys.argv[1])
for moment in (0, 2_000_000):
    owners.update(np.array([inode]), moment)
    print(owners.holders(inode), owners.reason(inode))
assert (owners.refused > 0) == (owners.work.refusals > 0)
"""


def run_script(script: str, *args: str, prefix: tuple[str, ...] = ()) -> list[str]:
    """Run a script that uses sockrec in a fresh process, and return the lines that it prints."""
    # By the interpreter itself: the virtual environment may lie where only root may look.
    done = subprocess.run(
        [*prefix, str(Path(sys.executable).resolve()), "-c", script, *args],
        env={"PYTHONPATH": os.pathsep.join([str(SOURCES), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_without_permission_that_is_the_reason() -> None:
    with closing(socket.socket()) as sock:
        inode = os.fstat(sock.fileno()).st_ino
        answer = run_script(ASK, str(inode), prefix=NOBODY)
    assert answer == ["() no permission"] * 2


def test_outside_of_the_initial_pid_namespace_it_may_be_anybody() -> None:
    with closing(socket.socket()) as sock:
        inode = os.fstat(sock.fileno()).st_ino
        inside = run_script(ASK, str(inode), prefix=("unshare", "--pid", "--fork", "--mount-proc"))
        # With a /proc that shows the initial namespace it is found, wherever the asking process is.
        outside = run_script(ASK, str(inode), prefix=("unshare", "--pid", "--fork"))
    assert inside == ["() other namespace"] * 2
    assert outside == [f"({os.getpid()},) "] * 2


def test_where_proc_hides_processes_permission_is_the_reason() -> None:
    hide = 'mount -t proc -o hidepid=invisible proc /proc && exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-c", hide, "sh", *NOBODY)
    with closing(socket.socket()) as sock:
        answer = run_script(ASK, str(os.fstat(sock.fileno()).st_ino), prefix=prefix)
    assert answer == ["() no permission"] * 2


# What the scripts below begin with. They run in a PID namespace that is taken for the initial one: all of
# it can be read and nobody walks in, so that what an update reads can be told exactly.
ALONE = """
import os, resource, socket, time
import numpy as np
from sockrec.kernel import host
host.INITIAL_PID_NAMESPACE = host.pid_namespace()
from sockrec.kernel.owners import Owners
from sockrec.kernel.patrol import PATROL
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
owners = Owners()
def inode_of(sock):
    return os.fstat(sock.fileno()).st_ino
def update(inodes, moment=0):
    before = owners.work.walks, owners.work.probes, owners.work.descriptors, owners.work.patrolled
    changed = owners.update(np.array(sorted(inodes), np.int64), moment)
    after = owners.work.walks, owners.work.probes, owners.work.descriptors, owners.work.patrolled
    return (len(changed), *(b - a for a, b in zip(before, after)))
"""


# A child that holds nothing, and opens a socket once it is told to.
LATE_CHILD = """
reading, writing = os.pipe()
back, tell = os.pipe()
child = os.fork()
if not child:
    for sock in held:
        sock.close()
    os.write(tell, b'closed')
    os.read(reading, 1)
    late = socket.socket()
    os.write(tell, b'%d' % inode_of(late))
    time.sleep(60)
os.read(back, 100)
"""


def run_alone(script: str) -> list[str]:
    return run_script(ALONE + script, prefix=("unshare", "--pid", "--fork", "--mount-proc"))


def test_a_socket_that_no_process_has_is_the_kernels_and_sought_ever_less_often() -> None:
    """A socket in flight between processes is alive and in no table, as the kernel's own are."""
    answer = run_alone("""
left, right = socket.socketpair()
sock = socket.socket()
inode = inode_of(sock)
socket.send_fds(left, [b'x'], [sock.fileno()])
sock.close()
def tell(moment):
    changed, walks, *_ = update([inode], moment)
    print(moment, changed, owners.holders(inode), owners.reason(inode), walks > 0)
for tenth in (0, 5, 9, 11, 12, 30, 49):
    tell(tenth * 100_000)
_, fds, _, _ = socket.recv_fds(right, 1, 1)
tell(5_000_000)
tell(5_100_001)
""")
    assert answer == [
        "0 1 () exited True",
        "500000 0 () exited False",
        "900000 0 () exited False",
        "1100000 1 () kernel True",
        "1200000 0 () kernel False",
        "3000000 0 () kernel False",
        "4900000 0 () kernel False",
        # Received: the patrol comes by all of the only process at each update.
        "5000000 1 (1,)  False",
        "5100001 0 (1,)  False",
    ]


def test_an_update_with_nothing_new_reads_nothing_but_its_patrol() -> None:
    answer = run_alone("""
held = [socket.socket() for _ in range(500)]
inodes = [inode_of(sock) for sock in held]
for _ in range(3):
    if not os.fork():
        time.sleep(60)
changed, walks, probes, descriptors, patrolled = update(inodes)
print(changed, walks, probes, descriptors > 4 * 500, patrolled)
for _ in range(9):
    changed, walks, probes, descriptors, patrolled = update(inodes)
    print(changed, walks, probes, descriptors, 0 < patrolled <= PATROL)
""")
    assert answer == ["500 4 0 True 0"] + ["0 0 0 0 True"] * 9


def test_new_sockets_of_a_big_process_are_found_without_walking_it() -> None:
    """They are where sockets were closed, in gaps, and past the highest: nothing else is read."""
    answer = run_alone("""
held = [socket.socket() for _ in range(1000)]
for sock in held[100:150]:
    sock.close()
del held[100:150]
update([inode_of(sock) for sock in held])
for _ in range(5):
    for sock in held[300:330]:
        sock.close()
    del held[300:330]
    held += [socket.socket() for _ in range(100)]
    inodes = [inode_of(sock) for sock in held]
    changed, walks, probes, descriptors, _ = update(inodes)
    print(changed, walks, probes, descriptors < 200, all(owners.holders(i) == (1,) for i in inodes))
""")
    assert answer == ["100 0 1 True True"] * 5


def test_new_sockets_of_a_small_process_are_found_without_walking_the_big_ones() -> None:
    """The process whose number of descriptors moved is walked first, though it never held a socket."""
    answer = run_alone(
        """
held = [socket.socket() for _ in range(1000)]
"""
        + LATE_CHILD
        + """
inodes = [inode_of(sock) for sock in held]
update(inodes)
os.write(writing, b'x')
late = int(os.read(back, 100))
changed, walks, probes, descriptors, _ = update([*inodes, late])
print(changed, walks, descriptors < 50, owners.holders(late) == (child,))
"""
    )
    assert answer == ["1 1 True True"]


def test_after_a_search_in_vain_the_unlikely_rest() -> None:
    """Sockets that close after they were read would otherwise cost a walk of everything at each update."""
    answer = run_alone("""
held = [socket.socket() for _ in range(1000)]
known = [inode_of(sock) for sock in held]
closed, closed_too = 4_000_000_000, 4_000_000_001
print(update([*known, closed])[1], owners.reason(closed))
print(update([*known, closed, closed_too], 1)[1], owners.reason(closed_too))
print(update([*known, closed, closed_too], 900_000)[1], owners.reason(closed_too))
""")
    assert answer == ["1 exited", "0 not looked for yet", "1 exited"]


def test_a_later_search_trusts_nothing_it_knows() -> None:
    """A number is read again although the socket that was there is alive: it is on its way to somebody."""
    answer = run_alone("""
left, right = socket.socketpair()
held = [socket.socket() for _ in range(3000)]
inodes = [inode_of(sock) for sock in held]
update(inodes)
number = held[-1].fileno()
socket.send_fds(left, [b'x'], [number])
held[-1].close()
new = socket.socket()
assert new.fileno() == number
inodes.append(inode_of(new))
update(inodes)
print(owners.holders(inodes[-1]), owners.reason(inodes[-1]))
update(inodes, 2_000_000)
print(owners.holders(inodes[-1]), owners.reason(inodes[-1]))
update(inodes, 2_000_001)
print(owners.holders(inodes[-2]), owners.reason(inodes[-2]))
""")
    assert answer == ["() exited", "(1,) ", "() exited"]


def test_a_holder_that_closes_is_noticed_within_the_documented_number_of_updates() -> None:
    """Also where its table is read in several pieces; and it is sought no harder than allowed."""
    answer = run_alone("""
held = [socket.socket() for _ in range(3000)]
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.read(reading, 1)
    time.sleep(60)
inodes = [inode_of(sock) for sock in held]
update(inodes)
for place in (10, 1500, 2999):
    held[place].close()
    bound = sum(len(os.listdir(f'/proc/{pid}/fd')) + 8 for pid in (1, child)) // PATROL + 2
    for number in range(1, 1000):
        patrolled = update(inodes)[4]
        if patrolled > PATROL or owners.holders(inodes[place]) == (child,):
            break
    print(patrolled <= PATROL, 1 < number <= bound, sum(owners.holders(i) == (child,) for i in inodes))
""")
    assert answer == ["True True 1", "True True 2", "True True 3"]


def test_what_an_update_that_failed_had_found_is_told_by_the_next() -> None:
    answer = run_alone("""
from sockrec.errors import KernelError
child = os.fork()
if not child:
    time.sleep(60)
held = [socket.socket() for _ in range(100)]
inodes = [inode_of(sock) for sock in held]
real = owners._holdings.hold_all
def hold_all(*args):
    real(*args)
    raise KernelError("no descriptor is left to read the next process with")
owners._holdings.hold_all = hold_all
for known in (inodes[:50], inodes):
    try:
        update(known)
    except KernelError:
        print(sum(owners.holders(inode) == (1,) for inode in inodes))
owners._holdings.hold_all = real
print(update(inodes)[0], {owners.holders(inode) for inode in inodes} == {(1,)})
print(update(inodes)[0])
""")
    assert answer == ["100", "100", "100 True", "0"]


def test_memory_is_bounded_by_what_is_alive() -> None:
    """Of sockets asked about, of others found on the way, and of those that nobody has, nothing stays."""
    answer = run_alone("""
import tracemalloc
def churn(rounds):
    for number in range(rounds):
        held = [socket.socket() for _ in range(1000)]
        update([*(inode_of(sock) for sock in held[::2]), *range(10**9, 10**9 + 500)], number * 10**8)
        del held
    update([])
    update([])
churn(3)
tracemalloc.start()
before, _ = tracemalloc.get_traced_memory()
churn(20)
print(tracemalloc.get_traced_memory()[0] - before < 400_000)
""")
    # 20 rounds of 500 inodes or more, at over 100 bytes each, if any of the three were kept.
    assert answer == ["True"]


# What the scripts about thrifty updates begin with as well: 1,000 sockets of the first process.
THRIFTY = """
def thrifty(inodes, moment=0):
    before = owners.work.walks, owners.work.patrolled
    changed = owners.update(np.array(sorted(inodes), np.int64), moment, thrifty=True)
    return (len(changed), owners.work.walks - before[0], owners.work.patrolled - before[1])
held = [socket.socket() for _ in range(1000)]
inodes = [inode_of(sock) for sock in held]
"""


def test_a_thrifty_update_does_not_patrol_and_finds_what_is_where_it_looks() -> None:
    """New sockets by probes, new processes by a walk; and it walks nothing without a reason."""
    answer = run_alone(
        THRIFTY
        + """
update(inodes)
print(*thrifty(inodes))
late = socket.socket()
inodes.append(inode_of(late))
print(*thrifty(inodes), owners.holders(inodes[-1]))
child = os.fork()
if not child:
    time.sleep(60)
print(*thrifty(inodes), owners.holders(inodes[-1]) == (1, child))
"""
    )
    assert answer == ["0 0 0", "1 0 0 (1,)", "1001 1 0 True"]


def test_a_thrifty_update_walks_a_process_whose_number_of_descriptors_moved() -> None:
    answer = run_alone(
        THRIFTY
        + LATE_CHILD
        + """
update(inodes)
os.write(writing, b'x')
inodes.append(int(os.read(back, 100)))
print(*thrifty(inodes), owners.holders(inodes[-1]) == (child,))
"""
    )
    assert answer == ["1 1 0 True"]


def test_what_a_thrifty_update_leaves_is_looked_for_by_the_next_that_is_not() -> None:
    """Swapped in behind its back, one descriptor for another: nothing but a walk of the rest shows it."""
    answer = run_alone(
        THRIFTY
        + """
reading, writing = os.pipe()
back, tell = os.pipe()
child = os.fork()
if not child:
    for sock in held:
        sock.close()
    file = os.open('/dev/null', os.O_RDONLY)
    os.write(tell, b'closed')
    os.read(reading, 1)
    late = socket.socket()
    os.dup2(late.fileno(), file)
    late.close()
    os.write(tell, b'%d' % os.fstat(file).st_ino)
    time.sleep(60)
os.read(back, 100)
update(inodes)
os.write(writing, b'x')
inodes.append(late := int(os.read(back, 100)))
print(*thrifty(inodes), owners.holders(late), owners.reason(late))
print(*thrifty(inodes, 5_000_000), owners.holders(late))
print(update(inodes, 5_000_001)[0], owners.holders(late) == (child,), owners.reason(late))
"""
    )
    assert answer == ["1 0 0 () not looked for yet", "0 0 0 ()", "1 True "]


def test_thrifty_updates_never_count_as_a_search_in_vain() -> None:
    """A socket is the kernel's once all tables were read twice; and its waits are left to pass meanwhile."""
    answer = run_alone(
        THRIFTY
        + """
nobodys = 4_000_000_000
inodes.append(nobodys)
update(inodes[:-1])
for moment in range(0, 10_000_000, 1_000_000):
    assert thrifty(inodes, moment)[1:] == (0, 0)
print(owners.reason(nobodys))
print(update(inodes, 10_000_000)[1], owners.reason(nobodys))
print(thrifty(inodes, 12_000_000)[1], owners.reason(nobodys))
print(update(inodes, 12_000_001)[1], owners.reason(nobodys))
"""
    )
    assert answer == ["not looked for yet", "1 exited", "0 exited", "1 kernel"]
