"""Tests of the pure facts."""
