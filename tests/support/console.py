"""Commands shown in Markdown with their output: run again, to be compared or stored anew.

A block begins with ```` ```console ````; in it, `$ ` goes before a command and its output follows, up to
the next command. Commands run in the folder of the file. `python -m tests.support.console FILE ...`
stores what they print now.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.command import CLEAN, SOCKREC

_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def fresh(page: Path) -> str:
    """Return the page with what its commands print now; blanks at the ends of lines are left out.

    Raises `AssertionError` if a command fails or is not sockrec.
    """
    return _BLOCK.sub(lambda block: f"```console\n{_run(block[1], page.parent)}```", page.read_text())


def _run(block: str, folder: Path) -> str:
    commands = [line for line in block.splitlines() if line.startswith("$ ")]
    return "\n".join(f"{command}\n{_output(command, folder)}" for command in commands)


def _output(command: str, folder: Path) -> str:
    program, *words = shlex.split(command.removeprefix("$ "))
    assert program == "sockrec", f"{command}: only sockrec is run"
    done = subprocess.run(
        [SOCKREC, *words], cwd=folder, env=CLEAN, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{command}: {done.stderr}"
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(fresh(Path(name)))
