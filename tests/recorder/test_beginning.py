"""A recording that can't begin leaves nothing behind that looks like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockrec.errors import CaptureError
from sockrec.recorder import recorder as recorder_module
from sockrec.recorder.options import Options
from sockrec.recorder.recorder import Recorder


def test_without_a_journal_there_is_no_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes the description, and then not the journal."""
    described: list[Path] = []

    def refuse(*_: object, **__: object) -> None:
        described.extend(tmp_path.glob("recordings/*/*.json"))
        raise CaptureError("cannot write the journal: No space left on device")

    monkeypatch.setattr(recorder_module, "Writer", refuse)
    recorder = Recorder(tmp_path, Options(events=False, for_us=100_000), "20261120T103200-aaaa")
    with pytest.raises(CaptureError, match="No space left"):
        recorder.run()
    assert len(described) == 1
    assert list(tmp_path.glob("recordings/*/*.json")) == []
