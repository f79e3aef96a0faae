"""A file to write inputs into, for decoders that read files: one for each process, in memory."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

SCRATCH: Final = "SOCKREC_FUZZ_SCRATCH"


def make() -> Path:
    """Make a folder in memory, where there is such."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="sockrec-fuzz-", dir=where))


@cache
def folder() -> Path:
    """Return the folder that is named in the environment, else one that goes when the process ends."""
    if SCRATCH in os.environ:
        return Path(os.environ[SCRATCH])
    made = make()
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
