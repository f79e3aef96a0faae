"""What rtnetlink refuses or garbles costs interfaces, not the recording."""

from __future__ import annotations

import pytest

from sockrec.errors import KernelError
from sockrec.kernel.links import LinkReader
from sockrec.kernel.network import NetworkReader
from sockrec.kernel.network_changes import NetworkChangesSource


def _fail(_: object) -> None:
    raise KernelError("rtnetlink answers in an unknown form")


def test_an_answer_of_an_unknown_form_is_told_and_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LinkReader, "read_links", _fail)
    reader = NetworkReader()
    reading = reader.read()
    assert (reading.interfaces, reading.link_counters) == (None, None)
    assert reading.addresses
    assert reading.counters is not None
    assert "rtnetlink answers in an unknown form" in reader.unavailable
    reader.close()


def test_announcements_that_break_off_are_told_and_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = NetworkReader()
    monkeypatch.setattr(NetworkChangesSource, "drain", _fail)
    assert reader.read_announced() is None
    assert not reader.announces
    assert "rtnetlink answers in an unknown form" in reader.unavailable
    monkeypatch.undo()
    assert reader.read_announced() is None
    assert reader.read().interfaces
    reader.close()
