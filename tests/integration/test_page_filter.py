"""The filter of the live page, in a real browser before the real daemon."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlencode

import pytest_twisted

from tests.integration.browser import MEMORY, Browser, Tab, home, save
from tests.integration.daemon import Daemon


async def apply(tab: Tab, filter: str) -> None:
    """Have the list filtered."""
    await tab.do(lambda page: page.fill("#where", filter))
    await tab.do(lambda page: page.press("#where", "Enter"))


def events(*types: str) -> list[dict[str, object]]:
    """Events of now, of these types."""
    now = int(time.time() * 1000)
    return [{"type": each, "timestamp": now + number} for number, each in enumerate(types)]


@pytest_twisted.ensureDeferred
async def test_wrong_filter(browser: Browser, tmp_path: Path) -> None:
    """It says what is wrong; list, stream and numbers stay those of the last good filter."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        a, x, b = await save(daemon.port, events("a", "x", "a"))
        tab = await browser.open(home(daemon))
        await tab.shows([b, x, a])
        await apply(tab, "type:a")
        await tab.count("total", "2")
        await tab.shows([b, a])
        for wrong in ("nonsense", " & ".join(["a:1"] * 17), "a:" + 20_000 * "b"):
            await apply(tab, wrong)
            await tab.until(
                "document.querySelector('#filter-error').textContent && "
                "document.querySelector('#where').getAttribute('aria-invalid') === 'true'"
            )
            assert await tab.entries() == [b, a]
            assert await tab.evaluate("document.querySelector('#total').textContent") == "2"
        await tab.is_accessible()
        await tab.picture("filter")
        c, _ = await save(daemon.port, events("a", "x"))
        await tab.shows([c, b, a])
        await tab.count("total", "3")
        # Which filter that is, the field does not say now.
        assert (
            await tab.do(lambda page: page.inner_text("#scope")) == "Only events that meet type:a"
        )
        assert await tab.evaluate("location.search") == "?where=type:a"
        await apply(tab, "type:x")
        await tab.count("total", "2")
        assert await tab.evaluate("document.querySelector('#filter-error').textContent") == ""
        assert not await tab.evaluate("document.querySelector('#where').ariaInvalid")
        assert tab.complaints == []


@pytest_twisted.ensureDeferred
async def test_filter_in_the_address(browser: Browser, tmp_path: Path) -> None:
    """A filter outlives a reload beside the event that is looked at; a wrong one is told."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        id, _ = await save(daemon.port, events("a b", "x"))
        tab = await browser.open(home(daemon))
        await apply(tab, "type:a b & timestamp:0")
        await tab.count("total", "0")
        await apply(tab, "type:a b")
        await tab.shows([id])
        await tab.do(lambda page: page.click("#feed a"))
        await tab.do(lambda page: page.reload())
        await tab.until("document.querySelector('#view pre').textContent.includes('a b')")
        await tab.shows([id])
        await tab.count("total", "1")
        assert await tab.evaluate("document.querySelector('#where').value") == "type:a b"
        # The first Escape is for the field, the next one for the event.
        await tab.do(lambda page: page.press("#where", "Escape"))
        await tab.count("total", "2")
        assert await tab.evaluate("document.querySelector('#view').checkVisibility()")
        await tab.do(lambda page: page.press("#where", "Escape"))
        await tab.until("document.querySelector('#view').hidden")
        assert await tab.evaluate("location.href") == home(daemon)
        query = urlencode([("where", "type:x"), ("where", "nonsense")])
        wrong = await browser.open(f"{home(daemon)}?{query}")
        await wrong.until("document.querySelector('#state').dataset.state === 'stopped'")
        assert await wrong.evaluate("document.querySelector('#total').textContent") == "\u2013"
        assert await wrong.evaluate("document.querySelector('#where').value") == "type:x & nonsense"
        await apply(wrong, "type:x")
        await wrong.count("total", "1")
        assert tab.complaints + wrong.complaints == []


@pytest_twisted.ensureDeferred
async def test_filter_in_a_pause(browser: Browser, tmp_path: Path) -> None:
    """It shows the last seven that meet it; only what comes after them is new."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        ids = await save(daemon.port, events(*"axaxaxaxaxaxaxaxax"))
        tab = await browser.open(home(daemon))
        await tab.shows(ids[:-8:-1])
        await tab.do(lambda page: page.click("#pause"))
        await apply(tab, "type:a")
        await tab.until("document.querySelector('#scope').checkVisibility()")
        await tab.shows(ids[16:3:-2])
        assert await tab.evaluate("document.querySelector('#missed').textContent") == ""
        [late] = await save(daemon.port, events("a"))
        await tab.count("missed", "1 new")
        assert await tab.entries() == ids[16:3:-2]
        await tab.do(lambda page: page.click("#pause"))
        await tab.shows([late, *ids[16:3:-2]])


@pytest_twisted.ensureDeferred
async def test_back(browser: Browser, tmp_path: Path) -> None:
    """Back and forward bring both back, filter and event."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        a, x = await save(daemon.port, events("a", "x"))
        tab = await browser.open(home(daemon))
        # A sign between two that is before or after all of them is nothing.
        await apply(tab, "& type:a &")
        await tab.count("total", "1")
        await tab.do(lambda page: page.click("#feed a"))
        await tab.until("!document.querySelector('#view').hidden")
        await apply(tab, "")
        await tab.count("total", "2")
        await tab.do(lambda page: page.go_back())
        await tab.count("total", "1")
        await tab.shows([a])
        assert await tab.evaluate("document.querySelector('#where').value") == "type:a"
        assert await tab.evaluate("document.querySelector('#view').hidden")
        await tab.do(lambda page: page.go_forward())
        await tab.count("total", "2")
        await tab.shows([x, a])
        assert await tab.evaluate("document.querySelector('#where').value") == ""
        await tab.until("!document.querySelector('#view').hidden")
        assert await tab.evaluate("location.href") == f"{home(daemon)}#id={a}"
        assert tab.complaints == []


@pytest_twisted.ensureDeferred
async def test_nothing_to_show(browser: Browser, tmp_path: Path) -> None:
    """What is said of an empty list is true: of a bank, of a filter, and of neither."""

    async def says(tab: Tab, note: str) -> None:
        element = "document.querySelector('#empty')"
        await tab.until(f"({element}.hidden ? '' : {element}.innerText) === '{note}'")

    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        tab = await browser.open(home(daemon))
        await says(tab, "No events yet. The next one appears here.")
        await tab.do(lambda page: page.click("#pause"))
        await save(daemon.port, events("x"))
        await says(tab, "")
        await tab.do(lambda page: page.click("#pause"))
        await apply(tab, "type:a")
        await says(tab, "No event meets the filter yet.")
    await tab.until("document.querySelector('#state').dataset.state === 'lost'")
    await says(tab, "")


@pytest_twisted.ensureDeferred
async def test_all_of_it_is_seen(browser: Browser, tmp_path: Path) -> None:
    """An underscore in the field is no space, at no width."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        for width in (360, 768, 1280, 3840):
            tab = await browser.open(home(daemon), viewport={"width": width, "height": 800})
            pictures = []
            for text in ("a_b", "a b", "a b"):
                await tab.do(lambda page, text=text: page.fill("#where", text))  # type: ignore[misc]
                pictures.append(
                    await tab.do(lambda page: page.locator("#where").screenshot(caret="hide"))
                )
            assert pictures[0] != pictures[1] == pictures[2]
