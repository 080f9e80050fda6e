"""What a power cut may take: nothing that was acknowledged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import attrs
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from kpiggybank import KPIggyBank
from kpiggybank.client import RequestFailed
from kpiggybank.sample import SignIns
from tests.integration.daemon import EVENTS, Daemon, Pulse, ask, get

ROUNDS = 3
SENDERS = 32
#: Acknowledged in a round before the kill comes; by then all senders are under way.
ENOUGH = 300

SQLITE = {"DB_BACKEND": "sqlite", "DB_NAME": "bid_kpi_test"}

#: How a call fails whose server dies before, during or after it.
CUT = (
    ConnectError,
    ConnectionClosed,
    RequestFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)


def numbered_lists() -> Iterator[list[dict[str, Any]]]:
    """Lists of one to three sign-ins, each with a number of its own, without end."""
    for number, event in enumerate(SignIns(seed=11)):
        yield [{**event, "number": [number, part]} for part in range(1 + number % 3)]


@attrs.define(eq=False)
class Load:
    """What was sent so far, and which ids were promised for it."""

    #: By its number, each event that may have reached the daemon.
    sent: dict[tuple[int, int], dict[str, Any]] = attrs.field(factory=dict)
    #: By its id, each event that was acknowledged.
    kept: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    _source: Iterator[list[dict[str, Any]]] = attrs.field(factory=numbered_lists)
    _pulse: Pulse = attrs.field(factory=Pulse)

    async def send(self, client: KPIggyBank) -> None:
        """Save one list after the other until the daemon is gone."""
        for events in self._source:
            self.sent.update({number_of(event): event for event in events})
            try:
                ids = await client.saveData(events, retries=0)
            except CUT:
                return
            self.kept.update(zip(ids, events, strict=True))
            self._pulse.beat()

    async def acknowledged(self, count: int) -> None:
        """Wait for so many acknowledged events in all."""
        await self._pulse.until(
            lambda: len(self.kept) >= count or None, lambda: f"{len(self.kept)} of {count}"
        )


def number_of(event: dict[str, Any]) -> tuple[int, int]:
    """What an event is known by to the sender."""
    number, part = event["number"]
    return number, part


async def assert_kept(daemon: Daemon, load: Load) -> None:
    """Holds if all that was acknowledged is there, and each thing that is there was sent, once."""
    answer = await ask(daemon.port, get(f"{EVENTS}/rows"))
    assert answer.status == 200
    rows = answer.json
    there = {row["id"]: row["value"] for row in rows}
    assert {id: there.get(id) for id in load.kept} == load.kept
    numbers = Counter(number_of(row["value"]) for row in rows)
    assert [number for number, times in numbers.items() if times > 1] == []
    assert all(load.sent[number_of(row["value"])] == row["value"] for row in rows)
    # A list is stored as a whole or not at all.
    for number, parts in Counter(number for number, _ in numbers).items():
        assert parts == 1 + number % 3


@pytest_twisted.ensureDeferred
async def test_kill_takes_nothing_acknowledged(tmp_path: Path) -> None:
    """Killed under load three times, the daemon starts again and has all that it had promised."""
    load = Load()
    for _ in range(ROUNDS):
        async with Daemon(tmp_path, environ=SQLITE) as daemon:
            await assert_kept(daemon, load)
            client = KPIggyBank("127.0.0.1", daemon.port)
            try:
                senders = [Deferred.fromCoroutine(load.send(client)) for _ in range(SENDERS)]
                await load.acknowledged(len(load.kept) + ENOUGH)
                await daemon.kill()
                await gatherResults(senders, consumeErrors=True)
            finally:
                await client.close()
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        await assert_kept(daemon, load)
        assert await daemon.terminate() == 0
        assert "Traceback" not in daemon.out + daemon.err
    database = apsw.Connection(str(tmp_path / "bid_kpi_test.sqlite3"))
    try:
        assert database.pragma("integrity_check") == "ok"
    finally:
        database.close()
