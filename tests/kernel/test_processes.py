"""Facts of processes against real ones with awkward names, and against netstat -p."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from sockrec.kernel import host, processes
from sockrec.kernel.processes import Process, program
from tests.support.netns import Namespace


@contextmanager
def running(
    argv: Sequence[str | bytes],
    executable: str | Path = "/bin/sleep",
    pass_fds: Sequence[int] = (),
    namespace: Namespace | None = None,
) -> Iterator[int]:
    """Run a program under any argv, and give its pid."""
    if namespace:
        with namespace.entered(), running(argv, executable, pass_fds) as pid:
            yield pid
        return
    process = subprocess.Popen(
        argv, executable=executable, pass_fds=pass_fds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        # Popen returns in the middle of execve(2), when the command line is not in place yet.
        for _ in range(1000):
            if Path(f"/proc/{process.pid}/cmdline").read_bytes():
                break
            time.sleep(0.001)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def read(pid: int) -> Process:
    process = processes.read(pid)
    assert process is not None
    return process


def test_facts_are_those_of_the_process() -> None:
    before = host.wall_us()
    with running(["worker", "-f", "/dev/null", "", "x y"], executable="/usr/bin/tail") as pid:
        process = read(pid)
        after = host.wall_us()
        assert process.argv == ("worker", "-f", "/dev/null", "", "x y")
        assert process.exe == os.path.realpath("/usr/bin/tail")
        assert process.pid == pid
        assert process.ppid == os.getpid()
        assert process.uid == os.geteuid()
        # The kernel counts in ticks of 10 ms, rounded down.
        assert before - 30_000 <= process.start_us <= after + 10_000
        assert process.cgroup == Path(f"/proc/{pid}/cgroup").read_text().splitlines()[-1].split(":", 2)[2]
        assert processes.read_argv(pid) == process.argv


def test_the_start_is_on_the_callers_clock() -> None:
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    tick_us = 1_000_000 // os.sysconf("SC_CLK_TCK")
    for anchor in (0, 1_700_000_000_000_000):
        process = processes.read(os.getpid(), anchor)
        assert process is not None
        assert process.start_us == anchor + ticks * tick_us


def test_uid_is_the_effective_one() -> None:
    with running(
        ["setpriv", "--ruid=1234", "--euid=2345", "sleep", "60"], shutil.which("setpriv") or ""
    ) as pid:
        for _ in range(200):
            if read(pid).comm == "sleep":
                break
            time.sleep(0.01)
        assert read(pid).uid == 2345


@pytest.mark.parametrize("comm", ["a b", "x) S 1 2 3", "((", ")", "new\nline", "tab\t)", " ", "é)"])
def test_comm_may_hold_anything(comm: str) -> None:
    script = (
        "import pathlib, sys, time; pathlib.Path('/proc/self/comm').write_text(sys.argv[1]); time.sleep(60)"
    )
    with running([sys.executable, "-c", script, comm], sys.executable) as pid:
        for _ in range(500):
            if read(pid).comm == comm:
                break
            time.sleep(0.01)
        process = read(pid)
        assert process.comm == comm
        assert process.ppid == os.getpid()
        assert process.start_us > host.wall_us() - 60_000_000


def test_bytes_that_are_no_text_become_escapes(tmp_path: Path) -> None:
    program_file = tmp_path / os.fsdecode(b"\xff") / os.fsdecode(b"sl\xe9ep")
    program_file.parent.mkdir()
    shutil.copy("/bin/sleep", program_file)
    with running([b"\xfe\xc3\xa9", b"60"], executable=program_file) as pid:
        process = read(pid)
        assert process.argv == (r"\xfeé", "60")
        assert process.exe == f"{tmp_path}/\\xff/sl\\xe9ep"
        assert process.comm == r"sl\xe9ep"
        for text in (*process.argv, process.exe, process.comm):
            text.encode()


def test_exe_that_is_gone_says_so(tmp_path: Path) -> None:
    shutil.copy("/bin/sleep", tmp_path / "gone")
    with running(["gone", "60"], executable=tmp_path / "gone") as pid:
        (tmp_path / "gone").unlink()
        assert read(pid).exe == f"{tmp_path}/gone (deleted)"


def test_kernel_threads_and_zombies_have_no_command_line() -> None:
    thread = read(2)
    assert (thread.comm, thread.argv, thread.exe) == ("kthreadd", (), None)
    assert program(thread) == "kthreadd"
    process = subprocess.Popen(["sleep", "60"])
    try:
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        zombie = read(process.pid)
        assert (zombie.comm, zombie.argv, zombie.exe) == ("sleep", (), None)
    finally:
        process.wait()
    assert processes.read(process.pid) is None
    assert processes.read_argv(process.pid) is None


def test_others_exe_is_not_readable_without_permission() -> None:
    script = "from sockrec.kernel import processes; print(processes.read(1))"
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", str(Path(sys.executable).resolve()), "-c", script],
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pid=1," in done.stdout
    assert "exe=None" in done.stdout


@pytest.mark.parametrize(
    ("cmdline", "argv"),
    [
        (b"", ()),
        (b"\0", ("",)),
        (b"a\0", ("a",)),
        (b"a\0\0", ("a", "")),
        (b"a\0b c\0", ("a", "b c")),
        (b"sshd: root@pts/0", ("sshd: root@pts/0",)),
        (b"nginx: master\0\0\0", ("nginx: master", "", "")),
        (b"a\nb\0", ("a\nb",)),
    ],
)
def test_command_line_is_split_at_each_nul(cmdline: bytes, argv: tuple[str, ...]) -> None:
    assert processes.split_argv(cmdline) == argv


HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("cgroup", "unit", "container"),
    [
        (None, None, None),
        ("/", None, None),
        ("/system.slice/nginx.service", "nginx.service", None),
        ("/system.slice/nginx.service (deleted)", "nginx.service", None),
        ("/system.slice/nginx.service/workers", "nginx.service", None),
        (r"/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", None),
        (r"/system.slice/my\x2dapp.service", r"my\x2dapp.service", None),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/code.service", "code.service", None),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", None),
        ("/system.slice/sshd.socket", "sshd.socket", None),
        ("/user.slice", None, None),
        (f"/docker/{HEX}", None, HEX),
        (f"/docker/{HEX}/system.slice/app.service", "app.service", HEX),
        (f"/system.slice/docker-{HEX}.scope", f"docker-{HEX}.scope", HEX),
        (f"/machine.slice/libpod-{HEX}.scope/container", f"libpod-{HEX}.scope", HEX),
        (f"/machine.slice/libpod-conmon-{HEX}.scope", f"libpod-conmon-{HEX}.scope", None),
        (f"/kubepods/besteffort/pod1b2c/{HEX}", None, HEX),
        (
            f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{HEX}.scope",
            f"cri-containerd-{HEX}.scope",
            HEX,
        ),
        (f"/kubepods.slice/crio-{HEX}.scope", f"crio-{HEX}.scope", HEX),
        (
            f"/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{HEX}",
            "containerd.service",
            HEX,
        ),
        ("/lxc.payload.web-1/system.slice/app.service", "app.service", "web-1"),
        ("/lxc/web-1/init.scope", "init.scope", "web-1"),
        ("/lxc.monitor.web-1", None, None),
        (f"/docker/{HEX[:-1]}", None, None),
        (f"/docker/{HEX}0", None, None),
        (f"/docker/{HEX}/docker/{HEX[::-1]}", None, HEX[::-1]),
    ],
)
def test_unit_and_container_are_the_innermost(
    cgroup: str | None, unit: str | None, container: str | None
) -> None:
    assert processes.unit_of(cgroup) == unit
    assert processes.container_of(cgroup) == container


@pytest.mark.parametrize(
    ("contents", "cgroup"),
    [
        (b"", None),
        (b"0::/system.slice/a.service\n", "/system.slice/a.service"),
        (b"0::/a:b\n", "/a:b"),
        (b"12:cpu,cpuacct:/cpu\n1:name=systemd:/sys\n0::/\n", "/sys"),
        (b"12:cpu,cpuacct:/cpu\n1:name=systemd:/sys\n0::/two\n", "/two"),
        (b"12:cpu,cpuacct:/docker/x\n3:memory:/other\n", "/docker/x"),
        (b"12:cpu,cpuacct:/docker/x\n1:name=systemd:/\n0::/\n", "/docker/x"),
        (b"1:name=systemd:/\n0::/\n", "/"),
        (b"3:memory:/other\n", None),
        (b"0::/a\x85b\xff\n", r"/a\x85b\xff"),
        ("0::/a\u2028b\n".encode(), "/a\u2028b"),
    ],
)
def test_cgroup_is_version_2s_unless_version_1_says_more(contents: bytes, cgroup: str | None) -> None:
    assert processes.cgroup_of(contents) == cgroup


# Sets the end of its own command line to its beginning (PR_SET_MM_MAP of prctl(2)); the fields are
# those of struct prctl_mm_map, found in /proc/self/stat by their numbers there.
CLEARED = """
import ctypes, pathlib, struct, time
stat = pathlib.Path('/proc/self/stat').read_text().rpartition(')')[2].split()
libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
fields = [int(stat[n - 3]) for n in (26, 27, 45, 46, 47, 28, 48, 48, 50, 51)]
fields.insert(5, libc.sbrk(0))
layout = struct.pack('=11QQIi', *fields, 0, 0, -1)
assert libc.prctl(35, 14, layout, len(layout), 0) == 0
print('ready', flush=True)
time.sleep(60)
"""

NAMES = [
    "plain",
    "/usr/sbin/daemon",
    "/usr/x y/z",
    "/ends/with/",
    "relative/path",
    "./here/x",
    "sshd: /usr/sbin",
    "with blanks  and more than nineteen characters",
    "/" + "a" * 600,
    "/" + "d/" * 250 + "tail/of/it",
    "/" + "d" * 509 + "/end",
    "/" + "d" * 510 + "/end",
    "/" + "d" * 511 + "/end",
    "new\nline",
    "/x/new\nline",
    "",
    "-sh",
    "é/è",
]


@pytest.mark.parametrize("name", NAMES)
def test_program_is_what_netstat_prints(name: str, netns: Namespace) -> None:
    with netns.entered():
        listener = socket.create_server(("10.0.0.5", 7071))
    with running([name, "60"], pass_fds=[listener.fileno()], namespace=netns) as pid:
        listener.close()
        process = read(pid)
        assert process.argv == (name, "60")
        text = f"{pid}/{program(process)}".encode()
        shown = subprocess.run(netns.command("netstat", "-ntlp"), capture_output=True, check=True).stdout
    row = shown[shown.index(b"10.0.0.5:7071") :]
    # The name is cut after 19 bytes, in the middle of a character if need be, and padded to 20.
    assert row[row.index(b"LISTEN") :] == b"LISTEN      " + text[:19].ljust(20) + b"\n"


def test_program_of_a_cleared_command_line_is_the_kernels_name_and_netstats_is_nothing(
    netns: Namespace,
) -> None:
    with netns.entered():
        listener = socket.create_server(("10.0.0.5", 7071))
    process = netns.popen(sys.executable, "-c", CLEARED, pass_fds=[listener.fileno()], stdout=subprocess.PIPE)
    listener.close()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        found = read(process.pid)
        assert found.argv == ()
        assert program(found) == found.comm
        shown = netns.run("netstat", "-ntlp").stdout
        assert re.search(rf"LISTEN      {process.pid}/ +$", shown, re.MULTILINE)
    finally:
        process.kill()
        process.communicate()
