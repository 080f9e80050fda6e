"""The live page, in a real browser before the real daemon."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest_twisted

from tests.integration.browser import MEMORY, Browser, Tab, home, save, sign_ins
from tests.integration.daemon import Daemon

SQLITE = {"DB_BACKEND": "sqlite"}


async def text(tab: Tab, selector: str) -> str:
    """The visible text of an element."""
    return await tab.do(lambda page: page.locator(selector).inner_text())


@pytest_twisted.ensureDeferred
async def test_open_and_watch(browser: Browser, tmp_path: Path) -> None:
    """The last seven are there, the next comes on top, and the numbers go with it."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        events = sign_ins(30)
        ids = await save(daemon.port, events)
        tab = await browser.open(home(daemon))
        await tab.shows(ids[:-8:-1])
        first = events[-1]
        entry = await text(tab, "#feed li:first-child")
        assert first["user_agent"]["os"] in entry
        assert first["user_agent"]["browser"] in entry and first["user_agent"]["version"] in entry
        for number in ("total", "minute", "hour"):
            await tab.count(number, "30")
        # In seconds this time, beside the milliseconds of the others.
        new = {"type": "hello", "timestamp": int(time.time())}
        [id] = await save(daemon.port, new)
        await tab.shows([id, *ids[:-8:-1]])
        assert "hello" in await text(tab, "#feed li:first-child")
        for number in ("total", "minute", "hour"):
            await tab.count(number, "31")
        await tab.is_accessible()
        assert tab.complaints == []
        again = await browser.open(home(daemon))  # both units are found when it is opened, too
        for number in ("total", "minute", "hour"):
            await again.count(number, "31")


@pytest_twisted.ensureDeferred
async def test_view(browser: Browser, tmp_path: Path) -> None:
    """An event is shown exactly as it was sent; by keyboard, and at an address of its own."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        event = {"timestamp": 1700000000, "big": 2**70, "float": 1.0, "bidi": "a\u202eb", "a": []}
        [id] = await save(daemon.port, event)
        tab = await browser.open(home(daemon))
        await tab.shows([id])
        await tab.do(lambda page: page.locator("#feed a").focus())
        await tab.do(lambda page: page.keyboard.press("Enter"))
        await tab.until("document.querySelector('#view pre').textContent.startsWith('{')")
        shown = await tab.evaluate("document.querySelector('#view pre').textContent")
        assert shown == json.dumps(event, indent=2)
        assert await tab.evaluate("document.activeElement.id") == "view-title"
        address = await tab.evaluate("location.href")
        assert address == f"{home(daemon)}#id={id}"
        await tab.is_accessible()
        await tab.do(lambda page: page.keyboard.press("Escape"))
        await tab.until("document.querySelector('#view').hidden")
        assert await tab.evaluate("document.activeElement.getAttribute('href')") == f"#id={id}"
        assert await tab.evaluate("location.href") == home(daemon)
        shared = await browser.open(address)
        await shared.until("document.querySelector('#view pre').textContent.includes('big')")
        stray = await browser.open(f"{home(daemon)}#id=unknown")
        await stray.until("document.querySelector('#view .remark').textContent.includes('no such')")
        assert tab.complaints + shared.complaints + stray.complaints == []


@pytest_twisted.ensureDeferred
async def test_filter_and_pause(browser: Browser, tmp_path: Path) -> None:
    """A filter applies to list and numbers; a pause keeps what comes for later."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        now = int(time.time() * 1000)
        events = [{"type": "ab"[n % 2], "timestamp": now + n, "n": n} for n in range(10)]
        ids = await save(daemon.port, events)
        tab = await browser.open(home(daemon))
        await tab.shows(ids[:-8:-1])

        async def apply(filter: str) -> None:
            await tab.do(lambda page: page.fill("#where", filter))
            await tab.do(lambda page: page.press("#where", "Enter"))

        await apply("type:a")
        await tab.count("total", "5")
        await tab.shows(ids[8::-2])
        more = await save(daemon.port, [{"type": kind, "timestamp": now + 20} for kind in "ba"])
        await tab.count("total", "6")
        await tab.shows([more[1], *ids[8::-2]])
        await apply("type:a & n:4")
        await tab.count("total", "1")
        await tab.shows([ids[4]])
        await apply("nonsense")
        await tab.until("document.querySelector('#filter-error').textContent.includes('where')")
        await apply("")
        await tab.count("total", "12")
        before = [*more[::-1], *ids[:-6:-1]]
        await tab.until("document.querySelectorAll('#feed li').length === 7")
        assert await tab.entries() == before
        await tab.do(lambda page: page.click("#pause"))
        late = await save(daemon.port, [{"timestamp": now + 30}, {"timestamp": now + 31}])
        await tab.count("missed", "2 new")
        await tab.count("total", "14")
        assert await tab.entries() == before
        await tab.do(lambda page: page.click("#pause"))
        await tab.until("document.querySelectorAll('#feed li').length === 9")
        assert await tab.entries() == [*late[::-1], *before]
        assert tab.complaints == []


