"""The SQLite file itself. Everything here blocks: it is called in the threads of `SQLiteStore`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from contextlib import ExitStack, closing, contextmanager, suppress

import apsw
import attrs
from twisted.logger import Logger

from kpiggybank.events import Change, Event, EventPage, EventText, Page, Range
from kpiggybank.interfaces import (
    EventNotFound,
    StoreBroken,
    StoreDamaged,
    StoreError,
    StoreFull,
)
from kpiggybank.stores.bounds import piece_of
from kpiggybank.stores.sequence import Sequence
from kpiggybank.stores.sqlite import ranges, rows
from kpiggybank.stores.sqlite.ahead import LARGE_PAGES, Ahead
from kpiggybank.stores.sqlite.connections import ReadingConnections, is_whole
from kpiggybank.stores.sqlite.errors import DriverErrors
from kpiggybank.stores.sqlite.insertion import Append, Insertion, Written
from kpiggybank.stores.sqlite.place import Place
from kpiggybank.stores.sqlite.recent import Recent
from kpiggybank.stores.sqlite.room import has_room, pages_of
from kpiggybank.stores.sqlite.wal import frames_end, log_of, log_size

#: How often the log's new frames are looked after in a checkpoint, and how few of them are little.
_PASSES, _FEW_FRAMES = 6, 400

#: Frames of a log that began anew too long ago; 48 MiB.
LONG_LOG_FRAMES = 12_000
#: How long commits wait until those who read are out.
GATE_SECONDS = 0.5
#: What of a longer log is cut off when it begins anew, in bytes.
LOG_BYTES = 32 * 2**20

_MERGE = "write its log to the database"

_log = Logger()


@attrs.define(eq=False)
class DatabaseFile:
    """An open database, locked against other processes. One thread writes, any may read.

    Make it with `opening.open_file`.
    """

    _path: str
    _lock: int
    _writer: apsw.Connection
    _sequence: Sequence
    _newest: int
    _removed: int
    #: Frames in the write-ahead log after the last commit.
    log_frames: int = attrs.field(init=False)
    #: How many of them are in the database, as far as is known.
    _merged: int = attrs.field(init=False)
    _broken: StoreError | None = None
    _readers: ReadingConnections = attrs.field(init=False)
    _copier: ranges.Copier = attrs.field(init=False)
    _place: Place = attrs.field(init=False)
    _ahead: Ahead = attrs.field(init=False)
    _page_size: int = attrs.field(init=False)
    #: Of the file, in bytes.
    _size: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Instead of SQLite's own hook, which would now and then write the log's content to the
        # database within a commit, while everybody waits: see `checkpoint`.
        self._writer.set_wal_hook(self._committed)
        self.log_frames, self._merged = self._writer.wal_checkpoint(
            mode=apsw.SQLITE_CHECKPOINT_NOOP
        )
        self._readers = ReadingConnections(self._path)
        self._copier = ranges.Copier(self._sequence)
        self._place = Place(self._path, self._lock)
        self._ahead = Ahead(self._writer, self._path)
        self._page_size = int(self._writer.pragma("page_size"))
        self._size, _ = self._place.look()

    def _committed(self, connection: apsw.Connection, schema: str, frames: int) -> int:
        self.log_frames = frames
        return apsw.SQLITE_OK

    def close(self) -> None:
        """Merge the write-ahead log into the file and let go of it; nobody may be reading.

        The log stays where somebody else uses the file, or there is no room for its content.

        Raises:
            StoreBroken: what is in the file, or in its log, may not be all.
        """
        try:
            with DriverErrors(f"close {self._path}"):
                self._look_after_files()
                self._readers.close()
                self._writer.set_busy_timeout(0)
                with suppress(apsw.BusyError, apsw.FullError):
                    # It tells the next one that nothing was left in a log: see `closed_in_order`.
                    self._writer.pragma("journal_mode", "delete")
        except StoreError:
            self.abandon()
            raise
        self._release()
        if log_size(self._path):
            _log.warn("{log} stays, as the newest events are there", log=log_of(self._path))

    def abandon(self) -> None:
        """Let go of the file as it is: its log stays beside it, for the next to open it.

        Unless they are not together any more: see `reunite`.
        """
        self.reunite()
        self._place.forget()
        self._writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._release()

    def reunite(self) -> None:
        """Write the log to the file, wherever that is, if they have been parted.

        Both are open yet, and their content is lost when they are closed.
        """
        if self._place.lost and self._place.has_name:
            with suppress(apsw.Error):
                self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _release(self) -> None:
        with DriverErrors(f"close {self._path}"):
            self._readers.close()
            self._writer.close()
        self._ahead.close()
        # Last: closing any descriptor of the file drops the locks SQLite holds on it.
        os.close(self._lock)

    def write(self, group: Seq[Append]) -> Written:
        """Write a group of appends in one synced transaction.

        Raises:
            StoreUnavailable: none of them may be acknowledged.
            StoreBroken, StoreDamaged: nor may anything that comes later.
        """
        try:
            return self._write(group)
        except Exception:
            with self._for_good("write"):  # only now: to enter it costs as much as a row
                raise

    def _write(self, group: Seq[Append]) -> Written:
        self._look_after_files()
        pages = pages_of(group, self._page_size)
        self._make_room(2 * pages)  # in the log, and in the database
        insertion = Insertion(self._writer, self._newest)
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            outcomes = insertion.insert(group)
            if pages > LARGE_PAGES:
                # Where all of the log has been merged, it has begun anew.
                self._ahead.send(0 if self.log_frames == self._merged else self.log_frames)
            self._writer.execute("COMMIT")
        except BaseException:
            with suppress(apsw.Error):  # there may be nothing left to undo
                self._writer.execute("ROLLBACK")
            raise
        self._newest = insertion.newest
        if self._broken is not None:  # a checkpoint has found out while this was written
            raise self._broken
        return Written(outcomes, insertion.events)

    def _make_room(self, pages: int) -> None:
        """Write the log to the database where the disk has little room but for its content."""
        if self._has_room(pages):
            return
        with suppress(apsw.BusyError):  # the other thread is at it
            _, self._merged = self._writer.wal_checkpoint()
        if not self._has_room(pages):
            raise StoreFull(f"there is too little room on the disk of {self._path}; make room")

    def _has_room(self, pages: int) -> bool:
        begun_anew = self.log_frames < self._merged
        pages += self.log_frames - (0 if begun_anew else self._merged)
        return has_room(self._lock, pages * self._page_size)

    def _look_after_files(self) -> None:
        """Make sure that what is written can be found: people may have moved a file, or cut it."""
        size, log_size = self._place.look()
        # Others may have made it smaller, by VACUUM; and what came after that is in the log yet.
        smaller = size < self._size and size < self._writer.pragma("page_count") * self._page_size
        if smaller and not (size and is_whole(self._writer)):
            raise StoreBroken(f"{self._path} was cut short while it was in use")
        self._size = size
        if self._is_cut(log_size):
            # Others may have written it to the database, and begun it anew.
            self.log_frames, _ = self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
            if self._is_cut(log_size):
                raise StoreBroken(f"{log_of(self._path)} was cut short while it was in use")

    def _is_cut(self, log_size: int) -> bool:
        return self.log_frames > 0 and log_size < frames_end(self.log_frames, self._page_size)

    def checkpoint(self) -> None:
        """Write what is in the log to the database, beside the commits that go on meanwhile.

        What these bring is written in turn, until little is left for `rewind`. SQLite leaves the
        sync of the database to the end, when all commits wait for it; so whatever is more than a
        little is synced here.
        """
        with self._for_good(_MERGE), self._readers.one(_MERGE) as connection:
            before = 0
            for _ in range(_PASSES):
                _, self._merged = connection.wal_checkpoint()
                if self._merged - before >= _FEW_FRAMES:
                    self._sync()
                if self.log_frames - self._merged < _FEW_FRAMES:
                    break
                before = self._merged

    def _sync(self) -> None:
        try:
            os.fsync(self._lock)
        except OSError as error:
            how = f"did not sync: {error}; see the disk's log, then start again"
            raise StoreBroken(f"{self._path} {how}") from error

    def rewind(self) -> None:
        """Write the rest of the log to the database, so that the next commit begins the log anew.

        While commits go on, `checkpoint` never reaches the log's end. After it there is little to
        do, so this is called between two commits, which wait for it.

        As long as somebody still reads from the log, it goes on instead, and reads may overlap
        without end. Where it has grown long by that, they are held up for a moment.
        """
        with ExitStack() as stack, self._for_good(_MERGE):
            if self.log_frames > LONG_LOG_FRAMES:
                stack.enter_context(self._readers.gate.shut(GATE_SECONDS))
            _, self._merged = self._writer.wal_checkpoint()

    @contextmanager
    def _for_good(self, doing: str) -> Iterator[None]:
        """Remember errors after which nothing may be acknowledged any more."""
        try:
            with DriverErrors(doing):
                yield
        except (StoreBroken, StoreDamaged) as error:
            self._broken = error
            self._place.forget()  # before anybody hears of it, and may end this process
            raise

    def read(self, span: Range, page: Page) -> EventPage:
        """See `IEventStore.read`.

        Raises:
            StoreBroken: the file, or its log, was taken away; they who look after the daemon's
                health read, so it is found though nobody writes.
        """
        self._place.look()
        with self._readers.one() as connection:
            return ranges.read(connection, self._sequence, span, page)

    def copy(self, span: Range, page: Page, comma: bytes) -> EventText:
        """See `IRangeCopier.copy`."""
        with self._readers.one() as connection:
            return self._copier.copy(connection, span, page, comma)

    def get(self, id: str) -> Event:
        """See `IEventStore.get`."""
        with self._readers.one() as connection:
            for row in list(rows.ask(connection, ("id = ?", (id,)))):
                return rows.event_of(row)
        raise EventNotFound("there is no event of that id")

    def count(self, span: Range, most: int = -1) -> int:
        """How many events a range holds; counting ends at `most`, unless that is negative."""
        with self._readers.one() as connection:
            return ranges.count(connection, span, most)

    @property
    def total(self) -> int:
        """How many events there are."""
        return self._newest - self._removed

    def greatest_minted(self, below: str) -> str | None:
        """See `IRemembersIds.greatest_minted`."""
        with self._readers.one() as connection:
            return rows.greatest_minted(connection, below)

    def changes(self, since: str, limit: int) -> Seq[Change]:
        """See `IChangeHistory.changes`."""
        with self._readers.one() as connection:
            number = self._sequence.number(since, rows.greatest(connection))
            later = (f"seq > ? ORDER BY seq LIMIT {limit:d}", (number,))
            with closing(rows.ask(connection, later)) as found:
                return piece_of(map(self._change, found), limit)

    def _change(self, row: rows.Row) -> Change:
        return Change(self._sequence.cursor(row[0]), rows.event_of(row))

    def pending(self, since: str) -> int:
        """See `IChangeHistory.pending`."""
        with self._readers.one() as connection:
            newest = rows.greatest(connection)
        return newest - self._sequence.number(since, newest)

    def first(self) -> str:
        """See `IChangeHistory.first`."""
        return self._sequence.cursor(0)

    @property
    def recent(self) -> Recent:
        """Where events go on from here."""
        return Recent(self._sequence, self._newest)
