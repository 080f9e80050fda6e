"""One continuous answer of `_changes`, as it comes in."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.interfaces import IReactorTime

from kpiggybank.events import Event
from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.outgoing.reader import LineReader
from kpiggybank.stores.couchdb.documents import event_in
from kpiggybank.stores.couchdb.memory import number_of

#: CouchDB is asked for a sign of life so often, and given up after so long a silence. In seconds.
HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 3.5 * HEARTBEAT_SECONDS


class Rev(msgspec.Struct):
    """A revision of a document."""

    rev: str


class Row(msgspec.Struct):
    """One change as CouchDB tells it; the last line of a feed has a `last_seq` instead."""

    id: str = ""
    seq: str | int = ""
    deleted: bool = False
    changes: list[Rev] = []
    doc: dict[str, Any] | None = None

    @property
    def place(self) -> str:
        """The place after this change: a text in CouchDB, a number in pouchdb-server."""
        return str(self.seq)

    def is_of(self, revision: str) -> bool:
        """Whether it tells of this revision of the document."""
        return any(change.rev == revision for change in self.changes)

    @property
    def event(self) -> Event | None:
        """The event that was stored, None for anything else that happens in a database."""
        return None if self.doc is None or self.deleted else event_in(self.doc)


_row = msgspec.json.Decoder(Row).decode


def feed(clock: IReactorTime) -> LineReader[Row]:
    """What reads a feed; `take` fails with `StoreUnavailable` when nothing more comes."""
    return LineReader(clock, SILENCE_SECONDS, _row_in, StoreUnavailable, _garbled)


def _row_in(line: bytes) -> Row | None:
    row = _row(line)
    if row.seq == "":
        return None
    number_of(row.place)  # fails for what no place can be
    return row


def _garbled(reason: str) -> StoreUnavailable:
    return StoreUnavailable(f"it sent what is no change: {reason}")
