"""Notebooks as pages: what they say, their code, and their kept outputs. Nothing is run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plotly

_FIGURE = "application/vnd.plotly.v1+json"
_HIDDEN_MENU = {"displayModeBar": False, "responsive": True}


def page(notebook: Path) -> str:
    """Return a notebook as Markdown; its figures are data, which assets/figures.js draws."""
    cells = json.loads(notebook.read_text())["cells"]
    scripts = (
        '<script src="../assets/plotly.min.js"></script>\n<script src="../assets/figures.js"></script>\n'
    )
    return "\n\n".join([part for cell in cells for part in _parts(cell)] + [scripts])


def plotly_library() -> Path:
    """Return the JavaScript library that plotly brings along."""
    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            yield f"```text\n{''.join(output['text']).rstrip()}\n```"
        elif _FIGURE in output.get("data", {}):
            figure = output["data"][_FIGURE]
            shown = {"data": figure["data"], "layout": figure["layout"], "config": _HIDDEN_MENU}
            # Names in it are hostile, for all we know: no text in it ends the element.
            text = json.dumps(shown, separators=(",", ":")).replace("<", "\\u003c")
            yield f'<div class="figure"><script type="application/json">{text}</script></div>'
