"""What tests ask of a CouchDB store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from kpiggybank.events import Event, Page, Range
from kpiggybank.mint import Mint
from kpiggybank.stores.couchdb.server import Limits
from kpiggybank.stores.couchdb.store import CouchDBStore
from tests.feed_contract import event
from tests.integration.daemon import reactor
from tests.scripted_couchdb import ScriptedCouchDB

IMPATIENT = Limits(connect=1, answer=0.3, total=0.5)

Call = Callable[[CouchDBStore, str], Deferred[Any]]

READS: dict[str, Call] = {
    "read": lambda store, cursor: store.read(Range(), Page(10)),
    "get": lambda store, cursor: store.get("old"),
    "count": lambda store, cursor: store.count(Range()),
    "changes": lambda store, cursor: store.changes(cursor, 10),
}
CALLS: dict[str, Call] = {
    "append": lambda store, cursor: store.append([event(Mint()(), 7)]),
    "append named": lambda store, cursor: store.append([event("named", 7)]),
    **READS,
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
every_read = pytest.mark.parametrize("call", READS.values(), ids=READS)


def minted(count: int) -> list[Event]:
    """Events whose ids the server made."""
    mint = Mint()
    return [event(mint(), timestamp) for timestamp in range(count)]


async def opened(couch: ScriptedCouchDB, limits: Limits | None = None) -> tuple[CouchDBStore, str]:
    """A store with an event in it, and a cursor before that which only CouchDB knows."""
    first = await couch.open()
    cursor = await first.last()
    await first.append([event("old", 1)])
    return await couch.open(limits), cursor


async def failures(appends: Sequence[Deferred[None]]) -> list[Failure | None]:
    """How each append ended; none takes longer than a few seconds."""
    ended: Any = DeferredList(appends, consumeErrors=True).addTimeout(5, reactor)
    return [None if success else result for success, result in await ended]
