"""Questions of `when`, and what other verbs take: ports, peers, netstat's flags. Input: UTF-8."""

from __future__ import annotations

from sockrec.errors import UsageError
from sockrec.query import grammar
from sockrec.render.netstat_flags import parse_flags


def seeds() -> list[bytes]:
    """Return questions and flags."""
    forms = (*grammar.FORMS.split(", "), "when did port 7071 stop listening?", "peer [::1%lo]:443 connected")
    return [form.encode() for form in (*forms, "-tulpn", "--inet6 --prog -A inet,unix -W")]


def one_line(error: UsageError) -> None:
    """Assert that an error is said in one line."""
    assert "\n" not in str(error)


def check(data: bytes) -> None:
    """Parse it as each; only `UsageError` may be raised, in one line."""
    text = data.decode(errors="replace")
    for parse in (
        lambda: grammar.parse(text),
        lambda: grammar.port_and_protocol(text),
        lambda: grammar.process_id(text),
        lambda: grammar.peer(text),
        lambda: parse_flags(text.split()),
    ):
        try:
            found = parse()
        except UsageError as error:
            one_line(error)
            continue
        if isinstance(found, grammar.Question):
            assert found.port is None or 1 <= found.port <= grammar.LARGEST_PORT
            assert (found.topic == "state") == (found.state is not None)
