"""The disk fills up, the umask is wide open, a write is interrupted."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from sockrec.errors import CaptureError
from sockrec.store import journal as journal_module
from sockrec.store.journal import JournalWriter, read_journal
from sockrec.store.layout import Layout
from sockrec.store.lock import RecorderLock
from sockrec.store.recordings import write_recording
from sockrec.store.segments import seal
from tests.store.rows import HEADER, HOST, RECORDING, batch, open_journal, sample, small_part, socket

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        _write_until_refused(lambda: file.write(bytes(4096)))
    return filler


def _write_until_refused(write: Callable[[], object]) -> None:
    for _ in range(10_000):
        write()


def test_a_full_disk_costs_no_sample(small_disk: Path) -> None:
    """What does not fit waits, the file has whole frames only meanwhile, and takes all when there is room."""
    with open_journal(small_disk) as journal:
        rows = batch("sockets.begun", [socket(n, local_address=os.urandom(8).hex()) for n in range(200)])
        journal.append({"samples": batch("samples", [sample(0)])})
        filler = fill(small_disk)
        taken = 1
        while not journal.unwritten:
            assert taken < 10_000
            journal.append({"sockets.begun": rows})
            taken += 1
        assert journal.failure is not None
        assert "No space left on device; free some space" in str(journal.failure)
        assert "\n" not in str(journal.failure)
        in_file = journal.size
        journal.append({"sockets.begun": rows})
        assert journal.path.stat().st_size == journal.size == in_file
        got = read_journal(journal.path)
        assert (got.torn, got.damages) == (False, ())
        assert got.tables["sockets.begun"].num_rows == 200 * (taken - 2)
        filler.unlink()
        assert not journal.flush(), "a disk that refused is left alone for a while"
        assert journal.flush(now=True)
        assert journal.unwritten == 0
        journal.append({"samples": batch("samples", [sample(1)])})
        journal.end("stopped")
    got = read_journal(journal.path)
    assert (got.damages, got.ended_as, got.tables["samples"].num_rows) == ((), "stopped", 2)
    assert got.rows["sockets"].tolist() == list(range(200 * taken))


def test_a_refusing_disk_is_asked_again_by_itself(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_RETRY_SECONDS", 0.1)
    with open_journal(small_disk) as journal:
        filler = fill(small_disk)
        rows = batch("sockets.begun", [socket(n, local_address=os.urandom(8).hex()) for n in range(200)])
        while not journal.unwritten:
            journal.append({"sockets.begun": rows})
        filler.unlink()
        time.sleep(0.1)
        journal.append({"samples": batch("samples", [sample(0)])})
        assert journal.unwritten == 0


def test_closing_says_what_the_disk_never_took(small_disk: Path) -> None:
    journal = open_journal(small_disk)
    fill(small_disk)
    rows = batch("sockets.begun", [socket(n, local_address=os.urandom(8).hex()) for n in range(200)])
    while not journal.unwritten:
        journal.append({"sockets.begun": rows})
    with pytest.raises(CaptureError, match="No space left on device"):
        journal.close()
    journal.close()


def test_a_full_disk_at_the_start_leaves_no_journal(small_disk: Path) -> None:
    (small_disk / "journal").mkdir()
    fill(small_disk)
    with pytest.raises(CaptureError, match="No space left"):
        JournalWriter(small_disk / "journal" / "x.journal", HEADER)
    assert list((small_disk / "journal").iterdir()) == []


def test_a_full_disk_while_sealing_keeps_the_journal(small_disk: Path) -> None:
    """Nothing half-written is left, the journal stays, and sealing works when there is room."""
    path = small_part(small_disk)
    filler = fill(small_disk)
    with pytest.raises(CaptureError, match="No space left"):
        seal(Layout(small_disk), HOST, path.stem)
    assert path.exists()
    assert list(small_disk.rglob("*.tmp")) == []
    filler.unlink()
    assert seal(Layout(small_disk), HOST, path.stem) > 0
    assert not path.exists()


def test_what_a_failed_sync_may_have_lost_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel drops what it could not write, and says so once: all since the last sync goes out again."""
    with open_journal(tmp_path, sync_seconds=0) as journal:
        journal.append({"samples": batch("samples", [sample(0)])})
        safe = journal.size

        def lose(fd: int) -> None:
            os.pwrite(fd, bytes(journal.size - safe), safe)
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", lose)
            journal.append({"samples": batch("samples", [sample(1)])})
            assert "Input/output error" in str(journal.failure)
            assert journal.unwritten == 0
            journal.append({"samples": batch("samples", [sample(2)])})
        assert journal.flush(now=True)
    got = read_journal(journal.path)
    assert got.tables["samples"]["number"].to_pylist() == [0, 1, 2]
    assert (got.damages, got.torn) == ((), False)


