"""What was stored since a cursor: the newest from memory, the rest from CouchDB itself."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kpiggybank.events import Change, Event
from kpiggybank.interfaces import CHANGES_BYTES
from kpiggybank.stores.bounds import piece_of
from kpiggybank.stores.couchdb.changes import Row
from kpiggybank.stores.couchdb.cursors import Seal
from kpiggybank.stores.couchdb.listener import Listener
from kpiggybank.stores.couchdb.memory import Memory, number_of
from kpiggybank.stores.couchdb.server import AnswerTooLarge, Server
from kpiggybank.stores.ring import Ring

#: So many of the documents that are there at the start are remembered as told.
OLD_IDS = 10_000

#: Of so many readers who catch up from CouchDB itself, the last so many ids are remembered.
TRAILS = 32
TRAIL_IDS = 5_000


#: CouchDB's sequence before everything.
_BEGINNING = "0"


class _Answer(msgspec.Struct):
    """The answer of `_changes` that is not continuous."""

    results: list[Row]
    last_seq: str | int


@attrs.define(eq=False)
class History:
    """The changes of one life of a database. Make it with `open_history`.

    Attributes:
        life: its name.
        places: seals places in ranges.
    """

    life: str
    places: Seal
    _server: Server
    _cursors: Seal
    _ring: Ring
    _listener: Listener
    #: Reads of CouchDB under way, each with all who want the same.
    _reads: dict[tuple[str, int], list[Deferred[Sequence[Change]]]] = attrs.field(factory=dict)
    #: What was told on the way to a place. A dead node makes CouchDB repeat some of it.
    _trails: dict[str, tuple[str, ...]] = attrs.field(factory=dict)

    def close(self) -> None:
        """Listen no more."""
        self._listener.stop()

    def announce(self, events: Iterable[Event]) -> None:
        """Note what is about to be stored, so that it need not be fetched when it comes by."""
        self._listener.announce(events)

    def stored(self, document_ids: Iterable[str]) -> None:
        """Note what was stored: all that is read from now on has it."""
        self._listener.expect(document_ids)

    async def changes(self, since: str, limit: int) -> Sequence[Change]:
        """See `IChangeHistory.changes`."""
        place = self._cursors.open(since)
        if self._ring.knows(since):
            await self._listener.settled()
            found = self._ring.since(since, limit)
            # Without a feed, nothing new in memory does not mean that there is nothing new.
            if found or (found is not None and self._listener.live):
                return found
        return await self._shared(place, limit)

    def first(self) -> str:
        """See `IChangeHistory.first`: CouchDB knows everything."""
        return self._cursors.seal(_BEGINNING)

    async def pending(self, since: str) -> int:
        """See `IChangeHistory.pending`: exact for what is in memory."""
        place = self._cursors.open(since)
        if self._ring.knows(since) and self._listener.live:
            await self._listener.settled()
            if self._ring.knows(since):
                return self._ring.pending(since)
        # All that happened in the database counts in CouchDB's numbers, not only events.
        return max(0, number_of(await newest(self._server)) - number_of(place))

    async def last(self) -> str:
        """See `IChangeHistory.last`."""
        if self._listener.live:
            await self._listener.settled()
            return self._ring.head
        return self._cursors.seal(await newest(self._server))

    def _shared(self, place: str, limit: int) -> Deferred[Sequence[Change]]:
        """Read from CouchDB, once for all who ask for the same at the same time."""
        key = (place, limit)
        outcome: Deferred[Sequence[Change]] = Deferred()
        if key in self._reads:
            self._reads[key].append(outcome)
        else:
            self._reads[key] = [outcome]
            Deferred.fromCoroutine(self._read(place, limit)).addBoth(self._answer, key)
        return outcome

    def _answer(self, result: Any, key: tuple[str, int]) -> None:
        for outcome in self._reads.pop(key):
            outcome.callback(result)  # or fails, if the result is a failure

    async def _read(self, place: str, limit: int) -> Sequence[Change]:
        trail = self._trails.get(place, ())
        told = set(trail)
        at_once = limit
        found: dict[str, tuple[str, Event]] = {}
        size = 0
        while len(found) < limit and size < CHANGES_BYTES:
            query = {"since": place, "limit": at_once, "include_docs": True}
            try:
                _, answer = await self._server.ask("GET", "/_changes", _Answer, query=query)
            except AnswerTooLarge:
                if at_once == 1:
                    raise
                at_once = max(1, at_once // 8)
                continue
            if answer is None:
                break
            for row in answer.results:
                # Of what is told twice the first one counts: its cursor leads to all the others.
                if row.id not in told and (event := row.event) is not None:
                    told.add(row.id)
                    found[row.id] = (row.place, event)
                    size += len(event.json)
            if len(answer.results) < at_once:
                break
            # Repeats, and documents that are no events, may have been among them.
            place = str(answer.last_seq)
        changes = [Change(self._cursors.seal(at), event) for at, event in found.values()]
        piece = piece_of(changes, limit)
        if piece:
            ids = list(found)[: len(piece)]
            last, _ = found[ids[-1]]
            self._remember(last, (*trail, *ids))
        return piece

    def _remember(self, place: str, ids: tuple[str, ...]) -> None:
        self._trails.pop(place, None)
        self._trails[place] = ids[-TRAIL_IDS:]
        if len(self._trails) > TRAILS:
            del self._trails[next(iter(self._trails))]


async def open_history(
    clock: IReactorTime,
    server: Server,
    life: str,
    told: Callable[[], None],
    check: Callable[[], Awaitable[None]],
) -> History:
    """The history of a database from now on, and as far back as CouchDB knows.

    Args:
        clock: for pauses and limits.
        server: whose database.
        life: the name of the database's life.
        told: is called whenever there may be more changes.
        check: is awaited before a broken feed is opened again.

    Raises:
        StoreUnavailable: CouchDB does not answer.
    """
    now = int(time.time() * 1000)
    query = {"descending": True, "limit": OLD_IDS}
    _, old = await server.ask("GET", "/_changes", _Answer, query=query)
    rows = [] if old is None else old.results
    place = await newest(server)
    memory = Memory(now, now if len(rows) >= OLD_IDS else 0, number_of(place))
    for row in reversed(rows):
        if not row.deleted:
            memory.remember(row.id, None)
    cursors = Seal("cursor", life)
    ring = Ring(cursors.seal(place))
    listener = Listener(clock, server, place, ring, memory, cursors, told, check)
    listener.start()
    try:
        await listener.opened()
    except BaseException:
        listener.stop()
        raise
    return History(life, Seal("place", life), server, cursors, ring, listener)


async def newest(server: Server) -> str:
    """CouchDB's sequence after the newest change."""
    _, answer = await server.ask("GET", "/_changes", _Answer, query={"since": "now"})
    return "" if answer is None else str(answer.last_seq)
