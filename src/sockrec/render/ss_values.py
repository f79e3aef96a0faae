"""Values in ss filters, read as C does: numbers, addresses, prefixes, patterns (lib/utils.c of iproute2)."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Final

_NUMBER: Final = re.compile("[+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
# A bracket right after the opening one, or after its `!`, is one of the set.
_PATTERN: Final = re.compile(r"\\(?P<escaped>.)|\[(?P<set>[!^]?(?:\][^\]]*|[^\]]+))\]|.", re.DOTALL)
_CLASS: Final = re.compile(r"\[[:.=]")


def integer(text: str) -> int | None:
    """Return a number as strtol(3) reads it: 0x1bb and 0673 are 443; None if it is none."""
    if not _NUMBER.fullmatch(text):
        return None
    digits = text.lstrip("+-")
    value = int(digits, 8 if digits.isdecimal() and digits.startswith("0") else 0)
    return -value if text.startswith("-") else value


def packed(address: str) -> int | None:
    """Return the 128 bits of an address, IPv4 in the first 32; None if it is none.

    Of an IPv4 address the last parts may be missing: 10.1 is 10.1.0.0, as everywhere in iproute2.
    """
    if ":" in address:
        try:
            return int.from_bytes(socket.inet_pton(socket.AF_INET6, address), "big")
        except OSError:
            return None
    parts = [integer(part) for part in address.split(".")]
    if len(parts) > 4 or any(part is None or not 0 <= part <= 255 for part in parts):
        return None
    return int.from_bytes(bytes(part or 0 for part in parts).ljust(4, b"\0"), "big") << 96


def prefix_length(text: str) -> int | None:
    """Return the bits of a prefix, given as a number or as a netmask."""
    number = integer(text)
    if number is not None:
        return number if number >= 0 else None
    try:
        return ipaddress.IPv4Network(f"0.0.0.0/{text}").prefixlen
    except ValueError:
        return None


def pattern(text: str) -> re.Pattern[str] | None:
    """Return a pattern of the shell as a regular expression, matched as fnmatch(3) does with FNM_CASEFOLD.

    None for what is not understood: classes such as [[:alpha:]], ranges that run backwards.
    """
    parts = []
    for match in _PATTERN.finditer(text):
        escaped, several, content = match["escaped"], match["set"], match[0]
        if escaped is not None:
            parts.append(re.escape(escaped))
        elif several is None:
            parts.append({"*": ".*", "?": "."}.get(content) or re.escape(content))
        elif _CLASS.search(several):
            return None
        else:
            negated = several[0] in "!^"
            inside = re.sub(r"([\\\[\]&~|^])", r"\\\1", several[negated:])
            parts.append(f"[{'^' if negated else ''}{inside}]")
    try:
        return re.compile("".join(parts), re.DOTALL | re.IGNORECASE)
    except re.error:
        return None
