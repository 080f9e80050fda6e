"""A real browser, which is driven from a thread of its own, as its driver blocks."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs
import pytest
import pytest_twisted
from playwright.sync_api import Page, sync_playwright
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from kpiggybank.sample import SignIns
from tests.integration.daemon import ROOT, Daemon, ask, post, reactor

T = TypeVar("T")

CHROMIUM = shutil.which("chromium")
AXE = ROOT / ".venv" / "axe" / "node_modules" / "axe-core" / "axe.min.js"

#: Where pictures of the page are left for people to look at.
PICTURES = ROOT / "build" / "page"

#: The settings of a daemon that keeps nothing.
MEMORY = {"DB_BACKEND": "memory"}
CLOSE = b"Connection: close"

#: For every wait in a page, however busy the machine is.
PATIENCE_MS = 30_000


@attrs.define(eq=False)
class Browser:
    """Opens pages, and does things in them in its thread."""

    _threads: ThreadPool = attrs.field(factory=lambda: ThreadPool(1, 1, "browser"))
    _driver: Any = attrs.field(default=None, init=False)
    _browser: Any = attrs.field(default=None, init=False)
    _contexts: list[Any] = attrs.field(factory=list, init=False)

    def start(self) -> None:
        """Start it, and wait until it has."""
        self._threads.start()
        pytest_twisted.blockon(self.run(self._start))

    def _start(self) -> None:
        self._driver = sync_playwright().start()
        # Its sandbox is not for root, and it talks to nobody but us.
        self._browser = self._driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )

    def stop(self) -> None:
        """End it, and wait until it has."""
        pytest_twisted.blockon(self.run(self._stop))
        self._threads.stop()

    def _stop(self) -> None:
        if self._browser is not None:
            self._browser.close()
        if self._driver is not None:
            self._driver.stop()

    def run(self, work: Callable[..., T], *args: Any) -> Any:
        """A Deferred of what `work` gives; it is done in the browser's thread."""
        return deferToThreadPool(reactor, self._threads, work, *args)

    async def open(self, url: str, **options: Any) -> Tab:
        """A page with nothing remembered; what it complains of is kept."""

        def work() -> Tab:
            context = self._browser.new_context(locale="en-GB", **options)
            self._contexts.append(context)
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            tab = Tab(self, page)
            page.on("pageerror", lambda error: tab.complaints.append(str(error)))
            page.on("console", lambda message: tab.heard(message))
            page.goto(url)
            return tab

        tab: Tab = await self.run(work)
        return tab

    def close_pages(self) -> None:
        """Close all pages."""

        def work() -> None:
            while self._contexts:
                self._contexts.pop().close()

        pytest_twisted.blockon(self.run(work))


@attrs.define(eq=False)
class Tab:
    """A page of the browser.

    Attributes:
        complaints: errors that were not caught, and what the browser itself calls an error.
    """

    _browser: Browser
    page: Page
    complaints: list[str] = attrs.field(factory=list, init=False)

    def heard(self, message: Any) -> None:
        """Keep a line of the console, unless it only says that a request has failed."""
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    async def do(self, work: Callable[[Page], T]) -> T:
        """Do something with the page."""
        result: T = await self._browser.run(work, self.page)
        return result

    async def until(self, expression: str, argument: Any = None) -> None:
        """Wait until JavaScript in the page finds an expression, or a function, to be true."""
        # The page's policy forbids that an expression is evaluated again and again.
        function = expression if argument is not None else f"() => {expression}"
        await self.do(lambda page: page.wait_for_function(function, arg=argument))

    async def evaluate(self, expression: str, argument: Any = None) -> Any:
        """What JavaScript in the page makes of this."""
        return await self.do(lambda page: page.evaluate(expression, argument))

    async def count(self, id: str, text: str) -> None:
        """Wait until a number of the page is this."""
        await self.until(
            "([id, text]) => document.getElementById(id).textContent === text", [id, text]
        )

    async def entries(self) -> list[str]:
        """The ids of the events in the list, from the top."""
        found: list[str] = await self.evaluate(
            "[...document.querySelectorAll('#feed a')]"
            ".map((a) => new URLSearchParams(a.hash.slice(1)).get('id'))"
        )
        return found

    async def shows(self, ids: list[str]) -> None:
        """Wait until so many events are in the list; they must be these."""
        await self.until(
            "(n) => document.querySelectorAll('#feed li').length >= n && "
            "document.querySelector('#state').dataset.state === 'live'",
            len(ids),
        )
        assert await self.entries() == ids

    async def is_accessible(self) -> None:
        """Holds if axe finds nothing to complain of, and no name where none may be."""
        await self.do(lambda page: page.evaluate(AXE.read_text()))
        found = await self.evaluate("axe.run()")
        assert [(each["id"], each["nodes"]) for each in found["violations"]] == []
        unsure = [each["nodes"] for each in found["incomplete"] if "aria" in each["id"]]
        assert unsure == []

    async def picture(self, name: str) -> None:
        """Leave a picture of the whole page."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        await self.do(lambda page: page.screenshot(path=path, full_page=True))


async def save(port: int, events: Any, *head: bytes) -> list[str]:
    """Post events, which must be taken; their ids."""
    answer = await ask(port, post(events, CLOSE, *head))
    assert answer.status == 201, answer
    ids: list[str] = answer.json["ids"]
    return ids


def sign_ins(count: int) -> list[dict[str, Any]]:
    """Events of just now, in milliseconds, each a millisecond after the one before."""
    start = int(time.time() * 1000) - 2000
    return [
        {**event, "timestamp": start + number}
        for number, event in enumerate(SignIns(7).take(count))
    ]


def home(daemon: Daemon) -> str:
    """The address of the page."""
    return f"http://127.0.0.1:{daemon.port}/"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser; where there is none, the test is skipped, unless that is not allowed."""
    missing = "chromium" if CHROMIUM is None else "" if AXE.exists() else f"axe-core, at {AXE},"
    if missing:
        if "KPIGGYBANK_DEMAND_BROWSER" in os.environ:
            pytest.fail(f"the page is to be tested, and {missing} is missing")
        pytest.skip(f"{missing} is missing: the page is not tested")
    browser = Browser()
    browser.start()
    try:
        yield browser
    finally:
        browser.stop()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser, whose pages are closed afterwards."""
    yield chromium
    chromium.close_pages()
