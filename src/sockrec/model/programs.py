"""What people call a program, whatever it made of its own title."""

from __future__ import annotations

import re
from typing import Final

# In Python and in SQL (RE2) the same: of the first word what stands behind its folder and before a colon.
_WORD: Final = r"[^ \t\n\v\f\r]+"
_FOLDER: Final = r"^.*/"
_AROUND: Final = r"^[-()\[\]]+|[()\[\]]+$"


def known_as(program: str | None) -> str | None:
    """Return a program's name without its folder and without what it tells of itself behind it.

    `nginx: worker process` is `nginx`, `/usr/sbin/sshd` and `sshd:` are `sshd`, a login shell's `-bash` is
    `bash`. A title that has no name in it stays as it is; None stays None.
    """
    if program is None:
        return None
    word = re.search(_WORD, program)
    behind = re.sub(_FOLDER, "", word[0], flags=re.DOTALL) if word else ""
    return re.sub(_AROUND, "", behind.partition(":")[0]) or program


def known_as_sql(program: str) -> str:
    """Return the same of a column, as SQL."""
    behind = f"regexp_replace(regexp_extract({program}, '{_WORD}'), '{_FOLDER}', '', 's')"
    return (
        f"coalesce(nullif(regexp_replace(split_part({behind}, ':', 1), '{_AROUND}', '', 'g'), ''), {program})"
    )
