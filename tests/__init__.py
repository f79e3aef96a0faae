"""Tests of sockrec, on the real kernel."""
