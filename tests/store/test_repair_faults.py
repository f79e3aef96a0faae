"""A repair that is interrupted, or meets a capture made to attack."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sockrec.store.layout import Layout
from sockrec.store.repair import repair
from sockrec.store.salvage import salvage
from sockrec.store.verify import verify
from tests.store.rows import HOST, RECORDING, small_part
from tests.store.test_check_block import segment
from tests.store.test_repair import capture, change, mend, place, rows


class Crash(BaseException):
    """Stands for kill -9."""


def _harmed(root: Path) -> Layout:
    paths = capture(root)
    one, two = place(paths, "samples", 0), place(paths, "samples", 1)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    change(place(paths, "sockets", 1))
    place(paths, "sockets", 2).unlink()
    change(paths.recording(HOST, RECORDING), 40)
    journal = small_part(root, 4, part=3, ended_as=None)
    change(journal, journal.stat().st_size * 3 // 4)
    return paths


@pytest.mark.parametrize("call", ["replace", "link", "unlink", "write"])
@pytest.mark.parametrize("before", [True, False])
def test_a_repair_may_be_interrupted_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, before: bool
) -> None:
    """What a repair that was not interrupted keeps is there after the next one."""
    _harmed(tmp_path / "whole")
    mend(tmp_path / "whole")
    wanted = rows(tmp_path / "whole")
    assert wanted["samples"]
    for step in (0, 1, 2, 3, 4, 6, 9, 13, 19, 28, 40):
        root = tmp_path / str(step)
        _harmed(root)
        left = [step]

        def crashing(real: Callable[..., Any], left: list[int] = left) -> Callable[..., Any]:
            def one(*args: Any, **kwargs: Any) -> Any:
                if before and not left[0]:
                    raise Crash
                result = real(*args, **kwargs)
                left[0] -= 1
                if not before and left[0] == -1:
                    raise Crash
                return result

            return one

        verified = verify(root)
        with monkeypatch.context() as patch:
            if call == "unlink":
                patch.setattr(Path, "unlink", crashing(Path.unlink))
            elif call == "write":
                patch.setattr(pq.ParquetWriter, "write_table", crashing(pq.ParquetWriter.write_table))
            else:
                patch.setattr(os, call, crashing(getattr(os, call)))
            try:
                repair(root, verified)
            except Crash:
                pass
            else:
                assert left[0] >= 0
                assert step
                return
        mend(root)
        assert rows(root) == wanted, (call, step)
    raise AssertionError("never ran through")


def test_a_file_of_a_hostile_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = segment(tmp_path)
    with path.open("r+b") as file:
        file.truncate(3 << 30)
    found = verify(tmp_path)
    assert not found.is_whole
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read whole"))
    assert salvage(path).rows is None


def test_a_repair_touches_nothing_outside(tmp_path: Path) -> None:
    """A capture made to attack has links where folders of its should be."""
    root, outside = tmp_path / "capture", tmp_path / "outside"
    paths = capture(root)
    change(place(paths, "samples", 0))
    shutil.move(root / "sockets", outside)
    change(next(outside.rglob("*.parquet")))
    (root / "sockets").symlink_to(outside)
    (root / "recordings" / "host=x").symlink_to(tmp_path)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    repaired = repair(root, verify(root))
    assert not repaired.after.is_whole
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["capture", "outside"]
