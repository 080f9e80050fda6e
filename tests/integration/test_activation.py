"""Socket activation: systemd's own tool starts the daemon, and a restart loses no request."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import attrs
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from tests.deployment import tool
from tests.integration.daemon import ADOPTED, COMMANDS, EVENTS, ROOT, Daemon, Pulse, ask, get, post

#: Senders that go on all the time, each with one request after the other.
SENDERS = 20
#: Requests answered before, between and after the restarts.
ENOUGH = 100
RESTARTS = 3

SAVE = post({"timestamp": 1}, b"Connection: close")

#: Holds the socket and starts the daemon again whenever it has ended, as systemd does.
SERVICE = r"""
until test -e done; do
    sh -c 'export LISTEN_PID=$$; exec "$@"' sh "$@" || exit
done
"""


@attrs.define(eq=False)
class Load:
    """Sends without a pause, and counts the answers."""

    port: int
    saved: int = 0
    enough: bool = False
    _pulse: Pulse = attrs.field(factory=Pulse)

    async def send(self) -> None:
        """Save one event after the other; each must be answered with 201."""
        while not self.enough:
            assert (await ask(self.port, SAVE)).status == 201
            self.saved += 1
            self._pulse.beat()

    async def goes_on(self) -> None:
        """Wait until so many more are saved."""
        wanted = self.saved + ENOUGH
        await self._pulse.until(
            lambda: self.saved >= wanted or None, lambda: f"{self.saved} of {wanted}"
        )


async def kill(service: Daemon, pidfile: Path) -> None:
    """End all that still lives: what starts the daemon again, and then the daemon."""
    if service.status is None:
        service.signal("KILL")
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(pidfile.read_text()), signal.SIGKILL)
        await service.ended()


@pytest_twisted.ensureDeferred
async def test_restarts_refuse_nobody(tmp_path: Path) -> None:
    """The first request starts the daemon; while it restarts, requests wait, and are answered."""
    activate, pidfile = tool("systemd-socket-activate"), tmp_path / "pid"
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    settings = {"DB_BACKEND": "sqlite", "LISTEN": ADOPTED, "PYTHONPATH": str(ROOT)}
    passed = [f"--setenv={name}={text}" for name, text in settings.items()]
    program = ["sh", "-c", SERVICE, "sh", str(COMMANDS / "twistd"), "-n", f"--pidfile={pidfile}"]
    # What the tool tells goes to stderr; here, with the daemon's log.
    merged = ("/bin/sh", "-c", 'exec "$@" 2>&1', "sh")
    runner = (*merged, activate, f"--listen=127.0.0.1:{port}", "--fdname=http", *passed, *program)
    service = Daemon(tmp_path, runner=runner).spawn()
    load = Load(port)
    try:
        await service.says("Listening on ")
        assert (await ask(port, get("/wsapi/ping"))).body == b"pong"
        senders = [Deferred.fromCoroutine(load.send()) for _ in range(SENDERS)]
        for restart in range(1, RESTARTS + 1):
            await load.goes_on()
            os.kill(int(pidfile.read_text()), signal.SIGTERM)
            await service.says(rf"(KPIggyBank listens at[\s\S]*){{{restart + 1}}}")
        await load.goes_on()
        load.enough = True
        await gatherResults(senders, consumeErrors=True)
        assert (await ask(port, get(f"{EVENTS}/count"))).json == load.saved
        (tmp_path / "done").touch()
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
        assert await service.ended() == 0
    finally:
        load.enough = True
        await kill(service, pidfile)
    assert service.out.count("KPIggyBank listens at") == RESTARTS + 1
    assert "Traceback" not in service.out
