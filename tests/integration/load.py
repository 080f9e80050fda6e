"""Events in a hurry, from many senders, and the account of what became of them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from kpiggybank import KPIggyBank
from kpiggybank.client import RequestFailed
from kpiggybank.sample import SignIns
from tests.integration.daemon import EVENTS, Daemon, ask, get, reactor

SENDERS = 32

#: Whether this is `make soak`: many more rounds.
SOAKING = os.environ.get("KPIGGYBANK_SOAK") == "1"

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


def number_of(event: dict[str, Any]) -> tuple[int, int]:
    """What an event is known by to the sender."""
    number, part = event["number"]
    return number, part


@attrs.define(eq=False)
class Load:
    """What was sent so far, which ids were promised for it, and what was found of it."""

    #: By its number, each event that may have reached the daemon.
    sent: dict[tuple[int, int], dict[str, Any]] = attrs.field(factory=dict)
    #: By its id, each event that was acknowledged.
    kept: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    #: Those of `kept` that nobody has looked for yet.
    _unseen: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    #: The numbers of all that was found in the store.
    _found: set[tuple[int, int]] = attrs.field(factory=set)
    #: The place up to which the store was looked at.
    _cursor: str = "0"
    _source: Iterator[list[dict[str, Any]]] = attrs.field(factory=numbered_lists)

    async def send_for(self, seconds: float, daemon: Daemon) -> None:
        """Save lists from many senders at once, and kill the daemon after so many seconds."""
        client = KPIggyBank("127.0.0.1", daemon.port)
        try:
            senders = [Deferred.fromCoroutine(self._send(client)) for _ in range(SENDERS)]
            await deferLater(reactor, seconds)
            await daemon.kill()
            await gatherResults(senders, consumeErrors=True)
        finally:
            await client.close()

    async def _send(self, client: KPIggyBank) -> None:
        """Save one list after the other until the daemon is gone."""
        for events in self._source:
            self.sent.update({number_of(event): event for event in events})
            try:
                ids = await client.saveData(events, retries=0)
            except CUT:
                return
            answered = dict(zip(ids, events, strict=True))
            assert len(answered) == len(events) and not answered.keys() & self.kept.keys()
            self.kept.update(answered)
            self._unseen.update(answered)

    async def assert_kept(self, daemon: Daemon) -> None:
        """Holds if all that was acknowledged since the last look is there, and nothing twice."""
        answer = await ask(daemon.port, get(f"{EVENTS}/stream?since={self._cursor}&feed=normal"))
        assert answer.status == 200
        *changes, end = [json.loads(line) for line in answer.body.splitlines() if line]
        self._assert_sent([(change["id"], change["doc"]) for change in changes], self._unseen)
        numbers = {number_of(change["doc"]) for change in changes}
        assert not numbers & self._found
        self._found |= numbers
        self._unseen = {}
        self._cursor = end["last_seq"]
        count = await ask(daemon.port, get(f"{EVENTS}/count"))
        assert count.json == len(self._found)

    async def assert_all_kept(self, daemon: Daemon) -> None:
        """Holds if all that was ever acknowledged is there, and each thing there was sent, once."""
        answer = await ask(daemon.port, get(f"{EVENTS}/rows"))
        assert answer.status == 200
        self._assert_sent([(row["id"], row["value"]) for row in answer.json], self.kept)

    def _assert_sent(
        self, rows: list[tuple[str, dict[str, Any]]], kept: dict[str, dict[str, Any]]
    ) -> None:
        there = dict(rows)
        assert len(there) == len(rows)
        missing = [event for id, event in kept.items() if there.get(id) != event]
        assert not missing, f"{len(missing)} acknowledged events lost or torn: {missing[:3]}"
        numbers = Counter(number_of(event) for _, event in rows)
        assert [number for number, times in numbers.items() if times > 1] == []
        assert all(self.sent[number_of(event)] == event for _, event in rows)
        # A list is stored as a whole or not at all.
        for number, parts in Counter(number for number, _ in numbers).items():
            assert parts == 1 + number % 3
