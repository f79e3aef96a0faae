"""Baselines as files: read with the line of what is wrong."""

from __future__ import annotations

from pathlib import Path

from sockrec.model import baseline_text
from sockrec.model.baseline import Baseline
from sockrec.store import texts


def read(file: Path) -> Baseline:
    """Return a baseline from its file; raises `UsageError` if it is none, with the line."""
    return baseline_text.parse(texts.read(file), str(file))
