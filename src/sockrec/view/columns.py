"""netstat's columns, as wide as a terminal has room for; what is cut is cut visibly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, set_cell_size

from sockrec.render.escape import terminal

if TYPE_CHECKING:
    from sockrec.view.table import Line

TITLES: Final = ("Proto", "Recv-Q", "Send-Q", "Local Address", "Foreign Address", "State", "PID/Program name")
_RIGHT: Final = (False, True, True, False, False, False, False)
# netstat's own widths, where there is room for them.
_USUAL: Final = (5, 6, 6, 23, 23, 11, 20)
_LOCAL, _REMOTE, _PROGRAM = 3, 4, 6
_LEAST_PROGRAM: Final = 12
_LEAST_ADDRESS: Final = 10
# On less than the usual 80 columns the state counts more than the program's name.
_NARROW: Final = 75
_SHORTEST_PROGRAM: Final = 6
_CUT: Final = "…"


def texts(line: Line) -> tuple[str, ...]:
    """Return what stands in the columns of a line; nothing in it steers a terminal."""
    row, cells = line.row, line.cells
    shown = (
        cells.protocol,
        str(row.recv_q),
        str(row.send_q),
        cells.local,
        cells.remote,
        cells.state,
        cells.program,
    )
    return tuple(map(terminal, shown))


def widths(longest: Sequence[int], room: int) -> tuple[int, ...]:
    """Return the widths of all columns, by the longest text in each: netstat's, else what fits into `room`.

    Addresses that are longer than netstat's column get more, if all then fits. Where there is less, the
    program's column shrinks first, then the addresses.
    """
    found = [max(one, usual) for one, usual in zip(longest, _USUAL, strict=True)]
    over = _taken(found) - room
    for column, least in (
        (_PROGRAM, max(_LEAST_PROGRAM, longest[_PROGRAM])),
        (_LOCAL, max(_LEAST_ADDRESS, longest[_LOCAL])),
        (_REMOTE, max(_LEAST_ADDRESS, longest[_REMOTE])),
        (_PROGRAM, _LEAST_PROGRAM),
        (0, 4),
        (_PROGRAM, _SHORTEST_PROGRAM if room < _NARROW else _LEAST_PROGRAM),
    ):
        if over > 0:
            taken = min(over, max(0, found[column] - least))
            found[column] -= taken
            over -= taken
    while over > 0 and max(found[_LOCAL], found[_REMOTE]) > _LEAST_ADDRESS:
        found[_LOCAL if found[_LOCAL] >= found[_REMOTE] else _REMOTE] -= 1
        over -= 1
    return tuple(found)


def titles(wide: Sequence[int]) -> str:
    """Return the titles in columns."""
    cut = [set_cell_size(title, min(width, len(title))) for title, width in zip(TITLES, wide, strict=True)]
    return text(cut, wide)


def text(cells: Sequence[str], wide: Sequence[int]) -> str:
    """Return a line with its cells in columns."""
    return " ".join(
        _fitted(cell, width, right=right) for cell, width, right in zip(cells, wide, _RIGHT, strict=True)
    )


def _taken(wide: Sequence[int]) -> int:
    return sum(wide) + len(wide) - 1


def _fitted(cell: str, width: int, *, right: bool) -> str:
    long = cell_len(cell)
    if long <= width:
        return " " * (width - long) + cell if right else cell + " " * (width - long)
    # Of an endpoint the port says more than the address's end.
    host, colon, port = cell.rpartition(":")
    if colon and port.isascii() and (port.isdecimal() or port == "*") and len(port) + 3 <= width:
        return set_cell_size(host, width - len(port) - 2) + _CUT + colon + port
    return set_cell_size(cell, width - 1) + _CUT
