"""netstat's command line: what words mean, and which are refused."""

from __future__ import annotations

import os
import random
import subprocess
from dataclasses import asdict

import pytest

from sockrec.errors import UsageError
from sockrec.render.netstat_flags import NetstatFlags, parse_flags
from tests.support.netns import Namespace

_NUMERIC = {"numeric_hosts": True, "numeric_ports": True, "numeric_users": True}
_NO_FAMILY = {"inet": False, "inet6": False}
_SIX_FOUR_SIX = ("inet6", "inet", "inet6")
_ONLY = {"tcp": False, "sctp": False, "udp": False, "udplite": False, "raw": False, "unix": False}


def only(*blocks: str, **others: object) -> NetstatFlags:
    """Return flags that ask for some blocks and no others."""
    return NetstatFlags(**(_ONLY | dict.fromkeys(blocks, True) | others))  # type: ignore[arg-type]  # a mix of types


def nothing(**others: object) -> NetstatFlags:
    """Return flags that ask for no block of sockets."""
    return only(**{"titled": False, "inet": False, "inet6": False, **others})


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
        ("--tcpip", NetstatFlags()),
        ("--cache", NetstatFlags(cache=True, fib=False)),
        ("-g", only(groups=True, mode="groups", titled=False)),
        ("-gn4", only("tcp", "sctp", "udp", "udplite", "raw", groups=True, inet6=False, **_NUMERIC)),
        ("--groups -tx", only("tcp", "unix", groups=True)),
        ("-xga", only("unix", groups=True, titled=False, all=True)),
        ("-i", nothing(mode="interfaces")),
        ("-aice6t", nothing(mode="interfaces", all=True, continuous=True, extend=1)),
        ("--interfaces --extend --extend", nothing(mode="interfaces", extend=2)),
        ("-r", nothing(mode="routes")),
        ("-rnee", nothing(mode="routes", extend=2, **_NUMERIC)),
        ("-r6", nothing(mode="routes", families=("inet6",))),
        ("-6r44", nothing(mode="routes", families=("inet6", "inet", "inet"))),
        ("--inet6 -cr --protocol tcpip,ip6", nothing(mode="routes", families=_SIX_FOUR_SIX, continuous=True)),
        ("-rC", nothing(mode="routes", fib=False, cache=True)),
        ("--rou --fi --ca -N", nothing(mode="routes", cache=True, symbolic=True)),
        ("-rF", nothing(mode="routes")),
        ("-rg", nothing(mode="routes")),
        ("-s", only("tcp", "sctp", "udp", "udplite", "raw", mode="statistics", titled=False, **_NO_FAMILY)),
        ("-sct", only("tcp", mode="statistics", titled=False, **_NO_FAMILY)),
        ("-suw6", only("udp", "raw", mode="statistics", titled=False, families=("inet6",), **_NO_FAMILY)),
        ("-sU4g", only("udplite", mode="statistics", titled=False, **_NO_FAMILY)),
        ("-sS", only("sctp", mode="statistics", titled=False, **_NO_FAMILY)),
        ("-M", nothing(refusal="netstat: no support for `ip_masquerade' on this system.")),
        (
            "--mas -c",
            nothing(refusal="netstat: no support for `ip_masquerade' on this system.", continuous=True),
        ),
    ],
)
def test_words_mean_what_netstat_takes_them_for(words: str, meant: NetstatFlags) -> None:
    assert parse_flags(words.split()) == meant


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-ri", "takes one of -i, -r, -s and -M, once"),
        ("-rr", "takes one of -i, -r, -s and -M, once"),
        ("-s --statistics", "takes one of -i, -r, -s and -M, once"),
        ("-tM -s", "takes one of -i, -r, -s and -M, once"),
        ("-rx", "netstat -r: No routing for address family `unix'"),
        ("-r4 --unix", "netstat -r: No routing for address family `unix'"),
        ("-s46", "netstat -s: No statistics support for specified address family: inet,inet6"),
        ("-s44", "netstat -s: No statistics support for specified address family: inet,inet"),
        ("-sx", "netstat -s: No statistics support for specified address family: unix"),
        ("-Z", r"netstat -Z \(SELinux contexts\) is not replayed"),
        ("-t2", r"netstat -2 \(Bluetooth sockets\) is not replayed"),
        ("--rfcomm", r"netstat -f \(Bluetooth sockets\) is not replayed"),
        ("-V", r"netstat -V \(netstat's version\) is not replayed"),
        ("-C -h", "netstat's own help is not replayed"),
        ("--uni", "--uni may mean any of --unix, --unix"),
        ("-A ipx", "nothing of the address family ipx is recorded"),
        ("--bluetooth", "nothing of the address family bluetooth is recorded"),
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


