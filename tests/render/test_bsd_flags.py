"""The command line of BSD's netstat: what words mean, and which are refused."""

from __future__ import annotations

import pytest

from sockrec.errors import UsageError
from sockrec.render.bsd_flags import BsdFlags, parse_bsd_flags

_NUMERIC = {"all": True, "numeric": True}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("", BsdFlags()),
        ("-a", BsdFlags(all=True)),
        ("-n", BsdFlags(numeric=True)),
        ("-an", BsdFlags(**_NUMERIC)),
        ("-n -a -a", BsdFlags(**_NUMERIC)),
        ("-an --", BsdFlags(**_NUMERIC)),
        ("-f inet", BsdFlags(inet6=False, unix=False)),
        ("-finet6", BsdFlags(inet=False, unix=False)),
        ("-naf inet", BsdFlags(**_NUMERIC, inet6=False, unix=False)),
        ("-f inet -an", BsdFlags(**_NUMERIC, inet6=False, unix=False)),
        ("-f unix", BsdFlags(inet=False, inet6=False)),
        ("-f inet -f unix", BsdFlags(inet=False, inet6=False)),
        ("-p tcp", BsdFlags(unix=False, udp=False)),
        ("-anpudp", BsdFlags(**_NUMERIC, unix=False, tcp=False)),
        ("-p tcp -f inet6", BsdFlags(inet=False, unix=False, udp=False)),
    ],
)
def test_words_mean_what_bsd_takes_them_for(words: str, meant: BsdFlags) -> None:
    assert parse_bsd_flags(words.split()) == meant


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-i", "'-i' is not replayed"),
        ("-anr", "'-anr' is not replayed"),
        ("-tulpn", "'-tulpn' is not replayed"),
        ("--all", "'--all' is not replayed"),
        ("-f", "-f needs a value"),
        ("-anp", "-p needs a value"),
        ("-f ipx", "'ipx' is no address family"),
        ("-f inet,inet6", "'inet,inet6' is no address family"),
        ("-p icmp", "'icmp' is no protocol"),
        ("-fan", "'an' is no address family"),
        ("-f unix -p tcp", "-p tcp has no UNIX sockets"),
        ("-n 10:32", "a moment is given as --at 10:32"),
        ("-- -a", "'--' is not a flag"),
        ("-", "'-' is not a flag"),
    ],
)
def test_anything_else_is_refused_in_one_line_that_says_what_is_understood(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_bsd_flags(words.split())
    assert "\n" not in str(caught.value)
    assert "-f unix" in str(caught.value) or "-a, -n, -f inet|inet6|unix and -p tcp|udp" in str(caught.value)
