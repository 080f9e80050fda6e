"""The rows of the table `event`."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from collections.abc import Sequence as Seq
from contextlib import closing
from functools import cache
from itertools import chain, islice
from typing import Any, cast

import apsw
from zlib_ng.zlib_ng import crc32

from kpiggybank.events import Columns, Event, Number, exact_timestamp, sortable
from kpiggybank.interfaces import StoreDamaged
from kpiggybank.mint import is_minted

_SELECT = "SELECT seq, id, timestamp, CAST(json AS BLOB), checksum FROM event WHERE "
# `FAIL`: to be able to undo each statement by itself costs a seventh of the time.
# `CAST`: SQLite takes bytes for text as they are; for Python to make a string of them first costs a
# twentieth of the time.
_INSERT = "INSERT OR FAIL INTO event (seq, id, timestamp, json, checksum) VALUES "
_VALUES = "(?, ?, ?, CAST(? AS TEXT), ?)"
_COLUMNS = 5

#: Rows in one statement. The interpreter's lock is given up for each statement, and to get it back
#: from a busy reactor takes longer than to insert a row.
_TOGETHER = 100

#: Ids that are looked at in search of the greatest that was minted; others among them are keys.
_IDS_LOOKED_AT = 1000

Row = tuple[int, str, Number, bytes, int]

#: A condition, perhaps with an order, and what it is bound to.
Question = tuple[str, tuple[Any, ...]]


def checksum(seq: int, id: str, timestamp: Number, json: bytes) -> int:
    """The CRC-32 of a row: of `seq timestamp id`, as Python writes them, then of the JSON.

    It is that of zlib, by zlib-ng, which takes a quarter of the time.
    """
    return crc32(json, crc32(f"{seq} {timestamp!r} {id}".encode()))


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


def insert(connection: apsw.Connection, first: int, lists: Seq[Columns]) -> None:
    """Insert lists of events, one after the other under ascending sequences, in a transaction.

    Raises:
        apsw.ConstraintError: an id is there already; those before it have been inserted.
        OverflowError: a timestamp is too large for SQLite; some before it have been inserted.
        apsw.Error: the transaction must be undone, or SQLite has already undone it.
    """
    ids = chain.from_iterable([events.ids for events in lists])
    timestamps = chain.from_iterable([events.timestamps for events in lists])
    texts = chain.from_iterable([events.texts for events in lists])

    def values(first: int, count: int) -> list[Any]:
        return _values(
            first,
            list(islice(ids, count)),
            list(islice(timestamps, count)),
            list(islice(texts, count)),
        )

    end = first + sum(map(len, lists))
    rest = end - (end - first) % _TOGETHER
    if rest > first:
        starts = range(first, rest, _TOGETHER)
        connection.executemany(_inserting(_TOGETHER), (values(each, _TOGETHER) for each in starts))
    if end > rest:
        connection.execute(_inserting(end - rest), values(rest, end - rest))


@cache
def _inserting(count: int) -> str:
    """What inserts so many rows."""
    return _INSERT + ", ".join([_VALUES] * count)


def insert_whole(connection: apsw.Connection, first: int, events: Columns) -> None:
    """Insert all or none, whatever their timestamps.

    Raises:
        apsw.ConstraintError: an id is there already; nothing has been inserted.
        apsw.Error: the transaction must be undone, or SQLite has already undone it.
    """
    sorted_by = Columns(events.ids, [*map(sortable, events.timestamps)], events.texts)
    if len(events) == 1:
        insert(connection, first, [sorted_by])
        return
    connection.execute("SAVEPOINT list")
    try:
        insert(connection, first, [sorted_by])
    except apsw.ConstraintError:
        connection.execute("ROLLBACK TO list; RELEASE list")
        raise
    connection.execute("RELEASE list")


def _values(first: int, ids: Seq[str], timestamps: Seq[Number], texts: Seq[bytes]) -> list[Any]:
    """The values of some rows, one row after the other. They are made column by column."""
    if len(ids) == 1:  # for which that takes three times as long
        (id,), (json,), (timestamp,) = ids, texts, timestamps
        return [first, id, timestamp, json, checksum(first, id, timestamp, json)]
    seqs = range(first, first + len(ids))
    values: list[Any] = [None] * (_COLUMNS * len(ids))
    values[0::_COLUMNS] = seqs
    values[1::_COLUMNS] = ids
    values[2::_COLUMNS] = timestamps
    values[3::_COLUMNS] = texts
    # Here as everywhere a row's `checksum`, but the calls would take longer than the sums.
    names = [
        f"{seq} {time!r} {id}".encode() for seq, time, id in zip(seqs, timestamps, ids, strict=True)
    ]
    values[4::_COLUMNS] = map(crc32, texts, map(crc32, names))
    return values


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


def greatest_minted(connection: apsw.Connection, below: str) -> str | None:
    """See `IRemembersIds.greatest_minted`."""
    ids = connection.execute(
        "SELECT id FROM event WHERE id < ? ORDER BY id DESC LIMIT ?", (below, _IDS_LOOKED_AT)
    )
    return next(filter(is_minted, (str(id) for (id,) in ids.fetchall())), None)
