"""How fast an interface is: ETHTOOL_GLINKSETTINGS (linux/ethtool.h), asked as seldom as can be.

The question takes the kernel's network lock, may wake a sleeping NIC and reaches some drivers' firmware.
"""

from __future__ import annotations

import ctypes
import fcntl
import struct
from collections.abc import Hashable, Iterable
from typing import Final

_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_GLINKSETTINGS: Final = 0x4C
_SPEED_UNKNOWN: Final = 0xFFFFFFFF
# struct ethtool_link_settings, and room for three bit masks of up to 127 words behind it.
_ROOM: Final = 48 + 3 * 4 * 127
_MASK_WORDS_AT: Final = 15
_NAME_BYTES: Final = 16  # IFNAMSIZ


class Speeds:
    """Remembers the speed of each interface; asks again when what it depends on has changed."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Hashable, int | None]] = {}
        self._room = bytearray(_ROOM)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._room))
        self._mask_words = 0

    def of(self, descriptor: int, index: int, name: str, carrier: bool, depends_on: Hashable) -> int | None:
        """Return the speed in Mbit/s of an interface, None if it is unknown or has none.

        `descriptor` is any socket of the interface's namespace. Without a carrier there is no speed, and
        nothing is asked; nor while `depends_on` stays as it was when it was asked last.
        """
        key = (name, carrier, depends_on)
        known = self._known.get(index)
        if known is None or known[0] != key:
            known = self._known[index] = (key, self._ask(descriptor, name) if carrier else None)
        return known[1]

    def forget_all_but(self, indices: Iterable[int]) -> None:
        """Forget interfaces that are gone."""
        left = set(indices)
        self._known = {index: known for index, known in self._known.items() if index in left}

    def _ask(self, descriptor: int, name: str) -> int | None:
        request = struct.pack(
            f"{_NAME_BYTES}sP16x", name.encode("utf-8", "surrogateescape")[: _NAME_BYTES - 1], self._address
        )
        # To a wrong number of words the kernel answers with the right one, negative, and nothing else.
        for _ in range(2):
            struct.pack_into("=II7xb", self._room, 0, _ETHTOOL_GLINKSETTINGS, 0, self._mask_words)
            try:
                fcntl.ioctl(descriptor, _SIOCETHTOOL, request)
            except OSError:
                return None  # it has no such settings, or is gone: either way nobody knows its speed
            (words,) = struct.unpack_from("=b", self._room, _MASK_WORDS_AT)
            if words >= 0:
                (speed,) = struct.unpack_from("=I", self._room, 4)
                return None if speed in (0, _SPEED_UNKNOWN) else speed
            self._mask_words = -words
        return None
