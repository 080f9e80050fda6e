"""The live page while 500 events a second arrive."""

from __future__ import annotations

import os
import time
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from kpiggybank.sample import SignIns
from tests.integration.browser import Browser, Tab
from tests.integration.daemon import EVENTS, Daemon, Wire, ask, connect, get, post

SOAK = "KPIGGYBANK_SOAK" in os.environ

#: As writers send them.
EVENTS_IN_A_POST = 20
POSTS_A_SECOND = 25
SECONDS = 600 if SOAK else 20

#: What a page may take to draw, at the median, and grow by, when what it can forget is forgotten.
FRAME_MS = 50
GROWTH = 2_000_000

#: Notes how long each frame takes.
WATCH_FRAMES = """() => {
    window.frames_ms = [];
    let before = performance.now();
    const next = (now) => {
        window.frames_ms.push(now - before);
        before = now;
        requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
}"""


async def heap(tab: Tab) -> int:
    """Bytes that JavaScript and the page's elements hold after a collection."""

    def work(page: Any) -> int:
        session = page.context.new_cdp_session(page)
        session.send("HeapProfiler.collectGarbage")
        used = session.send("Runtime.getHeapUsage")
        session.detach()
        return int(used["usedSize"])

    return await tab.do(work)


async def load(wire: Wire, seconds: float) -> int:
    """Post at an even pace for so long; how many events were sent, all of which were taken."""
    events = SignIns(1)
    posts = count()
    sent = 0
    last = round(seconds * POSTS_A_SECOND)

    def send(times: int) -> None:
        nonlocal sent
        for _ in range(times):
            if next(posts) >= last:
                pace.stop()
                return
            now = int(time.time() * 1000)
            batch = [{**next(events), "timestamp": now} for _ in range(EVENTS_IN_A_POST)]
            wire.send(post(batch))
            sent += EVENTS_IN_A_POST

    before = wire.received.count(b"HTTP/1.1 201")
    pace: LoopingCall = LoopingCall.withCount(send)
    running: Deferred[Any] = pace.start(1 / POSTS_A_SECOND)
    await running
    while wire.received.count(b"HTTP/1.1 201") < before + last:
        assert await wire.more(len(wire.received))
    return sent


@pytest_twisted.ensureDeferred
async def test_500_events_a_second(browser: Browser, tmp_path: Path) -> None:
    """Frames come in time, memory stays flat, the list short, and each event is counted."""
    async with Daemon(tmp_path, environ={"DB_BACKEND": "sqlite", "ACCESS_LOG": "off"}) as daemon:
        size = {"width": 1280, "height": 900}
        tab = await browser.open(f"http://127.0.0.1:{daemon.port}/", viewport=size)
        await tab.until("document.querySelector('#total').textContent === '0'")
        wire = await connect(daemon.port)
        try:
            total = await load(wire, SECONDS / 4)
            await tab.evaluate(WATCH_FRAMES)
            before = await heap(tab)
            total += await load(wire, SECONDS / 2)
            frames = await tab.evaluate("window.frames_ms.splice(0)")
            assert 0 < await tab.evaluate("document.querySelectorAll('#feed li').length") <= 200
            total += await load(wire, SECONDS / 4)
        finally:
            wire.close()
        await tab.count("total", f"{total:,}")
        # A second page is opened when all is there; both agree on every number.
        other = await browser.open(f"http://127.0.0.1:{daemon.port}/")
        await other.count("total", f"{total:,}")
        await other.count("hour", f"{total:,}")
        await tab.count("hour", f"{total:,}")
        grown = await heap(tab) - before
        print(
            f"{total} events; a frame takes {median(frames):.1f} ms at the median, "
            f"{max(frames):.0f} ms at the most; memory has grown by {grown / 1e6:.2f} MB"
        )
        assert median(frames) < FRAME_MS
        assert grown < GROWTH
        assert tab.complaints == []


@pytest_twisted.ensureDeferred
async def test_opened_under_load(browser: Browser, tmp_path: Path) -> None:
    """A page that is opened while events arrive misses none, and counts none twice."""
    async with Daemon(tmp_path, environ={"DB_BACKEND": "sqlite", "ACCESS_LOG": "off"}) as daemon:
        wire = await connect(daemon.port)
        try:
            total = await load(wire, 1)
            rest = Deferred.fromCoroutine(load(wire, 4))
            tab = await browser.open(f"http://127.0.0.1:{daemon.port}/")
            total += await rest
        finally:
            wire.close()
        for number in ("total", "hour"):
            await tab.count(number, f"{total:,}")
        ids = await tab.entries()
        assert len(ids) == len(set(ids)) == 200


@pytest_twisted.ensureDeferred
async def test_filtered_under_load(browser: Browser, tmp_path: Path) -> None:
    """The numbers of a filter that is set while events arrive are right soon after the last one."""
    async with Daemon(tmp_path, environ={"DB_BACKEND": "sqlite", "ACCESS_LOG": "off"}) as daemon:
        wire = await connect(daemon.port)
        tab = await browser.open(f"http://127.0.0.1:{daemon.port}/?where=timestamp:0")
        await tab.count("total", "0")
        try:
            total = await load(wire, 2)
            rest = Deferred.fromCoroutine(load(wire, 8))
            await tab.do(lambda page: page.fill("#where", "new_account:false"))
            await tab.do(lambda page: page.press("#where", "Enter"))
            total += await rest
        finally:
            wire.close()
        answer = await ask(daemon.port, get(f"{EVENTS}/count?where=new_account:false"))
        for number in ("total", "hour"):
            await tab.count(number, f"{answer.json:,}")
        assert 0 < answer.json < total
