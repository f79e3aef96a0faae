"""Fuzzes every target, or those that are named: `python -m tests.fuzz [--seconds 60] [TARGET ...]`.

Prints a line for each, with the number of inputs tried; ends with 1 if one of them broke its decoder, and
keeps that input. Needs atheris, and root for the seeds, which are dumped from the kernel.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.fuzz import TARGETS, scratch

# Starting, seeds and the last input come on top of the time asked for.
_GRACE: Final = 120
# atheris keeps about 600 bytes of each input that makes an exception: a process of its own now and then.
_ROUND: Final = 30


def run(target: str, seconds: int) -> tuple[int, str]:
    """Fuzz one target; return how many inputs were tried, and what broke it, empty if nothing did."""
    folder = Path(tempfile.mkdtemp(prefix=f"sockrec-fuzz-{target}-"))
    tried = 0
    for start in range(0, seconds, _ROUND):
        count, fault = _round(target, folder, min(_ROUND, seconds - start))
        tried += count
        if fault:
            return tried, f"{fault} (all of it is in {folder})"
    shutil.rmtree(folder)
    return tried, ""


def _round(target: str, folder: Path, seconds: int) -> tuple[int, str]:
    # The kernel tells of a process the largest that it was, and what started it counts: a shell is small.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", "tests.fuzz.runner"]
    command += [target, str(folder), str(seconds)]
    # libFuzzer ends its process at once: nobody tidies up there.
    inputs = scratch.make()
    with (folder / "log").open("w+b") as log:
        try:
            status = subprocess.run(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, scratch.SCRATCH: str(inputs)},
                timeout=seconds + _GRACE,
                check=False,
            ).returncode
        finally:
            shutil.rmtree(inputs)
        log.seek(0)
        told = log.read().decode(errors="replace")
    tried = re.search(r"number_of_executed_units: (\d+)", told) or re.search(r"Done (\d+) runs", told)
    if not status and tried:
        return int(tried[1]), ""
    fault = re.search(r"^(?:.*Error|.*Exception|==\d+== ?ERROR|AssertionError).*$", told, re.MULTILINE)
    why = fault[0] if fault else f"it ended with {status}"
    return int(tried[1]) if tried else 0, why


def main() -> int:
    """Fuzz what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    asked = parser.parse_args()
    broken = 0
    for target in asked.targets or TARGETS:
        tried, fault = run(target, asked.seconds)
        print(f"{target:<14} {tried:>10,} inputs  {fault or 'held'}", flush=True)  # noqa: T201
        broken += bool(fault)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
