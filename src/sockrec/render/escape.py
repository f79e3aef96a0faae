"""Text from hostile processes made harmless: for terminals, spreadsheets, Markdown and JSON."""

from __future__ import annotations

import re
from typing import Final

# C0, DEL and C1 steer terminals; the separators break lines; the others reorder or hide what follows.
_UNSAFE: Final = (
    "\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
)
_CONTROL: Final = re.compile(f"[{_UNSAFE}]|[\U000e0000-\U000e007f]")
# A line break inside a quoted CSV cell is data.
_CELL_CONTROL: Final = re.compile(f"(?!\n)[{_UNSAFE}]|[\U000e0000-\U000e007f]")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_MARKDOWN: Final = re.compile(r"([\\`*\[\]<>|&])")


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def terminal(text: str) -> str:
    r"""Return text with every character that steers a terminal shown instead: `\x1b`, `\u202e`."""
    return _CONTROL.sub(_visible, text)


def spreadsheet(text: str) -> str:
    """Return a text cell that no spreadsheet takes for a formula (OWASP, "CSV Injection")."""
    safe = _CELL_CONTROL.sub(_visible, text)
    return f"'{safe}" if text.startswith(_FORMULA) else safe


def markdown(text: str) -> str:
    """Return a cell of a Markdown table: one line, nothing in it taken for markup."""
    return terminal(_MARKDOWN.sub(r"\\\1", text.replace("\n", " ").replace("\r", " ")))


def json_text(text: str) -> str:
    r"""Return JSON with the characters that steer a terminal written as `\uXXXX`: the same value."""

    def escaped(match: re.Match[str]) -> str:
        code = ord(match[0])
        if code < 0x10000:
            return f"\\u{code:04x}"
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"

    return _CONTROL.sub(escaped, text)