@pytest_twisted.ensureDeferred
async def test_restart_under_it(browser: Browser, tmp_path: Path) -> None:
    """The page comes back by itself: nothing is lost, nothing told twice."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ids: list[str] = []
        tab: Tab | None = None
        for number in range(3):
            async with Daemon(tmp_path, environ=SQLITE, listener=listener) as daemon:
                # The first of these may come before the page is back.
                ids += await save(port, {"timestamp": 1700000000 + 2 * number})
                if tab is None:
                    tab = await browser.open(f"http://127.0.0.1:{port}/")
                await tab.shows(ids[::-1])
                ids += await save(port, {"timestamp": 1700000001 + 2 * number})
                await tab.until(
                    "(n) => document.querySelectorAll('#feed li').length >= n", len(ids)
                )
                assert await tab.entries() == ids[::-1]
                await tab.count("total", str(len(ids)))
                if number == 1:
                    await daemon.kill()
                else:
                    assert await daemon.terminate() == 0
            await tab.until("document.querySelector('#state').dataset.state !== 'live'")
        assert tab is not None and tab.complaints == []


@pytest_twisted.ensureDeferred
async def test_another_bank_under_it(browser: Browser, tmp_path: Path) -> None:
    """A server that does not know the page's place is a new bank, which is shown from its start."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with Daemon(tmp_path, environ=MEMORY, listener=listener):
            ids = await save(port, [{"timestamp": 1}, {"timestamp": 2}])
            tab = await browser.open(f"http://127.0.0.1:{port}/")
            await tab.shows(ids[::-1])
        async with Daemon(tmp_path, environ=MEMORY, listener=listener):
            ids = await save(port, {"timestamp": 3})
            await tab.until("document.querySelectorAll('#feed li').length === 1")
            await tab.shows(ids)
            await tab.count("total", "1")


HOSTILE = (
    "<img src=x onerror=window.hit=1><script>window.hit=1</script>",
    "javascript:window.hit=1",
    "\u202egnp.exe\u2066\x00\x1b[31m\u200b",
    '"><svg onload=window.hit=1>',
)
LONG = "x" * 200 * 1024


@pytest_twisted.ensureDeferred
async def test_hostile_events(browser: Browser, tmp_path: Path) -> None:
    """What is in an event is text, in every field; and the page keeps its shape."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        tab = await browser.open(home(daemon), viewport={"width": 1280, "height": 800})
        await tab.until("document.querySelector('#state').dataset.state === 'live'")
        events: list[dict[str, Any]] = [
            {"type": evil, "user_agent": dict.fromkeys(("os", "browser", "version"), evil)}
            for evil in HOSTILE
        ]
        events += [
            {"type": LONG},
            {"user_agent": {"os": LONG}},
            {"event_stream": LONG},
            {LONG[9:]: 1},
        ]
        events += [{"user_agent": None, "event_stream": [[{}, []], [1]], "<b>": {"<i>": 1}}]
        events += [{"constructor": {"__proto__": 1}, "type": [LONG], "lang": HOSTILE}]
        times = [1e300, -1e300, 1700000000000, 0]
        ids = []
        for number, event in enumerate(events):
            event["timestamp"] = times[number % len(times)]
            ids += await save(daemon.port, event)
        await tab.until(f"document.querySelectorAll('#feed li').length === {len(ids)}")
        texts = await tab.evaluate(
            "[...document.querySelectorAll('#feed li')].map((e) => e.innerText)"
        )
        assert "<img src=x" in texts[-1] and "javascript:" in texts[-2]
        assert all(f"U+{name}" in texts[-3] for name in ("202E", "2066", "0000", "001B", "200B"))
        assert "\u202e" not in texts[-3]
        for id in ids:
            await tab.do(lambda page, id=id: page.click(f"#feed a[href='#id={id}']"))  # type: ignore[misc]
            await tab.until(
                "(id) => document.querySelector('#view .id').textContent === id && "
                "document.querySelector('#view pre').textContent.startsWith('{')",
                id,
            )
        assert await tab.evaluate("window.hit") is None
        assert (
            await tab.evaluate(
                "document.querySelectorAll('main img, main svg, main script').length"
            )
            == 0
        )
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await tab.is_accessible()
        assert tab.complaints == []


@pytest_twisted.ensureDeferred
async def test_token(browser: Browser, tmp_path: Path) -> None:
    """The page asks for a token once; it is in no address."""
    environ = {**MEMORY, "READ_TOKEN": "reader", "WRITE_TOKEN": "writer", "ACCESS_LOG": "on"}
    async with Daemon(tmp_path, environ=environ) as daemon:
        ids = await save(daemon.port, {"timestamp": 1}, b"Authorization: Bearer writer")
        tab = await browser.open(home(daemon))
        addresses: list[str] = []
        await tab.do(lambda page: page.on("request", lambda request: addresses.append(request.url)))
        await tab.until("document.querySelector('#token').open")
        await tab.is_accessible()

        async def give(token: str) -> None:
            await tab.do(lambda page: page.fill("#token input", token))
            await tab.do(lambda page: page.keyboard.press("Enter"))

        await give("wrong")
        await tab.until("document.querySelector('#token .remark').textContent.includes('not take')")
        await give("reader")
        await tab.shows(ids)
        await tab.count("total", "1")
        await tab.do(lambda page: page.reload())
        await tab.shows(ids)
        assert not await tab.evaluate("document.querySelector('#token').open")
        assert addresses and not any("reader" in address for address in addresses)
        other = await browser.open(home(daemon))
        await other.do(lambda page: page.click("#token button[type=button]"))
        await other.until("document.querySelector('#state').dataset.state === 'stopped'")
        await other.do(lambda page: page.click("#again"))
        await other.until("document.querySelector('#token').open")
        assert tab.complaints + other.complaints == []
