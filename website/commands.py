"""The reference of commands: what `--help` prints of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from sockrec.cli import make_app

_WIDTH = 100
_HEAD = """# Commands

What `--help` prints of each, in the order in which `sockrec --help` has them.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *_sections(typer.main.get_command(make_app()), "sockrec", None)])


def _sections(command: Any, name: str, parent: Any) -> Iterator[str]:
    # typer brings a click of its own: its classes are named by none but its commands.
    context = command.context_class(
        command,
        info_name=name,
        parent=parent,
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
        **command.context_settings,
    )
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    for verb, found in getattr(command, "commands", {}).items():
        if not found.hidden:
            yield from _sections(found, verb, context)
