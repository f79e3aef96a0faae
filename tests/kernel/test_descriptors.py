"""Descriptor tables against a look at each number: full ones, ones with gaps, and ones that move."""

from __future__ import annotations

import errno
import os
import random
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sockrec.kernel.descriptors import OpenFiles

FIRST, TOP = 100, 2500


@pytest.fixture(autouse=True)
def _room() -> Iterator[None]:
    """Allow this process as many descriptors as the tables here have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def contents(pid: int) -> dict[int, int]:
    with OpenFiles(pid) as files:
        return files.contents()


def one_by_one(pid: int) -> dict[int, int]:
    """Return {descriptor: inode of its socket, 0 if it is none}, for every number that there may be."""
    found = {}
    for number in range(4096):
        try:
            link = str(Path(f"/proc/{pid}/fd/{number}").readlink())
        except FileNotFoundError:
            continue
        found[number] = int(link[8:-1]) if link.startswith("socket:[") else 0
    return found


@contextmanager
def descriptors(rng: random.Random, gaps: float, longest: int) -> Iterator[None]:
    """Have sockets and files from FIRST to TOP; `gaps` is how often, `longest` how many numbers at most."""
    with ExitStack() as stack, closing(socket.socket()) as sock, Path(os.devnull).open() as file:
        number = FIRST
        while number < TOP:
            if rng.random() < gaps:
                number += rng.randrange(1, longest + 1)
            os.dup2(file.fileno() if rng.random() < 0.3 else sock.fileno(), number)
            stack.callback(os.close, number)
            number += 1
        yield


@contextmanager
def child() -> Iterator[int]:
    """Have a process with the same descriptors."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.read(reading, 1)
        os._exit(0)
    try:
        yield pid
    finally:
        os.write(writing, b"x")
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("longest", [2, 9, 60])
@pytest.mark.parametrize("gaps", [0.0, 0.02, 0.5])
def test_every_descriptor_is_found_whatever_gaps_there_are(gaps: float, longest: int) -> None:
    """In another process and in this one, whose look at itself takes descriptors too."""
    with descriptors(random.Random(f"{gaps} {longest}"), gaps, longest), child() as other:
        assert len(one_by_one(other)) > 64
        assert contents(other) == one_by_one(other)
        assert contents(os.getpid()) == one_by_one(os.getpid())


def test_a_full_table_is_read_without_listing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its end is listed, from the highest number on that was read."""
    listed: list[int] = []
    listdir = os.listdir

    def listing(folder: Any) -> list[str]:
        names = listdir(folder)
        listed.extend(map(int, names))
        return names

    with descriptors(random.Random(1), 0, 1), child() as other:
        with ExitStack() as stack:  # the numbers below FIRST are not all taken
            while (number := os.dup(0)) < FIRST:
                stack.callback(os.close, number)
            os.close(number)
            with child() as full:
                monkeypatch.setattr(os, "listdir", listing)
                found = contents(full)
                assert (len(listed), max(found)) == (1, listed[0])
                assert found == one_by_one(full)
        listed.clear()
        assert contents(other) == one_by_one(other)
        assert len(listed) > TOP - FIRST


def test_what_is_above_is_found_when_the_last_one_read_has_closed_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The listing can't go on from there, and is begun again."""
    readlink = os.readlink
    with ExitStack() as stack:
        numbers = [os.dup(0) for _ in range(200)]
        closing_now = [numbers[-1]]
        last, above = numbers[-1], numbers[-1] + 50
        with closing(socket.socket()) as sock:
            os.dup2(sock.fileno(), above)
            inode = os.fstat(above).st_ino
        for number in [*numbers[:-1], above]:
            stack.callback(os.close, number)

        def reading(name: str, *, dir_fd: int) -> str:
            if name == str(last + 1) and closing_now:
                os.close(closing_now.pop())
            return readlink(name, dir_fd=dir_fd)

        with monkeypatch.context() as patch:
            patch.setattr(os, "readlink", reading)
            found = contents(os.getpid())
    assert not closing_now
    assert found[above] == inode
    assert set(numbers) <= set(found)


def test_a_process_that_goes_while_a_link_is_read_is_gone_and_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel refuses the link then: between finding the link and reading it, the process went."""
    process = subprocess.Popen(["sleep", "60"])

    def refused(*_: object, **__: object) -> str:
        process.kill()
        process.wait()
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with OpenFiles(process.pid) as files:
        assert set(files.contents()) >= {0, 1, 2}
        monkeypatch.setattr(os, "readlink", refused)
        with pytest.raises((FileNotFoundError, ProcessLookupError)):
            files.contents()


def test_one_that_is_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "readlink", refused)
    with OpenFiles(os.getpid()) as files, pytest.raises(PermissionError):
        files.contents()
