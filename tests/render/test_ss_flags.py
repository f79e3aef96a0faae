"""ss's command line: what words mean, and which are refused."""

from __future__ import annotations

import subprocess

import pytest

from sockrec.errors import UsageError
from sockrec.render.ss_filter import ALL, CONNECTED
from sockrec.render.ss_flags import RECORDED, SsFlags, parse_flags
from tests.support.netns import Namespace

UNIX = frozenset(("u_str", "u_dgr", "u_seq"))
ESTABLISHED, LISTENING = 1 << 1, 1 << 7 | 1 << 10


def tables(*names: str, **others: object) -> SsFlags:
    """Return flags that ask for some tables and their families alone."""
    unix = bool(UNIX & set(names))
    inet = bool(set(names) - UNIX)
    own = {"tables": frozenset(names), "several": len(names) > 1, "inet": inet, "inet6": inet, "unix": unix}
    return SsFlags(**{**own, **others})  # type: ignore[arg-type]  # a mix of types


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("", SsFlags()),
        ("-an", SsFlags(states=ALL, numeric=True)),
        ("-l", SsFlags(states=LISTENING)),
        ("-la", SsFlags(states=ALL)),
        ("-al", SsFlags(states=LISTENING)),
        ("-t", tables("tcp")),
        ("-u", tables("udp", states=ESTABLISHED)),
        ("-tu", tables("tcp", "udp")),
        ("-x", tables(*UNIX)),
        ("-4", tables("raw", "udp", "tcp", inet6=False, only="inet")),
        ("-6t", tables("tcp", inet=False, only="inet6")),
        ("-4 -6 -t", tables("tcp", only="inet6")),
        ("-x4", tables(*RECORDED, inet6=False, only="inet")),
        ("-4x", tables(*RECORDED, inet6=False)),
        ("-A tcp", tables("tcp")),
        ("-tA udp", tables("udp")),
        ("-A udp -t", tables("udp", "tcp")),
        ("-A udp,raw", tables("udp", "raw")),
        ("-Ainet,!tcp -l", tables("udp", "raw", states=LISTENING)),
        ("--query=unix_dgram -a", tables("u_dgr", states=ALL)),
        ("-f inet6 -u", tables("udp", inet=False, only="inet6", states=CONNECTED)),
        ("--family=unix", tables(*UNIX)),
        ("-tnoemipHO", tables(
            "tcp", numeric=True, options=True, details=True, memory=True, info=True, processes=True,
            header=False, oneline=True)),
        ("-tr --cgroup", tables("tcp", resolve=True, cgroup=True)),
        ("--tcp --udp --listening --proc --num", tables(
            "tcp", "udp", states=LISTENING, processes=True, numeric=True)),
        ("-te", tables("tcp", options=True, details=True)),
        ("-s", SsFlags(summary=True, sockets=False)),
        ("-st", tables("tcp", summary=True)),
        ("-sa", SsFlags(summary=True, sockets=False, states=ALL)),
    ],
)  # fmt: skip
def test_words_mean_what_ss_takes_them_for(words: str, meant: SsFlags) -> None:
    assert parse_flags(words.split()) == meant


@pytest.mark.parametrize(
    ("words", "states"),
    [
        ("-t state established", ESTABLISHED),
        ("state listening -t", 1 << 10),
        ("-ta state time-wait", 1 << 6),
        ("-t exclude established", ALL & ~ESTABLISHED),
        ("-t state connected exclude established", ALL & ~(1 << 7 | 1 << 10) & ~ESTABLISHED),
        ("-t state ESTAB state TIME_WAIT state syn_sent", ESTABLISHED | 1 << 6 | 1 << 2),
        ("-t excl established", ALL & ~ESTABLISHED),
    ],
)
def test_states_of_the_filter_win(words: str, states: int) -> None:
    assert parse_flags(words.split()).states == states


@pytest.mark.parametrize("words", ["-s state established", "-s dport :22"])
def test_a_summary_with_a_filter_shows_sockets_too(words: str) -> None:
    assert parse_flags(words.split()).sockets


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-K", "ss -K closes sockets, and what was recorded is past"),
        ("-tKn dst 10.0.0.1", "ss -K closes sockets"),
        ("--kill", "ss -K closes sockets"),
        ("-N blue", "ss -N enters a network namespace of this machine"),
        ("-N", "ss -N needs a value"),
        ("-E", "ss -E waits for sockets to close; see sockrec events"),
        ("-M", "MPTCP sockets, which are not recorded"),
        ("-S", "see netstat's -S"),
        ("-0", "packet sockets, which are not recorded"),
        ("--vsock", "ss --vsock shows vsock sockets"),
        ("-Z", "SELinux"),
        ("-b", "BPF"),
        ("-T", "threads"),
        ("--tos", "types of service"),
        ("-h", "see sockrec replay --help"),
        ("-f netlink", "netlink sockets are not recorded"),
        ("-f ax25", "ss knows no family 'ax25'; replayed are inet, inet6, unix"),
        ("-A packet", "ss -A packet: such sockets are not recorded"),
        ("-A nothing", "ss -A knows no sockets 'nothing'"),
        ("-A !tcp", "nothing is left to show"),
        ("-q", "ss has no flag -q"),
        ("-t1", r"ss has no flag -1 \(in '-t1'\)"),
        ("--nothing", "ss has no option --nothing"),
        ("--me=3", "ss --me takes no value"),
        ("--ti", "ss has no option --ti|may mean any of --tipc, --tipcinfo"),
        ("--in", "may mean any of --info, --inet-sockopt; write it out"),
        ("-t exclude all", "leaves no state to show"),
    ],
)
def test_what_is_refused(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_flags(words.split())


@pytest.mark.parametrize(
    "words", ["-q", "-t1", "--nothing", "--me=3", "--in", "-N", "-f ax25", "-A nothing", "-tan state nothing"]
)
def test_ss_refuses_these_too(words: str, netns: Namespace) -> None:
    """What is no word of ss's is not to be understood by accident."""
    assert netns.run("ss", *words.split()).returncode != 0
    with pytest.raises(UsageError):
        parse_flags(words.split())


def test_every_option_of_the_installed_ss_is_known() -> None:
    """Each is either taken or refused for a reason of its own, never unknown."""
    shown = subprocess.run(["ss", "--help"], capture_output=True, text=True, check=True).stdout
    short = {word[1] for word in shown.replace(",", " ").split() if len(word) == 2 and word[0] == "-"}
    long = {
        word.partition("=")[0]
        for word in shown.replace(",", " ").replace("[", " ").split()
        if word.startswith("--")
    }
    assert len(short) > 30
    assert len(long) > 35
    for option in short | {f"-{name}" for name in long}:
        name = option if option.startswith("-") else f"-{option}"
        name = name.replace("---", "--")
        try:
            parse_flags([name, "tcp" if name in ("-A", "--query", "--socket") else "inet"])
        except UsageError as error:
            assert "has no" not in str(error), name  # noqa: PT017  # both ends are right, one message is not
