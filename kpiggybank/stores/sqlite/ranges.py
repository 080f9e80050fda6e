"""Pieces of a range, read from a SQLite file."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from contextlib import closing
from functools import cache
from math import inf

import apsw
import attrs

from kpiggybank.events import EventPage, EventText, Number, Page, Range, sortable
from kpiggybank.interfaces import InvalidCursor
from kpiggybank.stores.bounds import Basket
from kpiggybank.stores.sequence import Sequence
from kpiggybank.stores.sqlite import rows

_GREATEST = 2**63 - 1

# A piece that is not the first begins within a timestamp (many events may share one) and goes on
# beyond it. Two questions, because SQLite answers `(timestamp, seq) > (?, ?)` by walking over all
# events of that timestamp, which makes paging through them quadratic.
_FROM_FIRST = "timestamp BETWEEN ? AND ? ORDER BY timestamp, seq"
_FROM_LAST = "timestamp BETWEEN ? AND ? ORDER BY timestamp DESC, seq DESC"
WITHIN = "timestamp = ? AND seq > ? ORDER BY seq"
_BEYOND = "timestamp > ? AND timestamp <= ? ORDER BY timestamp, seq"
_WITHIN_DESCENDING = "timestamp = ? AND seq < ? ORDER BY seq DESC"
_BEYOND_DESCENDING = "timestamp < ? AND timestamp >= ? ORDER BY timestamp DESC, seq DESC"

# Where a piece begins, and whether the first question has an answer: mostly it has none.
_PLACE = """
    SELECT timestamp, EXISTS (SELECT * FROM event
                              WHERE timestamp = here.timestamp AND seq {later} here.seq)
    FROM event AS here WHERE seq = ?
"""

# The text is joined by SQLite, in C and without the interpreter's lock. Where the piece ends is
# another statement: as a part of the same one, SQLite would copy the text once more. A limit is
# bound as a part of a sum: by itself it makes SQLite plan anew, which takes longer than to answer.
_COPY = """
    SELECT CAST(group_concat(json, ?) AS BLOB), count(*)
    FROM (SELECT json FROM event WHERE {condition} LIMIT ? + 0)
"""
_LAST = """
    SELECT seq, timestamp, EXISTS (SELECT * FROM event
                                   WHERE timestamp = last.timestamp AND seq > last.seq)
    FROM event AS last WHERE {condition} LIMIT 1 OFFSET ? - 1
"""
# A piece that ends with a timestamp needs no limit, and so no inner query, from which SQLite would
# copy each event. The order is that of the index.
_COPY_TO = """
    SELECT CAST(group_concat(json, ?) AS BLOB)
    FROM event INDEXED BY event_timestamp WHERE timestamp > ? AND timestamp <= ?
"""
_LAST_BEFORE = """
    SELECT seq, timestamp FROM event WHERE timestamp > ? AND timestamp < ?
    ORDER BY timestamp DESC, seq DESC LIMIT 1
