r"""Text from hostile processes made harmless: for terminals, spreadsheets, Markdown, JSON and TOML.

It is stored as the kernel gave it and made harmless where it is shown, in a pipe and in a file as on a
terminal: what a pipe holds is shown by the next program, and a file by the next `cat`.

JSON, TOML, Parquet and Arrow hold every text exactly. Tables, CSV and Markdown are to be looked at: a
character that steers is written as `\x1b`, which a text may have held as these four letters too. A formula
in CSV can be read back (`spreadsheet`).
"""

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
# Where a spreadsheet that splits at semicolons begins a cell too: it does not see our quotes, nor line breaks
# inside of them.
_FORMULA: Final = re.compile(r"""(?:\A|(?<=[;\n]))(?=["' \t\r]*[=+\-@＝＋－＠])|\A(?='*\n)""")
# An underscore inside of a word marks nothing up.
_MARKDOWN: Final = re.compile(r"([\\`*\[\]<>|&~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def terminal(text: str) -> str:
    r"""Return text with every character that steers a terminal shown instead: `\x1b`, `\u202e`."""
    return _CONTROL.sub(_visible, text)


def spreadsheet(text: str) -> str:
    r"""Return a text cell that no spreadsheet takes for a formula (OWASP, "CSV Injection").

    `'` goes before what would be one: at the beginning, after a semicolon, after a line break. To read the
    text back, take it away there, which loses nothing:

        re.sub(r'''(?:\A|(?<=[;\n]))'(?=["' \t\r]*[=+\-@＝＋－＠])|\A'(?='*\n)''', "", cell)
    """
    return _CELL_CONTROL.sub(_visible, _FORMULA.sub("'", text))


def markdown(text: str) -> str:
    """Return a cell of a Markdown table: one line, nothing in it taken for markup.

    Some renderers still make a link, to itself, of a web address.
    """
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


def toml_text(text: str) -> str:
    r"""Return text as a string of TOML, quotes included: the same value in one line that steers nothing.

    TOML knows no `\x1b`: it is `\u001b`.
    """

    def escaped(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_CONTROL.sub(escaped, plain)}"'
