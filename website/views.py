"""The reference of views: every one that SQL over a capture can use, and its columns."""

from __future__ import annotations

from sockrec.catalog.views import VIEWS, View

_HEAD = """# Views

What `sockrec sql "..."` and `capture.sql(...)` can ask, as `sockrec sql --schema` prints it. `time` is a
moment (TIMESTAMP WITH TIME ZONE), `int` a whole number of 64 bits, `ints` and `texts` are lists.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *map(_section, VIEWS.values())])


def _section(view: View) -> str:
    rows = [f"| `{column.name}` | {column.type} | {_cell(column.meaning)} |" for column in view.columns]
    head = ["| column | type | meaning |", "|---|---|---|"]
    macro = f"\n`FROM {view.signature}`\n" if view.parameters else ""
    return "\n".join([f"## {view.name}", "", f"A row is {_cell(view.row, '|')}.", macro, *head, *rows, ""])


def _cell(text: str, bar: str = "&#124;") -> str:
    """Return a text as it stands, whatever Markdown makes of its signs."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), ("*", "&#42;"), ("_", "&#95;"), ("|", bar)):
        text = text.replace(sign, entity)
    return text
