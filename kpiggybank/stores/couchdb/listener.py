"""Listens to CouchDB's continuous `_changes`, as long as the store is open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import ClassVar, NoReturn

import attrs
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from kpiggybank.events import Change, Event
from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.stores.couchdb.changes import HEARTBEAT_SECONDS, Row, feed
from kpiggybank.stores.couchdb.cursors import Seal
from kpiggybank.stores.couchdb.documents import event_id
from kpiggybank.stores.couchdb.memory import Memory, number_of
from kpiggybank.stores.couchdb.reading import find
from kpiggybank.stores.couchdb.server import Refused, Server
from kpiggybank.stores.ring import Ring

#: For so many seconds at the most a reader waits for what was acknowledged to come by.
SETTLE_SECONDS = 1.0

#: CouchDB opens a feed at once; pouchdb-server says nothing before the first heartbeat.
OPEN_SECONDS = 0.25

#: So many events of ours are at hand when they come by, unless they are larger than so many bytes.
ANNOUNCED = 5_000
ANNOUNCED_BYTES = 4096

#: A feed that was open for so many seconds had no trouble to begin with.
STEADY_SECONDS = 10.0

#: So often a refused login is tried again: after a few tries more, CouchDB would lock the account.
REFUSED_SECONDS = 60.0

_pause = backoffPolicy(initialDelay=0.1, maxDelay=5.0, factor=1.6)


class Superseded(Exception):
    """Another listener has taken over."""


@attrs.define(eq=False)
class Listener:
    """Puts every new change into a ring, and says so.

    It resumes where it was when the feed ends, breaks or falls silent, with growing and random
    pauses. What the feed repeats is told once.

    Args:
        clock: for pauses.
        server: whose feed.
        place: CouchDB's sequence to begin after.
        ring: gets the changes.
        memory: knows what was told.
        seal: makes a cursor of CouchDB's sequence.
        told: is called after there were new changes, or may have been.
        check: is awaited before the feed is opened again; may raise `Superseded`.
    """

    _clock: IReactorTime
    _server: Server
    _place: str
    _ring: Ring
    _memory: Memory
    _seal: Seal
    _told: Callable[[], None]
    _check: Callable[[], Awaitable[None]]
    #: Whether the feed is open.
    live: bool = attrs.field(default=False, init=False)
    _running: Deferred[None] = attrs.field(init=False)
    _opening: Deferred[None] | None = attrs.field(default=None, init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    #: Events of ours that may come by, by the ids of their documents.
    _announced: dict[str, Event] = attrs.field(factory=dict, init=False)
    #: What was acknowledged and has not come by yet: ids of documents, with numbers that grow.
    _awaited: dict[str, int] = attrs.field(factory=dict, init=False)
    _number: int = attrs.field(default=0, init=False)
    _settling: dict[Deferred[None], int] = attrs.field(factory=dict, init=False)

    _log: ClassVar[Logger] = Logger()

    def start(self) -> None:
        """Begin to listen."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(lambda failure: failure.trap(CancelledError) and None)

    async def opened(self) -> None:
        """Return when the feed is open for the first time, or after `OPEN_SECONDS`.

        Raises:
            Superseded: another listener has taken over before.
        """
        if not self.live:
            self._opening = Deferred()
            with suppress(TimeoutError):
                await self._opening.addTimeout(OPEN_SECONDS, self._clock)

    def stop(self) -> None:
        """Listen no more."""
        # What is cancelled in a request may come out as any error, which is no reason to go on.
        self._stopped = True
        self._running.cancel()
        self._lose()

    def announce(self, events: Iterable[Event]) -> None:
        """Note events that are about to be stored under ids that nobody else can have.

        The feed tells ids only: CouchDB would have to read again what it has just been given. What
        others stored is fetched, all that came together at once.
        """
        if len(self._announced) > ANNOUNCED:
            self._announced.clear()  # some were not stored in the end, or the feed is interrupted
        for event in events:
            if len(event.json) <= ANNOUNCED_BYTES:
                self._announced[event.id] = event

    def expect(self, ids: Iterable[str]) -> None:
        """Note that these documents were stored: what is read from now on must have them."""
        self._number += 1
        for id in ids:
            if id not in self._memory:
                self._awaited.pop(id, None)
                self._awaited[id] = self._number

    def settled(self) -> Deferred[None]:
        """Fire when all that was expected until now has come by, or after `SETTLE_SECONDS`."""
        if not self._awaited or not self.live:
            return succeed(None)
        number = self._number
        settled: Deferred[None] = Deferred(self._forget)
        self._settling[settled] = number

        def give_up(_: object, seconds: float) -> None:
            # Whatever the reason is, nobody else shall wait for these.
            for id in [id for id, one in self._awaited.items() if one <= number]:
                del self._awaited[id]

        return settled.addTimeout(SETTLE_SECONDS, self._clock, give_up)

    async def _run(self) -> None:
        failures = 0
        while True:
            opened = self._clock.seconds()
            refused = False
            try:
                if failures:
                    await self._check()
                await self._listen()
            except StoreUnavailable as error:
                reason = str(error)
                refused = isinstance(error, Refused)
            except Superseded:
                opening, self._opening = self._opening, None
                if opening is not None and not opening.called:
                    opening.errback(Superseded())
                return
            except CancelledError:
                raise
            except Exception as error:
                # A mistake of ours. It is in the log; without this, it would be the end of the feed
                # for all followers, and nobody would hear of that.
                self._log.failure("CouchDB's feed could not be read")
                reason = str(error)
            if self._stopped:
                return
            was_open = self.live
            self._lose()
            if self._clock.seconds() - opened > STEADY_SECONDS:
                failures = 0
            if was_open or failures == 0:
                self._log.warn("CouchDB's feed was lost; trying again: {reason}", reason=reason)
            failures += 1
            pause = REFUSED_SECONDS if refused else _pause(failures)
            await deferLater(self._clock, pause)

    async def _listen(self) -> NoReturn:
        response = await self._server.stream(
            "/_changes",
            {
                "feed": "continuous",
                "heartbeat": int(HEARTBEAT_SECONDS * 1000),
                "since": self._place,
            },
        )
        lines = feed(self._clock)
        response.deliverBody(lines)
        self.live = True
        opening, self._opening = self._opening, None
        if opening is not None and not opening.called:
            opening.callback(None)
        self._log.info("CouchDB's feed is open")
        # Followers that read from CouchDB itself shall do so now.
        self._told()
        # Where a request finds no database, the feed may not know it yet.
        self._server.on_missing = lambda: lines.close("the database, or our part of it, is missing")
        try:
            while True:
                await self._take(await lines.take())
        finally:
            self._server.on_missing = None
            lines.close()

    async def _take(self, rows: Sequence[Row]) -> None:
        fetched = await find(self._server, [event_id(row.id) for row in rows if self._strange(row)])
        news = False
        for row in rows:
            if row.deleted:
                self._memory.forget(row.id)
            event = self._announced.pop(row.id, None)
            stamp: str | None = row.id
            if event is None:
                # Where the document has changed since, another row will tell of that.
                found = fetched.get(event_id(row.id))
                if found is not None and row.is_of(found.revision):
                    event, stamp = found.event, found.arrival
            if event is not None and self._memory.is_new(number_of(row.place), row.id, stamp):
                self._ring.add(Change(self._seal.seal(row.place), event))
                news = True
            self._awaited.pop(row.id, None)
        # Not before all is told: what could not be fetched is to come again.
        self._place = rows[-1].place
        self._settle(next(iter(self._awaited.values()), self._number + 1))
        if news:
            self._told()

    def _strange(self, row: Row) -> bool:
        """Whether a row tells of what must be fetched."""
        known = row.deleted or row.id in self._memory or row.id in self._announced
        return not known and not row.id.startswith("_design/")

    def _lose(self) -> None:
        self.live = False
        self._settle(self._number + 1)

    def _settle(self, oldest: int) -> None:
        """Answer who waits for nothing that is as old as this number, or older."""
        for settled in [one for one, number in self._settling.items() if number < oldest]:
            # Who is answered may make another one give up.
            if self._settling.pop(settled, None) is not None:
                settled.callback(None)

    def _forget(self, settled: Deferred[None]) -> None:
        self._settling.pop(settled, None)