def test_frames_are_let_go_of_once_they_are_synced(tmp_path: Path) -> None:
    with open_journal(tmp_path, sync_seconds=1e9) as journal:
        for number in range(5):
            journal.append({"samples": batch("samples", [sample(number)])})
        assert len(journal._unsynced) == 5
        journal.flush(sync=True)
        assert len(journal._unsynced) == len(journal._waiting) == 0


def test_a_write_torn_by_a_signal_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that raises between two partial writes leaves one that takes it, and the next sample."""

    class InterruptedByHandlerError(Exception):
        pass

    def handler(number: int, frame: FrameType | None) -> None:
        raise InterruptedByHandlerError

    before = signal.signal(signal.SIGUSR1, handler)
    real = os.pwritev

    def half(fd: int, pieces: list[memoryview], offset: int) -> int:
        written = real(fd, [pieces[0][:10]], offset)
        signal.raise_signal(signal.SIGUSR1)
        return written

    try:
        with open_journal(tmp_path) as journal:
            with monkeypatch.context() as patch:
                patch.setattr(os, "pwritev", half)
                with pytest.raises(InterruptedByHandlerError):
                    journal.append({"samples": batch("samples", [sample(0)])})
            assert journal.unwritten
            journal.append({"samples": batch("samples", [sample(1)])})
    finally:
        signal.signal(signal.SIGUSR1, before)
    got = read_journal(journal.path)
    assert (got.tables["samples"]["number"].to_pylist(), got.damages, got.torn) == ([0, 1], (), False)


def test_partial_writes_are_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes a few bytes at a time still gets every one of them, in order."""
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, pieces, offset: real(fd, [pieces[0][:7]], offset))
    with open_journal(tmp_path) as journal:
        journal.append({"samples": batch("samples", [sample(0)])})
    assert read_journal(journal.path).tables["samples"].num_rows == 1


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Killed by SIGKILL while samples are appended: those appended before are all there, in order."""
    program = """
import sys
from pathlib import Path
from tests.store.rows import batch, open_journal, sample, socket
with open_journal(Path(sys.argv[1])) as journal:
    for number in range(1_000_000):
        rows = [socket(number * 50 + k) for k in range(50)] if number % 50 == 0 else []
        begun = batch("sockets.begun", rows)
        journal.append({"sockets.begun": begun, "samples": batch("samples", [sample(number)])})
        print(number, flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 120:
            break
    child.kill()
    rest = child.stdout.read().split()
    child.wait()
    acknowledged = int(rest[-1]) if rest and rest[-1].isdecimal() else 120
    (path,) = Layout(tmp_path).journals(HOST).iterdir()
    got = read_journal(path)
    numbers = got.tables["samples"]["number"].to_pylist()
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= acknowledged
    assert got.damages == ()


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    """Under umask 000, and under one that takes everything away, folders are 0700 and files 0600."""
    for umask in (0o000, 0o777):
        root = tmp_path / f"under-{umask:o}" / "capture"
        before = os.umask(umask)
        try:
            layout = Layout(root)
            with RecorderLock(layout, HOST):
                sealed = small_part(root, part=0)
                seal(layout, HOST, sealed.stem)
                small_part(root, part=1)
                write_recording(layout.recording(HOST, RECORDING), {"host": HOST})
        finally:
            os.umask(before)
        paths = [root.parent, root, *root.rglob("*")]
        assert len([path for path in paths if path.is_file()]) >= 5
        for path in paths:
            expected = 0o700 if path.is_dir() else 0o600
            assert path.stat().st_mode & 0o777 == expected, path


def test_what_was_written_is_synced_when_it_has_waited_long_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far apart samples are: the writer is asked in between."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with open_journal(tmp_path, sync_seconds=0.2) as journal:
        journal.append({"samples": batch("samples", [sample(0)])})
        synced.clear()
        journal.sync_if_due()
        assert synced == [], "not yet"
        time.sleep(0.2)
        journal.sync_if_due()
        assert len(synced) == 1
        time.sleep(0.2)
        journal.sync_if_due()
        assert len(synced) == 1, "nothing waits"
