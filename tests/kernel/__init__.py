"""Tests of the reading of the kernel."""
