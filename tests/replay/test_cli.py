"""`sockrec replay` as a command, on a capture made by hand."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from sockrec.cli import replay
from sockrec.errors import NothingMatchedError, SockrecError, UsageError
from sockrec.store.damage import Damage
from tests.replay.captures import HandMade

TITLE = "Active Internet connections (only servers)\n"
HEADER = (
    "Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name    \n"
)
# The samples begin at 10:32:05.250999, :06, :07 in Berlin.


def line(port: int) -> str:
    endpoints = f"0.0.0.0:{port}            0.0.0.0:*               "
    return f"tcp        0      0 {endpoints}LISTEN      100/myapp           \n"


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> HandMade:
    """Give a capture in which a port is added by each of three samples; commands open it."""
    made = HandMade()
    samples = [made.sample(number) for number in range(3)]
    for number, (_, ended) in enumerate(samples):
        made.socket(number, ended, max(ended, samples[2][0]), local_port=7071 + number)
    monkeypatch.setattr("sockrec.catalog.open_catalog", lambda _: made)
    return made


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(capture: HandMade, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Give a function that runs the command and returns (stdout, stderr)."""

    def run_it(*words: str) -> tuple[str, str]:
        app = typer.Typer()
        app.callback()(lambda: None)
        replay.register(app)
        app(["replay", "-C", "anywhere", *words], standalone_mode=False)
        out, err = capfdbinary.readouterr()
        return out.decode(), err.decode()

    return run_it


def test_without_a_moment_it_is_the_end(run: Run) -> None:
    assert run("-tlnp") == (TITLE + HEADER + line(7071) + line(7072) + line(7073), "")


@pytest.mark.parametrize(
    ("words", "ports"),
    [
        (["--at", "start"], [7071]),
        (["--at", "10:32:06.5"], [7071, 7072]),
        (["--at", "09:32:06.5", "--tz", "UTC"], [7071, 7072]),
        (["--at", "2026-11-20T09:32:05.251Z", "--host", "web-1"], [7071]),
        (["--at", "end"], [7071, 7072, 7073]),
    ],
)
def test_one_moment(run: Run, words: list[str], ports: list[int]) -> None:
    for order in (["-tlnp", *words], [*words, "-tlnp"], ["-t", "-l", *words, "--numeric", "--programs"]):
        assert run(*order)[0] == TITLE + HEADER + "".join(map(line, ports))


def test_several_moments_are_what_netstat_c_prints(run: Run) -> None:
    one, two, three = (TITLE + HEADER + "".join(line(7071 + n) for n in range(count)) for count in (1, 2, 3))
    assert run("-tlnp", "--from", "start", "--to", "end", "--speed", "max") == (one + two + three, "")
    assert run("-tlnp", "--to", "10:32:07", "--speed", "max")[0] == one + two
    assert run("-tlnp", "--from", "10:32:06.3", "--speed", "max")[0] == two + three
    # -c goes on from a moment, as long as recording does: here it does not.
    assert run("-ctlnp", "--at", "10:32:06.3", "--speed", "max")[0] == two + three
    assert run("-tlnp", "--follow")[0] == three


def test_moments_come_at_their_pace(run: Run) -> None:
    begun = time.monotonic()
    run("-tlnp", "--from", "start", "--speed", "20")
    assert 0.1 <= time.monotonic() - begun < 0.6


def test_stepping(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\nq\n"))
    assert run("-tlnp", "--step")[0].count(TITLE) == 2


def test_following_a_running_recording(run: Run, capture: HandMade, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def refresh() -> None:
        nonlocal looks
        looks += 1
        if looks in (1, 3):
            capture.sample(2 + looks)

    monkeypatch.setattr(capture, "refresh", refresh)
    monkeypatch.setattr("sockrec.store.lock.is_held", lambda _: looks < 3)
    assert run("-tlnp", "--follow", "--speed", "max")[0].count(TITLE) == 3
    # The fourth look finds that nothing came after the end.
    assert looks == 4


def test_unix_sockets_follow_the_others(run: Run) -> None:
    out, err = run("-lnp")
    internet = TITLE + HEADER + line(7071) + line(7072) + line(7073)
    assert out.startswith(internet + "Active UNIX domain sockets (only servers)\nProto RefCnt Flags ")
    assert err == ""


@pytest.mark.parametrize("words", ["-i", "-r", "-s", "-g"])
def test_what_was_not_recorded_is_not_shown_as_empty(run: Run, words: str) -> None:
    with pytest.raises(NothingMatchedError, match="were not recorded then"):
        run(words)


def test_what_netstat_no_longer_does_says_so_in_its_words(run: Run) -> None:
    app_exit = run("-M")
    assert app_exit == ("", "netstat: no support for `ip_masquerade' on this system.\n")


def test_users_are_named_as_on_the_recorded_host(run: Run) -> None:
    assert " LISTEN      www-data   900 " in run("-tle")[0]
    assert " LISTEN      33         900 " in run("-tlen")[0]


def test_what_is_shown_after_samples_failed_to_come_is_said_to_be_old(run: Run, capture: HandMade) -> None:
    capture.sample(3, complete=False, incomplete_why="udp: interrupted")
    capture.sample(90)
    out, err = run("-tlnp", "--at", "start+60s")
    assert out == TITLE + HEADER
    assert err == (
        "sockrec: the sample of 2026-11-20 10:32:08.250+01:00 is not whole: udp: interrupted\n"
        "sockrec: nothing was recorded from 2026-11-20 10:32:08.260+01:00 to 2026-11-20 10:33:35.250+01:00:"
        " shown as it was before\n"
    )


def test_damage_is_reported(run: Run, capture: HandMade) -> None:
    capture.damages.append(Damage(Path("x.parquet"), "garbage"))
    capture.damages.append(Damage(Path("y.parquet"), "is what was left", known=True))
    assert run("-tlnp")[1] == (
        "sockrec: left out: x.parquet: garbage\nsockrec: lost: y.parquet: is what was left\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-V"], "is not replayed"),
        (["-ri"], "netstat takes one of -i, -r, -s and -M"),
        (["10:32", "-tn"], "a moment is given as --at 10:32"),
        (["-tn", "--at", "noon"], "'noon' is not a time; write it as"),
        (
            ["-tn", "--at", "11:00"],
            "11:00:00.000[+]01:00 is after what was recorded: 2026-11-20 10:32:05.250 to",
        ),
        (["-tn", "--at", "start", "--to", "end"], "give one or the other"),
        (["-tn", "--at", "start", "--speed", "2"], "need several moments"),
        (["-tn", "--at", "start", "--step"], "need several moments"),
        (["-tn", "--follow", "--to", "end"], "has no end"),
        (["-tn", "--follow", "--step"], "no steps"),
        (["-tn", "--step", "--speed", "2"], "give one or the other"),
        (["-tn", "--from", "end", "--to", "start"], "--to is before --from"),
        (["-tn", "--speed", "fast", "--from", "start"], "is not a speed"),
        (["-tn", "--tz", "Mars/Olympus"], "no time zone 'Mars/Olympus'"),
        (["-tn", "--host", "web-9"], "no host 'web-9' is recorded here"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(run: Run, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        run(*words)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_missing_capture_is_status_3(tmp_path: Path) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    replay.register(app)
    with pytest.raises(SockrecError) as caught:
        app(["replay", "-C", f"{tmp_path}/none", "-tn"], standalone_mode=False)
    assert caught.value.exit_status == 3
