"""`sockrec rates` of traffic of a known size and pace, next to what `ip` and `nstat` counted of it."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.catalog.captures import Part
from tests.query.test_rates import interface, links, listens, read_network
from tests.support.command import answer, recording, sockrec
from tests.support.netns import Namespace

DATAGRAMS, SIZE, PACE = 200, 1000, 0.01
HEADERS = 14 + 20 + 8
REFUSED, OVERFLOWS = 17, 7
HOSTILE = "x\x1b[31m=A|*b"


@dataclass
class Recorded:
    """A capture, and what is known of the traffic in it."""

    path: Path
    sent_at: list[float] = field(default_factory=list)
    links: list[dict[str, Any]] = field(default_factory=list)
    counters: list[dict[str, int]] = field(default_factory=list)

    def look(self, namespace: Namespace) -> None:
        """Ask `ip` and `nstat` what was counted."""
        told = namespace.run("ip", "-s", "-s", "-j", "link", check=True).stdout
        # ip writes control characters of names as they are.
        self.links.append({link["ifname"]: link["stats64"] for link in json.loads(told, strict=False)})
        nstat = json.loads(namespace.run("nstat", "-asz", "-j", check=True).stdout)
        self.counters.append(nstat["kernel"])

    def link_rise(self, name: str, direction: str, what: str) -> int:
        before, after = self.links
        return int(after[name][direction][what]) - int(before[name][direction][what])

    def rise(self, name: str) -> int:
        before, after = self.counters
        return after[name] - before[name]


def _quiet(namespace: Namespace) -> None:
    """Let nothing be sent but what the test sends."""
    done = namespace.run(
        "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"
    )
    assert done.returncode == 0, done


def _pair(near: Namespace, far: Namespace) -> None:
    """Connect them, with neighbours that need no asking for."""
    for words in (
        ("link", "add", "eth0", "address", "02:00:00:00:00:01", "type", "veth",
         "peer", "name", "eth1", "address", "02:00:00:00:00:02", "netns", far.name),
        ("link", "add", HOSTILE, "type", "veth", "peer", "name", "v0"),
        ("address", "add", "10.9.0.1/24", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("neighbour", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:02", "dev", "eth0"),
    ):  # fmt: skip
        near.run("ip", *words, check=True)
    for words in (
        ("address", "add", "10.9.0.2/24", "dev", "eth1"),
        ("link", "set", "eth1", "up"),
        ("neighbour", "add", "10.9.0.1", "lladdr", "02:00:00:00:00:01", "dev", "eth1"),
    ):
        far.run("ip", *words, check=True)


def _traffic(near: Namespace, far: Namespace, told: Recorded, opened: ExitStack) -> None:
    """Send what is known; all that stays open is closed with `opened`, which would send more."""
    with near.entered():
        receiver = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        full = opened.enter_context(socket.socket())
    receiver.bind(("10.9.0.1", 9999))
    full.bind(("10.9.0.1", 7071))
    full.listen(0)
    with far.entered():
        sender = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        refused = [opened.enter_context(socket.socket()) for _ in range(REFUSED)]
        filling = opened.enter_context(socket.socket())
        waiting = [opened.enter_context(socket.socket()) for _ in range(OVERFLOWS)]
    for _ in range(DATAGRAMS):
        sender.sendto(b"x" * SIZE, ("10.9.0.1", 9999))
        told.sent_at.append(time.time())
        assert len(receiver.recv(SIZE)) == SIZE
        time.sleep(PACE)
    for one in refused:
        assert one.connect_ex(("10.9.0.1", 4444)) != 0
    filling.connect(("10.9.0.1", 7071))
    # One SYN each: the next would come after a second.
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(("10.9.0.1", 7071))
    time.sleep(0.1)
    for one in waiting:
        one.close()
    time.sleep(0.6)
    told.look(near)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Give a few seconds of datagrams, refused connections, and a listener that overflows."""
    told = Recorded(tmp_path_factory.mktemp("rates") / "cap")
    with Namespace(()) as near, Namespace(()) as far, ExitStack() as opened:
        for namespace in (near, far):
            _quiet(namespace)
        _pair(near, far)
        with recording(near, told.path, "--slow-interval", "500ms", interval="200ms"):
            told.look(near)
            _traffic(near, far, told, opened)
        yield told


def _overview(told: Recorded) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["section"], row["name"]): row for row in answer("rates", "-C", told.path)}


def test_totals_are_what_was_sent_and_what_ip_counted(recorded: Recorded) -> None:
    rates = _overview(recorded)
    for direction in ("rx", "tx"):
        for what in ("bytes", "packets", "errors", "dropped"):
            total = rates["eth0", f"{direction}_{what}"]["total"]
            assert total == recorded.link_rise("eth0", direction, what), (direction, what)
    assert rates["eth0", "rx_bytes"]["total"] >= DATAGRAMS * (SIZE + HEADERS)
    assert rates["Udp", "InDatagrams"]["total"] == DATAGRAMS
    assert rates["Tcp", "OutRsts"]["total"] == REFUSED
    assert rates["TcpExt", "ListenOverflows"]["total"] == OVERFLOWS
    row = rates["eth0", "rx_bytes"]
    assert row["per_second"] == pytest.approx(row["total"] / row["seconds"])
    assert 0.7 / PACE * SIZE < row["peak_per_second"] < 1.2 / PACE * (SIZE + HEADERS)


