"""Names that hostile processes choose: each as the bytes that the kernel would hand on."""

from __future__ import annotations

import re
from typing import Final

TEXTS: Final[dict[str, bytes]] = {
    "hyperlink": b"\x1b]8;;http://evil.example/\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": b"\x1b]52;c;cm0gLXJmIH4K\x07",
    "device": b"\x1bP+q544e\x1b\\\x1b[6n\x1b[c",
    "paste": b"\x1b[201~rm -rf ~\r",
    "screen": b"\x1b[2J\x1b[H\x1b[8m\x1b]0;title\x07",
    "c1": "\x9b31m\x90q\x9c\x9d0;t\x9c".encode(),
    "bytes": b"\x9b31m \xff\xfe \xc3( caf\xc3",
    "direction": "nginx \u202egnp.exe\u2066\u200f\u061c".encode(),
    "invisible": "ro\u200bot\ufeff\U000e0041\u00ad".encode(),
    "lines": "a\nb\r\nc\td\x0b\x0c\x85\u2028\u2029e".encode(),
    "row": b"x\ntcp  0  0 0.0.0.0:22  0.0.0.0:*  LISTEN  1/sshd",
    "markup": b"<script>alert(1)</script>&amp;<img src=x onerror=alert(1)>",
    "markdown": b"a|b `c` **d** __e__ ~~f~~ [g](javascript:alert(1)) ![h](http://i/) # j $k$ <l> \\| http://m.example/",
    "formula": b'=HYPERLINK("http://evil.example","x")',
    "formulas": b'x;=1+1;@SUM(1);"=2"',
    "macro": b"@SUM(1+1)*cmd|' /C calc'!A0",
    "sum": b"+1+cmd|' /C calc'!A0",
    "quote": b"'=1",
    "sql": b"'); DROP TABLE sockets; --",
    "json": b'"}],"x":[{"y":"\\u0041\\',
    "stat": b") R 1 2 (x\nUid:\t0",
    "wide": "\u4e16\u754c \U0001f600 e\u0301".encode(),
    "long": b"/" + b"A\x1b[31m" * 682 + b"B",
    "huge": b"h" * ((128 << 10) - 200) + b"\x1b[0m\xff",
}
"""By what they try. None holds NUL, which ends a text of the kernel."""

LONGEST_COMM: Final = 15
LONGEST_PATH: Final = 107

# What steers a terminal, breaks a line, or shows text in another order than it has.
_STEERING: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udc9f]"
)
# The first bytes of a character of UTF-8 whose last ones are missing.
_CUT: Final = re.compile(
    "[\udcc2-\udcdf]|[\udce0-\udcef][\udc80-\udcbf]?|[\udcf0-\udcf4][\udc80-\udcbf]{0,2}"
)


def stored(raw: bytes) -> str:
    r"""Return bytes of the kernel as captures hold them: UTF-8; what is none as `\xNN`."""
    return raw.decode("utf-8", "backslashreplace")


def steering(output: bytes) -> list[str]:
    """Return what of an output would steer a terminal, by UTF-8 and by single bytes; tabs are among it.

    A character that netstat cut through is left out: its first bytes do no more than the whole of it.
    """
    text = _CUT.sub("", output.decode("utf-8", "surrogateescape"))
    return _STEERING.findall(text)
