"""The recorder's priorities as the kernel tells them to others, and memory it gives back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sockrec.kernel import priority

SOURCES = Path(__file__).parents[2] / "src"


def run_script(script: str, *prefix: str) -> list[str]:
    """Run a script in a process of its own, which lowers itself for good, and return what it prints."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


LOWER = """
import os, subprocess
from sockrec.kernel.priority import lower
print(lower())
print(os.getpriority(os.PRIO_PROCESS, 0), flush=True)
subprocess.run(['ionice', '-p', str(os.getpid())])
"""


@pytest.mark.parametrize(
    ("prefix", "nice", "io"),
    [
        ((), "10", "best-effort: prio 7"),
        (("ionice", "-c", "2", "-n", "0", "nice", "-n", "3"), "10", "best-effort: prio 7"),
        (("ionice", "-c", "3", "nice", "-n", "15"), "15", "idle"),
    ],
)
def test_it_lowers_and_never_raises(prefix: tuple[str, ...], nice: str, io: str) -> None:
    assert run_script(LOWER, *prefix) == ["[]", nice, io]


def test_only_the_calling_thread_and_those_it_starts_are_lowered() -> None:
    answer = run_script("""
import os, threading
from concurrent.futures import ThreadPoolExecutor
from sockrec.kernel.priority import lower
def nice():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
with ThreadPoolExecutor(1) as before, ThreadPoolExecutor(1) as after:
    print(before.submit(nice).result())
    lower()
    print(nice(), before.submit(nice).result(), after.submit(nice).result())
""")
    assert answer == ["0", "10 0 10"]


def test_what_is_not_known_of_a_machine_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    unlike = os.uname_result(("Linux", "host", "6.1", "#1", "sparc64"))
    monkeypatch.setattr(os, "uname", lambda: unlike)
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    assert priority.lower() == ["the I/O priority can't be lowered: not available on sparc64"]


def test_what_the_kernel_refuses_is_a_line_each() -> None:
    """A system call filter refuses both: seccomp(2), as a container's does."""
    answer = run_script("""
import ctypes, os, struct
from sockrec.kernel.priority import lower
code = [(0x20, 0, 0, 0)]                                     # load the number of the call
numbers = {'x86_64': (141, 251), 'aarch64': (140, 30)}[os.uname().machine]
for number in numbers:
    code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050001)]  # this one: EPERM
code += [(0x06, 0, 0, 0x7fff0000)]                           # all others: allowed
text = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *one) for one in code))
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(code), ctypes.addressof(text)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
print(*lower(), sep='\\n')
""")
    assert answer == [
        "the CPU priority can't be lowered: Operation not permitted",
        "the I/O priority can't be lowered: Operation not permitted",
    ]


def test_resident_memory_is_what_the_kernel_counts() -> None:
    before = priority.resident_bytes()
    block = bytearray(os.urandom(1 << 20) * 64)
    grown = priority.resident_bytes()
    assert 60 << 20 <= grown - before <= 70 << 20
    rollup = Path("/proc/self/smaps_rollup").read_text().split("Rss:")[1].split()[0]
    assert grown == pytest.approx(int(rollup) << 10, abs=8 << 20)
    del block
    assert priority.resident_bytes() <= before + (6 << 20)


def test_release_gives_back_what_the_c_library_holds() -> None:
    """Small blocks freed below one that stays are held by glibc until it is told."""
    answer = run_script("""
import ctypes
from sockrec.kernel.priority import release, resident_bytes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(60_000) for _ in range(2000)]
for block in blocks:
    ctypes.memset(block, 1, 60_000)
keep = libc.malloc(60_000)
for block in blocks:
    libc.free(block)
held = resident_bytes()
release()
print(held - resident_bytes() > 100_000_000)
class Ring: pass
import gc, weakref
gc.disable()
ring = Ring(); ring.itself = ring
gone = weakref.ref(ring)
del ring
release()
print(gone() is None)
""")
    assert answer == ["True", "True"]
