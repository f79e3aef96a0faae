"""The page: what it embeds, and the template, style and scripts around it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, Final

import numpy as np

from sockrec.model import durations, timetext
from sockrec.query.findings import Asked, Finding, diagnose
from sockrec.query.findings.interest import interest
from sockrec.render import findings as render
from sockrec.render.escape import terminal
from sockrec.report import flows, lanes, levels
from sockrec.report.figure import Figure, Samples, numbers
from sockrec.report.moments import MOST_CHANGES, Moments, make_moments
from sockrec.report.scope import Scope
from sockrec.version import __version__

_SCRIPTS: Final = (
    "unpack.js",
    "clock.js",
    "view.js",
    "panels.js",
    "lanes.js",
    "table.js",
    "findings.js",
    "main.js",
)
_MOST_FINDINGS: Final = 200
FLAGS: Final = "-tuUwSanpW"
"""With what netstat shows what the table of sockets has."""


def make_page(scope: Scope, most_changes: int = MOST_CHANGES) -> str:
    """Return the page as HTML: whole in itself, nothing of it asks for anything elsewhere.

    `most_changes` is how many changes of sockets it may hold; of more it keeps fewer samples.
    """
    found = diagnose(Asked(scope.catalog, scope.first_us, scope.last_us, scope.host))
    moments = make_moments(scope, (_us(one) for one in found), most_changes)
    samples = Samples(scope)
    drawn: dict[str, Callable[[], list[Figure]]] = {
        "states": lambda: levels.states(scope, samples),
        "connections": lambda: [flows.connections(scope)],
        "failed connections": lambda: [flows.failures(scope)],
        "queues": lambda: levels.queues(scope, samples),
        "retransmissions and round trips": lambda: flows.trouble(scope),
        "traffic": lambda: [flows.services(scope)],
        "interfaces": lambda: [flows.interfaces(scope)],
    }
    figures = [
        figure
        for what, draw in drawn.items()
        for figure in scope.catalog.told_or_left_out(f"the figures of {what} are not drawn", draw)
    ]
    facts: dict[str, Any] = {
        "title": f"{terminal(scope.host)}, {_span(scope, 0)}",
        "first": scope.first_us,
        "last": scope.last_us,
        "offset": scope.offset_us,
        "zone": _zone(scope),
        "command": f"sockrec replay --host {terminal(scope.host)}",
        "flags": FLAGS,
        "about": _about(scope),
        "thinned": _thinned(scope, moments),
        "gaps": [
            {"from": _seconds(scope, first), "to": _seconds(scope, last), "why": terminal(why)}
            for first, last, why in scope.gaps()
        ],
        "findings": [_finding(scope, one, moments) for one in found[:_MOST_FINDINGS]],
        "more_findings": max(0, len(found) - _MOST_FINDINGS),
        "lanes": lanes.lanes(scope),
        "axes": {
            "samples": numbers(samples.x()),
            "grid": _seconds(scope, scope.grid_us),
            "step": scope.step_us / 1e6,
            "steps": scope.steps,
        },
        "figures": [one.json() for one in figures],
        "moments": moments.facts,
    }
    # Damage shows only as files are read: it is told last.
    damages = [f"left out: {damage}" for damage in scope.catalog.damages]
    facts["unseen"] = [terminal(line) for line in (*_unseen(scope), *damages)]
    return _filled(facts, moments.packed)


def _filled(facts: Mapping[str, Any], packed: str) -> str:
    scripts = "\n".join(_asset(name) for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{_asset("uplot/uPlot.iife.min.js")}\n{scripts}\n}})();\n'
    style = f"{_asset('uplot/uPlot.min.css')}\n{_asset('page.css')}"
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "POLICY": policy,
        "TITLE": html.escape(f"sockrec: {facts['title']}"),
        "STYLE": style,
        "SCRIPT": script,
        # In a script element only `<` can end it, or begin a comment.
        "FACTS": json.dumps(facts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "PACKED": packed,
        "LICENCE": _asset("uplot/LICENSE").replace("--", "- -"),
    }
    # Cut at the marks first: what is filled in may have some of its own.
    first, *pieces = _asset("page.html").split("{{")
    filled = [first]
    for piece in pieces:
        name, rest = piece.split("}}", 1)
        filled += [parts[name], rest]
    return "".join(filled)


def _asset(name: str) -> str:
    return resources.files("sockrec.report").joinpath("assets", name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _us(finding: Finding) -> int:
    """Return the first moment at which it is sure that it had begun: what is looked at then shows it."""
    return timetext.from_datetime(finding.not_after)


def _sampled_us(scope: Scope, time_us: int) -> int:
    """Return the first sample that can show what is so since a moment; of that itself where there is none."""
    place = int(np.searchsorted(scope.began, time_us))
    return int(scope.began[place]) if place < len(scope.began) else time_us


def _seconds(scope: Scope, time_us: int) -> float:
    return (time_us - scope.first_us) / 1e6


def _zone(scope: Scope) -> str:
    offset = timetext.offset(scope.first_us, scope.zone)
    return "UTC" if offset == "+00:00" else f"UTC{offset}"


def _span(scope: Scope, digits: int) -> str:
    span = timetext.span(scope.first_us, scope.last_us, scope.zone, digits)
    return span.replace("+00:00", " UTC")


def _finding(scope: Scope, finding: Finding, moments: Moments) -> dict[str, Any]:
    """Return a finding for the page, with what its sockets are told by."""
    row = {name: getattr(finding, name) for name in ("not_before", "not_after")}
    text = {name: terminal(getattr(finding, name)) for name in ("severity", "title", "text", "look", "sql")}
    return (
        text
        | _of_interest(finding, moments)
        | {
            "when": render.when(row, scope.zone),
            "at": _seconds(scope, _us(finding)),
            "then": _seconds(scope, _sampled_us(scope, _us(finding))),
        }
    )


def _of_interest(finding: Finding, moments: Moments) -> dict[str, Any]:
    """Return its `sockets`, as places in the page's array of ids, else its `ports`, else its `pids`."""
    told = interest(finding)
    places = np.flatnonzero(moments.sockets == told.socket_id).tolist() if told.socket_id is not None else []
    ports = () if places else told.ports
    pids = [told.pid] if not places and not ports and told.pid is not None else []
    return {"sockets": places, "ports": ports, "pids": pids}


