"""What the conditions of an ss filter mean (ss(8); run_ssfilter and parse_hostcond of misc/ss.c).

ss has TCP and UDP sockets filtered by the kernel (inet_diag_bc_run, net/ipv4/inet_diag.c) and then filters
what it got once more; UNIX sockets, and raw ones out of /proc, it filters alone. The two do not take
addresses of the other family alike, which shows where such a condition is negated: so both are computed.
"""

from __future__ import annotations

import operator
import re
import socket
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn

from sockrec.model.ss_row import SsRow, SsUnixRow
from sockrec.render import ss_values
from sockrec.render.names import Names
from sockrec.render.ss_filter import Both, Condition, Either, Expression, Filter, Not

Ports = tuple[int, int]

_ANY_PORT: Final = -1
# The first 96 bits of ::ffff:0:0/96
_MAPPED: Final = 0xFFFF
_CGROUP_MOUNTS: Final = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
_AUTOMATIC_NAME: Final = re.compile("@[0-9a-f]{5}")


class _Socket(NamedTuple):
    """A socket as conditions see it: (family, address) of both ends, its ports, which may be inodes."""

    local: tuple[str, str]
    remote: tuple[str, str]
    local_port: int
    remote_port: int
    interface: str | None = None
    mark: int = 0
    cgroup: str | None = None


_Test = Callable[[_Socket], bool]


class _Tests(NamedTuple):
    """A condition as ss tests it, and as the kernel does: None if it can't be asked for it."""

    own: _Test
    kernel: _Test | None


class Predicate:
    """Tells which sockets a filter lets through.

    `databases` are those of tcp and udp in which the filter may look up names of ports, `ephemeral` the
    first and the last port that the kernel hands out itself (net.ipv4.ip_local_port_range). Raises
    `UsageError` that points to the place for a value that means nothing, names that the recorded host did
    not know included.
    """

    def __init__(self, filter_: Filter, names: Names, databases: frozenset[str], ephemeral: Ports) -> None:
        values = _Values(filter_, names, databases, ephemeral)
        self._tests = None if filter_.expression is None else values.tests(filter_.expression)

    def accepts(self, row: SsRow) -> bool:
        """Tell whether an internet socket meets the filter."""
        if self._tests is None:
            return True
        seen = _Socket(
            (row.family, row.local_address),
            (row.family, row.remote_address),
            row.local_port,
            row.remote_port,
            row.interface,
            row.mark or 0,
            row.cgroup,
        )
        asked = self._tests.kernel is None or row.socket_id < 0 or self._tests.kernel(seen)
        return asked and self._tests.own(seen)

    def accepts_unix(self, row: SsUnixRow) -> bool:
        """Tell whether a UNIX socket meets the filter; its inode and its peer's stand for ports."""
        if self._tests is None:
            return True
        # sock_diag tells no name of the peer.
        return self._tests.own(
            _Socket(("unix", row.path or ""), ("unix", ""), row.inode, row.peer_inode or 0)
        )


class _Prefix(NamedTuple):
    """The first `length` bits of an address; `family` None: of any."""

    family: str | None
    bits: int
    length: int

    def own(self, family: str, address: str) -> bool:
        """Compare as ss does: bit by bit whatever the family, an IPv4 address being the first 32."""
        if self.length == 0:
            return True
        bits = _bits(family, address)
        return bits is not None and (self._begins(bits) or self._begins_mapped(family, bits))

    def kernel(self, family: str, address: str) -> bool:
        """Compare as the kernel does: families must agree, but for IPv4 in IPv6."""
        bits = _bits(family, address)
        if bits is None:
            return False
        if self.family is None or self.family == family:
            return self._begins(bits)
        return self._begins_mapped(family, bits)

    def _begins(self, bits: int) -> bool:
        return (self.bits ^ bits) >> (128 - self.length) == 0

    def _begins_mapped(self, family: str, bits: int) -> bool:
        mapped = self.family == "inet" and family == "inet6" and bits >> 32 == _MAPPED
        return mapped and self._begins((bits & 0xFFFFFFFF) << 96)


@lru_cache(maxsize=1 << 16)
def _bits(family: str, address: str) -> int | None:
    """Return 128 bits of an address, IPv4 in the first 32; of an unnamed UNIX socket, 0 as in ss.

    None for what is no address: a UNIX socket's name, or a damaged one.
    """
    if family == "unix":
        return None if address else 0
    try:
        packed = socket.inet_pton(socket.AF_INET if family == "inet" else socket.AF_INET6, address)
    except (OSError, ValueError):
        return None
    return int.from_bytes(packed.ljust(16, b"\0"), "big")


