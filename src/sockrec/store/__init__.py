"""Captures on disk: the journal, the sealed segments, and the catalog of files. Never reads a kernel."""
