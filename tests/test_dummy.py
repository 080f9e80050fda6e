"""The dummy store: the part of the contract that it honours, and its made-up answers."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from pytest_twisted import ensureDeferred

from kpiggybank.events import Page, Range
from kpiggybank.interfaces import ForgottenCursor, IEventBank
from kpiggybank.stores.dummy import MADE_UP, RING, DummyStore
from tests.feed_contract import ArrivalContract, FeedContract, events, read_all, stored


class TestDummyStore(FeedContract, ArrivalContract):
    """The contract on a dummy."""

    def make_store(self, folder: Path) -> IEventBank:
        """A new one."""
        return DummyStore()


@ensureDeferred
async def test_keeps_nothing() -> None:
    """What is appended is in no range."""
    store = DummyStore()
    before = await store.count(Range())
    await store.append(events([1, 2, 3]))
    assert await store.count(Range()) == before == MADE_UP
    assert await store.count(Range(1, 3)) == 0


@ensureDeferred
async def test_made_up_events_are_well_formed() -> None:
    """Each has the id, the time and the JSON of an event, in order; reading again is the same."""
    store = DummyStore()
    found = await read_all(store)
    assert len({event.id for event in found}) == MADE_UP
    for event in found:
        assert msgspec.json.decode(event.json)["timestamp"] == event.timestamp
    assert [event.timestamp for event in found] == sorted(event.timestamp for event in found)
    assert found == await read_all(store)


@ensureDeferred
async def test_ranges_are_ranges() -> None:
    """A range of made-up events holds those of its time, from either end."""
    store = DummyStore()
    found = await read_all(store)
    span = Range(found[100].timestamp, found[200].timestamp)
    within = [e for e in found if span.start <= e.timestamp <= span.end]  # type: ignore[operator]
    assert await read_all(store, span) == within
    assert await read_all(store, span, limit=7) == within
    assert await read_all(store, span, limit=7, descending=True) == within[::-1]


@ensureDeferred
async def test_any_id_has_an_event() -> None:
    """A client under a load test that asks for an id gets one, always the same."""
    store = DummyStore()
    one = await store.get("whatever")
    assert one.id == "whatever"
    assert one == await store.get("whatever")


@ensureDeferred
async def test_no_id_is_ever_taken() -> None:
    """It forgets, so it cannot tell a repeat from another event."""
    store = DummyStore()
    await store.append(events([1]))
    await store.append(events([2]), ["e0"])
    assert len(await stored(store, events([1]))) == 1


@ensureDeferred
async def test_memory_is_bounded() -> None:
    """However much is posted, only the newest changes stay, and a cursor before them is told so."""
    store = DummyStore()
    cursor = await store.last()
    await store.append(events(range(RING + 10)))
    with pytest.raises(ForgottenCursor) as caught:
        await store.changes(cursor, RING * 2)
    assert caught.value.oldest == await store.first()
    changes = await store.changes(caught.value.oldest, RING * 2)
    assert [change.event.timestamp for change in changes] == list(range(10, RING + 10))
    assert await store.pending(cursor) == RING + 10


@ensureDeferred
async def test_page_after_the_last() -> None:
    """The last page says that it is the last."""
    assert (await DummyStore().read(Range(), Page(MADE_UP))).after is None