class _Values:
    """Makes tests of conditions, with the names that the recorded host knew."""

    def __init__(self, filter_: Filter, names: Names, databases: frozenset[str], ephemeral: Ports) -> None:
        self._filter, self._names = filter_, names
        self._databases, self._ephemeral = databases, ephemeral

    def tests(self, expression: Expression) -> _Tests:
        """Return the tests of an expression. What the kernel can't be asked for, nothing around it can."""
        match expression:
            case Not(inner):
                own, kernel = self.tests(inner)
                return _Tests(_not(own), None if kernel is None else _not(kernel))
            case Both(left, right) | Either(left, right):
                join = _both if isinstance(expression, Both) else _either
                first, second = self.tests(left), self.tests(right)
                asked = first.kernel is not None and second.kernel is not None
                return _Tests(
                    join(first.own, second.own),
                    join(first.kernel, second.kernel) if asked else None,  # type: ignore[arg-type]  # asked: neither is None
                )
            case condition:
                return self._test(condition)

    def _test(self, condition: Condition) -> _Tests:
        match condition.what:
            case "autobound":
                return self._autobound()
            case "dev":
                return self._device(condition)
            case "fwmark":
                return self._mark(condition)
            case "cgroup":
                return self._cgroup(condition)
            case "src" | "sport":
                return self._end(condition, lambda seen: seen.local, lambda seen: seen.local_port)
            case _:
                return self._end(condition, lambda seen: seen.remote, lambda seen: seen.remote_port)

    def _autobound(self) -> _Tests:
        """Return ss's own test. The kernel tests as well whether bind(2) named the port: no dump tells."""
        first, last = self._ephemeral

        def test(seen: _Socket) -> bool:
            family, name = seen.local
            if family == "unix":
                return not name or _AUTOMATIC_NAME.fullmatch(name) is not None
            return first <= seen.local_port <= last

        return _Tests(test, test)

    def _device(self, condition: Condition) -> _Tests:
        if condition.value.isdigit():
            self._refuse(condition, "name the device: captures keep no numbers of devices with sockets")
        test = _compared(condition, lambda seen: seen.interface == condition.value)
        return _Tests(test, None)

    def _mark(self, condition: Condition) -> _Tests:
        mark_text, slash, mask_text = condition.value.partition("/")
        mark, mask = ss_values.integer(mark_text), ss_values.integer(mask_text) if slash else 0xFFFFFFFF
        if mark is None or mask is None:
            self._refuse(condition, "a mark is a number, or number/mask")
        test = _compared(condition, lambda seen: seen.mark & mask == mark)
        return _Tests(test, test)

    def _cgroup(self, condition: Condition) -> _Tests:
        path = "/" + condition.value.strip("/")
        for mount in _CGROUP_MOUNTS:
            if path == mount or path.startswith(f"{mount}/"):
                path = path[len(mount) :] or "/"
                break
        test = _compared(condition, lambda seen: seen.cgroup == path)
        return _Tests(test, test)

    def _end(
        self,
        condition: Condition,
        address_of: Callable[[_Socket], tuple[str, str]],
        port_of: Callable[[_Socket], int],
    ) -> _Tests:
        """Return the tests of src, dst, sport and dport."""
        if condition.family == "unix":
            return self._name(condition, address_of)
        if condition.what in ("sport", "dport"):
            port = self._port(condition.value.removeprefix(":"), condition)
            if condition.operator in _ORDER and port == _ANY_PORT:
                self._refuse(condition, f"{condition.operator} needs a port")
            if order := _ORDER.get(condition.operator):
                return _same(lambda seen: order(port_of(seen), port))
            return _same(_compared(condition, lambda seen: port in (_ANY_PORT, port_of(seen))))
        host, port = self._split(condition)
        prefixes = self._prefixes(host, condition)

        def own(seen: _Socket) -> bool:
            if port not in (_ANY_PORT, port_of(seen)):
                return False
            return any(prefix.own(*address_of(seen)) for prefix in prefixes)

        def kernel(seen: _Socket) -> bool:
            if port not in (_ANY_PORT, port_of(seen)):
                return False
            return any(prefix.kernel(*address_of(seen)) for prefix in prefixes)

        return _Tests(own, kernel)

    def _name(self, condition: Condition, address_of: Callable[[_Socket], tuple[str, str]]) -> _Tests:
        """Return the test of a UNIX socket's name: a pattern of the shell, whatever the case (fnmatch(3))."""
        if condition.operator in _ORDER:
            self._refuse(condition, "names of UNIX sockets are compared with = and != alone")
        pattern = ss_values.pattern(condition.value)
        if pattern is None:
            self._refuse(condition, "of patterns *, ?, [a-z] and [!a-z] are understood")

        matches = pattern.fullmatch

        def test(seen: _Socket) -> bool:
            family, name = address_of(seen)
            return family == "unix" and matches(name) is not None

        return _same(_compared(condition, test))

    def _split(self, condition: Condition) -> tuple[str, int]:
        """Return the host part, without its brackets, and the port of `host:port`."""
        value = condition.value
        if value.startswith("["):
            host, bracket, rest = value[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                self._refuse(condition, "an IPv6 address is written [::1] or [::1]:443")
        elif value.startswith("*"):
            host, rest = "*", value[1:]
        else:
            start = max(0, value.find("/"))
            colon = value.rfind(":", start)
            host, rest = (value, "") if colon < 0 else (value[:colon], value[colon:])
            if ":" in host:
                self._refuse(condition, "an IPv6 address goes in brackets: [::1] or [::1]:443")
        return host, self._port(rest.removeprefix(":"), condition)

    def _port(self, text: str, condition: Condition) -> int:
        """Return a port by number or name; `_ANY_PORT` for none and for `*`."""
        if text in ("", "*"):
            return _ANY_PORT
        port = ss_values.integer(text)
        if port is not None:
            if not 0 <= port <= 65535:
                self._refuse(condition, "ports go from 0 to 65535")
            return port
        found = {
            number
            for (number, database), name in self._names.services.items()
            if name == text and database in self._databases
        }
        if len(found) > 1:
            both = " and ".join(str(number) for number in sorted(found))
            self._refuse(condition, f"{text!r} is the name of the ports {both}; give one of them")
        if not found:
            self._refuse(condition, f"the recorded host knew no port {text!r}; give its number")
        return found.pop()

    def _prefixes(self, host: str, condition: Condition) -> list[_Prefix]:
        """Return what an address may begin with: several where a name has several addresses."""
        if host in ("", "*"):
            return [_Prefix(None, 0, 0)]
        if host in ("default", "any", "all"):
            return [_Prefix(condition.family, 0, 0)]
        address, slash, length_text = host.partition("/")
        family = "inet6" if ":" in address else "inet"
        packed = ss_values.packed(address)
        if packed is None and not slash:
            return self._named(host, condition)
        if packed is None or condition.family not in (None, family):
            self._refuse(condition, f"{host!r} is no {condition.family or 'internet'} address or prefix")
        most = 128 if family == "inet6" else 32
        length = ss_values.prefix_length(length_text) if slash else most
        if length is None or length > most:
            self._refuse(condition, f"a prefix has 0 to {most} bits")
        return [_Prefix(family, packed, length)]

    def _named(self, host: str, condition: Condition) -> list[_Prefix]:
        """Return the addresses that the recorded host had a name for."""
        found = []
        for address, name in self._names.hosts.items():
            family = "inet6" if ":" in address else "inet"
            bits = _bits(family, address)
            if name == host and bits is not None and condition.family in (None, family):
                found.append(_Prefix(family, bits, 128 if family == "inet6" else 32))
        if not found:
            self._refuse(condition, f"{host!r} is no address, and no name that the recorded host knew")
        return found

    def _refuse(self, condition: Condition, why: str) -> NoReturn:
        self._filter.refuse(condition.place, why)


_ORDER: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _same(test: _Test) -> _Tests:
    return _Tests(test, test)


def _compared(condition: Condition, test: _Test) -> _Test:
    return _not(test) if condition.operator == "!=" else test


def _not(test: _Test) -> _Test:
    return lambda seen: not test(seen)


def _both(left: _Test, right: _Test) -> _Test:
    return lambda seen: left(seen) and right(seen)


def _either(left: _Test, right: _Test) -> _Test:
    return lambda seen: left(seen) or right(seen)
