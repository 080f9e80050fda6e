"""The SQLite file itself. Everything here blocks: it is called in the threads of `SQLiteStore`."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from collections.abc import Sequence as Seq
from contextlib import closing, contextmanager, suppress
from math import inf
from typing import Any, cast

import apsw
import attrs
from twisted.python.failure import Failure

from kpiggybank.events import (
    Change,
    Event,
    EventPage,
    Number,
    Page,
    Range,
    exact_timestamp,
    same_value,
    sortable,
)
from kpiggybank.interfaces import EventNotFound, IdConflict, StoreUnavailable
from kpiggybank.stores.bounds import Basket, piece_of
from kpiggybank.stores.sequence import Sequence

_COLUMNS = "SELECT seq, id, timestamp, CAST(json AS BLOB) FROM event WHERE "
_INSERT = "INSERT INTO event (seq, id, timestamp, json) VALUES (?, ?, ?, ?)"
_GREATEST = 2**63 - 1

# A piece of a range begins within a timestamp (many events may share one) and goes on beyond it.
# Two questions, because SQLite answers `(timestamp, seq) > (?, ?)` by walking over all events of
# that timestamp, which makes paging through them quadratic.
_WITHIN = _COLUMNS + "timestamp = ? AND seq > ? ORDER BY seq"
_BEYOND = _COLUMNS + "timestamp > ? AND timestamp <= ? ORDER BY timestamp, seq"
_WITHIN_DESCENDING = _COLUMNS + "timestamp = ? AND seq < ? ORDER BY seq DESC"
_BEYOND_DESCENDING = _COLUMNS + "timestamp < ? AND timestamp >= ? ORDER BY timestamp DESC, seq DESC"

_Row = tuple[int, str, Number, bytes]


@attrs.frozen
class Append:
    """The arguments of one `IEventStore.append`."""

    events: Seq[Event]
    absent: Seq[str]


@attrs.frozen
class Written:
    """What became of a group of appends.

    Attributes:
        outcomes: the failure of each append, if any.
        changes: all that is new, in order.
    """

    outcomes: Seq[Failure | None]
    changes: Seq[Change]


@contextmanager
def driver_errors(doing: str) -> Iterator[None]:
    """Turn SQLite's errors into the store's own, at its border."""
    try:
        yield
    except apsw.Error as error:
        raise StoreUnavailable(f"SQLite cannot {doing}: {error}") from error


@attrs.define(eq=False)
class DatabaseFile:
    """An open database, locked against other processes. One thread writes, any may read.

    Make it with `sqlite_opening.open_file`.
    """

    _path: str
    _lock: int
    _writer: apsw.Connection
    _sequence: Sequence
    _newest: int
    #: Connections for reading that are not in use; only appended to and popped, which is atomic.
    _idle: list[apsw.Connection] = attrs.field(factory=list)

    def close(self) -> None:
        """Merge the write-ahead log into the file and let go of it; nobody may be reading."""
        with driver_errors(f"close {self._path}"):
            for connection in (*self._idle, self._writer):
                connection.close()
        # Last: closing any descriptor of the file drops the locks SQLite holds on it.
        os.close(self._lock)

    def write(self, group: Seq[Append]) -> Written:
        """Write a group of appends in one synced transaction.

        Raises:
            StoreUnavailable: nothing of the group was stored.
        """
        changes: list[Change] = []
        with driver_errors("write"):
            self._writer.execute("BEGIN IMMEDIATE")
            newest = self._newest
            try:
                outcomes = [self._insert(append, changes) for append in group]
                self._writer.execute("COMMIT")
            except BaseException:
                self._newest = newest
                with suppress(apsw.Error):  # where COMMIT failed there may be nothing left to undo
                    self._writer.execute("ROLLBACK")
                raise
        return Written(outcomes, changes)

    def _insert(self, append: Append, changes: list[Change]) -> Failure | None:
        if self._there(append.absent):
            return Failure(IdConflict("the key came with other events before"))
        first = self._newest + 1
        rows = [
            (seq, event.id, sortable(event.timestamp), event.json.decode())
            for seq, event in enumerate(append.events, first)
        ]
        try:
            self._writer.executemany(_INSERT, rows)
        except apsw.ConstraintError:
            # An id is taken. That is rare, so it is not asked beforehand.
            self._writer.execute("DELETE FROM event WHERE seq >= ?", (first,))
            return self._repeat(append.events)
        self._newest += len(rows)
        cursor = self._sequence.cursor
        changes.extend(Change(cursor(seq), event) for seq, event in enumerate(append.events, first))
        return None

    def _repeat(self, events: Seq[Event]) -> Failure | None:
        there = self._there([event.id for event in events])
        # The file is written all or nothing: a list of which only a part is there is another list.
        if len(there) == len(events) and all(
            same_value(there[event.id], event.json) for event in events
        ):
            return None
        return Failure(IdConflict("the id is taken by another event"))

    def _there(self, ids: Seq[str]) -> dict[str, bytes]:
        """Which of these ids are taken, and by which event."""
        found = {}
        for id in ids:
            for _, _, _, json in self._writer.execute(_COLUMNS + "id = ?", (id,)):
                found[id] = json
        return found

    def read(self, span: Range, page: Page) -> EventPage:
        """See `IEventStore.read`."""
        low = -inf if span.start is None else sortable(span.start)
        high = inf if span.end is None else sortable(span.end)
        with self._reading() as connection:
            place = (high, _GREATEST) if page.descending else (low, 0)
            if page.after is not None:
                after = self._place(connection, page.after)
                place = min(place, after) if page.descending else max(place, after)
            if not low <= place[0] <= high:
                return EventPage((), None)
            if page.descending:
                within, beyond, far = _WITHIN_DESCENDING, _BEYOND_DESCENDING, low
            else:
                within, beyond, far = _WITHIN, _BEYOND, high
            basket = Basket(page)
            following = None
            questions = ((within, place), (beyond, (place[0], far)))
            with closing(_rows(connection, *questions)) as rows:
                for seq, id, timestamp, json in rows:
                    if basket.put(Event(id, exact_timestamp(timestamp, json), json)):
                        more = next(rows, None) is not None
                        following = self._sequence.cursor(seq) if more else None
                        break
        return EventPage(basket.events, following)

    def _place(self, connection: apsw.Connection, after: str) -> tuple[Number, int]:
        seq = self._sequence.place(after, greatest(connection))
        timestamp = connection.execute("SELECT timestamp FROM event WHERE seq = ?", (seq,)).get
        return timestamp, seq

    def get(self, id: str) -> Event:
        """See `IEventStore.get`."""
        with self._reading() as connection:
            rows = list(_rows(connection, (_COLUMNS + "id = ?", (id,))))
        for _, _, timestamp, json in rows:
            return Event(id, exact_timestamp(timestamp, json), json)
        raise EventNotFound("there is no event of that id")

    def count(self, span: Range) -> int:
        """See `IEventStore.count`."""
        low = -inf if span.start is None else sortable(span.start)
        high = inf if span.end is None else sortable(span.end)
        with self._reading() as connection:
            count: int = connection.execute(
                "SELECT count(*) FROM event WHERE timestamp BETWEEN ? AND ?", (low, high)
            ).get
        return count

    def changes(self, since: str, limit: int) -> Seq[Change]:
        """See `IChangeHistory.changes`."""
        with self._reading() as connection:
            number = self._sequence.number(since, greatest(connection))
            later = (_COLUMNS + "seq > ? ORDER BY seq LIMIT ?", (number, limit))
            with closing(_rows(connection, later)) as rows:
                return piece_of(map(self._change, rows), limit)

    def _change(self, row: _Row) -> Change:
        seq, id, timestamp, json = row
        return Change(self._sequence.cursor(seq), Event(id, exact_timestamp(timestamp, json), json))

    def pending(self, since: str) -> int:
        """See `IChangeHistory.pending`."""
        with self._reading() as connection:
            newest = greatest(connection)
        return newest - self._sequence.number(since, newest)

    def first(self) -> str:
        """See `IChangeHistory.first`."""
        return self._sequence.cursor(0)

    @property
    def head(self) -> str:
        """The cursor after the newest change."""
        return self._sequence.cursor(self._newest)

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """A connection for one read."""
        with driver_errors("read"):
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = connect(self._path)
                connection.execute("PRAGMA query_only = ON")
            try:
                yield connection
            finally:
                self._idle.append(connection)


def _rows(connection: apsw.Connection, *questions: tuple[str, tuple[Any, ...]]) -> Generator[_Row]:
    """The rows of some questions, one after the other; closing it ends the one under way."""
    for sql, bindings in questions:
        with closing(connection.execute(sql, bindings)) as cursor:
            yield from cast("Iterable[_Row]", cursor)


def greatest(connection: apsw.Connection) -> int:
    """The newest sequence in a database."""
    newest: int = connection.execute("SELECT coalesce(max(seq), 0) FROM event").get
    return newest


def connect(path: str) -> apsw.Connection:
    """A connection that syncs each commit."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(5000)
    connection.execute("PRAGMA synchronous = FULL")
    return connection
