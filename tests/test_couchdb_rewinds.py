"""The CouchDB store when the feed goes back: nothing is told twice, and nothing new is missed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from pytest_twisted import ensureDeferred

from kpiggybank.events import Event
from kpiggybank.stores.couchdb import history, memory
from tests.feed_contract import by_id, events
from tests.scripted_couchdb import (
    READ,
    VIEWS,
    A,
    B,
    C,
    D,
    ScriptedCouchDB,
    by_hand,
)

T = TypeVar("T")

_HOUR = 3_600_000


def stamps(hours_ago: float) -> Callable[[], str]:
    """Stamps of arrivals that many hours ago, each a second after the one before."""
    now = int(time.time() * 1000 - hours_ago * _HOUR)
    later = iter(range(now, now + _HOUR, 1000))
    return lambda: f"{next(later):012x}{7:016x}"


@ensureDeferred
async def test_rewind(couch: ScriptedCouchDB) -> None:
    """A feed that goes back tells nothing twice, and what is new on its way is told."""
    store, cursor, feed = await by_hand(couch)
    reads = couch.asked.count(READ)
    couch.keep(A, B)
    feed.say(couch.line("a"), couch.line("b"))
    await couch.hears(store, cursor, "a", "b")
    couch.keep(C, D)
    feed.say(couch.line(VIEWS[1:]), couch.line("b", 1), couch.line("a", 2), couch.line("b", 2))
    feed.say(couch.line("c", 3), couch.line("a"), couch.line("c"), couch.line("b"))
    feed.say(couch.line("d"))
    found = await couch.hears(store, cursor, "a", "b", "c", "d")
    assert by_id(change.event for change in found) == [A, B, C, D]
    assert couch.asked.count(READ) == reads, "this tests what memory tells"


@ensureDeferred
async def test_rewind_after_a_break(couch: ScriptedCouchDB) -> None:
    """A feed that begins from the start when it is opened again tells nothing twice, either."""
    couch.keep(A)
    store, cursor, feed = await by_hand(couch)
    couch.keep(B)
    feed.say(couch.line("b"))
    await couch.hears(store, cursor, "b")
    feed.cut()
    await couch.until(lambda: len(couch.sinces) == 2)
    couch.keep(C)
    couch.feeds[-1].say(*(couch.line(name) for name in couch.documents))
    await couch.hears(store, cursor, "b", "c")


@ensureDeferred
async def test_old_ones_again(couch: ScriptedCouchDB) -> None:
    """What was there before the store was opened is never told as new."""
    old = events(range(5), "old")
    couch.keep(*old)
    store, cursor, feed = await by_hand(couch)
    couch.keep(A, B, C)
    feed.say(*(couch.line(each.id, 1) for each in old), couch.line("a"))
    feed.say(*(couch.line(each.id) for each in old), couch.line("b", 2), couch.line("c"))
    await couch.hears(store, cursor, "a", "b", "c")


async def far_back(couch: ScriptedCouchDB, old: list[Event], before: Sequence[Event]) -> None:
    """Check that old events which a feed goes back to are not told, and new ones are."""
    store, cursor, feed = await by_hand(couch)
    couch.keep(*before, C, D)
    reads = couch.asked.count(READ)
    feed.say(*(couch.line(each.id) for each in before))
    await couch.hears(store, cursor, *(each.id for each in before))
    feed.say(*(couch.line(each.id) for each in old), couch.line("c", 2), couch.line("d"))
    await couch.hears(store, cursor, *(each.id for each in before), "c", "d")
    assert couch.asked.count(READ) == reads, "this tests what memory tells"


@pytest.mark.parametrize("before", [[A, B], []], ids=["later", "at once"])
@ensureDeferred
async def test_more_old_ones_than_are_asked_for(
    couch: ScriptedCouchDB, monkeypatch: pytest.MonkeyPatch, before: list[Event]
) -> None:
    """Where there are too many to know them all, the stamps tell which are old."""
    monkeypatch.setattr(history, "OLD_IDS", 3)
    old = events(range(6), "old")
    couch.keep(*old, stamp=stamps(hours_ago=5))
    await far_back(couch, old, before)


@ensureDeferred
async def test_more_old_ones_than_are_remembered(
    couch: ScriptedCouchDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old ones that new ones drove out of the memory are known by their stamps."""
    old = events(range(4), "old")
    couch.keep(*old, stamp=stamps(hours_ago=5))
    # All the old ones and the design documents are known at first.
    monkeypatch.setattr(memory, "REMEMBERED", 6)
    await far_back(couch, old, [A, B])


@ensureDeferred
async def test_more_told_than_is_remembered(
    couch: ScriptedCouchDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was told and forgotten since is known by its stamp."""
    monkeypatch.setattr(memory, "REMEMBERED", 2)
    store, cursor, feed = await by_hand(couch)
    told = events(range(6), "told")
    for hours, each in enumerate(told):
        couch.keep(each, stamp=stamps(hours_ago=6 - hours))
    feed.say(*(couch.line(each.id) for each in told))
    ids = [each.id for each in told]
    await couch.hears(store, cursor, *ids)
    couch.keep(A, B)
    feed.say(*(couch.line(id) for id in ids), couch.line("a", 3), couch.line("b"))
    await couch.hears(store, cursor, *ids, "a", "b")
