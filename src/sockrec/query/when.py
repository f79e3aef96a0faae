"""Answers of `when`: each moment at which the thing asked about began or ended, as its bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sockrec.catalog.sources import literal
from sockrec.model.gaps import NOT_SEEN
from sockrec.model.programs import known_as_sql
from sockrec.query import grammar, words

if TYPE_CHECKING:
    import duckdb

    from sockrec.catalog import Catalog
    from sockrec.query.grammar import Question

COLUMNS: Final = (
    "protocol",
    "local_address",
    "local_port",
    "remote_address",
    "remote_port",
    "pid",
    "program",
    "state",
    "not_before",
    "not_after",
    "exact",
    "evidence",
    "cause",
    "host",
    "again_not_before",
    "again_not_after",
    "again_pid",
    "again_program",
)


def when(catalog: Catalog, question: Question | str) -> duckdb.DuckDBPyRelation:
    """Return the answers in order of time, with the columns `COLUMNS`; no rows if nothing matched.

    The true moment lies in [not_before, not_after]; a null bound is not known. `cause` says in words why
    a listener or a process ended (`sockrec.query.words`), or that it was lost from sight in a gap
    (`NOT_SEEN`). The `again_*` columns tell of a restart: the next listening on the same address and
    port. Raises `UsageError` for a text that is no question.
    """
    if isinstance(question, str):
        question = grammar.parse(question)
    topics = {"listening": _listening, "connection": _connection, "state": _state, "process": _process}
    return catalog.relation(
        f"SELECT {', '.join(COLUMNS)} FROM ({topics[question.topic](question)}) "
        "ORDER BY coalesce(not_before, not_after), not_after, host, local_port, local_address, "
        "remote_port, pid"
    )


def _bounds(question: Question, begin: str, end: str, cause: str = "NULL::VARCHAR") -> str:
    """Return bounds, exactness, evidence and cause, from the columns with those prefixes.

    `cause` is the SQL of why it ended.
    """
    side = begin if question.begins else end
    begun = {"began": "begun", "opened": "opened"}[begin]
    kind = begun if question.begins else end
    not_seen = literal(NOT_SEEN[0 if question.begins else 1])
    why = "NULL::VARCHAR" if question.begins else cause
    return (
        f"{side}_not_before AS not_before, {side}_not_after AS not_after, "
        f"coalesce({side}_not_before = {side}_not_after, false) AS exact, {kind}_evidence AS evidence, "
        f"CASE {kind}_as WHEN 'gap' THEN {not_seen} ELSE {why} END AS cause"
    )


def _holder(question: Question) -> str:
    if question.begins:
        return "coalesce(first_pid, pid) AS pid, coalesce(first_program, program) AS program"
    return "pid, program"


def _no_restart() -> str:
    return (
        "NULL::TIMESTAMPTZ AS again_not_before, NULL::TIMESTAMPTZ AS again_not_after, "
        "NULL::BIGINT AS again_pid, NULL::VARCHAR AS again_program"
    )


def of_subject(question: Question) -> str:
    """Return the condition that a row of `listeners`, connections or periods is of the subject."""
    if question.subject == "port":
        also = f" AND protocol = {literal(question.protocol)}" if question.protocol else ""
        return f"local_port = {question.port}{also}"
    if question.subject == "pid":
        pid = question.pid
        return f"(pid = {pid} OR first_pid = {pid} OR list_contains(holders, {pid}))"
    if question.subject == "program":
        return f"({same_program('program', question)} OR {same_program('first_program', question)})"
    return of_peer(question.address or "", question.peer_port)


def of_peer(address: str, port: int | None) -> str:
    """Return the condition that a row's peer has that address, in either family, and that port, if any."""
    mapped = f", {literal('::ffff:' + address)}" if ":" not in address else ""
    also = f" AND remote_port = {port}" if port else ""
    return f"remote_address IN ({literal(address)}{mapped}){also}"


def same_program(column: str, question: Question) -> str:
    """Return the condition that a column names the program asked about."""
    name = literal(question.program or "")
    return f"({column} = {name} OR {known_as_sql(column)} = {name})"


def _listening(question: Question) -> str:
    again = _no_restart()
    if not question.begins:
        again = "again_not_before, again_not_after, again_pid, again_program"
    ended = "" if question.begins else " AND ended_not_after IS NOT NULL"
    state = "CASE WHEN protocol IN ('tcp', 'sctp') THEN 'LISTEN' ELSE 'UNCONN' END AS state"
    remote = (
        "CASE family WHEN 'inet6' THEN '::' ELSE '0.0.0.0' END AS remote_address, 0::BIGINT AS remote_port"
    )
    return (
        f"SELECT protocol, local_address, local_port, {remote}, {_holder(question)}, {state}, "
        f"{_bounds(question, 'began', 'ended', words.listener_cause())}, host, {again} "
        f"FROM listeners WHERE {of_subject(question)}{ended}"
    )


def _connection(question: Question) -> str:
    ended = "" if question.begins else " AND closed_not_after IS NOT NULL"
    state = "first_state" if question.begins else "last_state"
    return (
        "SELECT protocol, local_address, local_port, remote_address, remote_port, "
        f"{_holder(question)}, {state} AS state, {_bounds(question, 'opened', 'closed')}, host, "
        f"{_no_restart()} FROM base.connection_spans WHERE established AND {of_subject(question)}{ended}"
    )


def _state(question: Question) -> str:
    ended = "" if question.begins else " AND ended_not_after IS NOT NULL"
    return (
        "SELECT protocol, local_address, local_port, remote_address, remote_port, "
        f"{_holder(question)}, state, {_bounds(question, 'began', 'ended')}, host, {_no_restart()} "
        f"FROM base.periods WHERE state = {literal(question.state or '')} AND {of_subject(question)}{ended}"
    )


def _process(question: Question) -> str:
    if question.begins:
        # /proc/PID/stat counts in hundredths of a second, rounded down.
        moment = (
            "start_time AS not_before, start_time + INTERVAL 10 MILLISECOND AS not_after, false AS exact, "
            "'sample' AS evidence, NULL::VARCHAR AS cause"
        )
        ended = " AND start_time IS NOT NULL"
    else:
        moment = _bounds(question, "began", "ended", words.process_cause())
        ended = " AND ended_not_after IS NOT NULL"
    if question.subject == "pid":
        whose = f"pid = {question.pid}"
    else:
        names = ("program", "comm", "parse_filename(exe)")
        whose = "(" + " OR ".join(same_program(name, question) for name in names) + ")"
    nothing = ", ".join(
        f"NULL::{kind} AS {name}"
        for name, kind in (
            ("protocol", "VARCHAR"),
            ("local_address", "VARCHAR"),
            ("local_port", "BIGINT"),
            ("remote_address", "VARCHAR"),
            ("remote_port", "BIGINT"),
            ("state", "VARCHAR"),
        )
    )
    return (
        f"SELECT {nothing}, pid, program, {moment}, host, {_no_restart()} "
        f"FROM base.process_spans WHERE {whose}{ended}"
    )