_TITLES = {
    "Active Internet connections ": "internet",
    "IPv6/IPv4 Group Memberships": "groups",
    "Active UNIX domain sockets ": "unix",
    "Kernel Interface table": "interfaces",
    "Kernel IP routing table": "inet table",
    "Kernel IP routing cache": "inet cache",
    "Kernel IPv6 routing table": "inet6 table",
    "Kernel IPv6 routing cache": "inet6 cache",
}


def _titles(stdout: str) -> list[str]:
    """Return what netstat printed, in its order."""
    return [_TITLES[start] for line in stdout.split("\n") for start in _TITLES if line.startswith(start)]


def _expected(flags: NetstatFlags) -> list[str]:
    """Return what these flags ask for, as the parts that print it read them."""
    if flags.refusal:
        return []
    if flags.mode == "interfaces":
        return ["interfaces"]
    if flags.mode == "statistics":
        return []
    if flags.mode == "routes":
        tables = [name for name, wanted in (("table", flags.fib), ("cache", flags.cache)) if wanted]
        return [f"{family} {name}" for family in flags.families for name in tables]
    blocks = {"internet": flags.titled, "groups": flags.groups, "unix": flags.unix}
    assert (flags.mode == "groups") == (flags.groups and not flags.titled and not flags.unix)
    return [name for name, wanted in blocks.items() if wanted]


def _generated(seed: int) -> list[str]:
    """Return letters and long options as people might put them together, and as nobody would."""
    draw = random.Random(seed)
    letters = draw.choices("tuwxg46anleoWNvFCdirsM", k=draw.randrange(1, 6))
    words = ["-" + "".join(letters)]
    if draw.random() < 0.5:
        more = (
            "--route",
            "--inet6",
            "--inet",
            "-Ainet,inet6",
            "--cache",
            "--stat",
            "-A ip6",
            "--tcpip",
            "--mas",
        )
        words += draw.choice(more).split()
    return words


def test_generated_words_print_and_refuse_what_netstat_does(netns: Namespace) -> None:
    met: set[str] = set()
    for seed in range(400):
        words = _generated(seed)
        done = subprocess.run(
            netns.command("netstat", *words),
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
        complaint = [line for line in done.stderr.splitlines() if "longopts 1 range" not in line]
        refused = ""
        try:
            flags = parse_flags(words)
        except UsageError as error:
            refused = str(error)
        if refused:
            said = [line.removeprefix("netstat: ") for line in (*complaint, done.stdout) if line]
            assert done.returncode in {1, 3}, words
            assert said[0].strip() in refused or said[0].startswith("usage:"), words
            met.add("usage")
            continue
        assert _titles(done.stdout) == _expected(flags), words
        assert done.returncode == (1 if flags.refusal else 0), words
        if flags.mode == "statistics":
            # netstat's IPv6 statistics have no TCP of their own.
            udp = "Udp6:" if flags.families == ("inet6",) else "Udp:"
            for section, wanted in (("Tcp:", flags.tcp), (udp, flags.udp)):
                assert (section in done.stdout.splitlines()) == wanted, words
        if flags.refusal:
            assert (complaint, done.stdout) == ([flags.refusal], "")
        met.add("refusal" if flags.refusal else flags.mode)
    assert met == {"usage", "refusal", "sockets", "groups", "interfaces", "routes", "statistics"}


@pytest.mark.parametrize("words", ["-s", "-M"])
def test_what_never_repeats_under_c(words: str) -> None:
    subprocess.run(["netstat", words, "-c"], capture_output=True, timeout=20, check=False)
    flags = parse_flags([words, "-c"])
    assert flags.refusal or not flags.continuous


def test_nothing_else_changes_with_the_mode() -> None:
    """The fields of one mode keep their defaults in the others."""
    modes = {"mode", "groups", "families", "fib", "cache", "refusal"}
    for words in ("", "-tuwan", "-x4", "-lp", "-6"):
        flags = asdict(parse_flags(words.split()))
        assert {name: flags[name] for name in modes} == {
            name: value for name, value in asdict(NetstatFlags()).items() if name in modes
        }
