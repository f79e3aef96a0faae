"""The most memory that this process held since a moment (proc(5), /proc/PID/clear_refs and status)."""

from __future__ import annotations

from pathlib import Path


class Peak:
    """Counts from where it is made: what ran before in the same process does not show."""

    def __init__(self) -> None:
        # 5 makes what is held now the peak so far.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before = _kib("VmRSS")

    def added_kib(self) -> int:
        """Return how many KiB the peak is above what was held at first."""
        return _kib("VmHWM") - self._before


def _kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
