"""Appends as CouchDB takes them: looked up where needed, then written with one `_bulk_docs`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs
import msgspec
from twisted.python.failure import Failure

from kpiggybank.events import Event, same_value
from kpiggybank.interfaces import IdConflict, StoreUnavailable
from kpiggybank.mint import is_minted
from kpiggybank.stores.couchdb.documents import document, document_id
from kpiggybank.stores.couchdb.reading import Found, find
from kpiggybank.stores.couchdb.server import Server
from kpiggybank.words import one_line

#: Documents and bytes in one `_bulk_docs`, at the most; a single document may be larger.
BULK_DOCUMENTS = 1000
BULK_BYTES = 4 * 2**20


@attrs.frozen
class Append:
    """One `IEventStore.append`.

    Attributes:
        events: to be stored.
        absent: ids that must not be there.
        documents: of these events, by their ids.
    """

    events: Sequence[Event]
    absent: Sequence[str]
    documents: Mapping[str, bytes]

    @classmethod
    def of(cls, events: Sequence[Event], absent: Sequence[str], stamp: Callable[[], str]) -> Append:
        """An append with its documents made; raises `InvalidEvent`."""
        count = len(events)
        return cls(events, absent, {event.id: document(event, stamp, count) for event in events})

    @property
    def weight(self) -> float:
        """Which part of a `_bulk_docs` it fills."""
        size = sum(map(len, self.documents.values()))
        return max(len(self.events) / BULK_DOCUMENTS, size / BULK_BYTES)

    @property
    def questions(self) -> Sequence[str]:
        """The ids that must be looked up first: those that a client has chosen."""
        chosen = [event.id for event in self.events if not is_minted(event.id)]
        return [*chosen, *self.absent]


class _Outcome(msgspec.Struct):
    """What CouchDB did with one document of a `_bulk_docs`."""

    id: str = ""
    error: str = ""
    reason: str | None = ""


async def write(
    server: Server, group: Sequence[Append], announce: Callable[[Iterable[Event]], None]
) -> tuple[list[Failure | None], list[str]]:
    """Store a group of appends; the failure of each, if any, and the ids of the new documents.

    Events whose ids nobody else can have are announced before they are written.

    CouchDB knows no transactions. What could be refused is looked up before anything is written, so
    an append is stored as a whole or refused as a whole, save when two daemons are sent different
    events under one key in the same moment: then both may be refused with a part of each stored.

    Raises:
        StoreUnavailable: CouchDB did not confirm all of it; what is stored of it is found there
            when the same ids are sent again.
    """
    there = await find(server, [id for append in group for id in append.questions])
    outcomes: list[Failure | None] = []
    new: dict[str, bytes] = {}
    for append in group:
        trouble = _trouble(append, there)
        outcomes.append(trouble)
        if trouble is None:
            missing = [event for event in append.events if event.id not in there]
            together = len(append.events)
            there.update((event.id, Found(event, together, None, "")) for event in missing)
            new.update((event.id, append.documents[event.id]) for event in missing)
    announce(event for append in group for event in append.events if is_minted(event.id))
    taken: list[str] = []
    for piece in _pieces(new):
        taken += await _bulk(server, piece)
    if taken:
        # Somebody else's, or our own from a first try that was not confirmed.
        found = await find(server, taken)
        if len(found) < len(taken):
            raise StoreUnavailable("CouchDB has, and has not, a document of that id")
        for place, append in enumerate(group):
            if outcomes[place] is None:
                outcomes[place] = _trouble(append, found)
    return outcomes, [document_id(id) for id in new]


def _trouble(append: Append, there: Mapping[str, Found | None]) -> Failure | None:
    """Why an append must be refused, given what is there; None if nothing speaks against it."""
    if any(id in there for id in append.absent):
        return Failure(IdConflict("the key came with other events before"))
    for event in append.events:
        if event.id not in there:
            continue
        found = there[event.id]
        if found is None or not same_value(found.event.json, event.json):
            return Failure(IdConflict("the id is taken by another event"))
        # A list of which only a part is there may have been cut short, or be a longer one.
        if found.together not in (None, len(append.events)):
            return Failure(IdConflict("the key came with other events before"))
    return None


def _pieces(documents: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    piece: dict[str, bytes] = {}
    size = 0
    for id, content in documents.items():
        if piece and (len(piece) == BULK_DOCUMENTS or size + len(content) > BULK_BYTES):
            yield piece
            piece, size = {}, 0
        piece[id] = content
        size += len(content)
    if piece:
        yield piece


async def _bulk(server: Server, documents: Mapping[str, bytes]) -> list[str]:
    """Write documents; the ids of those that were there already."""
    body = b'{"docs":[' + b",".join(documents.values()) + b"]}"
    status, rows = await server.ask(
        "POST", "/_bulk_docs", list[_Outcome], body=body, expected=(201, 202)
    )
    if status == 202:
        raise StoreUnavailable(
            "CouchDB has stored this on fewer nodes than it should (202): that is not safe yet"
        )
    if rows is None or len(rows) != len(documents):
        raise StoreUnavailable("CouchDB did not say what became of each document")
    taken = []
    for id, row in zip(documents, rows, strict=True):
        if row.error == "conflict":
            taken.append(id)
        elif row.error or row.id != document_id(id):
            words = one_line(f"{row.error} {row.reason or ''}")
            raise StoreUnavailable(f"CouchDB refused a document: {words}")
    return taken
