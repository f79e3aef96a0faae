"""A recorder in a process of its own that ends after so many samples, telling of each on stdout.

`python -m benchmarks.one_recorder CAPTURE SAMPLES` prints a JSON object a sample: `cpu`, the CPU seconds
of that sample; `process_cpu`, those of the process since it began, imports and all; `peak_kib`, the most
memory it ever had resident.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.recorded import Script, record
from benchmarks.timing import BenchmarkError


def samples(capture: Path, count: int, seconds: float = 120) -> list[dict[str, Any]]:
    """Run such a process where the caller is, and return what it told."""
    command = [sys.executable, "-m", "benchmarks.one_recorder", str(capture), str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=seconds, check=False)
    if done.returncode:
        raise BenchmarkError(f"the recorder ended with {done.returncode}; its last words stand above")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _peak_kib() -> int:
    # Not ru_maxrss: execve(2) hands down the peak of whoever forked us.
    found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise BenchmarkError("the kernel does not tell VmHWM")
    return int(found[1])


def _script(count: int) -> Script:
    for _ in range(count):
        tick = yield
        told = {"cpu": tick.cpu, "process_cpu": time.process_time(), "peak_kib": _peak_kib()}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    record(Path(sys.argv[1]), _script(int(sys.argv[2])))
