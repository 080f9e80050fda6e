"""The entries of the live page's list, and the page below another path."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.protocols.portforward import ProxyFactory, ProxyServer

from tests.integration.browser import MEMORY, Browser, home, save
from tests.integration.daemon import Daemon, reactor

LIVE = "document.querySelector('#state').dataset.state === 'live'"
FIRST_IS = "(id) => document.querySelector('#feed a')?.hash === `#id=${id}`"
FOCUSED = "document.activeElement.getAttribute('href')"

#: The end of an event's stream, and what the list says of it.
TIMES = {
    0: "0 ms",
    0.4: "0.4 ms",
    999.4: "999 ms",
    999.6: "1.0 s",
    59_949: "59.9 s",
    59_951: "1 min 0 s",
    60_000: "1 min 0 s",
    3_599_999: "1 h",
    3 * 86_400_000: "72 h",
    10**12 - 1: "277,778 h",
    1e300: "1e+300 ms",
    -5000: "-5.0 s",
    10**400: "",
    "99": "",
}

#: Timestamps of long ago, and what the list says of their days.
DAYS = {-99_999_999_999: "15 Feb 1200 BC", -1e15: "5 Apr 29720 BC", -62_000_000_000: "19 Apr 5"}


def now(number: int = 0) -> int:
    """This time in milliseconds, and so many more."""
    return int(time.time() * 1000) + number


@pytest_twisted.ensureDeferred
async def test_values(browser: Browser, tmp_path: Path) -> None:
    """Numbers are said as people say them, or not at all, and stay in their column."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        tab = await browser.open(home(daemon), viewport={"width": 1280, "height": 800})
        await tab.until(LIVE)
        events: list[dict[str, Any]] = [
            {"event_stream": [["step", end]], "user_agent": {"os": 10**400, "browser": "b"}}
            for end in TIMES
        ]
        events += [{"user_agent": {"os": os, "browser": os}} for os in ("مرحبا", "שלום", "Linux")]
        await save(daemon.port, [{**event, "timestamp": now()} for event in events])
        await tab.until(f"document.querySelectorAll('#feed li').length === {len(events)}")
        took = await tab.evaluate(
            "[...document.querySelectorAll('#feed .took')].map((e) => e.innerText).reverse()"
        )
        assert took[: len(TIMES)] == list(TIMES.values())
        assert "Infinity" not in await tab.evaluate("document.body.innerText")
        assert await tab.evaluate(
            "[...document.querySelectorAll('#feed .took')].every("
            "(element) => element.scrollWidth <= element.clientWidth)"
        )
        starts = await tab.evaluate(
            """[...document.querySelectorAll('#feed li')].slice(0, 3).map((entry) => {
                const range = document.createRange();
                range.selectNodeContents(entry.querySelector('.browser'));
                return Math.round(range.getBoundingClientRect().left);
            })"""
        )
        assert len(set(starts)) == 1
        clocks = await tab.evaluate(
            "[...document.querySelectorAll('#feed time span:first-child')].map((e) => e.innerText)"
        )
        assert all(len(clock) == len("23:59:59") for clock in clocks)
        await tab.is_accessible()
        assert tab.complaints == []


@pytest_twisted.ensureDeferred
async def test_long_ago(browser: Browser, tmp_path: Path) -> None:
    """A day before Christ is none after."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        ids = await save(daemon.port, [{"timestamp": time} for time in DAYS])
        tab = await browser.open(home(daemon), timezone_id="UTC")
        await tab.until(f"document.querySelectorAll('#feed li').length === {len(ids)}")
        said = await tab.evaluate(
            "[...document.querySelectorAll('#feed time')].map((each) => each.innerText)"
        )
        assert {text.partition(" ")[2] for text in said} == set(DAYS.values())


@pytest_twisted.ensureDeferred
async def test_focus_stays_in_the_list(browser: Browser, tmp_path: Path) -> None:
    """Who is at an entry that falls off the list is at the last one; also after a look at it."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        tab = await browser.open(home(daemon))
        await tab.until(LIVE)

        async def fill(count: int) -> list[str]:
            ids = await save(daemon.port, [{"timestamp": now(n)} for n in range(count)])
            await tab.until(FIRST_IS, ids[-1])
            return ids

        ids = await fill(200)
        await tab.do(lambda page: page.focus("#feed li:last-child a"))
        ids += await fill(20)
        assert await tab.evaluate(FOCUSED) == f"#id={ids[20]}"
        await tab.do(lambda page: page.keyboard.press("Enter"))
        await tab.until("!document.querySelector('#view').hidden")
        ids += await fill(20)
        await tab.do(lambda page: page.keyboard.press("Escape"))
        assert await tab.evaluate(FOCUSED) == f"#id={ids[40]}"
        await tab.do(lambda page: page.focus("#feed li:first-child a"))
        await fill(20)
        assert await tab.evaluate(FOCUSED) == f"#id={ids[-1]}"
        # All is another bank's now.
        await tab.do(
            lambda page: page.evaluate("document.querySelector('#filter').requestSubmit()")
        )
        await tab.until("document.activeElement.id === 'feed'")
        assert tab.complaints == []


class Below(ProxyServer):
    """Hands on what is asked for below a path, without that; all else is not found."""

    def dataReceived(self, data: bytes) -> None:
        """Hand on requests."""
        super().dataReceived(  # type: ignore[no-untyped-call]
            re.sub(rb"^GET /(?:kpi/)?", _without, data)
        )


def _without(match: re.Match[bytes]) -> bytes:
    return b"GET /" if match[0].endswith(b"kpi/") else b"GET /stray/"


@pytest_twisted.ensureDeferred
async def test_below_another_path(browser: Browser, tmp_path: Path) -> None:
    """A proxy may put a path before the page's, which asks for all that is its own below that."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        ids = await save(daemon.port, {"timestamp": now()})
        below = ProxyFactory("127.0.0.1", daemon.port)
        below.protocol = Below
        proxy = reactor.listenTCP(0, below, interface="127.0.0.1")
        try:
            address = f"http://127.0.0.1:{proxy.getHost().port}/kpi/"
            tab = await browser.open(address)
            await tab.shows(ids)
            ids += await save(daemon.port, {"timestamp": now()})
            await tab.shows(ids[::-1])
            await tab.count("hour", "2")
            assert await tab.evaluate("document.querySelector('#api a').href") == f"{address}docs"
            line = await tab.evaluate("document.querySelector('pre.try').textContent")
            assert f"'{address}wsapi/interaction_data'" in line
            assert tab.complaints == []
        finally:
            await proxy.stopListening()
