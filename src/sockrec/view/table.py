"""The sockets at one moment, as netstat prints them: in its order, those that a filter lets through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from sockrec.model.netstat_row import NetstatRow
from sockrec.render.names import Names
from sockrec.render.netstat import Cells, Printer, block_of
from sockrec.render.netstat_flags import NetstatFlags
from sockrec.replay.stretch import NULL

if TYPE_CHECKING:
    from sockrec.query.findings.interest import Interest
    from sockrec.replay.moment import Sample
    from sockrec.replay.stretch import Ints, Stretch
    from sockrec.view.filter import Filter

FLAGS: Final = NetstatFlags(
    all=True, numeric_hosts=True, numeric_ports=True, numeric_users=True, programs=True, wide=True
)
"""`netstat -anpW`: nothing is cut before it must be."""


class Subject(NamedTuple):
    """What is selected, wherever the cursor goes: a socket, or who has no peer by the address.

    A listener that comes back is another socket and the same subject: of it `socket_id` is None.
    """

    protocol: str
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    socket_id: int | None


class Line(NamedTuple):
    """One line of the table.

    `sign` is `+` where the sample before had not this socket, `~` where it had it in another state.
    """

    row: NetstatRow
    cells: Cells
    subject: Subject
    sign: str


class Table:
    """The lines of one sample; they are made when they are looked at."""

    def __init__(
        self,
        stretch: Stretch,
        sample: Sample,
        at_us: int,
        before: Sample | None = None,
        wanted: Filter | None = None,
    ) -> None:
        self.stretch, self.sample = stretch, sample
        self._at_us = at_us
        found, blocks = stretch.at(sample), _blocks(stretch)
        shown = np.flatnonzero(blocks[found.rows] >= 0)
        self.sockets = len(shown)
        if wanted is not None:
            shown = shown[wanted.lets_through(stretch, found)[shown]]
        shown = shown[np.argsort(blocks[found.rows[shown]], kind="stable")]
        self._rows, self._moved, self._argv0 = (part[shown] for part in found)
        self._before = None if before is None else stretch.at(before).rows
        self._printer = Printer(FLAGS, Names())

    def __len__(self) -> int:
        return len(self._rows)

    def line(self, place: int) -> Line:
        """Return the line at a place, counted from 0."""
        row = self._row(place)
        return Line(row, self._printer.cells(row), self.subject(place), self._sign(place))

    def _row(self, place: int) -> NetstatRow:
        return self.stretch.row(
            int(self._rows[place]), int(self._moved[place]), int(self._argv0[place]), self._at_us
        )

    def _sign(self, place: int) -> str:
        number = self._rows[place]
        if self._before is None or np.any(self._before == number):
            return " "
        same = self._before[self.stretch.ids[self._before] == self.stretch.ids[number]]
        if not len(same):
            return "+"
        # A cut, or another owner, makes another row of the same condition: then the state tells.
        codes = self.stretch.state.codes
        return " " if codes[same[0]] == codes[number] else "~"

    def subject(self, place: int) -> Subject:
        """Return what the line at a place is about."""
        return self._of(int(self._rows[place]))

    def _of(self, number: int) -> Subject:
        stretch = self.stretch
        alone = stretch.remote_port[number] == 0
        return Subject(
            stretch.protocol.of(number),
            stretch.local_address.of(number),
            int(stretch.local_port[number]),
            stretch.remote_address.of(number),
            int(stretch.remote_port[number]),
            None if alone else int(stretch.ids[number]),
        )

    def place_of(self, subject: Subject) -> int | None:
        """Return where a subject stands; None if it is not there."""
        stretch, rows = self.stretch, self._rows
        if subject.socket_id is not None:
            found = np.flatnonzero(stretch.ids[rows] == subject.socket_id)
        else:
            near = np.flatnonzero(
                (stretch.local_port[rows] == subject.local_port) & (stretch.remote_port[rows] == 0)
            )
            found = np.array([place for place in near if self.subject(int(place)) == subject], dtype=np.int64)
        return int(found[0]) if len(found) else None

    def about(self, told: Interest) -> Subject | None:
        """Return the subject that something is about, here or in the samples around; None if it is not known.

        Of a port that is who listens on it, though he may be gone by now, before those who talk with him.
        """
        stretch, rows = self.stretch, self._rows
        if told.socket_id is not None:
            known = self._subject(np.flatnonzero(stretch.ids == told.socket_id))
            if known is not None:
                return known
        if told.ports:
            local, remote = stretch.local_port, stretch.remote_port
            listens = np.isin(local, told.ports) & (remote == 0)
            near = rows[np.isin(local[rows], told.ports) | np.isin(remote[rows], told.ports)]
            return self._subject(rows[listens[rows]], np.flatnonzero(listens), near)
        return None if told.pid is None else self._subject(rows[stretch.pid[rows] == told.pid])

    def _subject(self, *choices: Ints) -> Subject | None:
        return next((self._of(int(rows[0])) for rows in choices if len(rows)), None)

    def since(self, place: int) -> tuple[int | None, int, str, str]:
        """Return when what stands at a place began: not before, not after, as what, and by which evidence."""
        number = int(self._rows[place])
        stretch = self.stretch
        after = int(stretch.begun_after[number])
        return (
            None if after == NULL else after,
            int(stretch.first_seen[number]),
            stretch.begun_as.of(number),
            stretch.begun_evidence.of(number),
        )


def _blocks(stretch: Stretch) -> Ints:
    """Return for each row of a stretch the number of netstat's block that it stands in; -1 for none."""
    # One number for each kind of row, as there are few kinds and many rows.
    kinds = stretch.remote_port != 0
    columns = (stretch.protocol, stretch.family, stretch.state)
    for column in columns:
        kinds = kinds * (len(column.texts) + 1) + column.codes
    _, firsts, kind = np.unique(kinds, return_index=True, return_inverse=True)
    blocks = []
    for first in firsts.tolist():
        protocol, family, state = (column.of(first) for column in columns)
        block = block_of(
            NetstatRow(protocol, family, "", 0, "", int(stretch.remote_port[first]), state), FLAGS
        )
        blocks.append(-1 if block is None else block)
    numbers: Ints = np.array(blocks, dtype=np.int64)[kind]
    return numbers
