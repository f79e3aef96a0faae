"""The page as a file: whole in itself, true to the capture, and refused where there is nothing to show."""

from __future__ import annotations

import base64
import hashlib
import re
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import sockrec
from sockrec.catalog import open_catalog
from sockrec.errors import UsageError
from sockrec.report import moments, scope
from tests.catalog.captures import Part
from tests.hostile.attacks.values import numbers_far_away
from tests.report.host import GAP, LAST, moment, write_host
from tests.report.pages import PORT_7071, SAMPLES, facts_of, write_page
from tests.support.command import answer
from tests.support.command import sockrec as command


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_host(tmp_path_factory.mktemp("host") / "capture")


@pytest.fixture(scope="module")
def host_facts(host: Path) -> Any:
    return facts_of(write_page(host, host.parent / "page.html").read_text())


@pytest.fixture(scope="module")
def page() -> str:
    done = command("report", "-C", PORT_7071, "-o", "-")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_nothing_may_be_asked_for_and_no_other_script_may_run(page: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert set(rules) == {"default-src", "script-src", "style-src", "base-uri", "form-action"}
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for kind in ("script", "style"):
        (content,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    markup = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert re.findall(r"\b(?:src|href|style|on[a-z]+)=\"(?!#)", markup) == []


def test_the_licence_of_what_draws_the_figures_is_with_it(page: str) -> None:
    assert "Permission is hereby granted, free of charge" in page


def test_states_are_those_of_each_sample() -> None:
    # In this one, a connection ends while a sample is taken that had found it.
    with sockrec.open(SAMPLES / "close-wait-leak" / "capture") as capture:
        done = command("report", "-C", capture.path, "-o", "-", "--from", "start+8s", "--to", "start+30s")
        facts = facts_of(done.stdout)
        figures = {one["name"]: one["series"] for one in facts["figures"]}
        lines = {one["name"]: one["values"] for one in figures["states"] + figures["time-wait"]}
        numbers = range(len(facts["axes"]["samples"]) - 2)
        assert len(numbers) > 20
        for number in numbers:
            row = facts["moments"]["samples"][number]
            moment = datetime.fromtimestamp(0, UTC) + timedelta(
                microseconds=facts["first"] + round(row * 1e6)
            )
            counted = dict(capture.at(moment).aggregate("state, count(*)").fetchall())
            assert {state: values[number] for state, values in lines.items() if values[number]} == counted


def test_figures_say_what_the_capture_says(page: str) -> None:
    facts = facts_of(page)
    figures = {
        one["name"]: {line["name"]: line["values"] for line in one["series"]} for one in facts["figures"]
    }
    for name, column in (("opened", "opened"), ("closed", "closed")):
        total = answer(
            "sql", "-C", PORT_7071,
            f"SELECT count(*) AS n FROM connections WHERE {column}_not_after IS NOT NULL"
            f" AND {column}_as NOT IN ('found', 'stopped')",
        )[0]["n"]  # fmt: skip
        bars = figures["connections"][name]
        assert round(sum(abs(one) for one in bars) * facts["axes"]["step"]) == total > 0
    told = answer(
        "sql", "-C", PORT_7071,
        "SELECT how, count(*) AS n FROM connections WHERE how LIKE 'reset%' OR how = 'refused' GROUP BY how",
    )  # fmt: skip
    failed = {how: round(sum(values) * facts["axes"]["step"]) for how, values in figures["failures"].items()}
    assert failed == {row["how"]: row["n"] for row in told} == {"refused": 294, "reset by the peer": 3}
    (traffic,) = answer("traffic", "-C", PORT_7071)
    assert round(sum(figures["traffic"]["7071"]) * facts["axes"]["step"]) == traffic["bytes"] > 0


def test_levels_break_where_nothing_was_recorded(host_facts: Any) -> None:
    facts = host_facts
    (states,) = (one for one in facts["figures"] if one["name"] == "states")
    listening = next(one["values"] for one in states["series"] if one["name"] == "LISTEN")
    levels = dict(zip(facts["axes"]["samples"], listening, strict=True))
    assert [levels[second] for second in (0, 9, 14, 15, 17, 19, 25, LAST)] == [2, 2, 2, 1, 2, 2, 2, 2]
    broken = [time for time, level in levels.items() if level is None]
    assert broken == pytest.approx([GAP[0] + 0.01, LAST + 0.01], abs=1e-4)
    assert [(gap["from"], gap["to"]) for gap in facts["gaps"]] == [(GAP[0] + 0.01, GAP[1])]


def test_lanes_tell_periods_doubt_and_causes(host_facts: Any) -> None:
    facts = host_facts
    lanes = {lane["label"]: lane["periods"] for lane in facts["lanes"]["lanes"]}
    assert next(iter(lanes)) == "tcp 10.0.0.5:7071"
    assert set(lanes) == {"tcp 10.0.0.5:7071", "tcp [::]:22", "udp 10.0.0.5:53"}
    first, again = lanes["tcp 10.0.0.5:7071"]
    assert (first["found"], first["to"], first["maybe_to"]) == (True, 14.4, 14.4)
    assert first["why"] == "myapp[4121] was killed by SIGKILL, sent by bash[99]"
    assert first["again"].startswith("listening again ")
    assert (again["who"], again["maybe_from"], again["from"]) == ("myapp[4377]", 16, 17.01)
    assert (again["maybe_to"], again["to"]) == (None, LAST)


def test_a_part_of_the_time(host: Path, tmp_path: Path) -> None:
    page = write_page(host, tmp_path / "page.html", "--from", moment(12.5), "--to", moment(16.5))
    facts = facts_of(page.read_text())
    assert facts["last"] - facts["first"] == 4_000_000
    # The sample in force at its beginning is there, too.
    assert facts["moments"]["samples"] == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert [one["title"] for one in facts["findings"]] == [
        one["title"] for one in answer("diagnose", "-C", host, "--from", moment(12.5), "--to", moment(16.5))
    ]


def test_what_can_not_be_shown_is_refused_in_a_line(host: Path, tmp_path: Path) -> None:
    for words, status, said in (
        (("-o", tmp_path / "no" / "page.html"), 2, "can't write"),
        (("-o", "-", "--from", moment(12), "--to", moment(2)), 2, "--to is before --from"),
        (("-o", "-", "--from", moment(90)), 1, "nothing was recorded in that time"),
        (("-o", "-", "--host", "db-1"), 2, "no host 'db-1' is recorded"),
        ((), 2, "--output"),
    ):
        done = command("report", "-C", host, *words)
        assert (done.returncode, done.stdout) == (status, ""), words
        assert said in done.stderr
        assert done.stderr.startswith("sockrec: ")
        assert done.stderr.count("\n") == 1


def test_a_page_is_of_one_host(tmp_path: Path) -> None:
    for name in ("web-1", "web-2"):
        part = Part(tmp_path / "capture", 0, 2, host=name)
        part.socket(1, 0, 2, "found", "stopped", program=f"app-of-{name}")
        part.write()
    done = command("report", "-C", tmp_path / "capture", "-o", "-")
    assert done.returncode == 2
    assert "name one with --host: web-1, web-2" in done.stderr
    page = write_page(tmp_path / "capture", tmp_path / "page.html", "--host", "web-2").read_text()
    assert "app-of-web-2" in page
    assert "app-of-web-1" not in page


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    place = tmp_path / "null"
    place.symlink_to("/dev/null")
    done = command("report", "-C", PORT_7071, "-o", place)
    assert done.returncode == 0, done.stderr
    assert not Path("/dev/null").is_file()
    assert place.is_symlink()


def test_too_much_for_a_page_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_catalog(PORT_7071) as catalog:
        whole = scope.choose(catalog, None, None, None, UTC)
        for name, most, said in (
            ("MOST_SAMPLES", 20, "samples are too many for a page, which can be made of 20: name less time"),
            ("MOST_ROWS", 200, "rows of sockets, activity and events are too many for a page"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(scope, name, most)
                with pytest.raises(UsageError, match=said):
                    scope.choose(catalog, None, None, None, UTC)
                less = scope.choose(catalog, None, whole.first_us, whole.first_us + 4_000_000, UTC)
                assert 0 < len(less.began) <= most


def test_what_can_not_be_drawn_is_told_and_the_rest_is_there(tmp_path: Path) -> None:
    numbers_far_away(tmp_path / "capture")
    done = command("report", "-C", tmp_path / "capture", "-o", "-")
    facts = facts_of(done.stdout)
    assert done.returncode == 0
    assert "the figures of queues are not drawn: " in done.stderr
    assert any("the figures of queues are not drawn: " in line for line in facts["unseen"])
    drawn = {one["name"] for one in facts["figures"]}
    assert {"states", "connections", "retransmissions", "interfaces"} <= drawn
    assert "queues" not in drawn


@pytest.mark.parametrize("most", [30, 40, 50, 60, 70, 80])
def test_as_many_samples_are_kept_as_there_is_room_for(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which these are is reckoned from one reading: what each choice would read says the same."""
    with open_catalog(PORT_7071) as catalog:
        chosen = scope.choose(catalog, None, None, None, UTC)
        told = moments.make_moments(chosen, [], most)
        every = moments._EVERY[: bisect_left(moments._EVERY, len(chosen.began)) + 1]
        monkeypatch.setattr(moments, "_fewer", lambda *_: every)
        tried = moments.make_moments(chosen, [], most)
    assert (told.every, told.packed) == (tried.every, tried.packed)
