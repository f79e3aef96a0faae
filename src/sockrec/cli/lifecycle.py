"""`sockrec lifecycle`: the states that connections went through."""

from __future__ import annotations

from typing import Annotated

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, HostOption, TimeZoneOption


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("lifecycle")(lifecycle)


def lifecycle(
    port: Annotated[
        str | None, typer.Option("--port", "-p", help="All connections of a port, put together.")
    ] = None,
    socket: Annotated[
        int | None,
        typer.Option(
            "--socket",
            "-s",
            help="One connection, by its socket_id (SQL, and `-f json` of `top` or `events`, tell it).",
        ),
    ] = None,
    host: HostOption = None,
    capture: CaptureOption = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="table, csv, json, jsonl or markdown.")
    ] = "table",
    tz: TimeZoneOption = None,
) -> None:
    """Show the states that TCP connections went through, with times, from SYN to CLOSED.

    Of a port: how many went which way, and how long they stayed in each state. Of one socket: when it entered
    each state. Beginnings, handshakes and ends are told by events, the states in between by samples. What no
    sample saw is "not sampled", from when an event told.
    """
    from sockrec.errors import NothingMatchedError, UsageError
    from sockrec.query import grammar, nothing, rate_names
    from sockrec.query import lifecycle as query
    from sockrec.render import lifecycle as render

    _capture.check_format(format_)
    if (port is None) == (socket is None):
        raise UsageError("name what is asked for: --port 7071, or --socket with a socket_id")
    with _capture.opened(capture) as catalog:
        zone = _capture.zone(catalog, tz)
        rate_names.hosts(catalog, host)
        if socket is not None:
            answer = query.of_socket(catalog, socket, host)
        else:
            number, protocol = grammar.port_and_protocol(port or "")
            if protocol not in (None, "tcp"):
                raise UsageError(f"{protocol} sockets have no states to go through: only TCP's do")
            answer = query.of_port(catalog, number, host)
        rows = _capture.dicts(answer)
        if not rows:
            what = f"port {port}" if socket is None else f"socket {socket}"
            raise NothingMatchedError(f"no TCP connection of {what}; {nothing.recorded(catalog, zone)}")
        if format_ == "table" and socket is not None:
            _capture.write(render.of_socket(rows, zone))
        elif format_ in ("table", "markdown") and socket is None:
            _capture.write(render.of_port(rows, format_))
        else:
            _capture.show(format_, answer)
