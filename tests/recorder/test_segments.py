"""A recording over many segments answers as one: edges are seams that no answer shows."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

import sockrec
from sockrec.recorder import writer
from sockrec.recorder.options import LEAST_INTERVAL_US, Options, Status
from sockrec.recorder.recorder import Recorder
from sockrec.store import layout
from tests.support.netns import Namespace


def test_a_segment_for_each_sample_is_no_change_to_any_answer(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PART_BYTES", 1)
    monkeypatch.setattr(writer, "PART_TIMES", 0)
    options = Options(interval_us=LEAST_INTERVAL_US)
    made: list[Recorder] = []
    opened: list[socket.socket] = []
    expected: list[set[int]] = []

    def on_sample(status: Status) -> None:
        # Between two samples one more listener opens and, from the fourth on, the oldest closes.
        expected.append({one.getsockname()[1] for one in opened})
        if status.samples == 12:
            made[0].stop.set()
            return
        opened.append(socket.create_server(("10.0.0.5", 7000 + status.samples)))
        if len(opened) > 3:
            opened.pop(0).close()

    def run() -> None:
        with netns.entered():
            made.append(Recorder(tmp_path / "cap", options, layout.new_recording(1_800_000_000_000_000)))
            made[0].run(on_sample)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    for one in opened:
        one.close()
    with sockrec.open(tmp_path / "cap") as capture:
        files = len(list(capture.path.glob("sockets/*/*/*.parquet")))
        assert files >= 10, "the recording was cut"
        assert not capture.damages
        periods = capture.listeners().fetchall()
        assert len(periods) == 11, "one period each, however many segments it went through"
        moments = capture.samples().project("began_at, ended_at").fetchall()
        for (began, ended), ports in zip(moments, expected, strict=True):
            found = capture.at(ended).project("local_port").fetchall()
            assert sorted(port for (port,) in found) == sorted(ports), (began, ended)
        closed = capture.sql("SELECT count(*) FROM listeners WHERE ended_as = 'closed'").fetchall()
        assert closed == [(8,)]
        counted = capture.sql(
            "SELECT count(DISTINCT socket_id), count(*) FILTER (begun_as IN ('found', 'opened')) FROM sockets"
        ).fetchall()
        assert counted == [(11, 11)], "carried rows begin nothing"


def test_what_is_alive_does_not_fill_parts_by_itself(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that begins larger than parts are meant to be goes on: else nothing but that would be done."""
    monkeypatch.setattr(writer, "PART_BYTES", 20_000)
    made: list[Recorder] = []
    sizes: list[int] = []

    def on_sample(status: Status) -> None:
        sizes.append(status.bytes)
        if status.samples == 12:
            made[0].stop.set()

    def run() -> None:
        with netns.entered():
            options = Options(interval_us=LEAST_INTERVAL_US)
            made.append(Recorder(tmp_path / "cap", options, layout.new_recording(1_800_000_000_000_000)))
            made[0].run(on_sample)

    with netns.entered():
        opened = [socket.create_server(("10.0.0.5", 7000 + number)) for number in range(700)]
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    for one in opened:
        one.close()
    files = list((tmp_path / "cap").glob("sockets/*/*/*.parquet"))
    assert sizes[0] > writer.PART_BYTES
    assert len(files) == 1
