"""Tests of captures on disk."""
