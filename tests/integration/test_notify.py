"""What systemd hears of a real daemon, through a real socket."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest_twisted

from tests.integration.daemon import TWISTD, Daemon, ask, connect, get, reactor
from tests.integration.systemd import Ear

SQLITE = {"DB_BACKEND": "sqlite"}
#: Between two signs of life.
INTERVAL = 0.1
WATCHDOG = {"WATCHDOG_USEC": str(int(2 * INTERVAL * 1e6))}
ALIVE = "WATCHDOG=1\n"


@pytest_twisted.ensureDeferred
async def test_a_life(ear: Ear, tmp_path: Path) -> None:
    """Ready once it listens, signs of life after round trips to the store, and the stop."""
    environ = SQLITE | WATCHDOG | ear.environ
    daemon = Daemon(tmp_path, environ=environ).spawn()
    try:
        ready = await ear.hears("READY=1\n")
        assert (await ask(daemon.port, get("/wsapi/ping"))).status == 200
        file = tmp_path / "bid_kpi.sqlite3"
        serves = f"STATUS=listens at http://127.0.0.1:{daemon.port}; store: sqlite, {file}"
        assert ready == f"READY=1\n{serves}"
        assert await ear.hears(ALIVE, 3) == f"{ALIVE}{serves}"
        assert await daemon.terminate() == 0
        await ear.hears("STOPPING=1\n")
    finally:
        await daemon.kill()
    opens, first, *lives, last = ear.heard
    assert opens.startswith("STATUS=opens the store: sqlite, ")
    assert first == ready
    assert {text.split("\n")[0] for text in lives} == {"WATCHDOG=1"}
    assert last.startswith("STOPPING=1\n")
    assert "Traceback" not in daemon.out + daemon.err


@pytest_twisted.ensureDeferred
async def test_store_that_hangs(ear: Ear, tmp_path: Path) -> None:
    """While the store hangs, the daemon answers what needs none, but gives no sign of life."""
    gate = tmp_path / "gate"
    runner = (sys.executable, "-m", "tests.integration.hanging_disk", str(gate), *TWISTD[1:])
    environ = SQLITE | WATCHDOG | ear.environ
    async with Daemon(tmp_path, environ=environ, runner=runner) as daemon:
        await ear.hears(ALIVE)
        before = len(ear.heard)
        os.mkfifo(gate)
        wire = await connect(daemon.port)
        wire.send(get("/__heartbeat__"))
        until = reactor.seconds() + 5 * INTERVAL
        while reactor.seconds() < until:
            assert (await ask(daemon.port, get("/wsapi/ping"))).status == 200
        assert len(ear.heard) <= before + 1  # one may have been on its way
        assert wire.received == b""
        gate = gate.rename(tmp_path / "open")
        opened = os.open(gate, os.O_RDWR)
        try:
            await ear.hears_more(ALIVE)
            assert (await wire.answer()).status == 200
        finally:
            os.close(opened)


@pytest_twisted.ensureDeferred
async def test_start_that_fails(ear: Ear, tmp_path: Path) -> None:
    """A daemon that cannot start says why, and never that it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environ = SQLITE | ear.environ | {"PORT": port}
        daemon = Daemon(tmp_path, environ=environ).spawn()
        assert await daemon.ended() == 1
    reason = await ear.hears("STOPPING=1\nSTATUS=HOST and PORT, or LISTEN, take a free address")
    assert ear.heard[1:] == [reason]
    assert port in reason
