"""CouchDB as a store of events."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, NoReturn, TypeVar

import attrs
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import Deferred, DeferredSemaphore, execute, fail
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kpiggybank.events import Change, Event, EventPage, InvalidEvent, Page, Range
from kpiggybank.interfaces import (
    EventNotFound,
    IChangeNotifier,
    IDisposable,
    IEventBank,
    IWritesInGroups,
    StoreUnavailable,
)
from kpiggybank.mint import Mint
from kpiggybank.stores.couchdb.history import History, open_history
from kpiggybank.stores.couchdb.listener import Superseded
from kpiggybank.stores.couchdb.reading import count, find, read
from kpiggybank.stores.couchdb.server import Refused, Server
from kpiggybank.stores.couchdb.setup import prepare
from kpiggybank.stores.couchdb.writing import Append, write
from kpiggybank.stores.group_commit import GroupCommit
from kpiggybank.tally import Histogram

#: Reads under way at once; further ones wait for their turn.
READS_AT_ONCE = 32

_TOO_LARGE = 413
#: The statuses of a request that has something wrong in it.
_UNFIT = (400, _TOO_LARGE)

T = TypeVar("T")
_Question = Callable[[History], Coroutine[Deferred[Any], Any, T]]
_pause = backoffPolicy(initialDelay=0.2, maxDelay=5.0, factor=1.5)


def _nobody() -> None:
    """Stands for a bell that nobody hears."""


@implementer(IEventBank, IChangeNotifier, IWritesInGroups, IDisposable)
@attrs.define(eq=False)
class CouchDBStore:
    """Keeps events in one database of a CouchDB 3, on one node or many.

    An append is answered after CouchDB confirmed each document of it (201). Appends of one reactor
    turn, and those that arrive while CouchDB is busy, share a request. Any number of stores, in as
    many processes, may share a database; each hears of what the others write.

    Args:
        reactor: for connections and time limits.
        server: where the database is.
    """

    _reactor: Any
    _server: Server
    _told: Callable[[], None] = attrs.field(default=_nobody, init=False)
    _history: History | None = attrs.field(default=None, init=False)
    _opening: Deferred[None] | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _stamp: Mint = attrs.field(factory=Mint, init=False)
    _turns: DeferredSemaphore = attrs.field(init=False)
    _appends: GroupCommit[Append] = attrs.field(init=False)

    _log: ClassVar[Logger] = Logger()

    def __attrs_post_init__(self) -> None:
        self._turns = DeferredSemaphore(READS_AT_ONCE)
        self._appends = GroupCommit(
            lambda group: Deferred.fromCoroutine(self._write(group)),
            self._reactor,
            lambda append: append.weight,
        )

    def describe(self) -> str:
        """The kind of store and the database's URL."""
        return f"couchdb, {self._server.url}"

    def group_sizes(self) -> Histogram:
        """See `IWritesInGroups.group_sizes`."""
        return self._appends.sizes

    def notify(self, ring: Callable[[], None]) -> None:
        """See `IChangeNotifier.notify`."""
        self._told = ring

    def open(self) -> Deferred[None]:
        """See `IEventStore.open`."""
        self._opening = Deferred.fromCoroutine(self._open())
        return self._opening

    async def _open(self) -> None:
        attempts = 0
        try:
            while True:
                try:
                    return await self._begin(await prepare(self._server))
                except Refused:
                    raise
                except Superseded:
                    return  # the database was made anew while we began, and so did we
                except StoreUnavailable as error:
                    if attempts == 0:
                        self._log.warn(
                            "waiting for CouchDB: {reason} (DB_BACKEND=sqlite needs no server)",
                            reason=str(error),
                        )
                attempts += 1
                await deferLater(self._reactor, _pause(attempts))
        finally:
            if self._history is None:
                await self._server.close()

    async def _begin(self, life: str) -> None:
        self._history = await open_history(
            self._reactor, self._server, life, self._told, lambda: self._check(life)
        )

    async def _check(self, known: str) -> None:
        """Make sure that all is there that we need, and that the database's life is as known."""
        life = await prepare(self._server)
        if life != known:
            self._log.warn("the database was deleted and made anew; old cursors are refused")
            await self._begin(life)
            raise Superseded

    def close(self) -> Deferred[None]:
        """See `IEventStore.close`."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        await self._appends.drained()
        if self._history is not None:
            self._history.close()
        await self._server.close()

    def destroy(self) -> Deferred[None]:
        """See `IDisposable.destroy`: deletes the database."""
        return Deferred.fromCoroutine(self._destroy())

    async def _destroy(self) -> None:
        try:
            await self._server.ask("DELETE", "", object, expected=(200, 202, 404))
        finally:
            await self._server.close()

    def append(self, events: Sequence[Event], absent: Sequence[str] = ()) -> Deferred[None]:
        """See `IEventStore.append`; fails with `StoreUnavailable` after the total time limit."""
        try:
            self._open_history()
            append = Append.of(events, absent, self._stamp)
        except (StoreUnavailable, InvalidEvent):
            return fail()
        stored = self._appends.submit(append)
        return self._in_time(stored)

    def read(self, span: Range, page: Page) -> Deferred[EventPage]:
        """See `IEventStore.read`."""
        return self._in_turn(lambda history: read(self._server, history.places, span, page))

    def get(self, id: str) -> Deferred[Event]:
        """See `IEventStore.get`."""
        return self._in_turn(lambda _: self._get(id))

    async def _get(self, id: str) -> Event:
        found = (await find(self._server, [id])).get(id)
        if found is None:
            raise EventNotFound("there is no event of that id")
        return found.event

    def count(self, span: Range) -> Deferred[int]:
        """See `IEventStore.count`."""
        return self._in_turn(lambda _: count(self._server, span))

    def changes(self, since: str, limit: int) -> Deferred[Sequence[Change]]:
        """See `IChangeHistory.changes`."""
        return self._of_history(lambda history: history.changes(since, limit))

    def first(self) -> Deferred[str]:
        """See `IChangeHistory.first`."""
        return execute(lambda: self._open_history().first())

    def last(self) -> Deferred[str]:
        """See `IChangeHistory.last`."""
        return self._of_history(lambda history: history.last())

    def pending(self, since: str) -> Deferred[int]:
        """See `IChangeHistory.pending`."""
        return self._of_history(lambda history: history.pending(since))

    def _open_history(self) -> History:
        if self._history is None or self._closed:
            raise StoreUnavailable("the store is not open")
        return self._history

    def _of_history(self, ask: _Question[T]) -> Deferred[T]:
        try:
            history = self._open_history()
        except StoreUnavailable:
            return fail()
        return self._in_time(Deferred.fromCoroutine(ask(history)))

    def _in_turn(self, ask: _Question[T]) -> Deferred[T]:
        return self._of_history(lambda history: self._take_turn(ask, history))

    async def _take_turn(self, ask: _Question[T], history: History) -> T:
        await self._turns.acquire()
        try:
            return await ask(history)
        finally:
            # Not at once: a thousand that have nothing to wait for would be as many calls deep.
            self._reactor.callLater(0, self._turns.release)

    def _in_time(self, work: Deferred[T]) -> Deferred[T]:
        # All requests of one question together, and the wait for a turn.
        return work.addTimeout(self._server.patience, self._reactor, _not_done)

    async def _write(self, group: Sequence[Append]) -> list[Failure | None]:
        history = self._history
        assert history is not None  # or nothing could have been appended
        try:
            outcomes, ids = await write(self._server, group, history.announce)
        except Refused as error:
            if error.status not in _UNFIT:
                raise
            if len(group) > 1:
                # One of them may be what CouchDB does not take; that is nobody else's trouble.
                return [(await self._write([append]))[0] for append in group]
            if error.status == _TOO_LARGE:
                return [Failure(InvalidEvent("an event is larger than this CouchDB takes"))]
            return [Failure(error)]
        history.stored(ids)
        return outcomes


def _not_done(result: object, seconds: float) -> NoReturn:
    raise StoreUnavailable(f"CouchDB was not done within {seconds:g} s")
