"""The CouchDB store when CouchDB is slow, or very much is asked of it at once."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from kpiggybank.events import Range
from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.stores.couchdb.server import Limits
from tests.couchdb_calls import (
    IMPATIENT,
    Call,
    every_call,
    failures,
    minted,
    opened,
)
from tests.feed_contract import read_all
from tests.integration.daemon import reactor
from tests.scripted_couchdb import BULK, ScriptedCouchDB
from tests.scripted_replies import (
    Reply,
    drip,
    hang,
)


@pytest.mark.parametrize("slow", [hang, drip], ids=["no answer", "no end of it"])
@every_call
@ensureDeferred
async def test_a_slow_answer(couch: ScriptedCouchDB, call: Call, slow: Reply) -> None:
    """Nobody waits longer than the limits say, and later all works again."""
    store, cursor = await opened(couch, IMPATIENT)
    couch.mood = slow
    with pytest.raises(StoreUnavailable):
        await call(store, cursor).addTimeout(5, reactor)
    couch.mood = None
    await call(store, cursor)


@every_call
@ensureDeferred
async def test_the_total_limit_is_one(couch: ScriptedCouchDB, call: Call) -> None:
    """A request that took all the time it had in total is not made again."""
    store, cursor = await opened(couch, Limits(connect=5, answer=5, total=0.3))
    couch.mood = hang
    asked = len(couch.asked)
    with pytest.raises(StoreUnavailable):
        await call(store, cursor).addTimeout(2, reactor)
    await couch.until(lambda: len(couch.asked) > asked)
    assert len(couch.asked) == asked + 1


@ensureDeferred
async def test_appends_behind_a_slow_one(couch: ScriptedCouchDB) -> None:
    """Appends that wait for a hanging request fail in their time, too; later all works again."""
    store = await couch.open(IMPATIENT)
    given = minted(4)
    couch.mood = hang
    first = store.append(given[:1])
    await couch.until(lambda: BULK in couch.asked)
    others = [store.append([each]) for each in given[1:]]
    found = await failures([first, *others])
    assert all(failure and failure.check(StoreUnavailable) for failure in found)
    couch.mood = None
    await store.append(given)
    assert await read_all(store) == given


@ensureDeferred
async def test_close_waits_for_an_append(couch: ScriptedCouchDB) -> None:
    """An append that CouchDB leaves without an answer has ended when the store is closed."""
    store = await couch.open(IMPATIENT)
    couch.mood = hang
    append = store.append(minted(1))
    await couch.until(lambda: BULK in couch.asked)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await append


@ensureDeferred
async def test_a_thousand_at_once(couch: ScriptedCouchDB) -> None:
    """Each of very many questions is answered, also while others give up."""
    store = await couch.open()
    couch.telling = False
    await store.append(minted(1))
    for ask in (lambda: store.count(Range(2, 1)), store.last):
        asked: list[Deferred[Any]] = [ask() for _ in range(2000)]
        given_up = asked[::7]

        def give_up(result: Any, others: list[Deferred[Any]] = given_up) -> Any:
            for other in others:
                other.addErrback(lambda failure: failure.trap(CancelledError) and None)
                other.cancel()
            return result

        asked[3].addCallback(give_up)
        kept = [one for place, one in enumerate(asked) if place % 7]
        await gatherResults(kept).addTimeout(10, reactor)
