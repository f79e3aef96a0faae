"""A name server on 127.0.0.1 that knows some addresses, and keeps silent about others (RFC 1035)."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Mapping
from types import TracebackType

from tests.support.netns import Namespace

_PTR, _IN = 12, 1


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


class NameServer:
    """Answers with the names of addresses; of those in `silent` nothing is ever heard. `asked` counts."""

    def __init__(self, namespace: Namespace, names: Mapping[str, str], silent: tuple[str, ...] = ()) -> None:
        self._names = {ipaddress.ip_address(one).reverse_pointer: name for one, name in names.items()}
        self._silent = {ipaddress.ip_address(one).reverse_pointer for one in silent}
        self.asked: list[str] = []
        with namespace.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind(("127.0.0.1", 53))
            self._socket.settimeout(0.1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                query, peer = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            end = query.index(b"\0", 12) + 5
            name = self._name(query)
            self.asked.append(name)
            if name in self._silent:
                continue
            found = self._names.get(name)
            head = struct.pack(">2sHHHHH", query[:2], 0x8180 if found else 0x8183, 1, bool(found), 0, 0)
            answer = b""
            if found:
                data = _labels(found)
                answer = struct.pack(">HHHIH", 0xC00C, _PTR, _IN, 60, len(data)) + data
            self._socket.sendto(head + query[12:end] + answer, peer)

    @staticmethod
    def _name(query: bytes) -> str:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        return ".".join(labels).lower()
