"""The rows of the table `event`."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from collections.abc import Sequence as Seq
from contextlib import closing
from typing import Any, cast
from zlib import crc32

import apsw

from kpiggybank.events import Event, Number, exact_timestamp, sortable
from kpiggybank.interfaces import StoreDamaged

_SELECT = "SELECT seq, id, timestamp, CAST(json AS BLOB), checksum FROM event WHERE "
_INSERT = "INSERT INTO event (seq, id, timestamp, json, checksum) VALUES (?, ?, ?, ?, ?)"
_ONE_MORE = ", (?, ?, ?, ?, ?)"

#: Rows in one statement. The interpreter's lock is given up for each statement, and to get it back
#: from a busy reactor takes longer than to insert a row.
_TOGETHER = 100

Row = tuple[int, str, Number, bytes, int]

#: A condition, perhaps with an order, and what it is bound to.
Question = tuple[str, tuple[Any, ...]]


def checksum(seq: int, id: str, timestamp: Number, json: bytes) -> int:
    """The CRC-32 of a row: of `seq timestamp id`, as Python writes them, then of the JSON."""
    return crc32(json, crc32(f"{seq} {timestamp!r} {id}".encode()))


def row_of(seq: int, event: Event) -> tuple[int, str, Number, str, int]:
    """An event as it is inserted."""
    timestamp = sortable(event.timestamp)
    proof = checksum(seq, event.id, timestamp, event.json)
    return seq, event.id, timestamp, event.json.decode(), proof


def event_of(row: Row) -> Event:
    """The event in a row.

    Raises:
        StoreDamaged: the row is not as it was written; the text names it.
    """
    seq, id, timestamp, json, proof = row
    try:
        whole = checksum(seq, id, timestamp, json) == proof
    except TypeError:  # a value of another type, which the table could never have taken
        whole = False
    if not whole:
        raise StoreDamaged(f"event {id!r} (seq {seq}) is damaged in the file; see README, Damage")
    return Event(id, exact_timestamp(timestamp, json), json)


def insert(connection: apsw.Connection, first: int, events: Seq[Event]) -> None:
    """Insert events under ascending sequences, within a transaction.

    Raises:
        apsw.ConstraintError: an id is there already; none of the events has been inserted.
        apsw.Error: the transaction must be undone, or SQLite has already undone it.
    """
    if len(events) <= _TOGETHER:
        _insert_together(connection, first, events)  # a statement is done as a whole or not at all
        return
    connection.execute("SAVEPOINT list")
    try:
        for start in range(0, len(events), _TOGETHER):
            _insert_together(connection, first + start, events[start : start + _TOGETHER])
    except apsw.ConstraintError:
        connection.execute("ROLLBACK TO list; RELEASE list")
        raise
    connection.execute("RELEASE list")


def _insert_together(connection: apsw.Connection, first: int, events: Seq[Event]) -> None:
    if not events:
        return
    values: list[Any] = []
    for seq, event in enumerate(events, first):
        values += row_of(seq, event)
    connection.execute(_INSERT + _ONE_MORE * (len(events) - 1), values)


def ask(connection: apsw.Connection, *questions: Question) -> Generator[Row]:
    """The rows of some questions, one after the other; closing it ends the one under way."""
    for condition, bindings in questions:
        with closing(connection.execute(_SELECT + condition, bindings)) as cursor:
            try:
                yield from cast("Iterable[Row]", cursor)
            except UnicodeDecodeError as error:
                raise StoreDamaged(f"an event's id is damaged in the file: {error}") from None


def greatest(connection: apsw.Connection) -> int:
    """The newest sequence in a database."""
    newest: int = connection.execute("SELECT coalesce(max(seq), 0) FROM event").get
    return newest
