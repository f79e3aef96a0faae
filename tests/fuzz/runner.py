"""Runs one target under atheris: `python -m tests.fuzz.runner TARGET FOLDER SECONDS`.

The seeds, and what is found on the way, are kept in FOLDER; so is the input that breaks a decoder, under
a name that begins with `crash-`, `timeout-` or `oom-`. The exit status is then not 0.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path
from typing import Any, Final

LARGEST: Final = 16 << 10
# A decoder that needs more than this for 16 KiB is at fault itself.
_SECONDS_EACH: Final = 5
_MEBIBYTES: Final = 2048


def main(target: str, folder: Path, seconds: int) -> None:
    """Fuzz a target for so long."""
    # Only sockrec and the target are instrumented: everything below them is somebody else's to fuzz.
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["sockrec", f"tests.fuzz.{target}"]):
        module = importlib.import_module(f"tests.fuzz.{target}")
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in module.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed[:LARGEST])
    options = (
        f"-max_total_time={seconds}",
        f"-timeout={_SECONDS_EACH}",
        f"-rss_limit_mb={_MEBIBYTES}",
        f"-max_len={LARGEST}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    )
    atheris.Setup([sys.argv[0], *options, str(corpus)], module.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
