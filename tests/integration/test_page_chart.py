"""The chart of the live page and its numbers, in a real browser before the real daemon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.integration.browser import MEMORY, Browser, Tab, home, save
from tests.integration.daemon import Daemon

#: Where there is a bar, in minutes from the left of the plot: the first and the last column.
BARS = """() => {
    const canvas = document.querySelector("#chart canvas");
    const plot = document.querySelector("#chart .u-over").getBoundingClientRect();
    const all = canvas.getBoundingClientRect();
    const { data, width, height } = canvas.getContext("2d").getImageData(
        0, 0, canvas.width, canvas.height);
    const [r, g, b] = [0xb2, 0x34, 0x5f];
    const columns = [];
    for (let x = 0; x < width; x++)
        for (let y = 0; y < height; y++) {
            const at = 4 * (y * width + x);
            const off = Math.hypot(data[at] - r, data[at + 1] - g, data[at + 2] - b);
            if (data[at + 3] > 200 && off < 30) {
                columns.push(60 * (x / devicePixelRatio + all.left - plot.left) / plot.width);
                break;
            }
        }
    return columns.length ? [columns[0], columns.at(-1)] : [];
}"""


async def press(tab: Tab, *keys: str) -> list[str]:
    """Press keys; what is told after each."""
    told = []
    for key in keys:
        await tab.do(lambda page, key=key: page.keyboard.press(key))  # type: ignore[misc]
        await tab.until("document.querySelector('#told').textContent")
        told.append(await tab.evaluate("document.querySelector('#told').textContent"))
    return told


def at(minutes: int) -> list[dict[str, float]]:
    """Events of the minute so many before this one, and as many of the next, which may begin."""
    now = time.time() - 60 * minutes
    return [{"timestamp": time} for time in [now, now + 60] * 9]


@pytest.mark.parametrize("width", [360, 1280])
@pytest_twisted.ensureDeferred
async def test_every_minute_is_seen(browser: Browser, tmp_path: Path, width: int) -> None:
    """The bars of the minute that runs and of the 59th before it are in the plot, as they are."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        start: Any = {"viewport": {"width": width, "height": 800}, "color_scheme": "light"}
        tab = await browser.open(home(daemon), **start)
        await tab.count("hour", "0")
        assert await tab.evaluate(BARS) == []
        for over in range(3):
            minute = time.time() // 60
            await save(daemon.port, at(0))
            await tab.until(f"(([left, right]) => right - left > {over})(({BARS})())")
            if minute == time.time() // 60:
                break  # so it was seen in its minute, not after it
        else:
            pytest.fail("a minute is seen only when it is over")
        left, right = await tab.evaluate(BARS)
        assert 59 - over <= left < right <= 60
        await save(daemon.port, at(59))
        await tab.until(f"(({BARS})())[0] < 1")
        left, right = await tab.evaluate(BARS)
        assert 0 <= left < 1 and 59 <= right <= 60
        assert tab.complaints == []


@pytest_twisted.ensureDeferred
async def test_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    """The arrow keys go from minute to minute, and each is told as it is."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        await save(daemon.port, [{"timestamp": time.time() - 61}] * 2)
        tab = await browser.open(home(daemon), timezone_id="UTC")
        await tab.count("hour", "2")
        await tab.do(lambda page: page.focus("#chart"))
        await tab.is_accessible()
        last, before, *_ = told = await press(
            tab, "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowRight"
        )
        assert told[3] == before
        assert sum(text.endswith(": 2") for text in told[:3]) == 1
        first, second, end, more = await press(tab, "Home", "ArrowRight", "End", "ArrowRight")
        assert first != second and end == more == last
        assert first[3:5] != last[3:5] and len(last.partition(": ")[0]) == 5
        await tab.do(lambda page: page.focus("#pause"))
        await tab.until("document.querySelector('#told').textContent === ''")
        assert tab.complaints == []


@pytest_twisted.ensureDeferred
async def test_unknown_until_counted(browser: Browser, tmp_path: Path) -> None:
    """No number is shown before it is known."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        await save(daemon.port, [{"timestamp": time.time()}] * 3)
        held: list[Any] = []
        free = False

        def hold(route: Any) -> None:
            if free:
                route.continue_()
            else:
                held.append(route)

        tab = await browser.open("about:blank")
        await tab.do(lambda page: page.route("**/count?start=*", hold))
        await tab.do(lambda page: page.goto(home(daemon)))
        await tab.count("total", "3")
        texts = "['minute', 'hour'].map((id) => document.getElementById(id).textContent).join()"
        assert await tab.evaluate(texts) == "\u2013,\u2013"
        free = True
        await tab.do(lambda page: [route.continue_() for route in held])
        await tab.until(f"{texts} === '3,3'")
