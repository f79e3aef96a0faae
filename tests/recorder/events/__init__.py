"""Tests of what the recorder makes of events, on arrays made by hand."""
