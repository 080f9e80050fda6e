"""What one transaction adds to a SQLite file. Everything here blocks."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import apsw
import attrs
import msgspec
from twisted.python.failure import Failure

from kpiggybank.events import Columns, Event, same_value
from kpiggybank.interfaces import IdConflict, StoreDamaged
from kpiggybank.stores.sqlite import rows

#: Events of a list on average, from which on lists stay as they are: one that is joined from others
#: has all its ids in memory.
MANY = 16


class Append(msgspec.Struct, frozen=True):
    """The arguments of one `IEventStore.append`."""

    events: Columns
    absent: Seq[str]


class Written(msgspec.Struct, frozen=True):
    """What became of a group of appends.

    Attributes:
        outcomes: the failure of each append, if any.
        events: all that is new, in order, in some parts.
    """

    outcomes: Seq[Failure | None]
    events: Seq[Columns]


@attrs.define(eq=False)
class Insertion:
    """Inserts appends within a transaction that somebody else has begun, and ends.

    Args:
        connection: in a transaction.
        newest: the greatest sequence in the file; it is then that of the last event inserted.

    Attributes:
        events: what has been inserted, in order, in some parts.
    """

    _connection: apsw.Connection
    newest: int
    events: list[Columns] = attrs.field(factory=list, init=False)

    def insert(self, group: Seq[Append]) -> Seq[Failure | None]:
        """Insert all as one list, or each append by itself where there is more to say of one.

        Returns:
            the failure of each append, if any.
        """
        if not any(append.absent for append in group):
            lists = [append.events for append in group]
            try:
                rows.insert(self._connection, self.newest + 1, lists)
            except (apsw.ConstraintError, OverflowError):
                self._connection.execute("ROLLBACK; BEGIN IMMEDIATE")
            else:
                self._inserted(lists)
                return [None] * len(group)
        return [self._insert(append) for append in group]

    def _inserted(self, lists: Seq[Columns]) -> None:
        count = sum(map(len, lists))
        self.newest += count
        self.events += lists if count >= MANY * len(lists) else [Columns.joined(lists)]

    def _insert(self, append: Append) -> Failure | None:
        if append.absent and self._there(append.absent):
            return Failure(IdConflict("the key came with other events before"))
        try:
            rows.insert_whole(self._connection, self.newest + 1, append.events)
        except apsw.ConstraintError:
            # An id is taken. That is rare, so it is not asked beforehand.
            return self._repeat(append.events)
        self._inserted([append.events])
        return None

    def _repeat(self, events: Columns) -> Failure | None:
        try:
            there = self._there(events.ids)
        except StoreDamaged as error:
            return Failure(error)
        known = [event for event in events if event.id in there]
        if not all(same_value(there[event.id].json, event.json) for event in known):
            return Failure(IdConflict("the id is taken by another event"))
        # The file is written all or nothing: this is another list, or people have deleted the rest.
        if len(known) < len(events):
            return Failure(IdConflict("some of these events are there, and others are not"))
        return None

    def _there(self, ids: Seq[str]) -> dict[str, Event]:
        """Which of these ids are taken, and by which event."""
        questions = [("id = ?", (id,)) for id in ids]
        events = map(rows.event_of, rows.ask(self._connection, *questions))
        return {event.id: event for event in events}
