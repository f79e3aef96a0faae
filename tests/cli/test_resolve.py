"""Names of addresses from DNS (`record --resolve`): as netstat has them, and at no cost to a sample."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sockrec.catalog import open_catalog
from sockrec.recorder.resolver import MOST_NAMES, Resolver
from tests.support.command import CLEAN, SOCKREC, wait_for_samples
from tests.support.name_server import NameServer
from tests.support.netns import Namespace
from tests.support.own_etc import OwnEtc, difference

HERE, SERVER, SILENT = "10.0.0.5", "10.0.0.7", "10.0.0.8"
NAME = "a-database-with-a-rather-long-name.example.org"


@contextmanager
def recorded(etc: OwnEtc, namespace: Namespace, capture: Path, *words: str) -> Iterator[None]:
    command = (SOCKREC, "record", "-C", str(capture), "--interval", "100ms", *words)
    with subprocess.Popen(etc.command(namespace, *command), env=CLEAN) as recorder:
        try:
            wait_for_samples(capture, 1)
            yield
        finally:
            os.kill(recorder.pid, signal.SIGINT)
            assert recorder.wait(30) == 0


def hosts(capture: Path) -> dict[str, str]:
    with open_catalog(capture) as catalog:
        found: dict[str, str] = catalog.recordings[0]["names"]["hosts"]
        return found


def etc_with_dns(folder: Path) -> OwnEtc:
    etc = OwnEtc(folder, b"127.0.0.1 localhost\n10.0.0.5 here\n")
    (folder / "nsswitch.conf").write_text("passwd: files\nhosts: files dns\n")
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
    return etc


def test_names_come_from_dns_and_no_sample_waits(tmp_path: Path) -> None:
    """One address has a name, one none, and the name server never answers about a third."""
    etc = etc_with_dns(tmp_path / "etc")
    capture = tmp_path / "cap"
    with ExitStack() as stack:
        namespace = stack.enter_context(Namespace((f"{HERE}/24", f"{SERVER}/24", f"{SILENT}/24")))
        server = stack.enter_context(
            NameServer(namespace, {SERVER: NAME, HERE: "not-this.example.org"}, (SILENT,))
        )
        with namespace.entered():
            for address in (SERVER, "10.0.0.7", SILENT):
                listener = stack.enter_context(socket.create_server((address, 0)))
                source = (HERE, 0)
                stack.enter_context(socket.create_connection(listener.getsockname(), source_address=source))
                stack.enter_context(listener.accept()[0])
        with recorded(etc, namespace, capture, "--resolve"):
            until = time.monotonic() + 20
            while SERVER not in hosts(capture) and time.monotonic() < until:
                time.sleep(0.1)
            wait_for_samples(capture, 30)
        assert hosts(capture) == {"127.0.0.1": "localhost", HERE: "here", SERVER: NAME}
        reverse = [one for one in server.asked if one.startswith("7.0.0.10.")]
        assert len(reverse) == 1, "each address is asked for once"
        theirs = etc.netstat(namespace, ["-lt", "--numeric-ports"])
    with open_catalog(capture) as catalog:
        ((longest,),) = catalog.rows(
            "SELECT max(apart) FROM (SELECT epoch_us(began_at) - lag(epoch_us(began_at)) OVER"
            " (ORDER BY began_at) AS apart FROM samples)"
        )
    assert longest < 1_500_000, "the name server that does not answer takes 2 s"
    command = [SOCKREC, "replay", "-C", str(capture), "--at", "end", "-lt", "--numeric-ports"]
    ours = subprocess.run(command, capture_output=True, env=CLEAN, check=True).stdout
    names = {line.split()[3] for line in ours.decode().splitlines()[2:]}
    assert any(name.startswith(NAME[:10]) for name in names)
    assert ours == theirs.stdout, difference(theirs.stdout, ours)


def test_nobody_is_asked_unless_wanted(tmp_path: Path) -> None:
    etc = etc_with_dns(tmp_path / "etc")
    with Namespace((f"{HERE}/24", f"{SERVER}/24")) as namespace:
        with (
            NameServer(namespace, {SERVER: NAME}) as server,
            namespace.entered(),
            socket.create_server((SERVER, 0)),
            recorded(etc, namespace, tmp_path / "cap"),
        ):
            wait_for_samples(tmp_path / "cap", 5)
        assert server.asked == []
    assert json.dumps(hosts(tmp_path / "cap")) == '{"127.0.0.1": "localhost", "10.0.0.5": "here"}'


def test_addresses_without_end_are_counted_and_take_bounded_memory() -> None:
    asked: list[str] = []
    resolver = Resolver(lambda address: asked.append(address) or f"host-{address}")  # type: ignore[func-returns-value]
    met = 0
    until = time.monotonic() + 30
    while len(resolver.names) + 2 < MOST_NAMES and time.monotonic() < until:
        resolver.meet(f"2001:db8::{number:x}" for number in range(met, met + 500))
        met += 500
        time.sleep(0.01)
        resolver.collect()
    resolver.meet(f"2001:db8:1::{number:x}" for number in range(5_000))
    time.sleep(0.1)
    resolver.collect()
    assert len(resolver.names) <= MOST_NAMES
    assert len(asked) == len(set(asked)) <= MOST_NAMES
    assert resolver.unasked >= 5_000
