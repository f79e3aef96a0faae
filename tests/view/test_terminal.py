"""The installed command in a real terminal: tmux's, which says what stands on it and how it was left."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import pytest

from tests.events.listeners import VICTIM, Program
from tests.support.command import CLEAN, SOCKREC, answer, sockrec
from tests.support.netns import Namespace
from tests.view.driving import SAMPLES

CAPTURE = SAMPLES / "port-7071" / "capture"
PATIENCE_S = 30


class Terminal:
    """A shell in a terminal of a tmux server of its own; use it in a `with` statement."""

    def __init__(self, width: int = 100, height: int = 30) -> None:
        self._socket = f"sockrec-{uuid.uuid4().hex[:10]}"
        size = ("-x", str(width), "-y", str(height))
        self._tmux("-f", os.devnull, "new-session", "-d", *size, "env", "PS1=ready> ", "LANG=C.UTF-8", "sh")
        self.wait_for("ready>")

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-u", "-L", self._socket, *words]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=CLEAN, timeout=20
        ).stdout

    def run(self, *words: str | Path) -> None:
        """Type a command line into the shell."""
        self.write(shlex.join(map(str, words)))
        self.keys("Enter")

    def write(self, text: str) -> None:
        """Type a text."""
        self._tmux("send-keys", "-l", text)

    def keys(self, *names: str) -> None:
        """Press keys, by tmux's names."""
        self._tmux("send-keys", *names)

    def screen(self) -> str:
        """Return what stands on the terminal."""
        return self._tmux("capture-pane", "-p")

    def told(self, form: str) -> str:
        """Return what tmux knows of the terminal."""
        return self._tmux("display-message", "-p", form).strip()

    def resize(self, width: int, height: int) -> None:
        """Make it another size."""
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def wait_for(self, text: str) -> str:
        """Wait until a text stands on it; return the whole screen."""
        until = time.monotonic() + PATIENCE_S
        while text not in (screen := self.screen()):
            assert time.monotonic() < until, f"{text!r} never came:\n{screen}"
            time.sleep(0.05)
        return screen

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tmux("kill-server")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """Give a terminal with a shell."""
    with Terminal() as one:
        yield one


def test_keys_a_resize_and_a_clean_end(terminal: Terminal) -> None:
    terminal.run("echo", "before")
    terminal.run(SOCKREC, "view", "-C", CAPTURE, "--at", "start+28s")
    screen = terminal.wait_for("30351/myapp")
    assert "sample 29 of 79" in screen
    terminal.keys("Right")
    terminal.wait_for("sample 30 of 79")
    terminal.keys("Down", "n")
    terminal.wait_for("stopped listening tcp 10.0.0.5:7071 myapp[30351] was killed by SIGSEGV")
    terminal.resize(70, 20)
    terminal.wait_for("Foreign Addre State")
    terminal.wait_for("sample 33 of 79")
    assert max(map(len, terminal.screen().splitlines())) <= 70
    terminal.resize(120, 30)
    terminal.keys("/")
    terminal.write("state=listen")
    terminal.keys("Enter")
    terminal.wait_for("1 of 13 sockets")
    terminal.keys("PgUp")
    terminal.wait_for("2 of 8 sockets")
    terminal.keys("f")
    terminal.wait_for("3 processes of client asked tcp 10.0.0.5:7071 294 times within 19.4 s")
    terminal.keys("q")
    terminal.wait_for("2 of 8 sockets")
    terminal.keys("q")
    screen = terminal.wait_for("ready>")
    assert "before" in screen, "what stood there before stands there again"
    assert "sockets" not in screen
    modes = "#{alternate_on}#{mouse_any_flag}#{keypad_flag}#{bracket_paste_flag}"
    assert terminal.told(modes).startswith("000")
    assert terminal.told("#{cursor_flag}") == "1"
    terminal.run("printf", "aft%s", "er")
    terminal.wait_for("after")


def test_the_terminal_is_believed_not_the_environment(terminal: Terminal) -> None:
    """What a shell exported, or `docker exec -e` set, stays as it was when the terminal is made smaller."""
    terminal.run("env", "LINES=24", "COLUMNS=80", SOCKREC, "view", "-C", CAPTURE)
    terminal.wait_for("Enter life   d diff")
    terminal.resize(70, 20)
    terminal.wait_for("Foreign Addre State")
    terminal.wait_for("sample 79 of 79")


def test_ctrl_c_ends_it_too(terminal: Terminal) -> None:
    terminal.run(SOCKREC, "view", "-C", CAPTURE)
    terminal.wait_for("sample 79 of 79")
    terminal.keys("C-c")
    terminal.wait_for("ready>")
    terminal.run("echo", "status", "$?")
    assert "Traceback" not in terminal.screen()


def test_live_records_and_follows_and_ends_the_recording(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "live"
    with Terminal() as terminal, ExitStack() as listening:
        # Its own network namespace, so that it sees the sockets of this test alone.
        terminal.run(*netns.command(SOCKREC, "view", "--live", "-C", capture, "--interval", "200ms"))
        terminal.wait_for("following")
        # Another process: what this one holds, the tmux that it starts does for a moment, too.
        server = listening.enter_context(Program(tmp_path, netns, "server", VICTIM, "7071", "close"))
        terminal.wait_for("10.0.0.5:7071")
        server.say()
        terminal.wait_for("tcp 10.0.0.5:7071 is not in this table")
        assert "following" in terminal.screen()
        # Going back stays there, while it goes on being recorded.
        terminal.keys("p", "p")
        terminal.wait_for("listening tcp 10.0.0.5:7071")
        terminal.keys("n")
        terminal.wait_for("stopped listening tcp 10.0.0.5:7071")
        assert "following" not in terminal.screen()
        terminal.keys("F")
        terminal.wait_for("following")
        terminal.keys("q")
        terminal.wait_for(f"recorded into {capture}"[:90])
    (recording,) = answer("sql", "-C", capture, "SELECT ended_as FROM recordings")
    assert recording["ended_as"] == "stopped"


def test_without_a_terminal_it_says_what_to_use() -> None:
    done = sockrec("view", "-C", CAPTURE)
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "sockrec: view needs a terminal: in a pipe use 'sockrec replay', 'events' or 'diagnose'\n",
    )


def test_without_textual_it_says_how_to_get_it(terminal: Terminal) -> None:
    """The interpreter is the one that is used; only this library is hidden from it."""
    hide = "import sys; sys.modules['textual'] = None; from sockrec.cli import main; main()"
    terminal.run(sys.executable, "-c", hide, "view", "-C", CAPTURE)
    terminal.wait_for("sockrec: view needs textual: pip install 'sockrec[view]'")


def test_what_cannot_be_opened_or_recorded_is_one_line(terminal: Terminal, tmp_path: Path) -> None:
    terminal.run(SOCKREC, "view", "-C", tmp_path / "none")
    terminal.wait_for("sockrec: there is no capture at")
    terminal.run("clear")
    terminal.run(SOCKREC, "view", "-C", CAPTURE, "--at", "noon")
    terminal.wait_for("'noon' is not a time")
    terminal.run("clear")
    terminal.run(SOCKREC, "view", "--live", "-C", tmp_path, "--interval", "1us")
    terminal.wait_for("sockrec: ")
    assert "Traceback" not in terminal.screen()
