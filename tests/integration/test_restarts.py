"""What followers notice of a daemon that dies and comes back under load: nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall

from kpiggybank import KPIggyBank
from kpiggybank.client import ClientClosed
from tests.couchdb_servers import Place
from tests.integration.daemon import EVENTS, Daemon, Pulse, ask, get

#: Every other one is a kill.
RESTARTS = 10
#: So many of each kind: by callbacks, and by loops.
FOLLOWERS = 50
#: 500 events a second, as the sign-in server sends them.
EVENTS_IN_ONE = 20
SECONDS_BETWEEN = 0.04
#: Events acknowledged between two restarts.
ENOUGH = 200

SQLITE = {"DB_BACKEND": "sqlite", "DB_NAME": "bid_kpi_test"}


@attrs.define(eq=False)
class Load:
    """Saves events at an even pace, whether or not there is a daemon, and knows what was saved."""

    client: KPIggyBank
    saved: list[str] = attrs.field(factory=list)
    _number: int = 0
    _calls: list[Deferred[None]] = attrs.field(factory=list)
    _pulse: Pulse = attrs.field(factory=Pulse)

    def save(self) -> None:
        """Save some, and wait for nothing."""
        numbers = range(self._number, self._number + EVENTS_IN_ONE)
        self._number = numbers.stop
        events = [{"timestamp": number // 7, "number": number} for number in numbers]
        call = self.client.saveData(events, retries=100, max_delay=0.5)
        self._calls.append(call.addCallback(self._note))

    def _note(self, ids: list[str]) -> None:
        self.saved += ids
        self._pulse.beat()

    async def acknowledged(self, count: int) -> None:
        """Wait for so many more."""
        wanted = len(self.saved) + count
        await self._pulse.until(
            lambda: len(self.saved) >= wanted or None, lambda: f"{len(self.saved)} of {wanted}"
        )

    async def finished(self) -> None:
        """Wait for all."""
        await gatherResults(self._calls, consumeErrors=True)


@attrs.define(eq=False)
class Ear:
    """What one follower heard."""

    heard: list[str] = attrs.field(factory=list)
    _pulse: Pulse = attrs.field(factory=Pulse)

    def hear(self, change: dict[str, Any]) -> None:
        """Note a change."""
        self.heard.append(change["id"])
        self._pulse.beat()

    async def loop(self, client: KPIggyBank) -> None:
        """Note the changes from the first one on, in a loop."""
        async for change in client.changes(since="0"):
            self.hear(change)

    async def count(self, count: int) -> None:
        """Wait for so many changes in all."""
        await self._pulse.until(
            lambda: len(self.heard) >= count or None, lambda: f"{len(self.heard)} of {count}"
        )


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that stays the same whoever serves it."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        yield listener


async def followed_through_restarts(
    folder: Path, listener: socket.socket, environ: dict[str, str]
) -> list[Ear]:
    """What followers heard while the daemon was restarted under load; all of what was saved.

    Each of them has heard each event that was acknowledged, and that once.
    """
    port = listener.getsockname()[1]
    clients = [KPIggyBank("127.0.0.1", port) for _ in range(FOLLOWERS)]
    ears = [Ear() for _ in range(2 * FOLLOWERS)]
    errors: list[Exception] = []
    sender = KPIggyBank("127.0.0.1", port)
    load = Load(sender)
    pace = LoopingCall(load.save)
    daemon = Daemon(folder, environ=environ, listener=listener).spawn()
    try:
        await daemon.listening()
        for client, ear in zip(clients, ears[:FOLLOWERS], strict=True):
            client.on("change", ear.hear)
            client.on("error", errors.append)
            await client.followChanges()
        loops = [Deferred.fromCoroutine(ear.loop(sender)) for ear in ears[FOLLOWERS:]]
        for loop in loops:
            loop.addErrback(lambda failure: failure.trap(ClientClosed) and None)
        pacing = pace.start(SECONDS_BETWEEN)
        for number in range(RESTARTS):
            await load.acknowledged(ENOUGH)
            if number % 2:
                await daemon.kill()
            else:
                assert await daemon.terminate() == 0
            daemon = Daemon(folder, environ=environ, listener=listener).spawn()
        await load.acknowledged(ENOUGH)
        pace.stop()
        await pacing
        await load.finished()
        for ear in ears:
            await ear.count(len(load.saved))
        expected = sorted(load.saved)
        answer = await ask(port, get(f"{EVENTS}/stream?since=0&feed=normal"))
        *stored, last = map(json.loads, answer.body.splitlines())
        assert sorted(change["id"] for change in stored) == expected
        assert last["pending"] == 0
        assert all(sorted(ear.heard) == expected for ear in ears)
        assert errors == []
        assert "Traceback" not in daemon.out + daemon.err
    finally:
        if pace.running:
            pace.stop()
        await gatherResults([client.close() for client in (*clients, sender)])
        await daemon.kill()
    return ears


@pytest_twisted.ensureDeferred
async def test_restarts_on_sqlite(tmp_path: Path, listener: socket.socket) -> None:
    """All followers have every event once, and all in the same order."""
    first, *others = await followed_through_restarts(tmp_path, listener, SQLITE)
    assert all(ear.heard == first.heard for ear in others)


@pytest_twisted.ensureDeferred
async def test_restarts_before_couchdb(
    couchdb: Place, tmp_path: Path, listener: socket.socket
) -> None:
    """All followers have every event once; CouchDB's order is its own."""
    await followed_through_restarts(tmp_path, listener, couchdb.environ)
