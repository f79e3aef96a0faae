"""Half an hour of samples ten times a second, within bounded disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sockrec.catalog import open_catalog
from tests.events.recorded import recorded
from tests.faults import truth
from tests.faults.churn import Churn
from tests.faults.scale import figures, is_torture
from tests.faults.vitals import Vitals
from tests.support.command import sockrec
from tests.support.netns import Namespace

_MINUTES = float(os.environ.get("SOCKREC_TORTURE_MINUTES", "30"))
_MAX_BYTES = 16 << 20
_SEALING_KIB = 32 << 10


@pytest.mark.skipif(not is_torture(), reason="half an hour long: `make torture` has it")
@pytest.mark.timeout(60 * _MINUTES + 600)
def test_soak(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "capture"
    largest = 0
    with Churn(netns, 1, tmp_path) as churn:
        words = ("--max-size", "16MiB", "--max-cpu", "50%")
        with recorded(netns, capture, *words, interval="100ms") as recorder:
            recorder.more_samples(5)
            until = time.monotonic() + 60 * _MINUTES
            with Vitals(recorder.pid) as vitals:
                while time.monotonic() < until:
                    time.sleep(1)
                    assert recorder.process.poll() is None, recorder.complaints
                    largest = max(largest, _bytes(capture))
        assert recorder.complaints == []
        with open_catalog(capture) as catalog:
            assert catalog.damages == []
            truth.check(catalog, churn, events=True)
            truth.check_moments(catalog, 20, events=True)
            ((numbers, last, missed),) = catalog.rows(
                "SELECT count(DISTINCT number), max(number) - min(number) + 1, sum(ticks_missed) FROM samples"
            )
    assert numbers == last, "what is left is the end of it, whole"
    assert numbers >= 600, "a minute of it"
    assert largest <= _MAX_BYTES
    vitals.assert_flat(_SEALING_KIB)
    done = sockrec("verify", "-C", capture)
    assert done.returncode == 0, done.stdout + done.stderr
    figures(
        "soak",
        minutes=_MINUTES,
        sockets=len(churn.lives),
        samples_left=numbers,
        ticks_missed=int(missed),
        largest_kib=largest >> 10,
        memory_mib_before=vitals.memory(0.3, 0.5) >> 10,
        memory_mib_after=vitals.memory(0.8, 1.0) >> 10,
    )


def _bytes(folder: Path) -> int:
    """Return what all files take, those that go meanwhile left out."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
