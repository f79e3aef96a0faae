"""What people ask of `when`: `port 7071 stopped listening`, `pid 4121 entered CLOSE_WAIT`."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any, Final, Literal

from sockrec.errors import UsageError
from sockrec.model import addresses, states

Subject = Literal["port", "pid", "program", "peer"]
Topic = Literal["listening", "connection", "state", "process"]

FORMS: Final = (
    "port 7071 stopped listening, port 53/udp started listening, pid 4121 connected, program nginx started, "
    "peer 10.0.0.9 disconnected, port 7071 entered CLOSE_WAIT"
)
PROTOCOLS: Final = ("tcp", "udp", "udplite", "raw", "sctp")
LARGEST_PORT: Final = 65535

_SUBJECTS: Final[dict[str, Subject]] = {
    "port": "port",
    "pid": "pid",
    "process": "pid",
    "program": "program",
    "peer": "peer",
}
_FILLERS: Final = frozenset(
    [
        "a",
        "an",
        "and",
        "at",
        "come",
        "comes",
        "came",
        "did",
        "do",
        "does",
        "from",
        "get",
        "go",
        "goes",
        "got",
        "had",
        "has",
        "have",
        "in",
        "into",
        "is",
        "it",
        "its",
        "on",
        "state",
        "that",
        "the",
        "to",
        "was",
        "went",
        "were",
        "when",
    ]
)
_START: Final = frozenset(
    ["start", "starts", "started", "starting", "begin", "begins", "began", "begun", "up", "back", "restarted"]
)
_STOP: Final = frozenset(
    [
        "stop",
        "stops",
        "stopped",
        "stopping",
        "end",
        "ends",
        "ended",
        "exit",
        "exits",
        "exited",
        "die",
        "dies",
        "died",
        "down",
        "crash",
        "crashes",
        "crashed",
        "killed",
    ]
)
_OPEN: Final = frozenset(["open", "opens", "opened", "connect", "connects", "connected"])
_CLOSE: Final = frozenset(["close", "closes", "closed", "disconnect", "disconnects", "disconnected"])
_ENTER: Final = frozenset(["enter", "enters", "entered", "reach", "reaches", "reached"])
_LEAVE: Final = frozenset(["leave", "leaves", "left"])
_LISTEN: Final = frozenset(["listen", "listens", "listened", "listening"])
_BEGINNINGS: Final = _START | _OPEN | _ENTER
_VERBS: Final = _BEGINNINGS | _STOP | _CLOSE | _LEAVE


@dataclass(frozen=True, slots=True)
class Question:
    """One question: about whom, about what (`topic`), and whether its beginnings or its ends are meant.

    Of the subject's values those are set that belong to it; `state` is set for the topic `state`.
    """

    text: str
    subject: Subject
    topic: Topic
    begins: bool
    port: int | None = None
    protocol: str | None = None
    pid: int | None = None
    program: str | None = None
    address: str | None = None
    peer_port: int | None = None
    state: str | None = None


def parse(text: str) -> Question:
    """Return the question that a text asks; quotes hold a program's name together.

    Raises `UsageError` that shows the forms for any other text.
    """
    words = _words(text)
    while words and words[0].lower() in _FILLERS:
        words.pop(0)
    if not words:
        raise _puzzled("nothing was asked")
    subject = _SUBJECTS.get(words[0].lower())
    if subject is None:
        raise _puzzled(f"{words[0]!r} is not port, pid, program or peer")
    if len(words) < 2:
        raise _puzzled(f"{words[0]} lacks its value")
    values = _subject(subject, words[1])
    predicate = [word.lower().rstrip("?!.") for word in words[2:]]
    topic, begins, state = _predicate(subject, [word for word in predicate if word and word not in _FILLERS])
    if subject == "peer" and topic in ("listening", "process"):
        raise _puzzled("a peer is seen through its connections only: ask when it connected or disconnected")
    return Question(" ".join(text.split()), subject, topic, begins, state=state, **values)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # an apostrophe is not always a quote
        return text.split()


def port_number(text: str) -> int:
    """Return a port, 1 to 65535; raises `UsageError` for anything else."""
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise UsageError(f"{text!r} is not a port: give a number from 1 to {LARGEST_PORT}")
    port = int(text)
    if not 1 <= port <= LARGEST_PORT:
        raise UsageError(f"there is no port {port}: ports go from 1 to {LARGEST_PORT}")
    return port


def port_and_protocol(text: str) -> tuple[int, str | None]:
    """Return `7071` or `7071/udp` as port and protocol (None for all); raises `UsageError`."""
    number, slash, protocol = text.partition("/")
    port = port_number(number)
    if slash and protocol.lower() not in PROTOCOLS:
        raise UsageError(f"{protocol!r} is not a protocol: give one of {', '.join(PROTOCOLS)}")
    return port, protocol.lower() or None


def _puzzled(why: str) -> UsageError:
    return UsageError(f"{why}; ask like this: {FORMS}")


def _subject(subject: Subject, value: str) -> dict[str, Any]:
    if subject == "port":
        port, protocol = port_and_protocol(value)
        return {"port": port, "protocol": protocol}
    if subject == "pid":
        return {"pid": process_id(value)}
    if subject == "program":
        return {"program": value}
    address, peer_port = peer(value)
    return {"address": address, "peer_port": peer_port}


def process_id(text: str) -> int:
    """Return a process id; raises `UsageError` for anything else."""
    # The kernel's own limit is 2^22; anything of nine digits is surely not a typing error of one.
    if not re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII):
        raise UsageError(f"{text!r} is not a process id: give a number from 1 on")
    return int(text)


def peer(text: str) -> tuple[str, int | None]:
    """Return `10.0.0.9`, `10.0.0.9:443` or `[::1]:443` as address and port; raises `UsageError`."""
    address, port_text = _split_peer(text)
    return addresses.parse(address), port_number(port_text) if port_text else None


def _split_peer(value: str) -> tuple[str, str]:
    """Return `10.0.0.9:443` or `[::1]:443` as address and port; the port may be missing."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.+))?", value)
    if bracketed:
        return bracketed[1], bracketed[2] or ""
    address, colon, port = value.rpartition(":")
    if colon and ":" not in address:
        if not port:
            raise UsageError(f"{value!r} lacks the port after its colon")
        return address, port
    return value, ""


def _predicate(subject: Subject, words: list[str]) -> tuple[Topic, bool, str | None]:
    if not words:
        raise _puzzled("it lacks a verb")
    verb, rest = words[0], words[1:]
    if len(rest) > 1:
        raise _puzzled(f"{' '.join(rest[1:])!r} is one word too many")
    if verb not in _VERBS:
        if rest:
            raise _puzzled(f"{verb!r} is not a verb known here")
        # "when was port 7071 listening", "... in CLOSE_WAIT"
        return _about(verb, begins=True)
    begins = verb in _BEGINNINGS
    if rest:
        return _about(rest[0], begins)
    if verb in _OPEN | _CLOSE:
        return "connection", begins, None
    if verb in _ENTER | _LEAVE:
        raise _puzzled(f"{verb} lacks its state")
    return ("listening" if subject == "port" else "process"), begins, None


def _about(word: str, begins: bool) -> tuple[Topic, bool, str | None]:
    if word in _LISTEN:
        return "listening", begins, None
    try:
        state = states.parse(word)
    except UsageError:
        raise _puzzled(f"{word!r} is neither 'listening' nor the state of a socket") from None
    return ("listening", begins, None) if state == "LISTEN" else ("state", begins, state)
