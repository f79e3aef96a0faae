"""What a reader elsewhere must know of a recording: its host, its kernel, how it was made, what it lacks."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sockrec.errors import CaptureError
from sockrec.kernel import host, names
from sockrec.model.tables import FORMAT_VERSION
from sockrec.recorder.options import Options
from sockrec.store import recordings
from sockrec.version import __version__


class Facts:
    """The facts of one recording, as they stand in its JSON file.

    `values` may be changed and added to; `write` puts them on disk, with the names of all `uids` met.
    """

    def __init__(self, path: Path, recording: str, hostname: str, started_us: int, options: Options) -> None:
        self._path = path
        self._stale = False
        self._uids: frozenset[int] = frozenset()
        self._hosts = names.hosts()
        self.values: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "sockrec_version": __version__,
            "recording": recording,
            "host": hostname,
            "kernel": host.kernel_release(),
            "machine": host.machine(),
            "boot_id": host.boot_id(),
            "time_zone": host.time_zone(),
            "netns": host.network_namespace(),
            "started_us": started_us,
            "ended_us": None,
            "ended_as": None,
            "options": asdict(options),
            "privileges": host.privileges(),
            "unavailable": [],
            "names": {
                "services": names.services(),
                "protocols": names.protocols(),
                "hosts": self._hosts,
                "networks": names.networks(),
            },
        }

    def write(self, uids: Iterable[int]) -> None:
        """Write them, over what stood there; raises `CaptureError`."""
        self._stale = True
        self._uids = frozenset(uids)
        self.values["names"]["users"] = names.users(set(self._uids))
        recordings.write_recording(self._path, self.values)
        self._stale = False

    def again(self, path: Path, recording: str, started_us: int) -> Facts:
        """Return the facts of a recording that goes on where this one had to end."""
        other = copy.copy(self)
        other._path = path
        other.values = {**self.values, "recording": recording, "started_us": started_us, "ended_us": None}
        other.values["ended_as"] = None
        return other

    def withdraw(self) -> None:
        """Take them off the disk: nothing was recorded."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def end(self, ended_us: int, ended_as: str) -> None:
        """Say when and how the recording ended; it stands on disk once `keep_up` is called."""
        self.values |= {"ended_us": ended_us, "ended_as": ended_as}
        self.changed()

    def name_hosts(self, found: Mapping[str, str]) -> None:
        """Add host names, by address; those of the hosts file stay."""
        self.values["names"]["hosts"] = {**found, **self._hosts}
        self.changed()

    def changed(self) -> None:
        """Have them written at the next `keep_up`."""
        self._stale = True

    def keep_up(self, uids: Iterable[int]) -> CaptureError | None:
        """Write them if they, or the users met, are others than on disk; return what the disk said if not."""
        if not self._stale and self._uids == uids:
            return None
        try:
            self.write(uids)
        except CaptureError as error:
            return error
        return None
