"""What differs from a baseline, runs from odd places, or goes on elsewhere: shown, and nearly shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sockrec.model.baseline import Baseline, Connects, Listens
from sockrec.query.findings import KINDS, parse_settings
from tests.catalog.captures import Part, us
from tests.catalog.captures import began as at
from tests.findings.asking import found, kinds
from tests.findings.test_kinds import moves_to_all_addresses, taken_over
from tests.support.confusion import BY_HAND, Judge, by_kinds

ROOT = frozenset({"root"})
USERS = {"names": {"users": {"0": "root", "33": "www-data", "65534": "nobody"}}}
USUAL = Baseline(
    (
        Listens("tcp", 80, "nginx", ROOT, frozenset({"0.0.0.0"}), frozenset({"10.0.0.0/24"})),
        Listens("tcp", 5432, "postgres", ROOT, frozenset({"127.0.0.1"})),
        Listens("tcp", 7071, "myapp", ROOT, frozenset({"10.0.0.5", "127.0.0.1", "0.0.0.0"})),
        Listens("tcp", 7072, "myapp"),
        Listens("tcp", 7073, "myapp"),
        Listens("tcp", 7071, "other"),
        Listens("tcp", 40_001, "rpc", ROOT, frozenset({"0.0.0.0"})),
    ),
    (Connects("myapp", "tcp", 5432, frozenset({"10.0.0.0/24"})),),
)


def listens(part: Part, **columns: Any) -> None:
    part.socket(1, 5, 60, "opened", "stopped", **({"local_port": 80, "program": "nginx"} | columns))


def connects(part: Part, last: int = 60, **columns: Any) -> None:
    """A client of 10.0.0.9:443 by default, to the end."""
    ended = "stopped" if last == 60 else "closed"
    end = {"local_port": 50_000, "remote_address": "10.0.0.9", "remote_port": 443, "program": "curl"}
    part.socket(11, 5, last, "opened", ended, **({"state": "ESTABLISHED"} | end | columns))


def runs_from(part: Part, exe: str | None, *, pid: int = 4121, **columns: Any) -> None:
    """The listener of 7071, whose program file is that."""
    part.socket(1, 5, 60, "opened", "stopped", **columns)
    part.process(pid, 5, 60, "opened", "stopped", exe=exe)


def goes_on(part: Part, *, second: int = 12, **columns: Any) -> None:
    """Stop myapp on 10.0.0.5:7071, and let it go on in some other way."""
    part.socket(1, 0, 9, "found", "closed")
    part.socket(2, second, 60, "opened", "stopped", **({"pid": 4377} | columns))


def two_leave_for_one(part: Part) -> None:
    part.socket(1, 0, 9, "found", "closed")
    part.socket(2, 0, 9, "found", "closed", local_port=7073)
    part.socket(3, 12, 60, "opened", "stopped", local_port=7072, pid=4377)


def one_leaves_for_two(part: Part) -> None:
    goes_on(part, local_port=7072)
    part.socket(3, 12, 60, "opened", "stopped", local_port=7073, pid=4377)


def was_there_before(part: Part) -> None:
    """It serves two ports, and comes back with one of them."""
    part.socket(3, 0, 9, "found", "closed", local_port=7072)
    goes_on(part, local_port=7072)


def was_on_all_already(part: Part) -> None:
    part.socket(2, 0, 60, "found", "stopped", local_address="0.0.0.0")
    part.socket(1, 0, 9, "found", "closed")


def loops_between_programs(part: Part) -> None:
    for turn in range(4):
        last, ended = (10 * turn + 8, "closed") if turn < 3 else (60, "stopped")
        begun = "opened" if turn else "found"
        part.socket(1 + turn, 10 * turn, last, begun, ended, program=("myapp", "other")[turn % 2], pid=turn)


# What listens in them is in the baseline, unless it is what the case is about.
SHOWN: list[tuple[Callable[[Part], None], list[str]]] = [
    # new-listener
    (lambda part: listens(part, local_port=4444, program="nc"), ["new-listener"]),
    (lambda part: listens(part, local_address="0.0.0.0"), []),
    (lambda part: listens(part, local_address="0.0.0.0", program="nginx: master process"), []),
    (lambda part: listens(part, local_address="0.0.0.0", program="apache2"), ["new-listener"]),
    (lambda part: listens(part, local_address="0.0.0.0", uid=65534), ["new-listener"]),
    (lambda part: listens(part, local_address="0.0.0.0", program=None, pid=None), []),
    (lambda part: listens(part, local_port=5432, program="postgres"), ["new-listener"]),
    (lambda part: listens(part, local_port=7072, program="myapp", uid=33), []),
    (lambda part: listens(part, local_port=80, protocol="udp", state="UNCONN"), ["new-listener"]),
    (lambda part: listens(part, local_port=50_000, protocol="udp", state="UNCONN"), []),
    (lambda part: listens(part, local_port=1, protocol="raw", state="UNCONN", program="ping"), []),
    (lambda part: listens(part, local_port=45_000, local_address="0.0.0.0", program="rpc"), []),
    (lambda part: listens(part, local_port=45_000, local_address="0.0.0.0", program="nc"), ["new-listener"]),
    (lambda part: listens(part, local_port=4500, local_address="0.0.0.0", program="rpc"), ["new-listener"]),
    # new-program
    (connects, ["new-program"]),
    (lambda part: connects(part, protocol="udp", remote_port=53), ["new-program"]),
    (lambda part: connects(part, 8, state="SYN_SENT"), ["new-program"]),
    (lambda part: connects(part, program="nginx"), ["new-program"]),
    (lambda part: connects(part, program="myapp"), []),
    (lambda part: connects(part, program="/opt/myapp --serve"), []),
    (lambda part: connects(part, remote_address="127.0.0.1"), []),
    (lambda part: connects(part, program=None, pid=None), []),
    (lambda part: connects(part, local_port=8080, remote_port=40_000), []),
    (lambda part: part.closed(9, 5, 5.1, role="client", program="curl", remote_port=443), ["new-program"]),
    (lambda part: part.closed(9, 5, 5.1, role="server", program="curl"), []),
    # deleted-executable
    (lambda part: runs_from(part, "/opt/myapp"), []),
    (lambda part: runs_from(part, None), []),
    (lambda part: runs_from(part, "/opt/myapp (deleted)"), ["deleted-executable"]),
    (lambda part: runs_from(part, "/tmp/.x/kworker"), ["deleted-executable"]),
    (lambda part: runs_from(part, "/tmp/kworker (deleted)"), ["deleted-executable"]),
    (lambda part: runs_from(part, "/dev/shm/a"), ["deleted-executable"]),
    (lambda part: runs_from(part, "/memfd:a (deleted)"), ["deleted-executable"]),
    (lambda part: runs_from(part, "/tmpfiles/myapp"), []),
    (lambda part: runs_from(part, "/home/me/tmp/myapp"), []),
    (lambda part: runs_from(part, "/tmp/client", pid=77), []),
    (lambda part: runs_from(part, "/tmp/helper", pid=77, holders=[77, 4121]), ["deleted-executable"]),
    # came-back-elsewhere
    (goes_on, ["listener-stopped"]),
    (lambda part: goes_on(part, program="other"), ["came-back-elsewhere"]),
    (lambda part: goes_on(part, program="myapp: worker"), ["listener-stopped"]),
    (lambda part: goes_on(part, program=None, pid=None), ["listener-stopped"]),
    (lambda part: goes_on(part, local_port=7072, uid=33), ["came-back-elsewhere"]),
    (lambda part: goes_on(part, local_address="127.0.0.1"), ["came-back-elsewhere"]),
    (lambda part: goes_on(part, local_port=7072), ["came-back-elsewhere"]),
    (lambda part: goes_on(part, local_port=7072, program="rpc"), ["listener-stopped", "new-listener"]),
    (two_leave_for_one, ["listener-stopped", "listener-stopped"]),
    (one_leaves_for_two, ["listener-stopped"]),
    (was_there_before, ["listener-stopped", "listener-stopped"]),
    (was_on_all_already, ["came-back-elsewhere"]),
    (moves_to_all_addresses, ["listens-wider"]),
    (taken_over, []),
    (loops_between_programs, ["restart-loop"]),
]


def write(root: Path, make: Callable[[Part], None]) -> None:
    part = Part(root, 0, 60, facts=USERS)
    make(part)
    part.write()


@pytest.mark.parametrize("number", range(len(SHOWN)))
def test_it_is_found_where_it_is_and_nowhere_else(tmp_path: Path, number: int, judge: Judge) -> None:
    make, expected = SHOWN[number]
    write(tmp_path, make)
    told = kinds(tmp_path, baseline=USUAL)
    judge(by_kinds(BY_HAND, told, expected))
    assert told == expected


def test_without_a_baseline_nothing_is_unusual(tmp_path: Path) -> None:
    def make(part: Part) -> None:
        listens(part, local_port=4444, program="nc")
        connects(part)

    write(tmp_path, make)
    assert kinds(tmp_path) == []
    assert kinds(tmp_path, baseline=USUAL) == ["new-listener", "new-program"]
    assert kinds(tmp_path, baseline=USUAL, last_us=us(at(3))) == []
    assert kinds(tmp_path, baseline=USUAL, first_us=us(at(30))) == ["new-listener", "new-program"]
    assert kinds(tmp_path, baseline=USUAL, host="nobody") == []


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            {"local_port": 4444, "program": "nc"},
            "nc[4121] listens on tcp 10.0.0.5:4444 as user root: the baseline has nothing on that port.",
        ),
        ({"program": "apache2", "local_address": "0.0.0.0"}, "the baseline has nginx there."),
        ({"uid": 65534, "local_address": "0.0.0.0"}, "as user nobody: the baseline has it as user root."),
        ({"local_address": "10.0.0.5"}, "the baseline has it on 0.0.0.0."),
    ],
)
def test_what_the_baseline_has_instead_is_told(tmp_path: Path, columns: dict[str, Any], says: str) -> None:
    write(tmp_path, lambda part: listens(part, **columns))
    (one,) = found(tmp_path, baseline=USUAL)
    assert one.text.endswith(says)
    assert (one.not_before, one.severity) == (at(4), "warning")


def test_a_program_is_told_once_with_its_places(tmp_path: Path) -> None:
    def make(part: Part) -> None:
        connects(part)
        for number in range(3):
            part.closed(
                *(50 + number, 2 + number, 2.5 + number),
                role="client",
                program="/usr/bin/curl",
                remote_port=443,
                remote_address=f"10.0.{number}.9",
                pid=99,
            )

    write(tmp_path, make)
    (one,) = found(tmp_path, baseline=USUAL)
    assert one.text == (
        "curl[99] connected to tcp 10.0.0.9:443 and 2 other places: the baseline does not have it."
    )
    assert (one.not_before, one.not_after, one.numbers["places"]) == (at(2), at(2), 3)


@pytest.mark.parametrize(
    ("exe", "severity", "says"),
    [
        ("/usr/sbin/nginx (deleted)", "notice", "restart it then."),
        ("/var/tmp/nginx", "warning", "programs do not belong there."),
        ("/var/tmp/nginx (deleted)", "critical", "programs do not belong there."),
        ("/memfd:x (deleted)", "critical", "from no file: /memfd:x."),
    ],
)
def test_where_a_program_comes_from_makes_it_worse(
    tmp_path: Path, exe: str, severity: str, says: str
) -> None:
    write(tmp_path, lambda part: runs_from(part, exe))
    (one,) = found(tmp_path)
    assert (one.severity, one.numbers["exe"], one.numbers["ports"]) == (severity, exe, [7071])
    assert one.text.startswith("myapp[4121] listens on tcp 10.0.0.5:7071. ")
    assert one.text.endswith(says)


@pytest.mark.parametrize(
    ("columns", "changed", "severity", "says"),
    [
        ({"program": "other"}, "program", "warning", "for 990 ms to 3.01 s. Then other[4377] did."),
        (
            {"uid": 33},
            "user",
            "warning",
            "Before, it was myapp[4121] of user root, this is of user www-data.",
        ),
        ({"local_address": "10.0.0.6"}, "address", "notice", " myapp[4377] listens on 10.0.0.6:7071."),
        ({"local_port": 7072}, "port", "warning", " myapp[4377] listens on 10.0.0.5:7072."),
    ],
)
def test_how_a_service_goes_on_is_told(
    tmp_path: Path, columns: dict[str, Any], changed: str, severity: str, says: str
) -> None:
    write(tmp_path, lambda part: goes_on(part, **columns))
    (one,) = found(tmp_path)
    assert (one.kind, one.severity, one.numbers["changed"]) == ("came-back-elsewhere", severity, changed)
    assert says in one.text
    assert (one.not_before, one.numbers["before"]["user"]) == (at(9), "root")


def test_another_port_is_the_same_service_only_if_it_is_soon(tmp_path: Path) -> None:
    write(tmp_path, lambda part: goes_on(part, local_port=7072))
    for seconds, kind in (("3", "came-back-elsewhere"), ("1", "listener-stopped")):
        settings = parse_settings([f"came-back-elsewhere.seconds={seconds}"], KINDS)
        assert kinds(tmp_path, settings=settings) == [kind]
