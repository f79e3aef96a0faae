"""Events as recorders write them: the view `events` over what was appended to their journals, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import duckdb

from sockrec.catalog import connections, events
from sockrec.catalog.sources import sql_type
from sockrec.catalog.views import HOST
from sockrec.model.columns import Table
from sockrec.model.tables import EVENTS, SOCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from sockrec.catalog.catalog import Catalog
    from sockrec.store.journal_tail import Added

# Why a listener ended may be known a second later than that it did: its end waits for that so many rounds.
_PATIENCE: Final = 3
_LISTENING: Final = """
SELECT host, recording, socket_id, netns, local_port, local_address,
    coalesce(began_not_before, began_not_after) AS began,
    coalesce(ended_not_after, TIMESTAMPTZ 'infinity') AS ended
FROM base.listening
WHERE protocol = 'tcp' AND (ended_not_after IS NULL OR ended_not_after > last_seen - INTERVAL 1 HOUR)
"""
_PERIOD: Final = f"""
    SELECT p.host, p.netns, p.local_port, {connections.PLAIN.format("p")} AS address, p.began, p.ended
    FROM listening p
"""


class Live:
    """The events of what was appended since the round before; made from the catalog of what was before."""

    def __init__(self, catalog: Catalog) -> None:
        self._connection = duckdb.connect(":memory:", config={"python_enable_replacements": False})
        run = self._connection.execute
        run("SET TimeZone = 'UTC'")
        for name, table in (("begun", SOCKETS), ("ended", SOCKETS), ("stored", EVENTS)):
            run(f"CREATE TABLE {name} ({_definition(table)})")
        run(f"CREATE TABLE waiting ({_definition(SOCKETS)}, rounds BIGINT)")
        run("CREATE TABLE told (host VARCHAR, recording VARCHAR, socket_id BIGINT, not_after TIMESTAMPTZ)")
        run(
            "CREATE TABLE listening (host VARCHAR, recording VARCHAR, socket_id BIGINT, netns BIGINT, "
            "local_port BIGINT, local_address VARCHAR, began TIMESTAMPTZ, ended TIMESTAMPTZ)"
        )
        known = catalog.run(lambda cursor: cursor.sql(_LISTENING).to_arrow_table())
        self._insert("listening", known)
        run(f"CREATE VIEW listened AS {connections.listened(_PERIOD)}")
        run(f"CREATE VIEW events AS {events.select('begun', 'ended', 'stored', 'listened')}")

    def rows(
        self, sql: str, added: Iterable[tuple[str, Added]], *, is_last: bool = False
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a trusted statement over `events`, made of what was added, by host.

        `is_last` says that there will be no other round.
        """
        run = self._connection.execute
        for name in ("begun", "ended", "stored"):
            run(f"DELETE FROM {name}")
        is_any = False
        for host, one in added:
            for name, rows in (("begun", one.begun), ("ended", one.ended), ("stored", one.events)):
                if rows.num_rows:
                    is_any = True
                    self._insert(name, rows, host)
        waiting = run("SELECT count(*) FROM waiting").fetchone()
        if not is_any and waiting == (0,):
            return []
        self._listen()
        self._wait(is_last=is_last)
        return run(sql).fetchall()

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    def _insert(self, name: str, rows: pa.Table, host: str | None = None) -> None:
        self._connection.register("batch", rows)
        first = "" if host is None else "?, "
        self._connection.execute(
            f"INSERT INTO {name} SELECT {first}* FROM batch", [] if host is None else [host]
        )
        self._connection.unregister("batch")

    def _listen(self) -> None:
        """Keep who listens where, which tells accepted connections from others."""
        run = self._connection.execute
        run(
            "INSERT INTO listening SELECT host, recording, socket_id, netns, local_port, local_address, "
            "coalesce(begun_after, first_seen), TIMESTAMPTZ 'infinity' FROM begun "
            "WHERE protocol = 'tcp' AND state = 'LISTEN' AND begun_as IN ('opened', 'found')"
        )
        run(
            "INSERT INTO listening SELECT host, recording, socket_id, netns, local_port, local_address, "
            "opened_at, not_after FROM stored "
            "WHERE kind = 'stopped listening' AND NOT sampled AND opened_at IS NOT NULL"
        )
        run(
            "UPDATE listening SET ended = e.ended_by FROM ended e WHERE e.state = 'LISTEN' "
            "AND e.ended_as = 'closed' AND e.host = listening.host "
            "AND e.recording = listening.recording AND e.socket_id = listening.socket_id"
        )

    def _wait(self, *, is_last: bool) -> None:
        """Hold the ends of listeners back until their causes had time to come."""
        run = self._connection.execute
        run(
            "INSERT INTO told SELECT host, recording, socket_id, not_after FROM stored "
            "WHERE kind = 'stopped listening'"
        )
        run("UPDATE waiting SET rounds = rounds + 1")
        run("INSERT INTO waiting SELECT *, 0 FROM ended WHERE state = 'LISTEN' AND ended_as = 'closed'")
        run("DELETE FROM ended WHERE state = 'LISTEN'")
        run(
            "DELETE FROM waiting USING told WHERE told.host = waiting.host "
            "AND told.recording = waiting.recording AND told.socket_id = waiting.socket_id"
        )
        for name, moment in (("told", "not_after"), ("listening", "ended")):
            run(f"DELETE FROM {name} WHERE {moment} < now() - INTERVAL 1 HOUR")
        patience = 0 if is_last else _PATIENCE
        run(f"INSERT INTO ended SELECT * EXCLUDE (rounds) FROM waiting WHERE rounds >= {patience}")
        run(f"DELETE FROM waiting WHERE rounds >= {patience}")


def _definition(table: Table) -> str:
    return ", ".join(f'"{column.name}" {sql_type(column.type)}' for column in (HOST, *table.columns))
