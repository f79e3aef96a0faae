"""Runs a notebook and leaves in it nothing that differs from one machine, or one run, to the next."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
from nbclient import NotebookClient

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# Figures as data alone: what else plotly offers carries a copy of its library.
_ENVIRONMENT = {"PLOTLY_RENDERER": "plotly_mimetype", "COLUMNS": "120", "TZ": "UTC"}


def read(path: Path) -> Any:
    """Return a notebook as it is stored."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat ships no types for it


def executed(path: Path) -> Any:
    """Return the notebook with fresh outputs, run in a copy of the notebooks and sample captures.

    Raises `nbclient.exceptions.CellExecutionError` if a cell fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in ("notebooks", "sample_captures"):
            shutil.copytree(REPOSITORY / name, Path(folder, name), ignore=shutil.ignore_patterns("lock"))
        notebook = read(path)
        with mock.patch.dict(os.environ, _ENVIRONMENT):
            client = NotebookClient(
                notebook,
                timeout=60,
                record_timing=False,
                coalesce_streams=True,  # how the kernel cuts a stream is a matter of timing
                resources={"metadata": {"path": str(Path(folder, "notebooks"))}},
            )
            client.execute()
    notebook.metadata.clear()
    notebook.metadata.update(_METADATA)
    for cell in notebook.cells:
        cell.metadata.clear()
    return notebook


def store(path: Path) -> None:
    """Run a notebook and write it back with its fresh outputs."""
    nbformat.write(executed(path), path)  # type: ignore[no-untyped-call]  # nbformat ships no types for it