def test_every_counter_rose_as_nstat_says(recorded: Recorded) -> None:
    """`nstat` calls them by section and name, without a dot."""
    told = {
        f"{row['section']}{row['name']}": row["total"]
        for row in _overview(recorded).values()
        if row["what"] == "counter"
    }
    gauges = {"TcpCurrEstab", "TcpMaxConn"}
    expected = {name: recorded.rise(name) for name in recorded.counters[1] if name in recorded.counters[0]}
    assert told == {name: rise for name, rise in expected.items() if rise > 0 and name not in gauges}


def test_trouble_comes_first(recorded: Recorded) -> None:
    names = [row["name"] for row in answer("rates", "-C", recorded.path) if row["what"] == "counter"]
    trouble = {"ListenOverflows", "ListenDrops", "OutRsts"}
    assert trouble <= set(names[: len(trouble) + 2])
    assert "OutRsts" in names[:3]
    assert names.index("InDatagrams") > max(map(names.index, trouble))


def test_each_reading_has_the_datagrams_sent_until_it(recorded: Recorded) -> None:
    rows = answer("rates", "-C", recorded.path, "--iface", "eth0")
    assert rows[0]["rx_packets_per_second"] is None
    times = [datetime.fromisoformat(row["time"]).timestamp() for row in rows]
    assert times == sorted(times)
    packets = [round(row["rx_packets_per_second"] * row["seconds"], 6) for row in rows[1:]]
    assert all(count == round(count) for count in packets)
    assert sum(packets) == recorded.link_rise("eth0", "rx", "packets")
    last = recorded.sent_at[-1]
    off = sorted(
        abs(count - sum(before < moment <= now for moment in recorded.sent_at))
        for before, now, count in zip(times, times[1:], packets, strict=False)
        if now < last
    )
    assert len(off) >= 3
    # A reading has about 50. One that was interrupted, on a busy machine, has those of then, too.
    assert off[len(off) // 2] <= 2, off
    assert off[-1] <= 10, off


def test_a_counter_by_readings_and_by_steps(recorded: Recorded) -> None:
    moved = answer("rates", "-C", recorded.path, "--counter", "listenoverflows")
    assert sum(row["increase"] for row in moved) == OVERFLOWS
    assert all(row["increase"] for row in moved)
    assert len(moved) <= 2
    steps = answer(
        "rates", "-C", recorded.path, "-c", "TcpExt.ListenOverflows", "-c", "Tcp.OutRsts", "--every", "1s"
    )
    for name, total in (("TcpExt.ListenOverflows", OVERFLOWS), ("Tcp.OutRsts", REFUSED)):
        told = [row for row in steps if row["counter"] == name]
        assert sum(row["increase"] or 0 for row in told) == total
        assert 0 in [row["increase"] for row in told]
        times = [datetime.fromisoformat(row["time"]).timestamp() for row in told]
        assert times == [times[0] + place for place in range(len(told))]
        assert times[0] % 1 == 0


def _cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize(
    "words", [(), ("--iface", "eth0"), ("--counter", "OutRsts"), ("-i", "eth0", "--every", "1s")]
)
def test_machine_formats_hold_the_same(recorded: Recorded, words: tuple[str, ...]) -> None:
    rows = answer("rates", "-C", recorded.path, *words)
    lines = sockrec("rates", "-C", recorded.path, *words, "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == rows
    # Microseconds, summed exactly: in whatever order that was done.
    assert all(row["seconds"] in (None, round(row["seconds"] or 0, 6)) for row in rows)
    header, *cells = _cells(sockrec("rates", "-C", recorded.path, *words, "--format", "csv").stdout)
    assert header == list(rows[0])
    assert len(cells) == len(rows)
    for row, told in zip(rows, cells, strict=True):
        for value, cell in zip(row.values(), told, strict=True):
            if value is None:
                assert cell == ""
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                assert float(cell) == pytest.approx(value)
    for row in rows:
        for name in ("time", "peak_at"):
            assert row.get(name) is None or re.fullmatch(r"2\d{3}-\d\d-\d\dT[\d:]{8}\.\d{6}Z", row[name])


def test_tables_for_people(recorded: Recorded) -> None:
    table = sockrec("rates", "-C", recorded.path, "--tz", "Asia/Kolkata").stdout
    assert re.match(r"20\S+ [\d:.]{12} to [\d:.]{12}\+05:30: \d+ readings\n\ninterface +bytes/s", table)
    assert re.search(r"\neth0 +rx +\d[\d.]* kB/s +\d[\d.]* kB/s  [\d:.]{12} ", table)
    assert re.search(
        rf"\nTcpExt\.ListenOverflows +{OVERFLOWS} +[\d.]+ +[\d.]+  [\d:.]{{12}}  trouble\n", table
    )
    markdown = sockrec("rates", "-C", recorded.path, "-f", "markdown").stdout
    assert "\n| interface |" in markdown
    assert f"\n| TcpExt.ListenOverflows | {OVERFLOWS} | " in markdown
    series = sockrec("rates", "-C", recorded.path, "-i", "eth0", "--every", "1s").stdout.splitlines()
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \(times in [^)]+\)", series[0])
    assert re.match(r"[\d:]{8}  eth0 +\d[\d.]* (kB|B)/s", series[4])


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl", "markdown"])
def test_a_hostile_name_steers_nothing(recorded: Recorded, form: str) -> None:
    for words in ((), ("--iface", HOSTILE)):
        done = sockrec("rates", "-C", recorded.path, *words, "--format", form)
        assert (done.returncode, done.stderr) == (0, "")
        assert "31m" in done.stdout
        assert "\x1b" not in done.stdout
    assert HOSTILE in {row["section"] for row in answer("rates", "-C", recorded.path)}
    done = sockrec("rates", "-C", recorded.path, "--iface", HOSTILE[:-1])
    assert (done.returncode, done.stdout) == (1, "")
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("--iface", "eth7"), 1, "no interface 'eth7' was recorded; names like it: eth0"),
        (("--counter", "ListenOverflow"), 1, "names like it: TcpExt.ListenOverflows"),
        (("--counter", "NoPorts"), 2, "give one of Udp.NoPorts, UdpLite.NoPorts"),
        (("--counter", "TCPMD5Failure"), 1, "TCPMD5Failure did not move in that time; recorded: "),
        (("--iface", "eth0", "--counter", "OutRsts"), 2, "one after the other"),
        (("--every", "1s"), 2, "--iface or --counter"),
        (("--iface", "eth0", "--every", "soon"), 2, "'soon' is not a length of time"),
        (("--iface", "eth0", "--every", "0s"), 2, "--every"),
        (("--iface", "eth0", "--every", "1us"), 2, "steps: make --every longer"),
        (("--from", "noonish"), 2, "noonish"),
        (("--from", "end", "--to", "start"), 2, "--to is before --from"),
        (("--to", "2001-01-01T00:00:00Z"), 1, "not read in that time"),
        (("--host", "db-1"), 2, "no host 'db-1' is recorded here"),
        (("--tz", "Mars/Olympus"), 2, "Mars/Olympus"),
        (("--format", "xlsx"), 2, "xlsx"),
    ],
)
def test_bad_input_is_one_line(recorded: Recorded, words: tuple[str, ...], status: int, says: str) -> None:
    done = sockrec("rates", "-C", recorded.path, *words)
    assert (done.returncode, done.stdout) == (status, ""), done
    assert re.fullmatch(r"sockrec: [^\n]+\n", done.stderr), done.stderr
    assert says in done.stderr


