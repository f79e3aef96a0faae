"""One recorder for each capture and host; readers see it and never stand in its way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sockrec.errors import CaptureError
from sockrec.store.layout import Layout
from sockrec.store.lock import Holder, RecorderLock, holder, is_held

_HOLD = """
import sys
from pathlib import Path
from sockrec.store.layout import Layout
from sockrec.store.lock import RecorderLock
with RecorderLock(Layout(Path(sys.argv[1])), "web-1") as lock:
    lock.announce("20261120T103200-3f9a")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_recorder_is_refused(tmp_path: Path) -> None:
    """The other process is named; another host is free; the lock ends with its process, however that ends."""
    layout = Layout(tmp_path)
    path = layout.lock("web-1")
    assert not is_held(path)
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        assert holder(path) == Holder(child.pid, "20261120T103200-3f9a")
        with pytest.raises(
            CaptureError, match=rf"process {child.pid} records web-1 into .* already"
        ) as caught:
            RecorderLock(layout, "web-1")
        assert "\n" not in str(caught.value)
        RecorderLock(layout, "db-1").close()
    finally:
        child.kill()
        child.communicate()
    assert not is_held(path)
    with RecorderLock(layout, "web-1"):
        assert holder(path) == Holder(os.getpid(), "")
    assert not is_held(path)


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with RecorderLock(Layout(tmp_path), "h"), pytest.raises(CaptureError, match=f"process {os.getpid()} "):
        RecorderLock(Layout(tmp_path), "h")
    RecorderLock(Layout(tmp_path), "h").close()


def test_readers_do_not_stand_in_the_way(tmp_path: Path) -> None:
    """While others ask without end, taking the lock never fails."""
    layout = Layout(tmp_path)
    RecorderLock(layout, "h").close()
    done = threading.Event()
    seen = set()

    def ask() -> None:
        while not done.is_set():
            seen.add(is_held(layout.lock("h")))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(3000):
            RecorderLock(layout, "h").close()
    finally:
        done.set()
        thread.join()
    # On a busy machine it may never look while the lock is held.
    assert False in seen


def test_readers_change_nothing(tmp_path: Path) -> None:
    """A lock file of a copy, read-only or foreign, is not held and stays as it is."""
    path = tmp_path / "lock"
    for content in (b"", b"4121 20261120T103200-3f9a\n", b"\xff" * 1000):
        path.write_bytes(content)
        path.chmod(0o400)
        assert holder(path) is None
        assert path.read_bytes() == content
        path.chmod(0o600)
    path.unlink()
    assert not is_held(path)
    assert not path.exists()
    path.symlink_to("/etc/passwd")
    assert not is_held(path)


def test_a_capture_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("in the way")
    with pytest.raises(CaptureError, match=r"cannot write .*journal"):
        RecorderLock(Layout(tmp_path), "h")
