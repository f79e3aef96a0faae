"""Name databases against getent(1) and netstat, on databases made for the purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from sockrec.kernel import names
from tests.support.netns import Namespace

SERVICES = """
first       7071/tcp
last        7071/tcp   # netstat takes this one, getservbyport the other
only-udp    7072/udp
both        7073/tcp  alias
both        7073/udp
sctp-only   7074/sctp
odd-raw     255/raw
"""
PROTOCOLS = """
icmp  1   ICMP
one   99  ONE
two   99  TWO
"""
HOSTS = """
127.0.0.1   localhost loop
10.0.0.5    myapp.example myapp   # comment
10.0.0.5    later
#10.0.0.6   commented
::1         ip6-localhost
::ffff:10.0.0.7  mapped
fe80::1     link
10.0.0.8
nonsense    word
"""

DUMP = """
import json
from sockrec.kernel import names
print(json.dumps([names.services(), names.protocols(), names.hosts(), names.users([0, 4242])]))
"""

NETSTAT_SOCKETS = """
import socket, subprocess
tcp = socket.create_server(('10.0.0.5', 7071))
both = socket.create_server(('127.0.0.1', 7073))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(('10.0.0.5', 7072))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 99)
odd = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)
print(subprocess.run(['netstat', '-atuwW'], capture_output=True, text=True).stdout)
"""


def in_own_etc(tmp_path: Path, *command: str) -> list[str]:
    """Return the arguments that run a command where /etc has the databases above."""
    (tmp_path / "services").write_text(SERVICES)
    (tmp_path / "protocols").write_text(PROTOCOLS)
    (tmp_path / "hosts").write_text(HOSTS)
    (tmp_path / "nsswitch.conf").write_text(
        "passwd: files\nhosts: files\nservices: files\nprotocols: files\n"
    )
    binds = "".join(f"mount --bind {path} /etc/{path.name}\n" for path in tmp_path.iterdir())
    return ["unshare", "--mount", "sh", "-ec", binds + 'exec "$@"', "sh", *command]


def run(*command: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LC_ALL": "C"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_databases_are_read_as_netstat_reads_them(tmp_path: Path, netns: Namespace) -> None:
    services, protocols, hosts, users = json.loads(run(*in_own_etc(tmp_path, sys.executable, "-c", DUMP)))
    assert services == {
        "tcp": {"7071": "last", "7073": "both"},
        "udp": {"7072": "only-udp", "7073": "both"},
        "raw": {"255": "odd-raw"},
    }
    assert protocols == {"1": "icmp", "99": "two"}
    assert hosts == {
        "127.0.0.1": "localhost",
        "10.0.0.5": "myapp.example",
        "::1": "ip6-localhost",
        "::ffff:10.0.0.7": "mapped",
        "10.0.0.7": "mapped",
        "fe80::1": "link",
    }
    assert users == {"0": "root"}

    shown = run(*netns.command(*in_own_etc(tmp_path, sys.executable, "-c", NETSTAT_SOCKETS)))
    local = [line.split()[3] for line in shown.splitlines() if line.startswith(("tcp", "udp", "raw"))]
    assert sorted(local) == sorted(
        [
            f"{hosts['10.0.0.5']}:{services['tcp']['7071']}",
            f"{hosts['127.0.0.1']}:{services['tcp']['7073']}",
            f"{hosts['10.0.0.5']}:{services['udp']['7072']}",
            f"0.0.0.0:{protocols['99']}",
            f"0.0.0.0:{services['raw']['255']}",
        ]
    )


def test_hosts_file_agrees_with_getent_whatever_the_order(tmp_path: Path) -> None:
    for text in (HOSTS, "::1 six\n127.0.0.1 four\n", "127.0.0.1 four\n::1 six\n", "::1 six\n"):
        folder = tmp_path / str(hash(text))
        folder.mkdir()
        asks = in_own_etc(folder, "sh", "-c", 'for a in "$@"; do getent hosts $a; done', "sh")
        (folder / "hosts").write_text(text)
        found = names.hosts(folder / "hosts")
        told = [line.split() for line in run(*asks, *found).splitlines()]
        assert [words[1] for words in told] == list(found.values())


def test_no_hosts_file_is_no_names(tmp_path: Path) -> None:
    assert names.hosts(tmp_path / "absent") == {}


def test_this_hosts_services_are_all_there() -> None:
    """By the file itself, parsed here, last line of a port first; nothing of netstat's three is left out."""
    expected: dict[str, dict[str, str]] = {"tcp": {}, "udp": {}, "raw": {}}
    for line in Path("/etc/services").read_text().splitlines():
        words = line.partition("#")[0].split()
        if words:
            port, protocol = words[1].split("/")
            expected.get(protocol, {})[port] = words[0]
    assert names.services() == expected
    assert len(expected["tcp"]) > 100


def test_everything_survives_json() -> None:
    for database in (names.services(), names.protocols(), names.hosts(), names.users([0, 1])):
        assert json.loads(json.dumps(database)) == database
