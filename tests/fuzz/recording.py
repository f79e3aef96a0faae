"""The JSON of a recording, and the names in it. Input: a file's bytes."""

from __future__ import annotations

import json

from sockrec.errors import CaptureError
from sockrec.render.formats import json_value
from sockrec.render.names import Names, printable
from sockrec.store.damage import Damage
from sockrec.store.recordings import read_recording
from tests.fuzz import scratch


def seeds() -> list[bytes]:
    """Return a recording's facts with names, and numbers that are none."""
    names = {
        "users": {"0": "root"},
        "services": {"tcp": {"80": "http"}},
        "protocols": {"1": "icmp"},
        "hosts": {"127.0.0.1": "localhost"},
    }
    facts = {"format_version": 2, "recording": "x", "host": "web-1", "started_us": 1, "names": names}
    return [json.dumps(facts).encode(), b'{"format_version": 1, "started_us": NaN, "host": "\\ud800"}']


def check(data: bytes) -> None:
    """Read it; only `CaptureError` may be raised."""
    path = scratch.folder() / "20261120T103200-3f9a.json"
    path.write_bytes(data)
    try:
        found = read_recording(path)
        if isinstance(found, Damage):
            return
        names = Names.from_json(found.get("names") or {})
    except CaptureError:
        return
    for name in (names.user(0), names.port(80, "tcp"), names.port(1, "raw"), names.host("127.0.0.1") or ""):
        assert printable(name) == name
    assert json.loads(json_value(found)) is not None
