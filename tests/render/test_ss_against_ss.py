"""ss's style against the installed ss, on real sockets of every kind and state, read before and after."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.diag import rows_from_diag
from tests.support.populations import Population
from tests.support.proc_rows import names_of, rows_from_proc
from tests.support.ss_judge import Rows, judge
from tests.support.ss_stage import HAS_MPTCP, Stage, stage

SHOWN = (
    "", "-a", "-an", "-l", "-ln", "-t", "-tn", "-ta", "-tan", "-tl", "-tln", "-u", "-ua", "-uln", "-w",
    "-wa", "-wan", "-wl", "-x", "-xa", "-xl", "-tua", "-tulpn", "-tuxa", "-4", "-6", "-4a", "-6an",
    "-46tan", "-64tan", "-46wan", "-4xan", "-t4xan", "-xt", "-Htan", "-A tcp", "-A inet -a",
    "-a -A u_str,tcp", "-a -A unix_dgram", "-a -A all,!udp", "-f inet6 -an", "-f unix -a",
    "--tcp --all --numeric", "--tc --al --numer", "-tanr", "-uar", "-ta --resolve",
)  # fmt: skip
TOLD = (
    "-tanp", "-tano", "-tane", "-tanm", "-tani", "-tai", "-tanim", "-taniO", "-tanoemip", "-tanoemipO",
    "-taoemip", "-tanie", "-lnetpim", "-uanoemip", "-uamO", "-uanep", "-uani", "-wanoemip", "-xap", "-xae",
    "-xam", "-xaoemip", "-xaemO", "-anoemipO", "-an --cgroup", "-tane --cgroup",
)  # fmt: skip
FILTERED = (
    "-tan state established", "-ta state connected", "-ta state synchronized", "-tan state bucket",
    "-tan state big", "-tan exclude established", "-tan state listening state time-wait",
    "-tan exclude time-wait exclude listening", "-an state closed", "-xan state listening",
    "-tan state syn-sent -o", "-tuan state all", "-uan state unconnected", "-tan state syn-recv",
    "-tan sport = :22", "-tan 'sport = :ssh or dport = :ssh'", "-tuan '( sport = :domain )'",
    "-tan 'sport > :1024 and sport < :50000'", "-tan 'dport ge :1 & sport le 6000'", "-tan dport ne :6000",
    "-tan not dport :6000", "-tan '! ( dport = :6000 or dport = :5000 )'", "-tan dst 10.1.0.2",
    "-tan dst 10.1.0.0/16", "-tan dst 10.1", "-tan src 127.0.0.1 or src [::1]", "-tan src [::1]",
    "-tan 'src [fd00::/8]'", "-tan src 0.0.0.0", "-tan not src 0.0.0.0", "-tan src [::]",
    "-tan not src [::]", "-tan 'not dst 127.0.0.0/8'", "-tan 'not src [::ffff:127.0.0.1]'",
    "-tan dst 10.1.0.2:5000", "-tan src *:22", "-tan dst any", "-tan 'dst 0.0.0.0/0'",
    "-tan 'not dst 0.0.0.0/0'", "-tan 'dst [::/0]'", "-tan 'src 10.1.0.1/255.255.0.0'",
    "-tan dst inet:127.0.0.1", "-tan 'src inet6:[::1]'", "-4tan dst 127.1", "-tan dev cable0",
    "-tan not dev cable0", "-tan dev != cable0 sport :22", "-tuan 'dev = cable0 or sport = :53'",
    "-tan fwmark 0x2a", "-tan fwmark = 0x2a/0x2a", "-tan fwmark != 0", "-tan not fwmark 0xff",
    "-an dport = :6000", "-an not dport = :6000", "-an dst 10.1.0.2",
    "-an not dst 10.1.0.2", "-an dst [::1]", "-an src 0.0.0.0", "-wan dst 127.0.0.1",
    "-wan not src 0.0.0.0", "-wan 'sport = :1'", "-xa src unix:*abstract*", "-xa 'src *path?[0-1]'",
    "-a src unix:*ABSTRACT0*", "-xa not src @*", "-xa autobound", "-uan autobound",
    "-tan state established autobound", "-a src unix:", "-tx sport = :22", "-xa dst '*'",
    "-tan 'dst 0.0.0.0/0 and sport >= :1'", "-tan 'dst 0.0.0.0/0 or sport :1'",
    "-tan 'dst 0.0.0.0/0 and not dev cable0'", "-tan 'not ( dst [::/0] or sport :1 )'",
    "-xa src *ath?[!1-9]", "-xa 'src @a*[0-1]@@e?d'",
)  # fmt: skip


@pytest.fixture(scope="module")
def sockets() -> Iterator[Stage]:
    with stage() as made:
        yield made


def compared(sockets: Stage, flag_set: str) -> None:
    def rows() -> Rows:
        return rows_from_diag(sockets.namespace, sockets.pids)

    names = names_of(sockets.namespace, rows_from_proc(sockets.namespace, ()))
    judge(sockets.namespace, rows, names, [flag_set])


def test_the_stage_has_what_is_to_be_compared(sockets: Stage) -> None:
    """Guard against comparisons of nothing. First, while TIME_WAIT lasts."""
    rows, unix_rows = rows_from_diag(sockets.namespace, sockets.pids)
    assert {row.state for row in rows if row.protocol == "tcp"} >= {
        "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE_WAIT",
        "LAST_ACK", "LISTEN", "CLOSING",
    }  # fmt: skip
    assert {row.timer for row in rows} == {"off", "on", "keepalive", "timewait", "probe"}
    assert {row.congestion for row in rows} >= {"reno", "cubic", "bbr"}
    assert {row.interface for row in rows} >= {None, "cable0"}
    assert {row.mark for row in rows} >= {0, 0x2A, 0xFF}
    assert {row.shutdown for row in rows} >= {0, 1, 2}
    assert {row.v6only for row in rows} == {None, False, True}
    assert {row.cgroup for row in rows} >= {"/", sockets.cgroup}
    assert {row.protocol for row in rows} == {"tcp", "udp", "raw"}
    assert ("mptcp" in {row.ulp for row in rows}) == HAS_MPTCP
    told = [row.tcp for row in rows if row.tcp]
    seen = {name for info in told for name, value in info._asdict().items() if value}
    assert seen >= {
        "total_retrans", "bytes_retrans", "lost", "ato_us", "last_data_sent_ms", "max_pacing_rate",
        "rwnd_limited_us", "notsent_bytes", "tcp_options", "snd_ssthresh",
    }  # fmt: skip
    options = [info.tcp_options or 0 for info in told]
    assert all(any(shown & bit for shown in options) for bit in (1, 2, 4, 8, 32))
    assert {(row.type, row.state) for row in unix_rows} >= {
        (kind, state) for kind in ("STREAM", "SEQPACKET") for state in ("LISTEN", "ESTABLISHED", "UNCONN")
    } | {("DGRAM", "ESTABLISHED"), ("DGRAM", "UNCONN")}
    assert any(row.waiting for row in unix_rows)
    assert any(len(row.holders) == 5 for row in rows)


@pytest.mark.parametrize("flag_set", SHOWN)
def test_which_sockets_in_which_columns(sockets: Stage, flag_set: str) -> None:
    compared(sockets, flag_set)


@pytest.mark.parametrize("flag_set", TOLD)
def test_what_is_told_of_them(sockets: Stage, flag_set: str) -> None:
    compared(sockets, flag_set)


@pytest.mark.parametrize(
    "state",
    [
        "established", "syn-sent", "syn-recv", "syn-rcv", "fin-wait-1", "fin-wait-2", "time-wait",
        "unconnected", "close", "closed", "close-wait", "last-ack", "listening", "closing",
    ],
)  # fmt: skip
def test_each_state(sockets: Stage, state: str) -> None:
    compared(sockets, f"-an state {state}")
    compared(sockets, f"-an exclude {state.upper()}")


@pytest.mark.parametrize(
    "operator",
    ["=", "==", "eq", "!=", "ne", "neq", ">=", "ge", "geq", "<=", "le", "leq", ">", "gt", "<", "lt", ""],
)
def test_each_operator(sockets: Stage, operator: str) -> None:
    """Port 5000 has peers, and there are some below and above."""
    compared(sockets, f"-tan 'dport {operator} :5000'")
    compared(sockets, f"-tuan 'sport {operator} 53'")


@pytest.mark.parametrize("flag_set", FILTERED)
def test_filters(sockets: Stage, flag_set: str) -> None:
    compared(sockets, flag_set)


def test_filter_by_cgroup(sockets: Stage) -> None:
    """A blank in its path is escaped once for the shell that has none here, once for the filter."""
    path = sockets.cgroup.replace(" ", "\\ ")
    compared(sockets, f"-tuan 'cgroup = {path}'")
    compared(sockets, f"-tuan 'not cgroup {path}'")


@pytest.mark.parametrize("seed", range(6))
def test_generated_sockets(seed: int) -> None:
    with Population(seed) as population:

        def rows() -> Rows:
            return rows_from_diag(population.namespace, population.pids)

        names = names_of(population.namespace, rows_from_proc(population.namespace, ()))
        judge(population.namespace, rows, names, ("-a", "-tanoemip", "-uanoemip", "-wanp", "-6ta", "-tulpn"))
