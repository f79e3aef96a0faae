"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.netns import Namespace


@pytest.fixture
def netns() -> Iterator[Namespace]:
    """Give a fresh network namespace with 10.0.0.5/24 on its loopback."""
    with Namespace() as namespace:
        yield namespace
