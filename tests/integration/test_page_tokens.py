"""The live page of a server that wants tokens, and the lines of its that can be tried."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from tests.integration.browser import MEMORY, Browser, Tab, home, save
from tests.integration.daemon import ROOT, Daemon
from tests.integration.programs import Program

TOKENS = {**MEMORY, "READ_TOKEN": "reader,both", "WRITE_TOKEN": "writer,both"}
WRITER = b"Authorization: Bearer writer"
BOTH = b"Authorization: Bearer both"


async def give(tab: Tab, token: str) -> None:
    """Answer the question for a token."""
    await tab.until("document.querySelector('#token').open")
    await tab.do(lambda page: page.fill("#token input", token))
    await tab.do(lambda page: page.keyboard.press("Enter"))


async def lines(tab: Tab) -> list[str]:
    """What can be tried, as people see and copy it."""
    await tab.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    found: list[str] = await tab.evaluate(
        "[...document.querySelectorAll('pre.try')].map((e) => e.innerText)"
    )
    assert len(found) > 10
    return found


async def run(lines: Iterable[str], folder: Path, **environ: str) -> None:
    """Run lines for the shell: each gets an answer that is no error."""
    for line in lines:
        program = Program.run(["/bin/sh", "-c", f"exec {line} -fsS"], folder, **environ)
        if "/stream" in line:
            await program.said(b"\r\n", 1)  # what was posted before
            transport: Any = program.transport
            transport.signalProcess("KILL")
        assert await program.ended(), line


async def run_python(code: str, folder: Path, port: int, **environ: str) -> None:
    """Run the client's lines, as a part of a program, until they have told of an event."""
    lines = f"async def main(reactor):\n{indent(code, '    ')}\n\nreact(main)\n"
    program = f"from twisted.internet.task import react\n\n{lines}"
    command = [sys.executable, "-u", "-c", program]
    running = Program.run(command, folder, PYTHONPATH=str(ROOT), **environ)
    # They tell what comes from now on, and nobody knows when that is.
    posting = LoopingCall(lambda: Deferred.fromCoroutine(save(port, {"timestamp": 2}, BOTH)))
    posted = posting.start(0.2)
    await running.said(b"{'timestamp': 2}", 1)
    posting.stop()
    await posted
    transport: Any = running.transport
    transport.signalProcess("KILL")
    await running.ended()


@pytest.mark.parametrize("environ", [MEMORY, TOKENS], ids=["open", "tokens"])
@pytest_twisted.ensureDeferred
async def test_lines_work(browser: Browser, tmp_path: Path, environ: dict[str, str]) -> None:
    """What the page has to be tried works as it stands; it names no token but by its variable."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    async with Daemon(tmp_path, environ=environ) as daemon:
        tab = await browser.open(home(daemon))
        variables = {}
        if environ is TOKENS:
            await give(tab, "reader")
            variables = {"READ_TOKEN": "reader", "WRITE_TOKEN": "writer", "TOKEN": "both"}
        await tab.count("total", "0")
        *shell, python = await lines(tab)
        assert all(line.startswith("curl ") for line in shell)
        together = "\n".join([*shell, python])
        assert ("TOKEN" in together) == bool(variables)
        assert "reader" not in together
        await run(shell, tmp_path, **variables)
        await tab.count("total", "1")
        await run_python(python, tmp_path, daemon.port, **variables)
        if environ is TOKENS:
            await tab.do(lambda page: page.reload())
            await tab.until("document.querySelectorAll('#feed li').length")
            assert await lines(tab) == [*shell, python]
            assert await tab.evaluate("document.querySelector('#token').open") is False
            await tab.picture("tokens")
        assert tab.complaints == []


@pytest_twisted.ensureDeferred
async def test_only_what_is_taken_is_kept(browser: Browser, tmp_path: Path) -> None:
    """What cannot be a token is not sent, and what was not taken is asked for again."""
    async with Daemon(tmp_path, environ=TOKENS) as daemon:
        ids = await save(daemon.port, {"timestamp": 1}, WRITER)
        tab = await browser.open(home(daemon))
        await tab.until("document.querySelector('#token').open")
        assert await tab.evaluate("document.querySelector('#empty').hidden")
        for wrong in ("x" * 100_000, "x" * 501, "a,b", "a b", "ä"):
            await give(tab, wrong)
            await tab.until("document.querySelector('#token .remark').textContent.includes('500')")
            await tab.do(lambda page: page.fill("#token input", ""))
        # A proxy may refuse a token in a way of its own.
        answers = [431]

        def refuse(route: Any) -> None:
            if "authorization" in route.request.headers and answers:
                route.fulfill(status=answers[0], body="too long")
            else:
                route.continue_()

        await tab.do(lambda page: page.route("**/wsapi/**", refuse))
        await give(tab, "x" * 500)
        await tab.until("document.querySelector('#state').dataset.state === 'stopped'")
        assert await tab.evaluate("sessionStorage.length") == 0
        answers.clear()
        await tab.do(lambda page: page.click("#again"))
        await give(tab, "wrong")
        await tab.until("document.querySelector('#token .remark').textContent.includes('not take')")
        assert await tab.evaluate("sessionStorage.length") == 0
        await give(tab, "reader")
        await tab.shows(ids)
        assert await tab.evaluate("Object.values(sessionStorage)") == ["reader"]
        assert tab.complaints == []


@pytest_twisted.ensureDeferred
async def test_revoked(browser: Browser, tmp_path: Path) -> None:
    """A server that is back, and does not know the token any more, is not called away."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        environ = {**TOKENS, "DB_BACKEND": "sqlite"}
        async with Daemon(tmp_path, environ=environ, listener=listener) as daemon:
            ids = await save(port, {"timestamp": 1}, WRITER)
            tab = await browser.open(home(daemon))
            await give(tab, "reader")
            await tab.shows(ids)
            assert await daemon.terminate() == 0
        await tab.until("document.querySelector('#state').dataset.state === 'lost'")
        environ["READ_TOKEN"] = "new"
        async with Daemon(tmp_path, environ=environ, listener=listener):
            await tab.until("document.querySelector('#token').open")
            state = await tab.evaluate("document.querySelector('#state').textContent")
            assert state == "This server wants a read token"
            ids += await save(port, {"timestamp": 2}, WRITER)
            await give(tab, "new")
            await tab.shows(ids[::-1])
            await tab.count("total", "2")
        assert tab.complaints == []
