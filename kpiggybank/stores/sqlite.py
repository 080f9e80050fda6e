"""The embedded durable store: one SQLite file, for one daemon on one machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Sequence as Seq
from contextlib import suppress
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore, fail, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from kpiggybank.events import Change, Event, EventPage, Page, Range
from kpiggybank.interfaces import IDisposable, IEventBank, StoreUnavailable
from kpiggybank.shield import shield
from kpiggybank.stores.group_commit import GroupCommit
from kpiggybank.stores.ring import Ring
from kpiggybank.stores.sqlite_file import Append, DatabaseFile, Written
from kpiggybank.stores.sqlite_opening import open_file

#: How many reads go on at a time, each in a thread and with a connection of its own.
READERS = 3

T = TypeVar("T")


@implementer(IEventBank, IDisposable)
@attrs.define(eq=False)
class SQLiteStore:
    """Keeps events in a SQLite file, through one thread that writes and a few that read.

    An append is answered after its transaction was synced to the disk (WAL, `synchronous=FULL`).
    Appends of one reactor turn, and those that arrive while the disk is busy, share a transaction.

    The newest changes are also in memory, for followers: all of them are written here.

    Args:
        reactor: provides `IReactorTime` and `IReactorFromThreads`.
        path: the file; made, like its folder, where it is missing. What it is relative to is the
            working folder when it is opened: a daemon may move between being made and started.
    """

    _reactor: Any
    _path: str
    _file: DatabaseFile | None = None
    _ring: Ring = attrs.field(init=False)
    _closed: bool = False
    _writing: ThreadPool = attrs.field(factory=lambda: ThreadPool(1, 1, "kpiggybank write"))
    _reading: ThreadPool = attrs.field(factory=lambda: ThreadPool(0, READERS, "kpiggybank read"))
    _turns: DeferredSemaphore = attrs.field(factory=lambda: DeferredSemaphore(READERS))
    _appends: GroupCommit[Append] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._appends = GroupCommit(self._write, self._reactor)

    def _write(self, group: Seq[Append]) -> Deferred[Seq[Failure | None]]:
        return self._in_writer(lambda file: file.write(group)).addCallback(self._written)

    def _written(self, written: Written) -> Seq[Failure | None]:
        for change in written.changes:
            self._ring.add(change)
        return written.outcomes

    def describe(self) -> str:
        """The kind of store and its file."""
        return f"sqlite, {self._path}"

    def open(self) -> Deferred[None]:
        """See `IEventStore.open`."""
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        self._path = os.path.abspath(self._path)
        self._writing.start()
        self._reading.start()
        try:
            self._file = await self._in_thread(self._writing, lambda: open_file(self._path))
            self._ring = Ring(self._file.head)
        finally:
            if self._file is None:
                self._stop_threads()

    def close(self) -> Deferred[None]:
        """See `IEventStore.close`."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._closed or self._file is None:
            return
        self._closed = True
        await self._appends.drained()
        for _ in range(READERS):
            await self._turns.acquire()
        try:
            await self._in_writer(lambda file: file.close())
        finally:
            self._stop_threads()

    def destroy(self) -> Deferred[None]:
        """See `IDisposable.destroy`."""
        return self._in_thread(self._reactor.getThreadPool(), self._delete)

    def append(self, events: Seq[Event], absent: Seq[str] = ()) -> Deferred[None]:
        """See `IEventStore.append`."""
        if not self._usable:
            return fail(_not_open())
        return self._appends.submit(Append(events, absent))

    def read(self, span: Range, page: Page) -> Deferred[EventPage]:
        """See `IEventStore.read`."""
        return self._in_reader(lambda file: file.read(span, page))

    def get(self, id: str) -> Deferred[Event]:
        """See `IEventStore.get`."""
        return self._in_reader(lambda file: file.get(id))

    def count(self, span: Range) -> Deferred[int]:
        """See `IEventStore.count`."""
        return self._in_reader(lambda file: file.count(span))

    def changes(self, since: str, limit: int) -> Deferred[Seq[Change]]:
        """See `IChangeHistory.changes`."""
        found = self._ring.since(since, limit) if self._usable else None
        if found is not None:
            return succeed(found)
        return self._in_reader(lambda file: file.changes(since, limit))

    def first(self) -> Deferred[str]:
        """See `IChangeHistory.first`."""
        return self._in_reader(lambda file: file.first())

    def last(self) -> Deferred[str]:
        """See `IChangeHistory.last`."""
        return succeed(self._ring.head) if self._usable else fail(_not_open())

    def pending(self, since: str) -> Deferred[int]:
        """See `IChangeHistory.pending`."""
        return self._in_reader(lambda file: file.pending(since))

    @property
    def _usable(self) -> bool:
        return self._file is not None and not self._closed

    def _in_reader(self, ask: Callable[[DatabaseFile], T]) -> Deferred[T]:
        if not self._usable:
            return fail(_not_open())
        # Shielded: a thread cannot be cancelled, and its turn lasts until it has ended.
        return shield(self._turns.run(lambda: self._in_thread(self._reading, ask, self._file)))

    def _in_writer(self, work: Callable[[DatabaseFile], T]) -> Deferred[T]:
        return self._in_thread(self._writing, work, self._file)

    def _in_thread(self, pool: ThreadPool, work: Callable[..., T], *args: object) -> Deferred[T]:
        return deferToThreadPool(self._reactor, pool, work, *args)

    def _stop_threads(self) -> None:
        # All of them are idle, so this does not wait.
        self._writing.stop()
        self._reading.stop()

    def _delete(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(self._path + suffix)


def _not_open() -> StoreUnavailable:
    return StoreUnavailable("the store is not open")
