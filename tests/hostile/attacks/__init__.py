"""Captures that somebody made to do harm: `ATTACKS` has a builder for each, which puts it into a folder."""

from tests.hostile.attacks import files, journals, sizes, values
from tests.hostile.attacks.base import ATTACKS

__all__ = ["ATTACKS", "files", "journals", "sizes", "values"]
