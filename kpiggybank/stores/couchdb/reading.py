"""Events as they are read from CouchDB: by id, by time, and counted.

Ranges come from the view `by_time`, whose value is the event's exact JSON as a text: one sequential
read, no document is opened, and nothing is exposed to JavaScript's numbers. Of the other ways, the
document as the view's value is as fast but inexact, `include_docs` is exact but opens each document
for itself (8,300 rows a second where keys alone are 190,000), and `_all_docs` knows no time. Only
documents that KPIggyBank did not write have no text in the view; they are fetched by id.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from kpiggybank.events import Event, EventPage, Page, Range
from kpiggybank.interfaces import PASSED_OVER
from kpiggybank.stores.bounds import Basket
from kpiggybank.stores.couchdb.cursors import Seal
from kpiggybank.stores.couchdb.documents import (
    Moment,
    arrival,
    document_id,
    event_id,
    event_in,
    exact_event,
    together_with,
)
from kpiggybank.stores.couchdb.server import AnswerTooLarge, Server, encode
from kpiggybank.stores.couchdb.setup import BY_TIME

#: Documents that are fetched by id at once.
FETCHED_AT_ONCE = 500

#: Rows of which even the largest documents fit into an answer.
_FEW = 3


class _Found(msgspec.Struct):
    """One row of `_all_docs`; a document that is missing or deleted has none."""

    doc: dict[str, Any] | None = None


class _Documents(msgspec.Struct):
    rows: list[_Found]


class _Row(msgspec.Struct):
    """One row of the view `by_time`."""

    id: str
    key: list[Any]
    value: str | None


class _Rows(msgspec.Struct):
    rows: list[_Row]


class _Count(msgspec.Struct):
    value: int


class _Counts(msgspec.Struct):
    rows: list[_Count]


@attrs.frozen
class Found:
    """An event that is there.

    Attributes:
        event: itself.
        together: how many were appended with it; None where that is not known.
        arrival: the stamp of its arrival; None where another program wrote it.
        revision: of its document.
    """

    event: Event
    together: int | None
    arrival: str | None
    revision: str


async def find(server: Server, ids: Sequence[str]) -> dict[str, Found | None]:
    """What is there under these ids; None for a document that is no event."""
    found: dict[str, Found | None] = {}
    at_once, start = FETCHED_AT_ONCE, 0
    while start < len(ids):
        piece = ids[start : start + at_once]
        body = encode({"keys": list(map(document_id, piece))})
        try:
            _, answer = await server.ask(
                "POST", "/_all_docs", _Documents, query={"include_docs": True}, body=body
            )
        except AnswerTooLarge:
            if at_once == 1:
                raise
            at_once = max(1, at_once // 8)
            continue
        for row in answer.rows if answer is not None else ():
            if row.doc is not None:
                found[event_id(row.doc["_id"])] = _found(row.doc)
        start += len(piece)
    return found


def _found(document: Mapping[str, Any]) -> Found | None:
    event = event_in(document)
    if event is None:
        return None
    return Found(event, together_with(document), arrival(document), document["_rev"])


@attrs.frozen
class _Place:
    """The place of an event in every range: its key in the view, and its document."""

    key: list[Any]
    id: str

    @property
    def moment(self) -> Moment:
        """When that is."""
        match self.key:
            case [time, rest, _]:
                return Moment(time, rest)
        return Moment(self.key[0], None)


async def read(server: Server, seal: Seal, span: Range, page: Page) -> EventPage:
    """See `IEventStore.read`."""
    after = None if page.after is None else _unpack(seal.open(page.after))
    query = _query(span, page.descending, after)
    if query is None:
        return EventPage((), None)
    wanted = max(page.limit, PASSED_OVER) if page.where else page.limit
    # One more than wanted tells whether there is more; another one is where we were before.
    rows, more = await _rows(server, query, wanted + (1 if after is None else 2))
    if after is not None and rows and rows[0].id == after.id:
        del rows[0]
    fetched = await _fetch(server, [row.id for row in rows[:wanted] if row.value is None])
    basket = Basket(page)
    place = 0
    for place, row in enumerate(rows, 1):
        event = exact_event(row.id, row.value) or fetched.get(row.id)
        full = event is not None and basket.put(event)
        if full or place == wanted:
            more = more or place < len(rows)
            break
    return EventPage(basket.events, _pack(seal, rows[place - 1]) if more and place else None)


async def count(server: Server, span: Range) -> int:
    """See `IEventStore.count`."""
    query = _query(span, False, None)
    if query is None:
        return 0
    _, answer = await server.ask("GET", BY_TIME, _Counts, query=query)
    return answer.rows[0].value if answer is not None and answer.rows else 0


def _query(span: Range, descending: bool, after: _Place | None) -> dict[str, Any] | None:
    """The query of a range, from a place in it on; None where nothing can be."""
    low = None if span.start is None else Moment.of(span.start)
    high = None if span.end is None else Moment.of(span.end)
    if low is not None and high is not None and low.order > high.order:
        return None  # CouchDB says 400
    bottom = None if low is None else low.key
    top = None if high is None else [*high.key, {}]  # an object comes after every stamp
    query: dict[str, Any] = {}
    if after is not None:
        moment = after.moment
        below = low is not None and moment.order < low.order
        above = high is not None and moment.order > high.order
        if below if descending else above:
            return None
        if not below and not above:
            bottom, top = (bottom, after.key) if descending else (after.key, top)
            query["startkey_docid"] = after.id
    first, final = (top, bottom) if descending else (bottom, top)
    if first is not None:
        query["startkey"] = encode(first).decode()
    if final is not None:
        query["endkey"] = encode(final).decode()
    if descending:
        query["descending"] = True
    return query


async def _rows(server: Server, query: Mapping[str, Any], limit: int) -> tuple[list[_Row], bool]:
    """The first rows of a range; and whether there may be more, since they were too large."""
    at_once = limit
    while True:
        try:
            _, answer = await server.ask(
                "GET", BY_TIME, _Rows, query={**query, "reduce": False, "limit": at_once}
            )
        except AnswerTooLarge:
            if at_once <= _FEW:
                raise
            at_once = max(_FEW, at_once // 8)
        else:
            rows = [] if answer is None else answer.rows
            return rows, at_once < limit and len(rows) == at_once


async def _fetch(server: Server, document_ids: Sequence[str]) -> dict[str, Event]:
    """The events in these documents, by the documents' ids."""
    found = await find(server, [event_id(id) for id in document_ids])
    return {document_id(id): one.event for id, one in found.items() if one is not None}


def _pack(seal: Seal, row: _Row) -> str:
    return seal.seal(urlsafe_b64encode(encode([row.key, row.id])).decode())


def _unpack(text: str) -> _Place:
    key, id = msgspec.json.decode(urlsafe_b64decode(text))
    return _Place(key, id)
