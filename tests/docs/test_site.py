"""The site builds strictly, asks nobody on the network for anything, and can be searched from a file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import sockrec.cli
from sockrec.catalog.views import VIEWS
from sockrec.query.findings import KINDS

ROOT = Path(__file__).parents[2]
# What a browser fetches by itself, as it shows a page; of <link> only what is no mere reference.
_FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
_REFERENCES = {"canonical", "next", "prev", "alternate", "license"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        check=True,
        timeout=120,
    )
    return folder


class _Fetches(HTMLParser):
    """Collects what a page fetches, and its links to other pages."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "link" and not _REFERENCES & set((found.get("rel") or "").split()):
            self.fetched.append(found.get("href") or "")
        if tag in _FETCHED and found.get(_FETCHED[tag]):
            self.fetched.append(found[_FETCHED[tag]] or "")
        if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found.get("content") or ""
        style = found.get("style") or ""
        self.fetched += re.findall(r"url\(['\"]?([^'\")]+)", style)


def _pages(site: Path) -> Iterator[tuple[Path, _Fetches]]:
    for page in sorted(site.rglob("*.html")):
        parsed = _Fetches()
        parsed.feed(page.read_text())
        yield page, parsed


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(_pages(site))
    assert len(pages) > 30
    for page, parsed in pages:
        for target in parsed.fetched:
            assert not re.match(r"(?:[a-z]+:)?//", target), f"{page.name} loads {target}"
            if page.name != "404.html":  # it is shown at any depth
                assert (page.parent / target.partition("?")[0]).is_file(), f"{page.name} lacks {target}"
        # What a script would load later, the browser refuses.
        sources = parsed.policy.partition("default-src ")[2].partition(";")[0].split()
        assert sources, page.name
        assert not [one for one in sources if re.match(r"https?:|\*|//", one)]
        assert 'class="mermaid"' not in page.read_text()
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", style.read_text()), style.name


def test_the_search_works_from_a_file(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text()
    found = json.loads(index.removeprefix("var __index = "))
    places = {entry["location"].partition("#")[0] for entry in found["docs"]}
    assert {"tutorial.html", "reference/commands.html", "notebooks/03-broken-into.html"} <= places
    home = (site / "index.html").read_text()
    assert "assets/iframe-worker.js" in home


def test_every_command_finding_and_view_is_in_the_reference(site: Path) -> None:
    commands = (site / "reference" / "commands.html").read_text()
    verbs = {path.stem for path in Path(sockrec.cli.__file__).parent.glob("[a-z]*.py")}
    assert {verb for verb in verbs if f'id="sockrec-{verb}"' in commands} == verbs
    assert 'id="sockrec-baseline-diff"' in commands
    views = (site / "reference" / "views.html").read_text()
    assert [name for name in VIEWS if f'id="{name}"' not in views] == []
    findings = (site / "reference" / "findings.html").read_text()
    assert [kind.name for kind in KINDS if f'id="{kind.name}"' not in findings] == []


def test_notebooks_have_their_figures_as_data(site: Path) -> None:
    for notebook in ROOT.glob("notebooks/*.ipynb"):
        page = (site / "notebooks" / f"{notebook.stem}.html").read_text()
        figures = re.findall(
            r'<div class="figure"><script type="application/json">(.*?)</script></div>', page
        )
        assert len(figures) == notebook.read_text().count('"application/vnd.plotly.v1+json"')
        assert all(json.loads(figure)["data"] for figure in figures)
