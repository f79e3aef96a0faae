"""What `diagnose` finds in a capture written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sockrec.catalog import open_catalog
from sockrec.query.findings import Asked, Finding, diagnose


def found(root: Path, **asked: Any) -> list[Finding]:
    """Return what is found; the SQL of each finding must show something."""
    with open_catalog(root) as catalog:
        answer = diagnose(Asked(catalog, **asked))
        for one in answer:
            catalog.check(one.sql)
            assert catalog.rows(one.sql), one.sql
            assert one.not_before is None or one.not_before <= one.not_after
        return answer


def kinds(root: Path, **asked: Any) -> list[str]:
    """Return the kinds of what is found."""
    return [one.kind for one in found(root, **asked)]
