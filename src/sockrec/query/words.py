"""SQL that puts causes into words: `myapp[4121] was killed by SIGSEGV`.

The columns are those of `events` and `listeners`. The text holds names of processes as they are:
whoever prints it escapes it.
"""

from __future__ import annotations

from typing import Final

from sockrec.catalog.sources import literal
from sockrec.model import signals

_UNKNOWN: Final = "its holder"
_NAMES: Final = " ".join(f"WHEN {number} THEN '{name}'" for number, name in signals.NAMES.items())
_SIGNAL: Final = f"CASE {{0}}signal {_NAMES} ELSE 'signal ' || {{0}}signal END"


def holder(pid: str, program: str, unknown: str) -> str:
    """Return a process as text, `myapp[4121]`; `unknown` where there is no pid."""
    known = f"coalesce({program}, '?') || '[' || {pid} || ']'"
    return f"CASE WHEN {pid} IS NULL THEN {literal(unknown)} ELSE {known} END"


def ending(row: str = "") -> str:
    """Return how the process of a row ended: `was killed by SIGKILL, sent by bash[99]`; null if not known."""
    name = _SIGNAL.format(row)
    sender = holder(f"{row}by_pid", f"{row}by_program", "")
    return f"""CASE {row}cause
        WHEN 'exit' THEN 'exited' || coalesce(' with status ' || {row}exit_code, '')
        WHEN 'signal' THEN 'was killed by ' || coalesce({name}, 'a signal')
            || CASE WHEN {row}by_pid IS NULL THEN '' ELSE ', sent by ' || {sender} END
        WHEN 'oom' THEN 'was killed by the OOM killer' END"""


def process_cause(row: str = "") -> str:
    """Return why a process is gone, with its name; null if not known."""
    return f"{holder(f'{row}pid', f'{row}program', _UNKNOWN)} || ' ' || {ending(row)}"


def listener_cause(row: str = "") -> str:
    """Return why a listener is gone, with who did it; null if not known."""
    who = holder(f"{row}pid", f"{row}program", _UNKNOWN)
    other = holder(f"{row}by_pid", f"{row}by_program", "another process")
    after = f"""CASE WHEN {row}exit_code IS NOT NULL THEN ', then exited with status ' || {row}exit_code
        WHEN {row}signal IS NOT NULL THEN ', then was killed by ' || {_SIGNAL.format(row)} ELSE '' END"""
    return f"""CASE {row}cause
        WHEN 'close' THEN {who} || ' closed it' || {after}
        WHEN 'exec' THEN {who} || ' was replaced by ' || coalesce({row}detail, 'another program') || ' (exec)'
        WHEN 'other process' THEN {other} || ' closed it'
        ELSE {process_cause(row)} END"""
