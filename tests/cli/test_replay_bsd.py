"""`sockrec replay --style bsd` on a capture, as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import sockrec

CAPTURE = Path(__file__).parents[2] / "sample_captures" / "port-7071" / "capture"
HEADER = "Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)\n"


def test_the_table_of_a_moment() -> None:
    done = sockrec("replay", "-C", CAPTURE, "--style", "bsd", "--at", "start+29s", "-an", "-f", "inet")
    assert (done.returncode, done.stderr) == (0, "")
    title, header, *rows = done.stdout.splitlines(keepends=True)
    assert (title, header) == ("Active Internet connections (including servers)\n", HEADER)
    assert "tcp        0      0  10.0.0.5.7071          *.*                    LISTEN\n" in rows
    connections = sockrec("replay", "-C", CAPTURE, "--style", "bsd", "--at", "start+29s", "-n", "-f", "inet")
    assert connections.stdout.splitlines(keepends=True)[2:] == rows, "nothing here is on the any-address"


@pytest.mark.parametrize("words", [["-r"], ["-f", "ipx"], ["-c"]])
def test_what_it_does_not_know_is_said_in_one_line(words: list[str]) -> None:
    done = sockrec("replay", "-C", CAPTURE, "--style", "bsd", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
