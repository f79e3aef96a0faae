"""Decoders given whatever bytes there are: each module is one decoder's target.

A target has `seeds()`, real messages to begin with, and `check(data)`, which raises nothing whatever the data
is: only a fault of the decoder gets out of it. hypothesis runs them in the tests
(`tests/hostile/test_decoders.py`), atheris, which follows the coverage, by `python -m tests.fuzz`.
"""

from __future__ import annotations

from typing import Final

TARGETS: Final = (
    "netlink",
    "unix_diag",
    "proc_net",
    "process_files",
    "trace_pages",
    "journal",
    "segment",
    "recording",
    "times",
    "grammar",
)
