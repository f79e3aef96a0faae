"""Tests of what was at a moment, and of moments in a row."""
