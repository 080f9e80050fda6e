"""The SQLite file itself. Everything here blocks: it is called in the threads of `SQLiteStore`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from contextlib import ExitStack, closing, contextmanager, suppress

import apsw
import attrs
import msgspec
from twisted.python.failure import Failure

from kpiggybank.events import Change, Event, EventPage, EventText, Page, Range, same_value
from kpiggybank.interfaces import (
    EventNotFound,
    IdConflict,
    StoreBroken,
    StoreDamaged,
    StoreError,
)
from kpiggybank.mint import is_minted
from kpiggybank.stores.bounds import piece_of
from kpiggybank.stores.sequence import Sequence
from kpiggybank.stores.sqlite import ranges, rows
from kpiggybank.stores.sqlite.connections import ReadingConnections
from kpiggybank.stores.sqlite.errors import driver_errors
from kpiggybank.stores.sqlite.recent import Recent

#: Ids that are looked at in search of the greatest that was minted; others among them are keys.
_IDS_LOOKED_AT = 1000

#: How often the log's new frames are looked after in a checkpoint, and how few of them are little.
_PASSES, _FEW_FRAMES = 6, 400

#: Frames of a log that began anew too long ago; 48 MiB.
LONG_LOG_FRAMES = 12_000
#: How long commits wait until those who read are out.
GATE_SECONDS = 0.5
#: What of a longer log is cut off when it begins anew, in bytes.
LOG_BYTES = 32 * 2**20

_MERGE = "write its log to the database"


class Append(msgspec.Struct, frozen=True):
    """The arguments of one `IEventStore.append`."""

    events: Seq[Event]
    absent: Seq[str]


class Written(msgspec.Struct, frozen=True):
    """What became of a group of appends.

    Attributes:
        outcomes: the failure of each append, if any.
        events: all that is new, in order.
    """

    outcomes: Seq[Failure | None]
    events: Seq[Event]


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
    log_frames: int = 0
    _broken: StoreError | None = None
    _readers: ReadingConnections = attrs.field(init=False)
    _place: os.stat_result = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Instead of SQLite's own hook, which would now and then write the log's content to the
        # database within a commit, while everybody waits: see `checkpoint`.
        self._writer.set_wal_hook(self._committed)
        self._readers = ReadingConnections(self._path)
        self._place = os.fstat(self._lock)

    def _committed(self, connection: apsw.Connection, schema: str, frames: int) -> int:
        self.log_frames = frames
        return apsw.SQLITE_OK

    def close(self) -> None:
        """Merge the write-ahead log into the file and let go of it; nobody may be reading."""
        with driver_errors(f"close {self._path}"):
            self._readers.close()
            self._writer.close()
        # Last: closing any descriptor of the file drops the locks SQLite holds on it.
        os.close(self._lock)

    def abandon(self) -> None:
        """Let go of the file as it is: its log stays beside it, for the next to open it."""
        self._writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self.close()

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
        self._look_after_file()
        events: list[Event] = []
        newest = self._newest
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            outcomes = self._insert_all(group, events)
            self._writer.execute("COMMIT")
        except BaseException:
            self._newest = newest
            with suppress(apsw.Error):  # there may be nothing left to undo
                self._writer.execute("ROLLBACK")
            raise
        if self._broken is not None:  # a checkpoint has found out while this was written
            raise self._broken
        return Written(outcomes, events)

    def _look_after_file(self) -> None:
        """Make sure that what is written can be found: people may have moved the file away."""
        try:
            there = os.path.samestat(os.stat(self._path), self._place)
        except OSError:
            there = False
        if not there:
            raise StoreBroken(f"{self._path} was removed or replaced while it was in use")

    def _insert_all(self, group: Seq[Append], events: list[Event]) -> Seq[Failure | None]:
        """Insert all as one list, or each append by itself where there is more to say of one."""
        if not any(append.absent for append in group):
            together = [event for append in group for event in append.events]
            try:
                rows.insert(self._writer, self._newest + 1, together)
            except apsw.ConstraintError:
                self._writer.execute("ROLLBACK; BEGIN IMMEDIATE")
            else:
                self._newest += len(together)
                events += together
                return [None] * len(group)
        return [self._insert(append, events) for append in group]

    def _insert(self, append: Append, events: list[Event]) -> Failure | None:
        if append.absent and self._there(append.absent):
            return Failure(IdConflict("the key came with other events before"))
        try:
            rows.insert_whole(self._writer, self._newest + 1, append.events)
        except apsw.ConstraintError:
            # An id is taken. That is rare, so it is not asked beforehand.
            return self._repeat(append.events)
        self._newest += len(append.events)
        events += append.events
        return None

    def _repeat(self, events: Seq[Event]) -> Failure | None:
        try:
            there = self._there([event.id for event in events])
        except StoreDamaged as error:
            return Failure(error)
        # The file is written all or nothing: a list of which only a part is there is another list.
        if len(there) == len(events) and all(
            same_value(there[event.id].json, event.json) for event in events
        ):
            return None
        return Failure(IdConflict("the id is taken by another event"))

    def _there(self, ids: Seq[str]) -> dict[str, Event]:
        """Which of these ids are taken, and by which event."""
        questions = [("id = ?", (id,)) for id in ids]
        events = map(rows.event_of, rows.ask(self._writer, *questions))
        return {event.id: event for event in events}

    def checkpoint(self) -> None:
        """Write what is in the log to the database, beside the commits that go on meanwhile.

        What these bring is written in turn, until little is left for `rewind`. SQLite leaves the
        sync of the database to the end, when all commits wait for it; so that of the most is done
        before. Where commits bring little, it is left to the end: each sync delays some of them.
        """
        with self._for_good(_MERGE), self._readers.one(_MERGE) as connection:
            for _ in range(_PASSES):
                _, written = connection.wal_checkpoint()
                if self.log_frames - written < _FEW_FRAMES:
                    break
                self._sync()

    def _sync(self) -> None:
        try:
            os.fsync(self._lock)
        except OSError as error:
            raise StoreBroken(f"{self._path} did not sync: {error}; see the disk's log") from error

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
            self._writer.wal_checkpoint()

    @contextmanager
    def _for_good(self, doing: str) -> Iterator[None]:
        """Remember errors after which nothing may be acknowledged any more."""
        try:
            with driver_errors(doing):
                yield
        except (StoreBroken, StoreDamaged) as error:
            self._broken = error
            raise

    def read(self, span: Range, page: Page) -> EventPage:
        """See `IEventStore.read`."""
        with self._readers.one() as connection:
            return ranges.read(connection, self._sequence, span, page)

    def copy(self, span: Range, page: Page, comma: bytes) -> EventText:
        """See `IRangeCopier.copy`."""
        with self._readers.one() as connection:
            return ranges.copy(connection, self._sequence, span, page, comma)

    def get(self, id: str) -> Event:
        """See `IEventStore.get`."""
        with self._readers.one() as connection:
            for row in list(rows.ask(connection, ("id = ?", (id,)))):
                return rows.event_of(row)
        raise EventNotFound("there is no event of that id")

    def count(self, span: Range) -> int:
        """See `IEventStore.count`."""
        with self._readers.one() as connection:
            count: int = connection.execute(
                "SELECT count(*) FROM event WHERE timestamp BETWEEN ? AND ?", ranges.bounds(span)
            ).get
        return count

    @property
    def total(self) -> int:
        """How many events there are."""
        return self._newest - self._removed

    def greatest_minted(self, below: str) -> str | None:
        """See `IRemembersIds.greatest_minted`."""
        with self._readers.one() as connection:
            ids = connection.execute(
                "SELECT id FROM event WHERE id < ? ORDER BY id DESC LIMIT ?",
                (below, _IDS_LOOKED_AT),
            )
            return next(filter(is_minted, (str(id) for (id,) in ids.fetchall())), None)

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
