"""Paths of cgroups by the ids that sockets tell, on the kernel's own cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockrec.kernel import cgroups
from sockrec.kernel.cgroups import Cgroups


@pytest.fixture
def mount() -> Path:
    words = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next(Path(mounted) for _, mounted, kind, *_ in words if kind == "cgroup2")


@pytest.fixture
def folder(mount: Path) -> Iterator[Path]:
    """Give a cgroup with a blank and a byte that is no UTF-8 in its name."""
    made = mount / os.fsdecode(b"sr a\xffb %d" % os.getpid())
    made.mkdir()
    yield made
    if made.exists():
        made.rmdir()


def refuse(*_: object) -> str | None:
    raise PermissionError(1, "not allowed")


@pytest.mark.parametrize("may_open", [True, False])
def test_by_handle_and_by_listing(
    mount: Path, folder: Path, may_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the capability that opening takes the folders are listed, and found the same."""
    if not may_open:
        monkeypatch.setattr(cgroups, "_opened", refuse)
    known = Cgroups()
    assert known.path(folder.stat().st_ino) == f"/sr a\\xffb {os.getpid()}"
    assert known.path(mount.stat().st_ino) == "/"
    assert known.path(0) is None


def test_one_that_goes_keeps_its_path_if_it_was_known(folder: Path) -> None:
    known, strange = Cgroups(), Cgroups()
    cgroup = folder.stat().st_ino
    path = known.path(cgroup)
    folder.rmdir()
    assert known.path(cgroup) == path != strange.path(cgroup) == f"unreachable:{cgroup:x}"
    known.forget_all_but([cgroup])
    assert known.path(cgroup) == path
    known.forget_all_but([])
    assert known.path(cgroup) == f"unreachable:{cgroup:x}"


def test_folders_are_not_listed_for_each_socket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id met while listing rests is not known yet; it is later."""
    monkeypatch.setattr(cgroups, "_opened", refuse)
    known = Cgroups()
    assert known.path((1 << 60) + 1) == "unreachable:1000000000000001"
    made = folder / "later"
    made.mkdir()
    try:
        cgroup = made.stat().st_ino
        assert known.path(cgroup) is None
        monkeypatch.setattr(known, "_list_again", 0.0)
        assert known.path(cgroup) == f"/sr a\\xffb {os.getpid()}/later"
    finally:
        made.rmdir()


def test_where_there_are_no_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_mount", lambda: None)
    assert Cgroups().path(1) is None