def test_a_capture_without_interfaces_says_so(tmp_path: Path) -> None:
    Part(tmp_path, 0, 9).write()
    for words in ((), ("--iface", "eth0"), ("--counter", "ListenOverflows")):
        done = sockrec("rates", "-C", tmp_path, *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "were not recorded" in done.stderr


def test_times_of_several_days_hosts_and_resets_are_shown(tmp_path: Path) -> None:
    for host in ("web-1", "web-2"):
        part = read_network(Part(tmp_path, 0, 5, host=host))
        listens(part, 0, 90)
        listens(part, 2, 5)
        listens(part, 4, 1_234_567)
        links(part, 0, rx_bytes=500)
        links(part, 2, rx_bytes=100)
        interface(part, 0)
        part.write()
    shown = sockrec("rates", "-C", tmp_path, "-c", "ListenOverflows").stdout
    assert shown == (
        "TcpExt.ListenOverflows, 2026-11-20 (times in UTC)\n\n"
        "time          host    increase  per second      value  resets\n"
        "10:32:01.999  web-1          5         2.5          5       1\n"
        "10:32:01.999  web-2          5         2.5          5       1\n"
        "10:32:03.999  web-1  1,234,562     617,281  1,234,567\n"
        "10:32:03.999  web-2  1,234,562     617,281  1,234,567\n"
    )
    dated = sockrec("rates", "-C", tmp_path, "-i", "eth0", "--host", "web-2", "--tz", "Asia/Tokyo").stdout
    assert dated == (
        "2026-11-20 (times in +09:00)\n\n"
        "time          interface  rx bytes/s  tx bytes/s  rx packets/s  tx packets/s  rx errors  tx errors"
        "  rx dropped  tx dropped  resets\n"
        "19:31:59.999  eth0\n"
        "19:32:01.999  eth0           50 B/s       0 B/s             0             0          0          0"
        "           0           0       1\n"
        "19:32:03.999  eth0            0 B/s       0 B/s             0             0          0          0"
        "           0           0\n"
    )
