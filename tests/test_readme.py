"""What the README shows is what the commands print."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import console

ROOT = Path(__file__).parent.parent


def test_the_output_shown_is_real() -> None:
    page = ROOT / "README.md"
    assert "$ sockrec when" in page.read_text()
    assert page.read_text() == console.fresh(page), "stale: run `python -m tests.support.console` on it"


def test_both_promised_commands_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    promised = re.findall(r"^    make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {"demo", "test"} <= set(promised)
    for target in promised:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
