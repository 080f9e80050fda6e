"""The main job, end to end: a thousand sign-ins in, and exactly the same thousand back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from kpiggybank import KPIggyBank
from kpiggybank.sample import SignIns
from tests.couchdb_servers import Place
from tests.integration.daemon import Daemon, Pulse, reactor

LOGINS = 1000
CALLS_AT_ONCE = 64

#: One million users make about 100 events a second; the promise is twice that.
EVENTS_PER_SECOND = 200.0

DATABASE = "bid_kpi_test"


@attrs.define(eq=False)
class Follower:
    """Collects the changes that a client hears of."""

    changes: list[Mapping[str, Any]] = attrs.field(factory=list)
    errors: list[Exception] = attrs.field(factory=list)
    _pulse: Pulse = attrs.field(factory=Pulse)

    async def follow(self, client: KPIggyBank) -> None:
        """Listen to a client from now on."""
        client.on("change", self._note(self.changes))
        client.on("error", self._note(self.errors))
        await client.followChanges()

    def _note(self, where: list[Any]) -> Callable[[Any], None]:
        def note(what: Any) -> None:
            where.append(what)
            self._pulse.beat()

        return note

    async def heard(self, count: int) -> None:
        """Wait until so many changes have come."""

        def seek() -> bool | None:
            assert not self.errors, self.errors
            return len(self.changes) >= count or None

        await self._pulse.until(seek, lambda: f"{len(self.changes)} of {count} changes")


async def save_each(client: KPIggyBank, events: Iterator[Mapping[str, Any]]) -> list[str]:
    """Save events, one after the other, until there are no more; their ids, in that order."""
    ids: list[str] = []
    for event in events:
        ids += await client.saveData(event)
    return ids


def as_texts(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The events as sorted texts: equal exactly if the same events are there equally often."""
    return sorted(json.dumps(event, sort_keys=True) for event in events)


def in_order_of_arrival(heard: Sequence[Mapping[str, Any]], saved: Sequence[list[str]]) -> None:
    """Holds if changes were told in the order in which their senders were answered."""
    in_any_order(heard, saved)
    place = {change["id"]: place for place, change in enumerate(heard)}
    for one_after_the_other in saved:
        assert all(place[a] < place[b] for a, b in pairwise(one_after_the_other))


def in_any_order(heard: Sequence[Mapping[str, Any]], saved: Sequence[list[str]]) -> None:
    """Holds if each change was told once: all that a store of several machines promises."""
    assert sorted(change["id"] for change in heard) == sorted(id for ids in saved for id in ids)


async def bank_a_thousand_logins(
    daemon: Daemon,
    told: Callable[[Sequence[Mapping[str, Any]], Sequence[list[str]]], None] = in_order_of_arrival,
) -> float:
    """Throw the sign-ins at a daemon, and hold it to all that it promises of them.

    Gives the events a second that were saved and read.
    """
    logins = SignIns(seed=20120801).take(LOGINS)
    client = KPIggyBank("127.0.0.1", daemon.port)
    follower = Follower()
    try:
        await follower.follow(client)
        assert await client.count() == 0

        begun = reactor.seconds()
        source = iter(logins)
        calls = [Deferred.fromCoroutine(save_each(client, source)) for _ in range(CALLS_AT_ONCE)]
        saved = await gatherResults(calls, consumeErrors=True)
        stored = await client.fetchRange()
        seconds = reactor.seconds() - begun

        assert as_texts(stored) == as_texts(logins)
        timestamps = [event["timestamp"] for event in stored]
        assert timestamps == sorted(timestamps)
        assert await client.count() == LOGINS
        ids = {id for one_after_the_other in saved for id in one_after_the_other}
        assert len(ids) == LOGINS

        await follower.heard(LOGINS)
        assert as_texts([change["doc"] for change in follower.changes]) == as_texts(logins)
        told(follower.changes, saved)

        # Whoever would hear of one twice has heard of it by now.
        [last] = await client.saveData({"type": "the last one", "timestamp": 0})
        await follower.heard(LOGINS + 1)
        assert [change["id"] for change in follower.changes[LOGINS:]] == [last]
        return float(LOGINS / seconds)
    finally:
        await client.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    """The folder of a database that is not there yet, and is gone afterwards."""
    yield tmp_path
    for path in tmp_path.glob(f"{DATABASE}.sqlite3*"):
        path.unlink()


@pytest_twisted.ensureDeferred
async def test_thousand_logins_in_sqlite(database: Path) -> None:
    """A SQLite bank gives back exactly what was put in, fast enough, and tells its followers."""
    environ = {"DB_BACKEND": "sqlite", "DB_NAME": DATABASE, "DATA_DIR": str(database)}
    async with Daemon(database, environ=environ) as daemon:
        _, store = await daemon.listening()
        assert store == f"sqlite, {database / DATABASE}.sqlite3"
        assert await bank_a_thousand_logins(daemon) >= EVENTS_PER_SECOND
        assert await daemon.terminate() == 0
        assert (daemon.err, "Traceback" in daemon.out) == ("", False)


@pytest_twisted.ensureDeferred
async def test_thousand_logins_in_memory(tmp_path: Path) -> None:
    """A memory bank does all that, too, as long as it runs, and leaves no file."""
    async with Daemon(tmp_path, environ={"DB_BACKEND": "memory"}) as daemon:
        assert await bank_a_thousand_logins(daemon) >= EVENTS_PER_SECOND
        assert await daemon.terminate() == 0
        assert (daemon.err, "Traceback" in daemon.out) == ("", False)
    assert list(tmp_path.iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_thousand_logins_in_couchdb(couchdb: Place, tmp_path: Path) -> None:
    """A bank in CouchDB does all that, too, in an order of its own, as fast as CouchDB is."""
    async with Daemon(tmp_path, environ=couchdb.environ) as daemon:
        _, store = await daemon.listening()
        assert store == f"couchdb, {couchdb.url}/{DATABASE}"
        await bank_a_thousand_logins(daemon, in_any_order)
        assert await daemon.terminate() == 0
        assert (daemon.err, "Traceback" in daemon.out) == ("", False)
    assert list(tmp_path.iterdir()) == []
