"""What the live page looks like, and what it tells of the API."""

from __future__ import annotations

import html
import re
import shlex
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from kpiggybank.sample import SignIns
from tests.integration.browser import MEMORY, Browser, home, save, sign_ins
from tests.integration.daemon import Daemon, ask, connect, get


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(360, 780), (1280, 900), (3840, 2160)])
@pytest_twisted.ensureDeferred
async def test_looks(
    browser: Browser, tmp_path: Path, scheme: Any, width: int, height: int
) -> None:
    """Nothing is wider than the screen, axe is content, and people find pictures in `build`."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        now = int(time.time() * 1000)
        events = [
            {**event, "timestamp": now - 3_500_000 + int(3_500_000 * (n / 900) ** 0.7)}
            for n, event in enumerate(SignIns(7).take(900))
        ]
        await save(daemon.port, events)
        size = {"width": width, "height": height}
        tab = await browser.open(home(daemon), viewport=size, color_scheme=scheme)
        await tab.count("total", "900")
        await tab.is_accessible()
        await save(daemon.port, [*sign_ins(12), {"type": "deploy", "timestamp": now // 1000}])
        await tab.count("total", "913")
        await tab.until("document.querySelectorAll('#feed li').length === 20")
        await tab.picture(f"{scheme}-{width}")
        await tab.do(lambda page: page.click("#feed li:nth-child(3) a"))
        await tab.until("document.querySelector('#view pre').textContent.startsWith('{')")
        await tab.is_accessible()
        await tab.picture(f"{scheme}-{width}-view")
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert tab.complaints == []


@pytest.mark.parametrize("width", [360, 768])
@pytest_twisted.ensureDeferred
async def test_narrow(browser: Browser, tmp_path: Path, width: int) -> None:
    """One box stands below the other, at even distances, and no line of Python is broken."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        tab = await browser.open(home(daemon), viewport={"width": width, "height": 800})
        await tab.count("total", "0")
        boxes = await tab.evaluate(
            "['numbers', 'live', 'api'].map((id) => document.getElementById(id)"
            ".getBoundingClientRect()).map((box) => [Math.round(box.top), Math.round(box.bottom)])"
        )
        gaps = [below[0] - above[1] for above, below in pairwise(boxes)]
        assert 0 < gaps[0] == gaps[1]
        lines = await tab.evaluate(
            """(() => {
                const code = document.querySelector('pre.python');
                return code.innerText.split('\\n').length *
                    parseFloat(getComputedStyle(code).lineHeight) - code.clientHeight;
            })()"""
        )
        assert -30 < lines < 0  # what is left is the padding


@pytest_twisted.ensureDeferred
async def test_examples_work(tmp_path: Path) -> None:
    """What the page has to be tried works as it stands; the README's tests try a post."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        answer = await ask(daemon.port, get("/"))
        page = re.sub(r'<span class="with-token" hidden>.*?</span>', "", answer.body.decode())
        examples = re.findall(r'<pre class="try"[^>]*>curl (.*?)</pre>', page)
        addresses = [shlex.split(html.unescape(each))[-1] for each in examples if "-d" not in each]
        assert len(addresses) > 3
        for address in addresses:
            wire = await connect(daemon.port)
            wire.send(get(address.removeprefix("http://127.0.0.1:3000")))
            await wire.heard(b"HTTP/1.1 200 OK")
            wire.close()