def _about(scope: Scope) -> list[list[str]]:
    """Return what is known of the recording, as pairs of a word and a text."""
    told = scope.recordings
    intervals = np.unique(scope.interval_us).tolist()
    every = durations.show(intervals[0])
    if len(intervals) > 1:
        every += f" to {durations.show(intervals[-1])}"
    runs = len(scope.begins_run)
    pairs = [
        ["host", scope.host],
        ["time", _span(scope, 3)],
        ["samples", f"{len(scope.began):,}, every {every}, in {runs} recording{'' if runs == 1 else 's'}"],
        ["kernel", ", ".join(dict.fromkeys(str(one.get("kernel", "?")) for one in told))],
        [
            "recorded by",
            ", ".join(dict.fromkeys(f"sockrec {one.get('sockrec_version', '?')}" for one in told)),
        ],
        ["page by", f"sockrec {__version__}"],
    ]
    return [[word, terminal(text)] for word, text in pairs if text]


def _unseen(scope: Scope) -> Sequence[str]:
    lines = [str(line) for told in scope.recordings for line in told.get("unavailable") or ()]
    return list(dict.fromkeys(lines))


def _thinned(scope: Scope, moments: Moments) -> list[str]:
    """Return what of the moments is not on the page, a sentence each."""
    kept, count = len(moments.facts["samples"]), len(scope.began)
    told = []
    if kept < count:
        told.append(
            f"The table has {kept:,} of {count:,} samples: every {moments.every}th, and those next "
            "to the findings. What lived only between two of them is not in the table; the figures count it. "
            "For all of it, make a page of less time (--from, --to)."
        )
    if step := int(scope.thinned_us.max()):
        told.append(
            f"Queues were kept once in {durations.show(step)} of some of this time (record --thin-after): "
            "there they are as last read in it."
        )
    return told
