"""The disk fills up, the umask is wide open, a write is interrupted."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from sockrec.errors import CaptureError
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


def test_a_full_disk_costs_no_earlier_sample(small_disk: Path) -> None:
    """The append that does not fit raises, leaves whole frames only, and works again when there is room."""
    with open_journal(small_disk) as journal:
        rows = batch("sockets.begun", [socket(n, local_address=os.urandom(8).hex()) for n in range(200)])
        journal.append({"samples": batch("samples", [sample(0)])})
        filler = fill(small_disk)
        with pytest.raises(CaptureError, match="No space left on device; free some space") as caught:
            _write_until_refused(lambda: journal.append({"sockets.begun": rows}))
        done = journal.rows("sockets.begun")
        assert done % 200 == 0
        assert "\n" not in str(caught.value)
        assert journal.path.stat().st_size == journal.size
        got = read_journal(journal.path)
        assert (got.torn, got.damages, got.tables["sockets.begun"].num_rows) == (False, (), done)
        filler.unlink()
        journal.append({"sockets.begun": rows, "samples": batch("samples", [sample(1)])})
        journal.end("stopped")
    got = read_journal(journal.path)
    assert (got.damages, got.ended_as, got.tables["samples"].num_rows) == ((), "stopped", 2)
    assert got.rows["sockets"].tolist() == list(range(done + 200))


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


def test_a_failed_sync_takes_its_sample_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample whose sync fails is not in the file: appending it again does not double it."""
    with open_journal(tmp_path, sync_seconds=0) as journal:
        journal.append({"samples": batch("samples", [sample(0)])})

        def refuse(fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", refuse)
            with pytest.raises(CaptureError, match="Input/output error"):
                journal.append({"samples": batch("samples", [sample(1)])})
        journal.append({"samples": batch("samples", [sample(1)])})
    got = read_journal(journal.path)
    assert got.tables["samples"]["number"].to_pylist() == [0, 1]
    assert got.damages == ()


def test_a_write_torn_by_a_signal_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that raises between two partial writes leaves a journal that takes the next sample."""

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
            journal.append({"samples": batch("samples", [sample(0)])})
    finally:
        signal.signal(signal.SIGUSR1, before)
    got = read_journal(journal.path)
    assert (got.tables["samples"].num_rows, got.damages, got.torn) == (1, (), False)


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
