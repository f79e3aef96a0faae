"""Commands shown in Markdown with their output: run again, to be compared or stored anew.

A block begins with ```` ```console ````; in it, `$ ` goes before a command and its output follows, up to
the next command. A quote that is open goes on in the next lines, `| head -5` shows the first lines alone,
and a command that finds nothing shows what it says then. Commands run in the folder of the file; those of
`docs/`, and below it, in the one above that, where a reader of the repository stands. `python -m
tests.support.console FILE ...` stores what they print now.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support import warm
from tests.support.command import CLEAN

_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_NOTHING_FOUND = 1


def fresh(page: Path) -> str:
    """Return the page with what its commands print now; blanks at the ends of lines are left out.

    Raises `AssertionError` if a command fails or is not sockrec.
    """
    folder = page.resolve().parent
    docs = next((one for one in (folder, *folder.parents) if one.name == "docs"), None)
    folder = folder if docs is None else docs.parent
    return _BLOCK.sub(lambda block: f"```console\n{_run(block[1], folder)}```", page.read_text())


def commands(page: Path) -> list[str]:
    """Return the commands of a page, in its order."""
    return [command for block in _BLOCK.findall(page.read_text()) for command in _commands(block)]


def _run(block: str, folder: Path) -> str:
    return "\n".join(f"$ {command}\n{output(command, folder)}" for command in _commands(block))


def _commands(block: str) -> Iterator[str]:
    lines = iter(block.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line.removeprefix("$ ")
            while command.count('"') % 2:
                command += f"\n{next(lines)}"
            yield command


def output(command: str, folder: Path) -> str:
    """Return what a command as it is shown prints in a folder; `fresh` says which commands can be."""
    program, *words = shlex.split(command)
    assert program == "sockrec", f"{command}: only sockrec is run"
    most = None
    if words[-3:-1] == ["|", "head"]:
        most = int(words[-1].removeprefix("-"))
        words = words[:-3]
    done = warm.run(words, CLEAN, folder=folder)
    out, said = done.out.decode(), done.err.decode()
    found_nothing = done.status == _NOTHING_FOUND and not out
    assert found_nothing or (done.status, said) == (0, ""), f"{command}: {said}"
    return "".join(f"{line.rstrip()}\n" for line in (out or said).splitlines()[:most])


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(fresh(Path(name)))
