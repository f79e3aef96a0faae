"""The renderer against the installed netstat, on generated populations of real sockets."""

from __future__ import annotations

import pytest

from sockrec.model.netstat_row import NetstatRow
from tests.faults.scale import cases
from tests.support.netstat_judge import FLAG_SETS, judge
from tests.support.populations import Population
from tests.support.proc_rows import names_of, rows_from_proc

pytestmark = pytest.mark.moments


@pytest.mark.parametrize("seed", range(cases(12, 40)))
def test_text_is_netstats_to_the_byte(seed: int) -> None:
    with Population(seed) as population:

        def rows() -> list[NetstatRow]:
            return rows_from_proc(population.namespace, population.pids)

        judge(population.namespace, rows, names_of(population.namespace, rows()), FLAG_SETS)
