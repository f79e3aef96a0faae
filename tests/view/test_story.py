"""An incident told by the view alone, by keys: which service died when and why, and what clients saw."""

from __future__ import annotations

import json
import re
from datetime import datetime

from tests.view.driving import SAMPLES, Screen, drive

FOLDER = SAMPLES / "port-7071"
TRUTH = json.loads((FOLDER / "truth.json").read_text())


def test_port_7071_from_the_view_alone() -> None:
    stopped = next(one for one in TRUTH["moments"] if one["what"] == "port 7071 stopped listening")

    async def script(screen: Screen) -> None:
        # Opened at its end, with no idea of what to look for: the findings are announced, and say it.
        await screen.diagnosed()
        assert "f: 1 critical, 1 warning" in screen.lines()[1]
        await screen.press("f")
        text = screen.text()
        assert "3 processes of client asked tcp 10.0.0.5:7071 294 times within 19.4 s" in text
        assert "myapp[30351] was killed by SIGSEGV, sent by python3[30349]" in text
        assert "Then myapp[30374] did." in text
        found = re.search(r"at (06:02:25\.\d{6}) UTC on 2026-11-21", text)
        assert found is not None
        told = datetime.fromisoformat(f"2026-11-21T{found[1]}+00:00")
        assert (
            datetime.fromisoformat(stopped["not_before"])
            <= told
            <= datetime.fromisoformat(stopped["not_after"])
        )
        # The moment itself: who listened is gone, and what its clients got.
        await screen.press("down", "enter")
        text = screen.text()
        assert "stopped listening tcp 10.0.0.5:7071" in text
        assert "3 reset by the peer" in text
        assert "10.0.0.5:7071 0.0.0.0:* LISTEN" not in text
        # While it was down every attempt was refused; that is in no sample.
        await screen.press("right", "right")
        assert re.search(r"closed \(15 refused\)", screen.text())
        # What else changed: nothing but the service and its connections; metricsd runs through it all.
        await screen.press("end", "d")
        text = screen.text()
        assert "restarted: pid 30351 -> 30374" in text
        assert "metricsd" not in text
        assert "7071" in text
        await screen.press("escape")
        assert "30350/metricsd" in screen.text()

    drive(FOLDER / "capture", script, at=None, size=(110, 34))
