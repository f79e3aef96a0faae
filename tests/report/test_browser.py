"""The page in a browser: what it shows is what the commands tell, at every moment."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from sockrec import report
from sockrec.catalog import open_catalog
from sockrec.catalog.times import zone_of
from sockrec.render.names import printable
from tests.catalog.captures import Part
from tests.hostile.texts import TEXTS, steering, stored
from tests.report.conftest import ROWS, Seen
from tests.report.host import GAP, LAST, hostile, write_host
from tests.report.pages import PORT_7071, SAMPLES, as_printed, facts_of, replayed, write_page
from tests.support.command import answer, sockrec

See = Callable[..., Seen]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_host(tmp_path_factory.mktemp("host") / "capture")


@pytest.fixture(scope="module")
def tables(host: Path) -> list[list[str]]:
    """Give what replay prints of each sample of the host."""
    return replayed(host, "--from", "start", "--to", "end", "--speed", "max")


def _walk(seen: Seen, samples: int) -> list[list[str]]:
    """Return the table of each sample, gone through from the first one by the button."""
    seen.page.focus("#overview")
    seen.page.keyboard.press("Home")
    tables: list[list[list[str]]] = seen.page.evaluate(
        f"""async (samples) => {{
            const drawn = () => new Promise((done) =>
                requestAnimationFrame(() => requestAnimationFrame(done)));
            const tables = [];
            for (let n = 0; n < samples; n++) {{
                await drawn();
                tables.push(({ROWS})());
                document.getElementById("after").click();
            }}
            return tables;
        }}""",
        samples,
    )
    return [[as_printed(cells) for cells in table] for table in tables]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("port-7071", "start+28s", "start+54s"),
        ("restart-loop", "start", "start+14s"),
    ],
)
def test_the_table_of_every_sample_is_what_replay_prints(
    name: str, first: str, last: str, see: See, tmp_path: Path
) -> None:
    capture = SAMPLES / name / "capture"
    time = ("--from", first, "--to", last)
    expected = replayed(capture, *time, "--speed", "max")
    seen = see(write_page(capture, tmp_path / "page.html", *time))
    assert _walk(seen, len(expected)) == expected


def test_the_table_follows_cuts_gaps_titles_owners_states_and_queues(
    see: See, host: Path, tables: list[list[str]], tmp_path: Path
) -> None:
    assert len({tuple(table) for table in tables}) > 12
    seen = see(write_page(host, tmp_path / "page.html"))
    assert _walk(seen, len(tables)) == tables


def test_only_some_samples_are_kept_where_all_are_too_many(
    see: See, host: Path, tables: list[list[str]], tmp_path: Path
) -> None:
    with open_catalog(host) as catalog:
        scope = report.choose(catalog, None, None, None, zone_of(catalog))
        page = report.make_page(scope, most_changes=15)
    file = tmp_path / "page.html"
    file.write_text(page)
    facts = facts_of(page)
    kept = facts["moments"]["place"]
    numbers = [*range(GAP[0] + 1), *range(GAP[1], LAST + 1)]
    assert 2 < len(kept) < len(numbers)
    # The listener was killed at 14.4: the sample in force, and those beside it, are there.
    assert {13, 14, 15} <= set(kept)
    seen = see(file)
    assert _walk(seen, len(kept)) == [tables[place] for place in kept]
    assert f"{len(kept)} of {len(numbers)} samples" in seen.text("#unseen")


def test_a_click_shows_the_sockets_of_that_moment_and_how_to_ask_for_them(see: See, port_7071: Path) -> None:
    seen = see(port_7071)
    seen.page.locator("#states .u-over").click(position={"x": 300, "y": 40})
    seen.settle()
    command = shlex.split(seen.text("#same"))
    assert command[:2] == ["sockrec", "replay"]
    done = sockrec(*command[1:], "-C", PORT_7071)
    assert done.returncode == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()[2:]]
    assert [as_printed(cells) for cells in seen.rows()] == lines
    # What was clicked on is where the line then is, in every panel that can tell.
    box = seen.page.locator("#states .u-over").bounding_box()
    line = seen.page.locator(".track .now").first.bounding_box()
    assert box is not None
    assert line is not None
    assert abs(line["x"] - (box["x"] + 300)) < 3


def test_findings_are_those_of_diagnose_and_lead_to_their_sockets(see: See, port_7071: Path) -> None:
    seen = see(port_7071)
    told = answer("diagnose", "-C", PORT_7071)
    titles = seen.page.locator("#findings h3").all_inner_texts()
    assert [title.split(" ", 1)[1] for title in titles] == [one["title"] for one in told]
    assert [one["text"] for one in told] == [
        seen.page.locator("#findings article").nth(n).locator("p").first.inner_text()
        for n in range(len(told))
    ]
    seen.page.locator("#findings article").nth(1).locator(".goto").click()
    seen.settle()
    rows = seen.rows()
    assert rows
    assert all("7071" in f"{local} {remote}" for _, _, _, local, remote, *_ in rows)
    # What stopped listening is gone then.
    assert not any(state == "LISTEN" for *_, state, _ in rows)
    assert seen.page.locator("#rows .flag").count() == len(rows)
    assert seen.page.locator("#sockets").evaluate("(place) => place === document.activeElement")


def test_the_timeline_tells_who_stopped_why_and_who_came_back(see: See, port_7071: Path) -> None:
    seen = see(port_7071)
    lane = seen.page.locator(".lane").first
    text = lane.inner_text()
    assert "tcp 10.0.0.5:7071" in text
    assert "06:02:25.524205 stopped: myapp[30351] was killed by SIGSEGV, sent by python3[30349]" in text
    assert "listening again 20 s later as myapp[30374]" in text
    bars = [bar.bounding_box() for bar in lane.locator(".period").all()]
    track = lane.locator(".track").bounding_box()
    assert track is not None
    down = (bars[1]["x"] - bars[0]["x"] - bars[0]["width"]) / track["width"]  # type: ignore[index]
    assert down == pytest.approx(20.0 / 75.7, abs=0.01)


def test_a_drag_in_one_figure_zooms_all(see: See, port_7071: Path) -> None:
    seen = see(port_7071)
    pictures = "() => [...document.querySelectorAll('.plot canvas')].map((one) => one.toDataURL())"
    before = seen.page.evaluate(pictures)
    over = seen.page.locator("#rtt .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    seen.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 30)
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30, steps=4)
    seen.page.mouse.up()
    seen.page.mouse.move(5, 5)
    seen.settle()
    after = seen.page.evaluate(pictures)
    assert len(before) == len(after) >= 5
    assert all(one != other for one, other in zip(before, after, strict=True))
    # Another figure, and the lanes, mean that stretch of time.
    whole = facts_of(port_7071.read_text())["axes"]["samples"][-2]
    for selector in ("#states .u-over", ".track"):
        place = seen.page.locator(selector).first
        width = place.bounding_box()["width"]  # type: ignore[index]
        place.click(position={"x": width / 2, "y": 5})
        now = float(seen.page.locator("#overview").get_attribute("aria-valuenow") or 0)
        assert now == pytest.approx(whole * 3 / 8, rel=0.02)
    seen.page.locator("#states .u-over").dblclick(position={"x": 50, "y": 50})
    seen.settle()
    assert seen.text("#range") == "figures: 06:01:54 to 06:03:10"


def test_search_and_sort(see: See, port_7071: Path) -> None:
    seen = see(port_7071)
    everything = seen.rows()
    seen.page.fill("#words", "Time_wait 10.0.0.21")
    found = seen.rows()
    assert found == [
        row for row in everything if row[5] == "TIME_WAIT" and "10.0.0.21" in f"{row[3]} {row[4]}"
    ]
    assert 0 < len(found) < len(everything)
    assert seen.text("#count") == f"{len(found)} of {len(everything)} sockets"
    seen.page.fill("#words", "")
    head = seen.page.get_by_role("columnheader", name="Local Address")
    for direction in ("ascending", "descending", "none"):
        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == direction
        addresses = [row[3] for row in seen.rows()]
        # Ports are numbers: 10.0.0.21:5000 comes before 10.0.0.21:45457.
        keys = [[int(part) for part in one.replace(":", ".").split(".")] for one in addresses]
        assert direction != "ascending" or keys == sorted(keys)
        assert direction != "descending" or keys == sorted(keys, reverse=True)
    assert seen.rows() == everything


def test_all_can_be_done_by_keyboard(see: See, port_7071: Path) -> None:
    seen = see(port_7071)
    samples = facts_of(port_7071.read_text())["moments"]["samples"]

    def now() -> float:
        return float(seen.page.locator("#overview").get_attribute("aria-valuenow") or 0)

    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("() => document.activeElement.className") == "skip"
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("() => document.activeElement.id") == "overview"
    for key, expected in (("Home", 0), ("ArrowRight", 1), ("Shift+ArrowRight", 11), ("ArrowLeft", 10)):
        seen.page.keyboard.press(key)
        assert now() == pytest.approx(samples[expected], abs=1e-6)
    before = seen.text("#range")
    seen.page.keyboard.press("+")
    assert seen.text("#range") != before
    seen.page.keyboard.press("0")
    assert seen.text("#range") == before
    # On to the first finding's time, and to the first sample that can show it.
    for _ in range(40):
        seen.page.keyboard.press("Tab")
        if seen.page.evaluate("() => document.activeElement.matches('#findings .time')"):
            break
    seen.page.keyboard.press("Enter")
    seen.settle()
    assert seen.text("#at") == "06:02:26.151"


def test_a_gap_is_shaded_everywhere_and_told(see: See, host: Path, tmp_path: Path) -> None:
    seen = see(write_page(host, tmp_path / "page.html"))
    tracks = seen.page.locator(".lane:not(.ticks) .track").count()
    assert seen.page.locator(".lane .gap").count() == tracks > 0
    shades = seen.page.evaluate(
        """(part) => [...document.querySelectorAll('.plot')].map((plot) => {
            const over = plot.querySelector('.u-over').getBoundingClientRect();
            const canvas = plot.querySelector('canvas');
            const box = canvas.getBoundingClientRect();
            const scale = canvas.width / box.width;
            const copy = new OffscreenCanvas(canvas.width, canvas.height)
                .getContext('2d', {willReadFrequently: true});
            copy.drawImage(canvas, 0, 0);
            const at = (x) => copy.getImageData(
                (over.left - box.left + over.width * x) * scale, (over.top - box.top + 3) * scale, 1, 1
            ).data[3];
            return [at(part), at(0.02)];
        })""",
        (GAP[0] + 3.3) / LAST,
    )
    assert len(shades) >= 3
    assert all(inside > 0 and outside == 0 for inside, outside in shades)
    seen.page.locator("#overview").click(position={"x": 1240 * 22.5 / LAST, "y": 10})
    seen.settle()
    assert "In a gap (not recording): shown as it was before" in seen.text("#as-of")


def test_hostile_names_stay_text(see: See, tmp_path: Path) -> None:
    names = [stored(one) for one in TEXTS.values() if len(one) < 1000]
    names += [
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "\u2028alert(1)//",
        "{{SCRIPT}}",
        "\\u003cimg src=x>",
    ]
    capture = hostile(tmp_path / "capture", names)
    page = write_page(capture, tmp_path / "page.html")
    seen = see(page)
    # Whole, where netstat cuts them; what steers is a question mark, as there.
    shown = {int(pid): name for *_, owner in seen.rows() for pid, name in [owner.split("/", 1)]}
    bases = [name.rsplit("/", 1)[1] if name.startswith("/") else name for name in names]
    assert shown == {500 + number: printable(name) for number, name in enumerate(bases)}
    made = seen.page.evaluate(
        "() => [document.images.length, document.scripts.length, document.links.length]"
    )
    assert made == [0, 3, 2]
    assert seen.text("h1").startswith("<img src=x>, ")
    assert "<script>alert(1)</script>&amp;<img src=x onerror=alert(1)>" in seen.text("#lanes")
    assert steering(seen.text("body").replace("\t", " ").encode("utf-8", "surrogatepass")) == []


def test_panels_without_anything_to_show_say_so_in_a_line(see: See, tmp_path: Path) -> None:
    part = Part(tmp_path / "capture", 0, 2)
    part.write()
    seen = see(write_page(tmp_path / "capture", tmp_path / "page.html"))
    assert seen.page.locator(".plot").count() == 0
    assert seen.page.locator(".panel.empty").count() == 10
    assert "Nothing listened" in seen.text("#lanes")
    assert seen.text("#count") == "0 sockets"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(scheme: str, see: See, port_7071: Path) -> None:
    seen = see(port_7071, color_scheme=scheme)
    for one in seen.page.locator("summary").all():
        one.click()
    found = Axe().run(seen.page).response["violations"]
    bad = [(one["id"], one["impact"], [node["html"] for node in one["nodes"]][:3]) for one in found]
    assert [one for one in bad if one[1] in ("serious", "critical")] == []
    background = seen.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}[scheme]


def test_paper_is_light_and_the_screen_is_as_it_was_after(see: See, port_7071: Path) -> None:
    seen = see(port_7071, color_scheme="dark")
    seen.page.evaluate(
        """() => {
            window.paper = [];
            const tell = () => paper.push([getComputedStyle(document.body).backgroundColor,
                document.querySelector('.uplot').offsetWidth]);
            for (const when of ['beforeprint', 'afterprint']) addEventListener(when, tell);
        }"""
    )
    width = seen.page.locator(".uplot").first.evaluate("(one) => one.offsetWidth")
    assert seen.page.pdf(format="A4").startswith(b"%PDF")
    seen.settle()
    (colour, on_paper), (_, then) = seen.page.evaluate("() => paper")
    assert colour == "rgb(255, 255, 255)"
    assert on_paper < 700 < width == then
