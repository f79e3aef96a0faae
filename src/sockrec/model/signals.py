"""Names of Linux's signals by number: a capture may be read where they are numbered otherwise."""

from __future__ import annotations

from typing import Final

# signal(7), "Signal numbering for standard signals": those of x86 and ARM. SIGRTMIN is 34 with glibc.
NAMES: Final = {
    number: f"SIG{name}"
    for number, name in enumerate(
        (
            "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
            "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
            "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
        ),
        start=1,
    )
}  # fmt: skip
