"""The store itself: what of it is done in which thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Sequence as Seq
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kpiggybank.events import Change, Columns, Event, EventPage, EventText, Page, Range
from kpiggybank.interfaces import (
    IBreakable,
    IDisposable,
    IEventBank,
    IHasDisk,
    IRangeCopier,
    IRemembersIds,
    IWritesInGroups,
    Space,
    StoreBroken,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
)
from kpiggybank.stores.group_commit import GroupCommit
from kpiggybank.stores.sqlite.file import DatabaseFile
from kpiggybank.stores.sqlite.insertion import Append, Written
from kpiggybank.stores.sqlite.opening import open_file
from kpiggybank.stores.sqlite.recent import Recent
from kpiggybank.stores.sqlite.space import space_of
from kpiggybank.stores.sqlite.threads import Threads
from kpiggybank.stores.sqlite.workers import Workers
from kpiggybank.tally import Histogram

#: Frames (pages of 4 KiB) in the write-ahead log after which they are written to the database.
CHECKPOINT_FRAMES = 4000

#: Events in a transaction at the most, unless they came in one request: while the disk syncs those
#: of some requests, those of others can be read and written; and the pages of so many fit into
#: SQLite's own memory.
EVENTS_TOGETHER = 2000

#: Of a range with fewer events, the count is as quick as any small read.
FEW_EVENTS = 10_000

T = TypeVar("T")


def _weight(append: Append) -> float:
    return len(append.events) / EVENTS_TOGETHER


def _nobody_asked(error: StoreError) -> None:
    """Stands for who wants to know that the store is broken."""


@implementer(
    IEventBank, IRangeCopier, IRemembersIds, IHasDisk, IWritesInGroups, IBreakable, IDisposable
)
@attrs.define(eq=False)
class SQLiteStore:
    """Keeps events in a SQLite file, through one thread that writes and a few that read.

    An append is answered after its transaction was synced to the disk (WAL, `synchronous=FULL`).
    Appends of one reactor turn, and those that arrive while the disk is busy, share a transaction.
    The log's content goes to the database beside the commits, in a thread of its own that does not
    stand back behind anybody: where it does, a busy core lets the log grow without end.

    The newest events are also in memory, for followers: all of them are written here. So is the
    number of events.

    Args:
        reactor: provides `IReactorTime` and `IReactorFromThreads`.
        path: the file; made, like its folder, where it is missing. What it is relative to is the
            working folder when it is opened: a daemon may move between being made and started.
    """

    _reactor: Any
    _path: str
    _file: DatabaseFile | None = None
    _recent: Recent = attrs.field(init=False)
    _total: int = attrs.field(default=0, init=False)
    _closed: bool = False
    #: Whether the log is being written to the database, up to which of its frames it has been, and
    #: why it was not the last time.
    _merging: bool = attrs.field(default=False, init=False)
    _merged: int = attrs.field(default=0, init=False)
    _trouble: str | None = attrs.field(default=None, init=False)
    #: Why nothing is done any more, and who wants to know.
    _fault: StoreError | None = attrs.field(default=None, init=False)
    _tell_fault: Callable[[StoreError], None] = attrs.field(default=_nobody_asked, init=False)
    _threads: Threads = attrs.field(init=False)
    _appends: GroupCommit[Append] = attrs.field(init=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._threads = Threads(self._reactor)
        self._appends = GroupCommit(self._write, self._reactor, _weight)

    def describe(self) -> str:
        """The kind of store and its file."""
        return f"sqlite, {self._path}"

    def open(self) -> Deferred[None]:
        """See `IEventStore.open`."""
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        self._path = os.path.abspath(self._path)
        self._threads.start()
        try:
            self._file = await self._threads.writer.do(lambda: open_file(self._path))
            self._recent, self._total = self._file.recent, self._file.total
        finally:
            if self._file is None:
                await self._threads.stop_all_but_the_writer()
                await self._threads.writer.stop()

    def close(self) -> Deferred[None]:
        """See `IEventStore.close`."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._closed or self._file is None:
            return
        self._closed = True
        await self._appends.drained()
        await self._threads.stop_all_but_the_writer()
        try:
            if self._fault is None:
                closed = self._in_writer(lambda file: file.close())
                await closed.addErrback(self._failed).addErrback(self._not_merged)
            else:
                await self._in_writer(lambda file: file.abandon())
        finally:
            await self._threads.writer.stop()

    def destroy(self) -> Deferred[None]:
        """See `IDisposable.destroy`."""
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._delete)

    def when_broken(self, tell: Callable[[StoreError], None]) -> None:
        """See `IBreakable.when_broken`."""
        self._tell_fault = tell

    def append(self, events: Seq[Event], absent: Seq[str] = ()) -> Deferred[None]:
        """See `IEventStore.append`."""
        if not self._usable:
            return fail(self._refusal)
        return self._appends.submit(Append(Columns.of(events), absent))

    def _write(self, group: Seq[Append]) -> Deferred[Seq[Failure | None]]:
        if self._fault is not None:
            return fail(self._fault)
        written = self._in_writer(lambda file: file.write(group))
        return written.addCallbacks(self._written, self._failed)

    def _written(self, written: Written) -> Seq[Failure | None]:
        for events in written.events:
            self._total += len(events)
            self._recent.extend(events)
        self._merge()
        return written.outcomes

    def _merge(self) -> None:
        """Begin to write the log to the database, if it has grown long."""
        frames = self._the_file.log_frames
        if frames < self._merged:
            self._merged = 0  # the log has begun anew
        if self._merging or not self._usable or frames - self._merged < CHECKPOINT_FRAMES:
            return
        self._merging, self._merged = True, frames
        merged = self._threads.merger.do(self._the_file.checkpoint).addCallback(self._rewind)
        merged.addErrback(self._failed).addCallbacks(self._end_merging, self._not_merged)

    def _rewind(self, _: None) -> Deferred[None]:
        return self._in_writer(lambda file: file.rewind()) if self._usable else succeed(None)

    def _not_merged(self, failure: Failure) -> None:
        # All is safe in the log. It is tried again when that has grown as much once more, or at the
        # next start.
        self._merging, self._trouble = False, failure.getErrorMessage()
        self._log.warn("{reason}", reason=self._trouble)

    def _end_merging(self, _: None) -> None:
        self._merging, self._trouble = False, None

    def _failed(self, failure: Failure) -> Failure:
        """Take note of a failure after which nothing may be acknowledged any more."""
        error = failure.value
        if self._fault is None and isinstance(error, StoreBroken | StoreDamaged):
            self._fault = error
            self._tell_fault(error)
            if not self._closed:
                # Now: until all requests are answered, somebody may kill the process.
                self._in_writer(lambda file: file.reunite())
        return failure

    def read(self, span: Range, page: Page) -> Deferred[EventPage]:
        """See `IEventStore.read`."""
        if page.where:
            return self._in_scanner(lambda file: file.read(span, page))
        return self._in_reader(lambda file: file.read(span, page))

    def copy(self, span: Range, page: Page, comma: bytes) -> Deferred[EventText]:
        """See `IRangeCopier.copy`."""
        return self._in_reader(lambda file: file.copy(span, page, comma))

    def get(self, id: str) -> Deferred[Event]:
        """See `IEventStore.get`."""
        return self._in_reader(lambda file: file.get(id))

    def count(self, span: Range) -> Deferred[int]:
        """See `IEventStore.count`."""
        if span == Range() and self._usable:
            return succeed(self._total)
        few = self._in_reader(lambda file: file.count(span, FEW_EVENTS))
        return few.addCallback(self._count_on, span)

    def _count_on(self, counted: int, span: Range) -> int | Deferred[int]:
        if counted < FEW_EVENTS:
            return counted
        return self._in_scanner(lambda file: file.count(span))

    def changes(self, since: str, limit: int) -> Deferred[Seq[Change]]:
        """See `IChangeHistory.changes`."""
        found = self._recent.since(since, limit) if self._usable else None
        if found is not None:
            return succeed(found)
        return self._in_reader(lambda file: file.changes(since, limit))

    def first(self) -> Deferred[str]:
        """See `IChangeHistory.first`."""
        return self._in_reader(lambda file: file.first())

    def last(self) -> Deferred[str]:
        """See `IChangeHistory.last`."""
        return succeed(self._recent.head) if self._usable else fail(self._refusal)

    def pending(self, since: str) -> Deferred[int]:
        """See `IChangeHistory.pending`."""
        return self._in_reader(lambda file: file.pending(since))

    def greatest_minted(self, below: str) -> Deferred[str | None]:
        """See `IRemembersIds.greatest_minted`."""
        return self._in_reader(lambda file: file.greatest_minted(below))

    def space(self) -> Deferred[Space]:
        """See `IHasDisk.space`."""
        return self._in_reader(lambda file: space_of(self._path, self._trouble))

    def group_sizes(self) -> Histogram:
        """See `IWritesInGroups.group_sizes`."""
        return self._appends.sizes

    @property
    def _usable(self) -> bool:
        return self._file is not None and not self._closed and self._fault is None

    @property
    def _refusal(self) -> StoreError:
        return self._fault or StoreUnavailable("the store is not open")

    @property
    def _the_file(self) -> DatabaseFile:
        assert self._file is not None, "the store is open"
        return self._file

    def _in_reader(self, ask: Callable[[DatabaseFile], T]) -> Deferred[T]:
        return self._read_in(self._threads.readers, ask)

    def _in_scanner(self, ask: Callable[[DatabaseFile], T]) -> Deferred[T]:
        return self._read_in(self._threads.scanners, ask)

    def _read_in(self, workers: Workers, ask: Callable[[DatabaseFile], T]) -> Deferred[T]:
        if not self._usable:
            return fail(self._refusal)
        return workers.do(partial(ask, self._the_file)).addErrback(self._not_read)

    def _not_read(self, failure: Failure) -> Failure:
        # Unlike where something is written, damage is no reason to stop: it may be of one event.
        return self._failed(failure) if failure.check(StoreBroken) else failure

    def _in_writer(self, work: Callable[[DatabaseFile], T]) -> Deferred[T]:
        return self._threads.writer.do(partial(work, self._the_file))

    def _delete(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(self._path + suffix)
