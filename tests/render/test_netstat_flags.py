"""netstat's command line: what words mean, and which are refused."""

from __future__ import annotations

import subprocess

import pytest

from sockrec.errors import UsageError
from sockrec.render.netstat_flags import NetstatFlags, parse_flags

_ONLY = {"tcp": False, "sctp": False, "udp": False, "udplite": False, "raw": False, "unix": False}


def only(*blocks: str, **others: object) -> NetstatFlags:
    """Return flags that ask for some blocks and no others."""
    return NetstatFlags(**(_ONLY | dict.fromkeys(blocks, True) | others))  # type: ignore[arg-type]  # a mix of types


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("", NetstatFlags()),
        ("-an", NetstatFlags(all=True, numeric_hosts=True, numeric_ports=True, numeric_users=True)),
        ("-W", NetstatFlags(wide=True)),
        ("-tulp", only("tcp", "udp", listening=True, programs=True)),
        ("-t -u -l -p", only("tcp", "udp", listening=True, programs=True)),
        ("--tcp --udp --listening --programs", only("tcp", "udp", listening=True, programs=True)),
        ("--lis --prog --tcp --udp", only("tcp", "udp", listening=True, programs=True)),
        ("-teeo", only("tcp", extend=2, timers=True)),
        ("-et -e -o --extend", only("tcp", extend=3, timers=True)),
        ("-wc", only("raw", continuous=True)),
        ("-US", only("udplite", "sctp")),
        ("-4", only("tcp", "sctp", "udp", "udplite", "raw", inet6=False)),
        ("-6t", only("tcp", inet=False)),
        ("-A inet", only("tcp", "sctp", "udp", "udplite", "raw", inet6=False)),
        ("-tAinet6", only("tcp", inet=False)),
        ("-A inet,inet6 -u", only("udp")),
        ("--protocol=ip6 --udp", only("udp", inet=False)),
        ("--protocol inet -u", only("udp", inet6=False)),
        ("--inet --inet6 -t", only("tcp")),
        ("--ine -t", only("tcp", inet6=False)),
        ("-x", only(unix=True, titled=False, inet=False, inet6=False)),
        ("-xt", only("tcp", unix=True)),
        ("-x4", only("tcp", "sctp", "udp", "udplite", "raw", unix=True, inet6=False)),
        ("-t --numeric-hosts", only("tcp", numeric_hosts=True)),
        ("-t --numeric-p --numeric-u", only("tcp", numeric_ports=True, numeric_users=True)),
        ("-tvFdN --", only("tcp", symbolic=True)),
    ],
)
def test_words_mean_what_netstat_takes_them_for(words: str, meant: NetstatFlags) -> None:
    assert parse_flags(words.split()) == meant


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-r", r"netstat -r \(the routing table\) is not replayed"),
        ("-tni", r"netstat -i \(the interface table\) is not replayed"),
        ("--statistics", r"netstat -s .* is not replayed"),
        ("-g", r"netstat -g .* is not replayed"),
        ("-M", r"netstat -M .* is not replayed"),
        ("--cache", r"netstat -C .* is not replayed"),
        ("-A ipx", "the family ipx are not recorded"),
        ("--bluetooth", "the family bluetooth are not recorded"),
        ("--help", "see sockrec replay --help"),
        ("-tq", "netstat has no flag -q"),
        ("-t!", "netstat has no flag -!"),
        ("--progs", "netstat has no option --progs"),
        ("--num", "--num may mean any of --numeric, --numeric-hosts"),
        ("--tc", "--tc may mean any of --tcpip, --tcp"),
        ("--tcp=yes", "--tcp takes no value"),
        ("-A", "needs an address family"),
        ("--protocol", "needs an address family"),
        ("-A inet7", "no address family 'inet7'"),
        ("-tn 10:32", "'10:32' is not a netstat flag; a moment is given as --at 10:32"),
        ("-", "'-' is not a netstat flag"),
    ],
)
def test_what_is_not_replayed_is_refused_in_one_line(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_flags(words.split())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "-a",
        "-n",
        "-W",
        "-l",
        "-p",
        "-x",
        "-tx",
        "-x4",
        "-4",
        "-t",
        "-w",
        "-A inet6",
        "-A unix",
        "--inet -x",
    ],
)
def test_blocks_are_those_that_netstat_prints(words: str) -> None:
    done = subprocess.run(
        ["netstat", *words.split()], capture_output=True, text=True, env={"LC_ALL": "C"}, check=True
    )
    flags = parse_flags(words.split())
    assert ("Active Internet connections" in done.stdout) == flags.titled
    assert ("Active UNIX domain sockets" in done.stdout) == flags.unix
