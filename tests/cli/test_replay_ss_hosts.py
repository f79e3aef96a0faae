"""What ss showed on generated hosts, recorded and replayed at the end."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from sockrec.catalog import open_catalog
from sockrec.cli._ss import Ss
from sockrec.render.names import Names
from sockrec.render.ss_flags import parse_flags
from sockrec.replay.moment import Moments
from tests.faults.scale import cases, figures
from tests.support.command import CLEAN, SOCKREC, count_samples, wait_for_samples
from tests.support.hosts import Host
from tests.support.ss_judge import lines_of
from tests.support.ss_population import SsPopulation
from tests.support.ss_recorded import FLAG_SETS, MOST_MOVED, compare, told
from tests.support.unix_population import HARMLESS

# ss prints control characters in names as they are; those steer a terminal, and are shown as `?`.
_UNIX_NAMES = tuple(name for name in HARMLESS if min(name) >= 0x20)
# They have no cable, and routes to a name server that is not there: -r would wait for it.
_FLAG_SETS = tuple(flags.replace("cable0", "lo") for flags in FLAG_SETS if "-r" not in flags.split())


@pytest.mark.parametrize("seed", range(cases(2, 100)))
def test_all_of_ss_at_the_end_of_a_recording(seed: int, tmp_path: Path) -> None:
    """Recording begins before any of the sockets is there."""
    capture = tmp_path / "cap"
    pace = ("--interval", "200ms", "--slow-interval", "1s", "--counters-interval", "0s")
    with Host(seed, tmp_path, _UNIX_NAMES) as host:
        command = host.namespace.command(SOCKREC, "record", "-C", str(capture), *pace)
        with subprocess.Popen(command, env=CLEAN) as recorder:
            try:
                wait_for_samples(capture, 1)
                host.change()
                with SsPopulation(host.namespace, seed):
                    wait_for_samples(capture, count_samples(capture) + 8)
                    before = told(host.namespace, _FLAG_SETS)
                    # A sample in which no child of ours, just forked, holds all these sockets too.
                    wait_for_samples(capture, count_samples(capture) + 2)
                    os.kill(recorder.pid, signal.SIGINT)
                    assert recorder.wait(30) == 0
                    after = told(host.namespace, _FLAG_SETS)
            finally:
                recorder.kill()
    lines = moved = 0
    with open_catalog(capture) as catalog:
        moments = Moments(catalog)
        names = Names.from_json(catalog.recordings[0]["names"])
        (_, end), *_ = moments.spans()
        for flags in _FLAG_SETS:
            ss = Ss(catalog, parse_flags(shlex.split(flags)))
            ours = lines_of(ss.text(moments.at(end), names, end))
            lines += len(ours)
            moved += compare(before[flags], after[flags], ours)
            assert ss.lacking is None
    assert moved <= lines * MOST_MOVED
    figures("replay as ss", hosts=1, lines=lines - moved, differences=0)
