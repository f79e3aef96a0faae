"""What netstat would have printed of one sample: what its flags ask for is read, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockrec.errors import NothingMatchedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sockrec.catalog import Catalog
    from sockrec.render.names import Names
    from sockrec.render.netstat_flags import NetstatFlags
    from sockrec.replay.moment import Moments, Sample
    from sockrec.replay.network import Network


class Netstat:
    """Prints samples of one host under one set of flags, as one run of netstat does.

    `lacking` says what the last one was recorded without; nothing if that is not asked for.
    """

    def __init__(self, catalog: Catalog, moments: Moments, flags: NetstatFlags) -> None:
        self._catalog, self._moments, self._flags = catalog, moments, flags
        self._titled = True
        self.lacking: str | None = None

    def text(self, sample: Sample, names: Names, at_us: int | None = None) -> bytes:
        """Return the bytes for one sample; timers, and what is read more seldom, as at `at_us`."""
        from sockrec.render.names import encode

        lines = getattr(self, f"_{self._flags.mode}")(sample, names, at_us)
        return encode("".join(lines))

    def _sockets(self, sample: Sample, names: Names, at_us: int | None) -> Iterator[str]:
        from sockrec.render.netstat import netstat_lines
        from sockrec.render.netstat_unix import netstat_unix

        if self._flags.titled:
            yield from netstat_lines(self._moments.rows(sample, at_us), self._flags, names)
        if self._flags.groups:
            yield from self._groups(sample, names, at_us)
        if self._flags.unix:
            rows = self._moments.unix_rows(sample)
            # A socket that is there has references.
            if rows and not any(row.refcount for row in rows):
                self.lacking = "the references to UNIX sockets were not recorded then: RefCnt is shown as 0"
            yield from netstat_unix(rows, self._flags, names)

    def _groups(self, sample: Sample, names: Names, at_us: int | None) -> Iterator[str]:
        from sockrec.render.netstat_groups import netstat_groups

        yield from netstat_groups(self._network(sample, at_us).groups(), self._flags, names)

    def _interfaces(self, sample: Sample, _: Names, at_us: int | None) -> Iterator[str]:
        from sockrec.render.netstat_interfaces import interface_lines

        network = self._network(sample, at_us)
        # Under -c the title is printed once.
        titled, self._titled = self._titled, not self._flags.continuous
        yield from interface_lines(
            network.interfaces(),
            network.link_counters(),
            network.addresses(),
            all=self._flags.all,
            extended=self._flags.extend > 0,
            titled=titled,
        )

    def _routes(self, sample: Sample, names: Names, at_us: int | None) -> Iterator[str]:
        from sockrec.render.netstat_routes import netstat_routes

        yield from netstat_routes(self._network(sample, at_us).routes(), self._flags, names)

    def _statistics(self, sample: Sample, _: Names, at_us: int | None) -> Iterator[str]:
        from sockrec.render.netstat_statistics import statistics_lines

        yield from statistics_lines(self._network(sample, at_us).counters(), self._flags)

    def _network(self, sample: Sample, at_us: int | None) -> Network:
        from sockrec.replay.network import Network

        network = Network(self._catalog, sample, at_us)
        if not network.is_known:
            raise NothingMatchedError(
                "interfaces, routes, groups and counters were not recorded then: sockets are all there is"
            )
        return network
