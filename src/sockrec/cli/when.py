"""`sockrec when`: when something began or ended."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, TimeZoneOption

if TYPE_CHECKING:
    from sockrec.query.grammar import Question


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("when")(when)


def when(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="SUBJECT VERB [STATE]", help="port 7071 stopped listening; pid 4121 connected; ..."
        ),
    ],
    capture: CaptureOption = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="text, json, jsonl, csv, table or markdown.")
    ] = "text",
    tz: TimeZoneOption = None,
) -> None:
    """Say when something began or ended, with the bounds of what is known.

    SUBJECT is `port 7071`, `port 53/udp`, `pid 4121`, `program nginx` or `peer 10.0.0.9[:443]`. VERB
    is `started listening` or `stopped listening`, `connected` or `disconnected`, `started` or
    `stopped` (a process), `entered STATE` or `left STATE`, by any of netstat's names.
    """
    from sockrec.errors import NothingMatchedError
    from sockrec.query import grammar, nothing
    from sockrec.query.when import when as ask

    _capture.check_format(format_, "text")
    question = grammar.parse(words[0] if len(words) == 1 else shlex.join(words))
    with _capture.opened(capture) as catalog:
        zone = _capture.zone(catalog, tz)
        answers = ask(catalog, question)
        rows = _capture.dicts(answers)
        if not rows:
            raise NothingMatchedError(nothing.explain(catalog, question, zone))
        if format_ == "text":
            from sockrec.render import sentences

            several = len(catalog.survey.hosts) > 1
            for row in rows:
                line = sentences.answer(row, question.topic, question.begins, zone, name_host=several)
                _capture.write(f"{line}\n")
        elif format_ in ("json", "jsonl"):
            _print_json(format_, rows, question)
        else:
            _capture.show(format_, answers)


def _print_json(format_: str, rows: list[dict[str, Any]], question: Question) -> None:
    """Print the answers with a restart as an object of its own, or null."""
    told = []
    for row in rows:
        restart = {
            key.removeprefix("again_"): value for key, value in row.items() if key.startswith("again_")
        }
        known = {key: value for key, value in row.items() if not key.startswith("again_")}
        happened = question.topic == "listening" and restart["not_after"] is not None
        told.append({**known, "restart": restart if happened else None})
    _capture.show_rows(format_, list(told[0]), [tuple(row.values()) for row in told])
