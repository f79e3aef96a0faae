"""The reference of the Python API: signatures and what they promise."""

from __future__ import annotations

import inspect
import re
from typing import Any

import sockrec
import sockrec.plots

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
            f"### sockrec.Finding\n\n{_prose(sockrec.Finding)}\n",
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
    signature = inspect.signature(member)
    shown = [one for one in signature.parameters.values() if one.name != "self"]
    return re.sub(r"\bsockrec\.[\w.]+\.", "", str(signature.replace(parameters=shown)).replace("'", ""))


def _prose(member: Any) -> str:
    """Return a docstring; what is indented in it is code there as in Markdown."""
    return inspect.getdoc(member) or ""
