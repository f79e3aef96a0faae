"""Markdown as GitHub reads it, for MkDocs: links by the place of a page on the site, lists by its indents."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(r"^ *(```|~~~)")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_ITEM = re.compile(r"^( {2,})(?=([-*]|\d+\.) )")


def rewritten(markdown: str, source: str, page: str, pages: Mapping[str, str]) -> str:
    """Return the page with its links to files of the repository turned into links to pages of the site.

    `source` is the file it was made of and `page` its place on the site; `pages` has that of each file. Of a
    link to a file that is no page its text is left; one that leads nowhere stays: a strict build names it.
    """

    def moved(link: re.Match[str]) -> str:
        mark, text, target = link.groups()
        path, hash_, anchor = target.partition("#")
        if not path or "://" in path:
            return link[0]
        there = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        goal = pages.get(there) or (there.removeprefix("docs/") if there.startswith("docs/") else None)
        if goal is None:
            return text if ROOT.joinpath(there).exists() else link[0]
        return f"{mark}[{text}]({posixpath.relpath(goal, posixpath.dirname(page) or '.')}{hash_}{anchor})"

    return _outside_of_code(markdown, lambda line: _LINK.sub(moved, line))


def nested(markdown: str) -> str:
    """Return the page with the items of nested lists four columns in for each level, not two."""
    return _outside_of_code(markdown, lambda line: _ITEM.sub(lambda indent: indent[1] * 2, line))


def _outside_of_code(markdown: str, change: Callable[[str], str]) -> str:
    lines, fence = [], None
    for line in markdown.split("\n"):
        found = _FENCE.match(line)
        if found and fence in (None, found[1]):
            fence = None if fence else found[1]
        lines.append(line if fence or found else change(line))
    return "\n".join(lines)
