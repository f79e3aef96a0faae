"""What the ledger learns from a reading of all sockets, and from one of the listeners alone."""

from __future__ import annotations

import pytest

from sockrec.kernel.arrays import UnixSockets
from sockrec.kernel.sockets import Reading
from sockrec.model.states import LISTEN
from sockrec.recorder.ledger import Ledger
from tests.recorder.events.support import inet


@pytest.mark.parametrize("partly", [False, True])
def test_users_are_met_wherever_their_sockets_are_read(partly: bool) -> None:
    """A moment that shows the socket shows its user's name, too (netstat -e)."""
    ledger = Ledger(0, None)
    observe = ledger.observe_listeners if partly else ledger.observe
    for began, uids in ((1_000, [1001]), (2_000, [1001, 1002])):
        listeners = [
            {"cookie": uid, "local_port": uid, "remote_port": 0, "state": LISTEN, "uid": uid, "inode": uid}
            for uid in uids
        ]
        observe(Reading(inet(listeners), UnixSockets.empty(), began, began + 100, (), frozenset()))
        assert ledger.uids == set(uids)
