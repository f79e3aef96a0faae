"""Names of hosts, recordings and folders; which capture is meant when none is named."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockrec.errors import CaptureError
from sockrec.store import locate
from sockrec.store.layout import (
    Layout,
    date_folder,
    date_of,
    host_folder,
    host_of,
    new_recording,
    split_stem,
    stem,
)
from sockrec.store.recordings import write_recording
from tests.store.rows import START


@given(host=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_host_name_is_one_safe_folder(host: str) -> None:
    """No separator, nothing hidden, of bounded length, and back again where it was not cut."""
    folder = host_folder(host)
    assert folder.startswith("host=")
    assert "/" not in folder
    assert "\0" not in folder
    assert folder.isascii()
    assert not folder.removeprefix("host=").startswith(".")
    assert len(folder) <= 135
    shown = host_of(folder)
    assert shown is not None
    if len(folder) <= 128 and "~" not in folder:
        assert shown == (host or ".")


def test_host_folders() -> None:
    assert host_folder("web-1.example.com") == "host=web-1.example.com"
    assert host_folder("..") == "host=%2E."
    assert host_folder("a/b") == "host=a%2Fb"
    assert host_folder("\udcff") == "host=%5Cudcff"
    assert host_of("date=2026-11-20") is None
    long = {host_folder("é" * 200 + end) for end in "ab"}
    assert len(long) == 2
    assert all("�" not in (host_of(folder) or "") for folder in long)


def test_recordings_sort_by_time() -> None:
    """Ids begin with the start in UTC, and differ within a second."""
    ids = [new_recording(START + second * 1_000_000) for second in range(0, 100_000, 777)]
    assert ids == sorted(ids)
    assert ids[0].startswith("20261120T103200-")
    assert len({new_recording(START) for _ in range(20)}) > 1
    assert split_stem(stem(ids[0], 12)) == (ids[0], 12)
    assert stem(ids[0], 12) == f"{ids[0]}-000012"
    for foreign in ("part-0", f"{ids[0]}", f"{ids[0]}-12", f"../{ids[0]}-000012"):
        assert split_stem(foreign) is None


def test_dates_are_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """The day of a time does not depend on the machine's zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Pacific/Kiritimati")
        time.tzset()
        try:
            days = [date_folder(START + hours * 3600 * 1_000_000) for hours in (0, 13, 14)]
        finally:
            patch.undo()
            time.tzset()
    assert days == ["date=2026-11-20", "date=2026-11-20", "date=2026-11-21"]
    assert date_of("date=2026-11-20") == "2026-11-20"
    assert date_of("2026-11-20") is None


def make(capture: Path, recording: str, mtime: int) -> None:
    path = Layout(capture).recording("h", recording)
    write_recording(path, {})
    os.utime(path, (mtime, mtime))


def test_the_newest_capture_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named first, then the environment's, then the one whose recording began last, copied when it may."""
    monkeypatch.delenv("SOCKREC_CAPTURE", raising=False)
    monkeypatch.setattr(locate, "default_folder", lambda: tmp_path / "sockrec")
    with pytest.raises(CaptureError, match="sockrec record") as caught:
        locate.locate()
    assert "\n" not in str(caught.value)
    make(tmp_path / "sockrec" / "a", "20261120T103200-3f9a", mtime=1)
    make(tmp_path / "sockrec" / "b", "20261119T103200-3f9a", mtime=10**9)
    (tmp_path / "sockrec" / "c").mkdir()
    (tmp_path / "sockrec" / "note").write_text("x")
    assert locate.locate() == tmp_path / "sockrec" / "a"
    assert locate.locate_for_recording("r") == tmp_path / "sockrec" / "r"
    monkeypatch.setenv("SOCKREC_CAPTURE", str(tmp_path / "e"))
    assert locate.locate() == locate.locate_for_recording("r") == tmp_path / "e"
    assert locate.locate(tmp_path / "x") == locate.locate_for_recording("r", tmp_path / "x") == tmp_path / "x"


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/var/lib for root; for others the XDG data folder, unless that is relative."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert locate.default_folder() == Path("/var/lib/sockrec")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert locate.default_folder() == tmp_path / "sockrec"
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", ignored)
        monkeypatch.setenv("HOME", "/home/ada")
        assert locate.default_folder() == Path("/home/ada/.local/share/sockrec")
