"""One browser for all, which sees all that a page asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.report.pages import PORT_7071, write_page

# The cells of the table, without the marks of findings.
ROWS: Final = (
    "() => [...document.querySelectorAll('#rows tr')]"
    ".map((row) => [...row.cells].map((cell) => cell.firstChild ? cell.firstChild.data : ''))"
)


@dataclass
class Seen:
    """A page in the browser, and what it complained of or asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def rows(self) -> list[list[str]]:
        """Return the cells of the table."""
        found: list[list[str]] = self.page.evaluate(ROWS)
        return found

    def settle(self) -> None:
        """Wait until what was done is drawn."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return self.page.locator(selector).inner_text()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Give Debian's Chromium, without a screen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def see(browser: Browser) -> Iterator[Callable[..., Seen]]:
    """Give what opens a page; in the end none may have complained, or asked for anything but itself."""
    seen: list[Seen] = []

    def opened(path: Path, **settings: Any) -> Seen:
        context = browser.new_context(viewport={"width": 1300, "height": 900}, **settings)
        one = Seen(context.new_page())
        one.page.on("console", lambda said: one.complaints.append(said.text))
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        one.page.on("dialog", lambda dialog: one.complaints.append(dialog.message))
        one.page.on("request", lambda asked: one.requests.append(asked.url))
        one.page.goto(path.as_uri())
        one.page.wait_for_selector("html[data-ready=yes]")
        one.settle()
        seen.append(one)
        return one

    yield opened
    for one in seen:
        assert one.complaints == []
        assert one.requests == [one.page.url]
        one.page.context.close()


@pytest.fixture(scope="session")
def port_7071(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the page of the sample capture of that name."""
    return write_page(PORT_7071, tmp_path_factory.mktemp("page") / "7071.html")
