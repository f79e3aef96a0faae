"""Each key, on captures of real incidents, by what then stands on the screen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.catalog.captures import Part
from tests.support.command import sockrec
from tests.view.driving import SAMPLES, Screen, drive

PORT_7071 = SAMPLES / "port-7071" / "capture"
LEAK = SAMPLES / "close-wait-leak" / "capture"
UPSTREAM = SAMPLES / "nginx-upstream-down" / "capture"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d ([\d:.]+)")


def _moment(lines: list[str]) -> str:
    found = _MOMENT.search(lines[0])
    assert found is not None, lines
    return found[1]


def _rows(lines: list[str]) -> list[str]:
    """Return the lines of the table, without what fills up the columns."""
    found = [line.strip(" ▁▂▃▄▅▆▇█").lstrip("+~") for line in lines]
    return [" ".join(line.split()) for line in found if re.match(r"(tcp|udp)6? +\d+ +\d+ ", line)]


def test_left_and_right_go_by_sample_page_by_minute_home_and_end_to_the_edges() -> None:
    async def script(screen: Screen) -> None:
        assert "sample 1 of 79" in screen.lines()[0]
        assert screen.lines()[5].split()[:3] == ["Proto", "Recv-Q", "Send-Q"]
        assert "sample 3 of 79" in (await screen.press("right", "right"))[0]
        lines = await screen.press("left")
        assert "sample 2 of 79" in lines[0]
        assert "sample 1 of 79" in (await screen.press("left", "left", "left"))[0]
        first = _moment(await screen.press("pagedown"))
        assert "06:02:54.1" <= first <= "06:02:54.8", "a minute after 06:01:54.792, in a sample begun by then"
        assert "sample 1 of 79" in (await screen.press("pageup"))[0]
        lines = await screen.press("end")
        assert "sample 79 of 79" in lines[0]
        assert "sample 79 of 79" in (await screen.press("right"))[0]
        printed = sockrec("replay", "-C", PORT_7071, "-anptu").stdout.splitlines()[2:]
        assert _rows(lines) == [" ".join(line.split()) for line in printed]
        assert "sample 1 of 79" in (await screen.press("home"))[0]

    drive(PORT_7071, script)


def test_n_and_p_go_to_the_changes_of_a_listener_across_its_restart() -> None:
    async def script(screen: Screen) -> None:
        lines = await screen.press("down")
        assert "tcp 10.0.0.5:7071 LISTEN  myapp[30351]" in "\n".join(lines)
        text = "\n".join(lines := await screen.press("n"))
        assert _moment(lines).startswith("06:02:26")
        assert (
            "06:02:25.524205  stopped listening  tcp 10.0.0.5:7071  myapp[30351] was killed by SIGSEGV"
            in text
        )
        assert "tcp 10.0.0.5:7071 is not in this table" in text
        text = "\n".join(lines := await screen.press("n"))
        assert _moment(lines).startswith("06:02:45") or _moment(lines).startswith("06:02:46")
        assert "+tcp        0      0 10.0.0.5:7071           0.0.0.0:*" in text
        assert "so since 06:02:45.538293 (exact)" in text
        assert "no later change" in "\n".join(await screen.press("n"))
        assert _moment(await screen.press("p")).startswith("06:02:26")
        assert "no earlier change" in "\n".join(await screen.press("p"))
        await screen.press("home")
        # However fast the keys come, each counts.
        for by in (1, 1, 1, -1, -1, 1):
            screen.viewer.action_change(by)
        await screen.settle()
        assert _moment(screen.lines()).startswith("06:02:4")

    drive(PORT_7071, script)


def test_a_filter_shows_some_and_is_corrected_in_place() -> None:
    async def script(screen: Screen) -> None:
        everything = _rows(screen.lines())
        lines = await screen.press("slash")
        assert "filter: port=7071 program=nginx" in "\n".join(lines)
        assert "is no filter; write" in "\n".join(await screen.type("colour=red"))
        await screen.press("ctrl+u")
        lines = await screen.type("state=listen !program=metricsd")
        assert _rows(lines) == [row for row in everything if "LISTEN" in row and "metricsd" not in row]
        assert "1 of 8 sockets" in lines[0]
        assert "filter: state=listen !program=metricsd" in "\n".join(lines)
        assert "tcp 10.0.0.5:7071 LISTEN" in "\n".join(lines), "what is selected is one that is shown"
        assert _rows(await screen.press("escape")) == everything
        # What is typed are letters, not keys of the viewer.
        assert "sample 1 of 79" in (await screen.press("slash", "n", "q", "end", "escape"))[0]

    drive(PORT_7071, script)


def test_j_jumps_to_times_as_replay_understands_them() -> None:
    async def script(screen: Screen) -> None:
        await screen.press("j")
        assert _moment(await screen.type("start+31s")) <= "06:02:25.8"
        await screen.press("j")
        lines = await screen.type("06:02:40")
        assert "06:02:39" < _moment(lines) <= "06:02:40"
        await screen.press("j")
        text = "\n".join(await screen.type("noon"))
        assert "'noon' is not a time; write it as" in text
        await screen.press("ctrl+u")
        assert "is after what was recorded" in "\n".join(await screen.type("23:59"))
        assert _moment(await screen.press("escape")) == _moment(lines)

    drive(PORT_7071, script)


def test_enter_shows_a_whole_life_and_escape_leaves_it() -> None:
    async def script(screen: Screen) -> None:
        await screen.press("slash")
        await screen.type("program=client")
        await screen.press("enter")
        text = screen.text()
        assert re.search(r"06:02:02\.\d+ +CLOSED +closed by us", text)
        assert "20 B sent, 10 kB received" in text
        assert "client -S client.py 10.0.0.5 7071" in text
        # Keys of the table do nothing behind it.
        await screen.press("n", "end", "escape")
        assert "sample 1 of 79" in screen.lines()[0]
        await screen.press("escape", "slash")
        await screen.type("port=7071 state=listen")
        await screen.press("enter")
        text = screen.text()
        assert "stopped listening: myapp[30351] was killed by SIGSEGV, sent by python3[30349]" in text
        assert "listening again 20 s later as myapp[30374]" in text
        assert "sample 1 of 79" in (await screen.press("q"))[0], "q leaves what is laid over the table"

    drive(PORT_7071, script)


def test_d_compares_with_the_mark() -> None:
    async def script(screen: Screen) -> None:
        await screen.press("end")
        text = "\n".join(await screen.press("d"))
        assert "Since the first sample" in text
        assert re.search(r"changed +tcp 10\.0\.0\.5:7071 +myapp .*restarted: pid 30351 -> 30374", text)
        await screen.press("escape", "j")
        await screen.type("start+35s")
        lines = await screen.press("m")
        assert "mark: 06:02:29" in "\n".join(lines)
        assert "M" in lines[3]
        await screen.press("end")
        text = "\n".join(await screen.press("d"))
        assert "Since the mark" in text
        assert re.search(r"opened +tcp 10\.0\.0\.5:7071 +myapp", text)

    drive(PORT_7071, script)


@pytest.mark.parametrize(
    ("capture", "title", "moment"),
    [(LEAK, "leaks connections", None), (UPSTREAM, "port 9000 stopped listening", "03:45:06")],
)
def test_f_lists_what_diagnose_finds_and_enter_goes_there(
    capture: Path, title: str, moment: str | None
) -> None:
    async def script(screen: Screen) -> None:
        assert "looking" in "\n".join(await screen.press("f")) or title in screen.text()
        await screen.diagnosed()
        text = screen.text()
        assert title in text
        for finding in re.findall(
            r"^(?:critical|warning|notice): .*", sockrec("diagnose", "-C", capture).stdout, re.M
        ):
            assert finding in text
        lines = await screen.press("down", "up", "enter")
        assert title in lines[1]
        if moment is not None:
            assert _moment(lines).startswith(moment)
            assert "!" in lines[3]

    drive(capture, script)


def test_findings_are_laid_out_for_the_room_there_is() -> None:
    refused = "3 processes of client asked tcp 10.0.0.5:7071 294 times within 19.4 s"

    async def script(screen: Screen) -> None:
        await screen.diagnosed()
        await screen.resize(70, 40)
        narrow = await screen.press("f", "down")
        assert refused in screen.text()
        assert not any(refused in line for line in narrow)
        assert any(refused in line for line in await screen.resize(120, 40))
        lines = await screen.press("enter")
        assert "stopped listening and came back" in lines[1], "the second was chosen, and still is"

    drive(PORT_7071, script)


@pytest.mark.parametrize(
    ("capture", "selected", "then"),
    [
        # Gone by then: it is selected all the same, and the keys lead to where it stood.
        ("port-7071", "tcp 10.0.0.5:7071 is not in this table", "tcp 10.0.0.5:7071"),
        ("slow-reader", "tcp 10.0.0.5:9300 - 10.0.0.1:51346 ESTABLISHED", None),
        ("close-wait-leak", "7540", None),
    ],
)
def test_a_finding_selects_what_it_is_about(capture: str, selected: str, then: str | None) -> None:
    async def script(screen: Screen) -> None:
        await screen.press("f")
        await screen.diagnosed()
        text = "\n".join(await screen.press("enter"))
        assert selected in text
        if then is not None:
            assert f"{then} LISTEN" in "\n".join(await screen.press("n"))

    drive(SAMPLES / capture / "capture", script)


def test_e_shows_all_that_happened_and_help_the_keys() -> None:
    async def script(screen: Screen) -> None:
        await screen.press("j")
        await screen.type("start+40s")
        lines = screen.lines()
        (told,) = [line for line in lines if "since the sample before" in line]
        refused = re.search(r"closed \((\d+) refused\)", told)
        assert refused is not None
        text = "\n".join(await screen.press("e"))
        assert text.count("refused after") == int(refused[1]) > 5
        await screen.press("escape")
        assert "the next change of what is selected" in "\n".join(await screen.press("question_mark"))
        assert "sample" in (await screen.press("escape"))[0]

    drive(PORT_7071, script, size=(140, 50))


def test_a_small_terminal_still_shows_who_listens() -> None:
    async def script(screen: Screen) -> None:
        lines = screen.lines()
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 80
        assert any(re.search(r"tcp +0 +0 10\.0\.0\.5:7071 .* LISTEN +30351/myapp", line) for line in lines)
        lines = await screen.resize(60, 18)
        assert max(map(len, lines)) <= 60
        assert any(re.search(r":7071 .* LISTEN +3", line) for line in lines)
        assert any(
            "0.0.0.0:*               LISTEN      30351/myapp" in line for line in await screen.resize(130, 40)
        )

    drive(PORT_7071, script, size=(80, 24))


def test_plus_shows_less_of_the_time() -> None:
    async def script(screen: Screen) -> None:
        assert screen.lines()[4].startswith("06:01:54")
        scale = (await screen.press("plus"))[4]
        assert "06:02:32" in scale or "06:02:33" in scale
        assert "06:03:10" in (await screen.press("minus", "minus"))[4]

    drive(PORT_7071, script)


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    """Give a capture of 10 samples, 20 s of silence in one recording, and 10 samples more."""
    part = Part(tmp_path, 0, 9)
    for number in range(30, 40):
        part.sample(number)
    part.sample(30, ticks_missed=20)
    part.sample(35, complete=False, incomplete_why="udp: \x1b[2Jinterrupted")
    part.socket(17, 0, 39, "found", "stopped")
    part.socket(18, 2, 9, local_port=80, program="[bold red]x[/]\x1b]0;t\x07")
    part.write()
    return tmp_path


def test_silence_is_a_step_of_its_own_and_is_said(silent: Path) -> None:
    async def script(screen: Screen) -> None:
        lines = screen.lines()
        assert "sample 10 of 20" in lines[0]
        assert "░" in lines[2]
        text = "\n".join(lines := await screen.press("right"))
        assert "no sample here" in lines[0]
        assert "no sample here: nothing was recorded from 2026-11-20 10:32:09.010 to 10:32:30.000" in text
        assert "what happened here is not known" in text
        assert len(_rows(lines)) == 2, "as it was before"
        lines = await screen.press("right")
        assert "sample 11 of 20" in lines[0]
        assert "not all is known around here: 20 samples missed" in lines[1]
        assert len(_rows(lines)) == 1
        # A minute is 60 s, wherever it ends: in the silence too.
        await screen.press("home", "j")
        lines = await screen.type("start+25s")
        assert "no sample here" in lines[0]
        await screen.press("j")
        lines = await screen.type("start+35s")
        assert "this sample is not whole: udp: \\x1b[2Jinterrupted" in lines[1]

    drive(silent, script, at="start+9s")


def test_hostile_names_are_neither_markup_nor_control(silent: Path) -> None:
    async def script(screen: Screen) -> None:
        text = screen.text()
        assert "4121/[bold red]x[/]" in text
        await screen.press("slash")
        text = "\n".join(await screen.type("[bold"))
        assert "filter: [bold (Esc: none)" in text
        assert "4121/[bold red]x[/]" in text
        await screen.press("enter")
        text = screen.text()
        assert "[bold red]x[/]\\x1b]0;t\\x07[4121]" in text
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)

    drive(silent, script, at="start+5s")
