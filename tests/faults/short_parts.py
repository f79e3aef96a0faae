"""The installed command with parts of the journal as short as a test can wait for.

    python short_parts.py BYTES [SOCKREC'S OWN ARGUMENTS]

Nothing else is changed: parts are ended, sealed and dropped at their size, as they are at 8 MiB.
"""

from __future__ import annotations

import sys

from sockrec import cli
from sockrec.recorder import writer


def main() -> None:
    """Run sockrec."""
    writer.PART_BYTES = int(sys.argv[1])  # type: ignore[misc]  # to shorten it is what this is for
    writer.PART_TIMES = 0  # type: ignore[misc]  # however much of it a part begins with
    sys.argv[:2] = ["sockrec"]
    cli.main()


if __name__ == "__main__":
    main()
