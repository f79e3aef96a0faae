"""Findings: each fires where it should, and on no near miss."""
