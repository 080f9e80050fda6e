"""What systemd hears of a real daemon, through a real socket."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import DatagramProtocol

from tests.integration.daemon import TWISTD, Daemon, Pulse, ask, connect, get, reactor

SQLITE = {"DB_BACKEND": "sqlite"}
#: Between two signs of life.
INTERVAL = 0.1
WATCHDOG = {"WATCHDOG_USEC": str(int(2 * INTERVAL * 1e6))}
ALIVE = "WATCHDOG=1\n"


@attrs.define(eq=False)
class Ear(DatagramProtocol):
    """Hears what systemd would."""

    heard: list[str] = attrs.field(factory=list)
    _pulse: Pulse = attrs.field(factory=Pulse)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Keep what was said."""
        self.heard.append(datagram.decode())
        self._pulse.beat()

    async def hears(self, start: str, count: int = 1) -> str:
        """The last of so many messages that begin so, waited for."""

        def seek() -> str | None:
            found = [text for text in self.heard if text.startswith(start)]
            return found[count - 1] if len(found) >= count else None

        return await self._pulse.until(seek, lambda: f"{start!r} in {self.heard}")

    async def hears_more(self, start: str) -> str:
        """The next message that begins so."""
        return await self.hears(start, sum(text.startswith(start) for text in self.heard) + 1)


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    """At the socket `notify` of the test's folder."""
    ear = Ear()
    port = reactor.listenUNIXDatagram(str(tmp_path / "notify"), ear)
    yield ear
    pytest_twisted.blockon(maybeDeferred(port.stopListening))


@pytest_twisted.ensureDeferred
async def test_a_life(ear: Ear, tmp_path: Path) -> None:
    """Ready once it listens, signs of life after round trips to the store, and the stop."""
    environ = SQLITE | WATCHDOG | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
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
    environ = SQLITE | WATCHDOG | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
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
        environ = SQLITE | {"PORT": port, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        daemon = Daemon(tmp_path, environ=environ).spawn()
        assert await daemon.ended() == 1
    reason = await ear.hears("STOPPING=1\nSTATUS=HOST and PORT, or LISTEN, take a free address")
    assert ear.heard[1:] == [reason]
    assert port in reason
