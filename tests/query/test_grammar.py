"""What people type is understood, or refused with the forms; never anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockrec.errors import UsageError
from sockrec.model import states
from sockrec.query import grammar
from sockrec.query.grammar import Question, parse


@pytest.mark.parametrize(
    ("text", "topic", "begins"),
    [
        ("port 7071 stopped listening", "listening", False),
        ("did port 7071 stop listening", "listening", False),
        ("When did port 7071 stop listening?", "listening", False),
        ("port 7071 stops listening.", "listening", False),
        ("port 7071 started listening", "listening", True),
        ("when was port 7071 listening", "listening", True),
        ("port 7071 stopped", "listening", False),
        ("port 7071 began", "listening", True),
        ("when did port 7071 go down", "listening", False),
        ("port 7071 went down", "listening", False),
        ("when was port 7071 down?", "listening", False),
        ("port 7071 came back", "listening", True),
        ("when did port 7071 come up", "listening", True),
        ("port 7071 entered LISTEN", "listening", True),
        ("port 7071 left LISTENING", "listening", False),
        ("port 7071 opened", "connection", True),
        ("port 7071 connected", "connection", True),
        ("port 7071 closed", "connection", False),
        ("port 7071 has disconnected", "connection", False),
        ("port 7071 entered CLOSE_WAIT", "state", True),
        ("port 7071 reached close-wait", "state", True),
        ("port 7071 left the state ESTAB", "state", False),
        ("port 7071 time_wait", "state", True),
    ],
)
def test_ports(text: str, topic: str, begins: bool) -> None:
    question = parse(text)
    assert (question.subject, question.port, question.protocol) == ("port", 7071, None)
    assert (question.topic, question.begins) == (topic, begins)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("port 53/udp started listening", {"port": 53, "protocol": "udp", "topic": "listening"}),
        ("port 53/UDP started listening", {"port": 53, "protocol": "udp"}),
        ("pid 4121 started", {"pid": 4121, "topic": "process", "begins": True}),
        ("process 4121 died", {"pid": 4121, "topic": "process", "begins": False}),
        ("when was pid 4121 killed", {"pid": 4121, "topic": "process", "begins": False}),
        ("when did program nginx crash", {"program": "nginx", "topic": "process", "begins": False}),
        ("program nginx restarted", {"program": "nginx", "topic": "process", "begins": True}),
        ("program go went down", {"program": "go", "topic": "process", "begins": False}),
        ("pid 4121 connected", {"pid": 4121, "topic": "connection", "begins": True}),
        ("pid 4121 stopped listening", {"pid": 4121, "topic": "listening", "begins": False}),
        ("program nginx ended", {"program": "nginx", "topic": "process", "begins": False}),
        ("program did started", {"program": "did", "topic": "process", "begins": True}),
        ("program 'my app' started", {"program": "my app", "topic": "process"}),
        ("program o'neill started", {"program": "o'neill", "topic": "process"}),
        ("peer 10.0.0.9 connected", {"address": "10.0.0.9", "peer_port": None, "topic": "connection"}),
        ("peer 10.0.0.9:443 connected", {"address": "10.0.0.9", "peer_port": 443}),
        (
            "peer [2001:DB8::1]:443 disconnected",
            {"address": "2001:db8::1", "peer_port": 443, "begins": False},
        ),
        ("peer 2001:db8:0::1 connected", {"address": "2001:db8::1", "peer_port": None}),
        ("peer 10.0.0.9 entered SYN_RECV", {"topic": "state", "state": "SYN_RECV"}),
    ],
)
def test_other_subjects(text: str, wanted: dict[str, object]) -> None:
    question = parse(text)
    assert {name: getattr(question, name) for name in wanted} == wanted


@pytest.mark.parametrize("name", [*states.NUMBERS, "estab", "fin-wait-1", "syn_received"])
def test_every_state_by_any_name(name: str) -> None:
    question = parse(f"pid 1 entered {name}")
    assert question.topic == ("listening" if name == "LISTEN" else "state")
    assert question.state == (None if name == "LISTEN" else states.parse(name))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "when did",
        "port",
        "port 7071",
        "port 0 stopped listening",
        "port 65536 stopped listening",
        "port 70000 stopped listening",
        "port -1 stopped listening",
        "port 7071x stopped listening",
        "port ٧٠ stopped listening",
        "port 7071/icmp stopped listening",
        "port 7071/ stopped listening",
        "port 7071 exploded",
        "port 7071 went",
        "port 7071 exploded listening",
        "port 7071 stopped being",
        "port 7071 stopped listening today",
        "port 7071 entered",
        "pid 0 started",
        "pid x started",
        "peer 10.0.0.9 started listening",
        "peer 10.0.0.9 started",
        "peer 10.0.0 connected",
        "peer 10.0.0.9: connected",
        "peer 10.0.0.9:0 connected",
        "peer example.com connected",
        "socket 7 closed",
        "7071 stopped listening",
    ],
)
def test_what_makes_no_sense_is_a_usage_error_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_unknown_words_show_the_forms() -> None:
    with pytest.raises(UsageError, match="port 7071 stopped listening, port 53/udp"):
        parse("foo bar")


_WORDS = st.sampled_from(
    [
        "port",
        "pid",
        "program",
        "peer",
        "7071",
        "7071/udp",
        "0",
        "99999",
        "10.0.0.9",
        "[::1]:443",
        "::1",
        "nginx",
        "did",
        "when",
        "stopped",
        "stop",
        "listening",
        "started",
        "opened",
        "closed",
        "connected",
        "entered",
        "left",
        "CLOSE_WAIT",
        "estab",
        "in",
        "the",
        "?",
        "'",
        '"',
        "\\",
        "%",
        ":",
        "[",
        "]",
        "/",
    ]
)


@given(st.one_of(st.text(max_size=80), st.lists(_WORDS, max_size=7).map(" ".join)))
def test_any_text_is_a_question_or_a_usage_error(text: str) -> None:
    try:
        question = parse(text)
    except UsageError:
        return
    else:
        assert isinstance(question, Question)
        assert question.subject in grammar._SUBJECTS.values()
        assert question.port is None or 1 <= question.port <= 65535
        assert (question.topic == "state") == (question.state is not None)