"""


def bounds(span: Range) -> tuple[Number, Number]:
    """The ends of a range as SQLite compares them."""
    low = -inf if span.start is None else sortable(span.start)
    high = inf if span.end is None else sortable(span.end)
    return low, high


def read(connection: apsw.Connection, sequence: Sequence, span: Range, page: Page) -> EventPage:
    """See `IEventStore.read`."""
    basket = Basket(page)
    questions = _questions(connection, sequence, span, page)
    with closing(rows.ask(connection, *questions)) as found:
        for row in found:
            if basket.put(rows.event_of(row)):
                more = next(found, None) is not None
                return EventPage(basket.events, sequence.cursor(row[0]) if more else None)
    return EventPage(basket.events, None)


def count(connection: apsw.Connection, span: Range, most: int) -> int:
    """How many events a range holds; counting ends at `most`, unless that is negative."""
    asked = f"SELECT NULL FROM event WHERE timestamp BETWEEN ? AND ? LIMIT {most:d}"
    found: int = connection.execute(f"SELECT count(*) FROM ({asked})", bounds(span)).get
    return found


@attrs.define(eq=False)
class Copier:
    """Copies pieces of ranges as text, each with as many events as it may have bytes for.

    How often their number had to be halved is remembered: events that follow each other are often
    of about the same size.

    Args:
        sequence: turns numbers into cursors.
    """

    _sequence: Sequence
    #: Set by any thread; one that is no longer right costs a try.
    _halvings: int = attrs.field(default=0, init=False)

    def copy(self, connection: apsw.Connection, span: Range, page: Page, comma: bytes) -> EventText:
        """See `IRangeCopier.copy`."""
        questions = _questions(connection, self._sequence, span, page)
        usual = connection.limit(apsw.SQLITE_LIMIT_LENGTH, page.size)
        try:
            for halvings in range(self._halvings, page.limit.bit_length()):
                try:
                    copied = self._copy(connection, questions, page.limit >> halvings, comma)
                except apsw.TooBigError:  # large events: fewer at a time
                    continue
                roomy = copied.after is not None and len(copied.text) < page.size // 3
                self._halvings = halvings - 1 if roomy and halvings else halvings
                return copied
        finally:
            connection.limit(apsw.SQLITE_LIMIT_LENGTH, usual)
        return read(connection, self._sequence, span, page).joined(comma)

    def _copy(
        self, connection: apsw.Connection, questions: Seq[rows.Question], limit: int, comma: bytes
    ) -> EventText:
        texts: list[bytes] = []
        for question in questions:
            copy = _copy_on if question[0] is _BEYOND else _copy_some
            text, last = copy(connection, question, limit, comma.decode())
            if text:
                texts.append(text)
            if last is not None:
                return EventText(comma.join(texts), self._sequence.cursor(last))
        return EventText(comma.join(texts), None)


def _copy_some(
    connection: apsw.Connection, question: rows.Question, limit: int, comma: str
) -> tuple[bytes | None, int | None]:
    """The text of the first events, and the sequence of the last one where there may be more."""
    condition, bindings = question
    # As long as this has not ended, the next statement sees the same events.
    with closing(connection.execute(_copying(condition), (comma, *bindings, limit))) as found:
        text, count = next(found)
        if count < limit:
            return text, None
        last = connection.execute(_ending(condition), (*bindings, limit)).get
    return text, last[0]


@cache
def _copying(condition: str) -> str:
    return _COPY.format(condition=condition)


@cache
def _ending(condition: str) -> str:
    return _LAST.format(condition=condition)


def _copy_on(
    connection: apsw.Connection, question: rows.Question, limit: int, comma: str
) -> tuple[bytes | None, int | None]:
    """The same where there are probably more, at less cost: of whole timestamps, if it can be."""
    condition, (after, high) = question
    ending = connection.execute(_ending(condition), (after, high, limit))
    with closing(ending) as found:  # as above
        for seq, timestamp, more in found:
            last = seq, timestamp
            if more:
                last = connection.execute(_LAST_BEFORE, (after, timestamp)).get
            if last is not None:
                return connection.execute(_COPY_TO, (comma, after, last[1])).get, last[0]
    return _copy_some(connection, question, limit, comma)


def _questions(
    connection: apsw.Connection, sequence: Sequence, span: Range, page: Page
) -> Seq[rows.Question]:
    """What to ask one after the other."""
    low, high = bounds(span)
    if page.after is None:
        return ((_FROM_LAST if page.descending else _FROM_FIRST, (low, high)),)
    seq = sequence.place(page.after, _GREATEST)  # what it stands for is there, or it is no place
    asked = _PLACE.format(later="<" if page.descending else ">")
    found = connection.execute(asked, (seq,)).get
    if found is None:
        raise InvalidCursor("'after' stands for an event that is not there")
    timestamp, more = found
    after = timestamp, seq
    place = min((high, _GREATEST), after) if page.descending else max((low, 0), after)
    if not low <= place[0] <= high:
        return ()
    if page.descending:
        within, beyond = (_WITHIN_DESCENDING, place), (_BEYOND_DESCENDING, (place[0], low))
    else:
        within, beyond = (WITHIN, place), (_BEYOND, (place[0], high))
    return (within, beyond) if more or place != after else (beyond,)
