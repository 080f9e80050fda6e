"""Reads that look at each event of a range: others do not wait for them, nor do they for nobody."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from kpiggybank.events import Page, Range
from kpiggybank.stores.sqlite import store as store_module
from kpiggybank.stores.sqlite.file import DatabaseFile
from kpiggybank.stores.sqlite.store import SQLiteStore
from kpiggybank.stores.sqlite.threads import SCANNERS
from kpiggybank.where import Condition, Where
from tests.feed_contract import event, events
from tests.web_client import has_fired

#: A range with more events than a small read takes, and one with fewer.
SPAN, SMALL = Range(1, 5), Range(6, 8)

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest_twisted.async_yield_fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SQLiteStore]:
    """A store with some events, to which four are many; at the end it closes."""
    monkeypatch.setattr(store_module, "FEW_EVENTS", 4)
    store = SQLiteStore(reactor, str(tmp_path / "bank.sqlite3"))
    await store.open()
    await store.append(events(range(10)))
    yield store
    await store.close()


@ensureDeferred
async def test_small_reads_go_past_counts(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever looks at a few events is answered while many counts, and conditions, wait."""
    go = threading.Event()
    count = DatabaseFile.count
    begun = [Deferred[None]() for _ in range(SCANNERS)]
    beginning = iter(begun)

    def slow(file: DatabaseFile, span: Range, most: int = -1) -> int:
        if most < 0 and not go.is_set():
            reactor.callFromThread(next(beginning).callback, None)  # type: ignore[attr-defined]
            assert go.wait(30)
        return count(file, span, most)

    monkeypatch.setattr(DatabaseFile, "count", slow)
    waiting = [store.count(SPAN) for _ in range(SCANNERS * 5)]
    await gatherResults(begun)
    found = store.read(SPAN, Page(9, where=Where((Condition(("timestamp",), "3"),))))
    old = await store.first()
    assert [each.id for each in (await store.read(SPAN, Page(2))).events] == ["e1", "e2"]
    assert (await store.copy(SPAN, Page(1), b",")).text == b'{"timestamp":1}'
    assert (await store.get("e7")).timestamp == 7
    assert [change.event.id for change in await store.changes(old, 2)] == ["e0", "e1"]
    assert await store.pending(old) == await store.count(Range()) == 10
    assert await store.count(SMALL) == 3
    await store.append([event("new", 99)])
    assert not found.called
    assert not any(map(has_fired, waiting))
    go.set()
    assert await gatherResults(waiting) == [5] * len(waiting)
    assert [each.id for each in (await found).events] == ["e3"]


@ensureDeferred
async def test_cancelled_count_ends(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes on and on is given up as soon as nobody waits for it, and the next begin."""
    begun = [Deferred[None]() for _ in range(SCANNERS)]
    waiting = iter(begun)

    def endless(file: DatabaseFile, span: Range, most: int = -1) -> int:
        if most > 0:
            return most
        with file._readers.one() as connection:
            reactor.callFromThread(next(waiting).callback, None)  # type: ignore[attr-defined]
            return int(connection.execute(ENDLESS).get)

    with monkeypatch.context() as patched:
        patched.setattr(DatabaseFile, "count", endless)
        counts = [store.count(SPAN) for _ in range(SCANNERS * 5)]
        await gatherResults(begun)
        for each in counts:
            each.cancel()
            with pytest.raises(CancelledError):
                await each
        assert next(waiting, None) is None  # all the others have never begun
    assert await store.count(SPAN) == 5
