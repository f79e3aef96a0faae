"""A host of hostile names, recorded for real: processes, sockets, users, services and the host itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.hostile.texts import LONGEST_COMM, LONGEST_PATH, TEXTS
from tests.support.command import CLEAN, SOCKREC, count_samples, wait_for_samples
from tests.support.netns import Namespace

HOST: Final = b"\x1b]0;w\x07<b>=1|\xff\n\xe2\x80\xae"
USER: Final = b"\x1b[31mroot|<i>\xff"
UID: Final = 54321
FIRST_PORT: Final = 20001

# stdin: port, uid and the system call in a line, then the text that is comm, as far as it goes, and the
# sockets' names. Perl, because it does not look at its own argv[0].
_LISTENER: Final = r"""
use Socket;
my ($port, $uid, $prctl) = split " ", <STDIN>;
my $text = do { local $/; <STDIN> };
$< = $> = $uid;
my $name = substr($text, 0, 15) . "\0";
syscall($prctl, 15, $name, 0, 0, 0);
my $here = sockaddr_in($port, inet_aton("127.0.0.1"));
my ($listener, $client, $accepted, @kept);
socket($listener, PF_INET, SOCK_STREAM, 0) && bind($listener, $here) && listen($listener, 7) or die $!;
socket($client, PF_INET, SOCK_STREAM, 0) && connect($client, $here) or die $!;
accept($accepted, $listener) or die $!;
(my $path = substr($text, 0, 100)) =~ s{/}{_}g;
for my $bound ("\0" . substr($text, 0, 90) . "\0\xff", $path) {
    my $one;
    socket($one, PF_UNIX, SOCK_STREAM, 0) && bind($one, pack("S a*", AF_UNIX, $bound)) or die $!;
    listen($one, 3) or die $!;
    push @kept, $one;
}
$| = 1;
print "ready\n";
sleep 600;
"""
# The number of prctl(2).
_PRCTL: Final = {"x86_64": 157, "aarch64": 167}

# Its own UTS and mount namespaces: names of the host and of its users and services, and then the recorder.
_HOST: Final = """
import os, socket, subprocess, sys
folder, host = sys.argv[1], os.environb[b"HOSTILE_HOST"]
socket.sethostname(host)
for name in ("passwd", "services", "hosts", "protocols"):
    subprocess.run(["mount", "--bind", f"{folder}/{name}", f"/etc/{name}"], check=True)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded: the capture, each text's port and pid, and what the recorder wrote on stderr."""

    capture: Path
    ports: Mapping[str, int]
    pids: Mapping[str, int]
    exe: bytes
    cgroup: bytes
    err: bytes


def record(folder: Path) -> Recorded:
    """Record a few samples of a host on which every name is hostile; some of the processes end meanwhile."""
    exe = _program(folder)
    cgroup = _cgroup()
    ports = {name: FIRST_PORT + place for place, name in enumerate(TEXTS)}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with ExitStack() as stack:
        stack.callback(_remove, cgroup)
        namespace = stack.enter_context(Namespace())
        work = stack.enter_context(tempfile.TemporaryDirectory())
        Path(work).chmod(0o777)
        with namespace.entered():
            for name, text in TEXTS.items():
                processes[name] = _start(exe, text, ports[name], work, uid=UID if name == "screen" else 0)
                stack.callback(_end, processes[name])
        cgroup.joinpath("cgroup.procs").write_text(str(processes["screen"].pid))
        capture = folder / "capture"
        recorder = _recorder(namespace, capture, _databases(folder))
        stack.callback(_end, recorder)
        wait_for_samples(capture, 2)
        _end(processes["hyperlink"])
        processes["sum"].send_signal(signal.SIGTERM)
        processes["sum"].wait(10)
        wait_for_samples(capture, count_samples(capture) + 3)
        recorder.send_signal(signal.SIGINT)
        _, err = recorder.communicate(timeout=30)
        assert recorder.returncode == 0, err
        pids = {name: process.pid for name, process in processes.items()}
    return Recorded(capture, ports, pids, os.fsencode(exe), bytes(cgroup), err)


def _program(folder: Path) -> Path:
    """Return a copy of Perl under a folder whose name is hostile."""
    made = folder / os.fsdecode(b"exe \x1b[7m\n<b>\xff") / "=1"
    made.parent.mkdir(parents=True)
    made.write_bytes(Path("/usr/bin/perl").read_bytes())
    made.chmod(0o755)
    return made


def _cgroup() -> Path:
    root = next(
        Path(words[1])
        for words in map(str.split, Path("/proc/mounts").read_text().splitlines())
        if words[2] == "cgroup2"
    )
    made = root / os.fsdecode(b"sockrec \x1b[5m<b>\xff|=" + str(os.getpid()).encode())
    made.mkdir()
    return made


def _remove(cgroup: Path) -> None:
    cgroup.rmdir()


def _start(exe: Path, text: bytes, port: int, work: str, uid: int) -> subprocess.Popen[bytes]:
    # argv[0] and the last argument are the text; the shell's own name never shows.
    process = subprocess.Popen(
        [text, b"-e", _LISTENER.encode(), text],
        executable=exe,
        cwd=work,
        env={"LC_ALL": "C"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"%d %d %d\n%s" % (port, uid, _PRCTL[os.uname().machine], text))
    process.stdin.close()
    assert process.stdout.readline() == b"ready\n"
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(10)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _databases(folder: Path) -> Path:
    """Write the files that name users, ports, protocols and addresses there."""
    made = folder / "etc"
    made.mkdir()
    made.joinpath("passwd").write_bytes(b"root:x:0:0::/root:/bin/sh\n%s:x:%d:100::/:/bin/sh\n" % (USER, UID))
    made.joinpath("services").write_bytes(
        b"".join(
            b"%s %d/tcp\n" % (re.sub(rb"[\s#]", b"", text)[:40] or b"x", FIRST_PORT + place)
            for place, text in enumerate(TEXTS.values())
        )
    )
    made.joinpath("hosts").write_bytes(b"127.0.0.1 \x1b[41mlocal<b>host\xff\n")
    made.joinpath("protocols").write_bytes(b"\x1b[41mtcp\xff 6 TCP\n")
    return made


def _recorder(namespace: Namespace, capture: Path, etc: Path) -> subprocess.Popen[bytes]:
    command = namespace.command(
        "unshare", "--uts", "--mount", sys.executable, "-c", _HOST, etc,
        SOCKREC, "record", "-C", capture, "--interval", "100ms",
    )  # fmt: skip
    return subprocess.Popen(
        [os.fsencode(word) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={os.fsencode(key): os.fsencode(value) for key, value in CLEAN.items()} | {b"HOSTILE_HOST": HOST},
    )


def comm(name: str) -> bytes:
    """Return the kernel's name of the process of a text."""
    return TEXTS[name][:LONGEST_COMM]


def path(name: str) -> bytes:
    """Return the path of its UNIX socket, as it was bound."""
    return TEXTS[name].replace(b"/", b"_")[:100][:LONGEST_PATH]
