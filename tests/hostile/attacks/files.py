"""What is no file of ours: links out of the capture, pipes, facts that are none, and too many of them."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
from pathlib import Path
from typing import Any

from sockrec.store.layout import Layout
from tests.faults.scale import cases
from tests.hostile.attacks.base import RECORDING, attack, whole

# A file of ext4 has 65,000 names at most.
_LINKS = 60_000


@attack
def links_out_of_it(folder: Path) -> None:
    """Everything that could be a link is one, to what is outside."""
    outside = folder.parent / "outside"
    whole(outside).write()
    whole(folder).write()
    for name in ("activity", "processes"):
        _replaced_by_link(folder / name, outside / name)
    host = next((folder / "samples").glob("host=*"))
    _replaced_by_link(host, outside / "samples" / host.name)
    segment = next((folder / "sockets").glob("*/*/*.parquet"))
    segment.with_name("20261120T103200-bbbb-000001.parquet").symlink_to("/dev/zero")
    segment.with_name("20261120T103200-bbbb-000002.parquet").symlink_to(segment)
    (folder / "recordings" / host.name / "20261120T103200-cccc.json").symlink_to("/etc/hostname")
    journal = folder / "journal" / host.name
    journal.mkdir(parents=True, exist_ok=True)
    (journal / "20261120T103200-dddd-000000.journal").symlink_to("/dev/zero")
    (journal / "lock").unlink(missing_ok=True)
    (journal / "lock").symlink_to("/dev/zero")


def _replaced_by_link(path: Path, to: Path) -> None:
    path.rename(path.with_name(f".{path.name}"))
    path.symlink_to(to)


@attack
def pipes_and_sockets(folder: Path) -> None:
    """What blocks whoever opens it."""
    whole(folder).write()
    for place in [
        *folder.glob("sockets/*/*"),
        *folder.glob("recordings/*"),
        folder / "journal" / "host=web-1",
    ]:
        place.mkdir(parents=True, exist_ok=True)
        for suffix in (".parquet", ".json", ".journal", ".damaged", ""):
            os.mkfifo(place / f"20261120T103200-bbbb-000001{suffix}")
    (folder / "journal" / "host=web-1" / "lock").unlink(missing_ok=True)
    os.mkfifo(folder / "journal" / "host=web-1" / "lock")
    (folder / "events").rename(folder / "moved")
    os.mkfifo(folder / "events")
    here = Path.cwd()
    os.chdir(folder / "journal" / "host=web-1")
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("20261120T103200-eeee-000000.journal")
    finally:
        os.chdir(here)
    os.mknod(
        folder / "journal" / "host=web-1" / "20261120T103200-ffff-000000.journal", 0o20600, os.makedev(1, 5)
    )


@attack
def facts_of_a_gibibyte(folder: Path) -> None:
    """A recording's JSON of one gibibyte of nothing."""
    part = whole(folder)
    part.write()
    path = Layout(folder).recording(part.host, RECORDING)
    os.truncate(path, 1 << 30)


@attack
def facts_that_are_deep(folder: Path) -> None:
    """JSON in JSON in JSON."""
    part = whole(folder)
    part.write()
    path = Layout(folder).recording(part.host, RECORDING)
    for number, text in enumerate(
        (
            "[" * 4_000_000,
            '{"a":' * 2_000_000,
            '{"format_version": 1, "x": ' + "[" * 100_000 + "]" * 100_000 + "}",
            '{"format_version": 1, "x": ' + "9" * 1_000_000 + "}",
            '{"format_version": ' + "1" * 4000 + "}",
        )
    ):
        path.with_name(f"20261120T103200-000{number}.json").write_text(text)


@attack
def facts_that_lie(folder: Path) -> None:
    """Each fact of another type than it should be, and numbers out of every range."""
    values: list[Any] = [
        None, True, -1, 0, 10**30, 1 << 63, -(1 << 63), 1e308, math.nan, math.inf, "",
        "\ud800\x1b[2J", "x" * 100_000, [], [[]], {}, {"a": {}}, [1, "\udfff", None],
    ]  # fmt: skip
    part = whole(folder)
    part.write()
    path = Layout(folder).recording(part.host, RECORDING)
    facts = json.loads(path.read_bytes())
    facts.pop("crc32", None)
    names = (
        *facts,
        "names",
        "ended_as",
        "machine",
        "privileges",
        "interval_us",
        "options",
        "time_zone",
        "unavailable",
    )
    for number, value in enumerate(values):
        recording = f"20261120T1033{number:02d}-aaaa"
        lies = dict.fromkeys(names, value) | {"format_version": 1, "recording": recording}
        for one in ({}, {"host": part.host}):
            path.with_name(f"{recording}{'' if one else 'x'}.json").write_text(json.dumps(lies | one))


@attack
def thousands_of_files(folder: Path) -> None:
    """Files, each of which has to be looked at."""
    part = whole(folder)
    part.write()
    segment = part.path("sockets")
    linked = segment
    for number in range(cases(1_000, 5_000)):
        path = segment.with_name(f"20261120T103200-aaaa-{number + 7:06d}.parquet")
        if number % _LINKS:
            os.link(linked, path)
        else:
            linked = Path(shutil.copy(segment, path))
        segment.with_name(f"20261120T103200-bbbb-{number:06d}.parquet").write_bytes(b"PAR1")
    facts = Layout(folder).recording(part.host, RECORDING)
    for number in range(cases(1_000, 5_000)):
        facts.with_name(f"20261120T{number:06d}-aaaa.json").write_bytes(b"{}")
