"""What `verify` found, as lines for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sockrec.render.escape import terminal
from sockrec.render.live import size


def text(facts: Mapping[str, Any]) -> str:
    """Return a line for each damage, with what is lost by it, and at the end how much was read."""
    lines = [f"{_place(one)}: {one['what']}; lost: {one['lost']}" for one in facts["damages"]]
    lines += [f"repaired: {_place(one)}: {one['what']}" for one in facts["repaired"]]
    lines += [f"lost earlier: {_place(one)}: {one['what']}" for one in facts["known_losses"]]
    lines += [f"note: {_place(one)}: {one['what']}" for one in facts["remarks"]]
    many = "files" if facts["files"] != 1 else "file"
    lines.append(f"{facts['files']:,} {many}, {size(facts['bytes'])}: {_verdict(facts)}")
    return "".join(f"{terminal(line)}\n" for line in lines)


def _verdict(facts: Mapping[str, Any]) -> str:
    found = len(facts["damages"])
    word = "1 damage" if found == 1 else f"{found:,} damages"
    if facts["whole"]:
        return f"whole, after {word} repaired" if found else "whole"
    if facts["repaired"]:
        return f"{word}, not all of which can be repaired"
    return f"{word}; --repair keeps what can be read"


def _place(one: Mapping[str, Any]) -> str:
    return one["file"] if one["offset"] is None else f"{one['file']} at byte {one['offset']}"
