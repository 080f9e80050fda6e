"""What the client's users notice of a daemon that dies and comes back: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from kpiggybank import KPIggyBank
from kpiggybank.client import ClientClosed
from tests.integration.daemon import Daemon, Pulse

ROUNDS = 3
SENDERS = 16
#: Changes heard in a round before the daemon goes.
ENOUGH = 200

SQLITE = {"DB_BACKEND": "sqlite", "DB_NAME": "bid_kpi_test"}


@attrs.define(eq=False)
class Ears:
    """What was heard from a daemon."""

    heard: list[str] = attrs.field(factory=list)
    _pulse: Pulse = attrs.field(factory=Pulse)

    def hear(self, change: dict[str, Any]) -> None:
        """Note a change."""
        self.heard.append(change["id"])
        self._pulse.beat()

    async def listen(self, client: KPIggyBank) -> None:
        """Note the changes from the first one on, in a loop."""
        async for change in client.changes(since="0"):
            self.hear(change)

    async def count(self, count: int) -> None:
        """Wait for so many changes in all."""
        await self._pulse.until(
            lambda: len(self.heard) >= count or None, lambda: f"{len(self.heard)} of {count}"
        )


async def save_on(client: KPIggyBank, numbers: Iterator[int], saved: list[str]) -> None:
    """Save events one after the other until there are no more."""
    for number in numbers:
        saved += await client.saveData({"timestamp": number}, retries=100, max_delay=0.5)


@pytest.mark.parametrize("end", [Daemon.kill, Daemon.terminate])
@pytest_twisted.ensureDeferred
async def test_nothing_is_missed_or_stored_twice(tmp_path: Path, end: Any) -> None:
    """Whatever ends a daemon under load, all calls succeed, and each event is stored and told once.

    Both the callbacks and the loop follow through all of it.
    """
    daemon = Daemon(tmp_path, environ=SQLITE).spawn()
    await daemon.listening()
    again = {**SQLITE, "PORT": str(daemon.port)}
    client, callbacks, loop = KPIggyBank("127.0.0.1", daemon.port), Ears(), Ears()
    errors: list[Exception] = []
    saved: list[str] = []
    going_on = True

    def numbers() -> Iterator[int]:
        number = 0
        while going_on:
            yield (number := number + 1)

    try:
        client.on("change", callbacks.hear)
        client.on("error", errors.append)
        await client.followChanges()
        looping = Deferred.fromCoroutine(loop.listen(client))
        looping.addErrback(lambda failure: failure.trap(ClientClosed))
        source = numbers()
        senders = [Deferred.fromCoroutine(save_on(client, source, saved)) for _ in range(SENDERS)]
        for _ in range(ROUNDS):
            await callbacks.count(len(callbacks.heard) + ENOUGH)
            await end(daemon)
            daemon = Daemon(tmp_path, environ=again).spawn()
            await daemon.listening()
        going_on = False
        await gatherResults(senders, consumeErrors=True)
        await gatherResults(
            [Deferred.fromCoroutine(each.count(len(saved))) for each in (callbacks, loop)]
        )
        assert sorted(callbacks.heard) == sorted(loop.heard) == sorted(saved)
        assert callbacks.heard == loop.heard
        assert (len(set(saved)), await client.count(), errors) == (len(saved), len(saved), [])
    finally:
        await client.close()
        await daemon.kill()
