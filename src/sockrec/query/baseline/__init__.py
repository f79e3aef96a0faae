"""What a host normally has open, learned from captures and compared with them."""

from __future__ import annotations

from sockrec.query.baseline.compare import COLUMNS, Difference, differences
from sockrec.query.baseline.learn import learn
from sockrec.query.baseline.seen import Span

__all__ = ["COLUMNS", "Difference", "Span", "differences", "learn"]
