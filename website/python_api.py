"""The reference of the Python API: signatures and what they promise."""

from __future__ import annotations

import inspect
import re
from typing import Any

import sockrec
import sockrec.plots

_WIDTH = 90
_HEAD = """# Python

`pip install sockrec`, or `'sockrec[plots]'` for the figures, too. How to use it is told in [Ask from
Python](../how-to/ask-from-python.md) and in the stories.
"""


def page() -> str:
    """Return the page."""
    capture = sockrec.Capture
    members = [
        _section(f"Capture.{name}", member, 3)
        for name, member in vars(capture).items()
        if not name.startswith("_") and (callable(member) or isinstance(member, property))
    ]
    return "\n".join(
        [
            _HEAD,
            "## sockrec\n",
            _section("sockrec.open", sockrec.open, 3),
            _section("sockrec.baseline", sockrec.baseline, 3),
            _section("sockrec.Finding", sockrec.Finding, 3),
            f"## Capture\n\n{_prose(capture)}\n",
            *members,
            f"## sockrec.plots\n\n{_prose(sockrec.plots)}\n",
            *(
                _section(f"sockrec.plots.{name}", getattr(sockrec.plots, name), 3)
                for name in sockrec.plots.__all__
            ),
        ]
    )


def _section(name: str, member: Any, level: int) -> str:
    signature = (
        ""
        if isinstance(member, property)
        else f"```python\n{name.split('.')[-1]}{_signature(member)}\n```\n\n"
    )
    return f"{'#' * level} {name}\n\n{signature}{_prose(member)}\n"


def _signature(member: Any) -> str:
    """Return the parameters and what is returned; of many parameters each in a line of its own."""
    signature = inspect.signature(member)
    shown = [one for one in signature.parameters.values() if one.name != "self"]
    text = _plain(str(signature.replace(parameters=shown)))
    if len(text) <= _WIDTH:
        return text
    lines = "".join(f"    {_plain(str(one))},\n" for one in shown)
    return f"(\n{lines}){text.rpartition(')')[2]}"


def _plain(text: str) -> str:
    return re.sub(r"\b(?:sockrec|collections|pathlib)\.[\w.]*\b(?=[A-Z])", "", text.replace("'", ""))


def _prose(member: Any) -> str:
    """Return a docstring; what is indented in it is code there as in Markdown."""
    return inspect.getdoc(member) or ""
