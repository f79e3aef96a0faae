"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.netns import Namespace

# Everybody's own runs look for new examples; CI runs the same ones each time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture
def netns() -> Iterator[Namespace]:
    """Give a fresh network namespace with 10.0.0.5/24 on its loopback."""
    with Namespace() as namespace:
        yield namespace
