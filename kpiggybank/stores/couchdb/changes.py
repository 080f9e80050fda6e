"""One continuous answer of `_changes`, as it comes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from kpiggybank.events import Event
from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.outgoing.bodies import Silence, abort
from kpiggybank.outgoing.lines import LineCutter, LineTooLong
from kpiggybank.stores.couchdb.documents import event_in
from kpiggybank.stores.couchdb.memory import number_of

#: CouchDB is asked for a sign of life so often, and given up after so long a silence. In seconds.
HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 3.5 * HEARTBEAT_SECONDS

#: Rows that may wait until they are read; then CouchDB has to wait.
ROWS_WAITING = 2000


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


@attrs.define(eq=False)
class Lines(Protocol):
    """Reads a feed until it ends, falls silent or says what is no change."""

    _clock: IReactorTime
    _rows: list[Row] = attrs.field(factory=list, init=False)
    _waiting: Deferred[Sequence[Row]] | None = attrs.field(default=None, init=False)
    #: Why nothing more comes.
    _end: str | None = attrs.field(default=None, init=False)
    _cutter: LineCutter = attrs.field(factory=LineCutter, init=False)
    _silence: Silence = attrs.field(init=False)
    _paused: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._silence = Silence(self._clock, SILENCE_SECONDS, lambda: self.close("it fell silent"))

    def rows(self) -> Deferred[Sequence[Row]]:
        """Fire with the rows that have come, one at least; no heartbeats, no last line.

        Fails with `StoreUnavailable` when nothing more comes. One may wait at a time.
        """
        if self._rows:
            rows, self._rows = self._rows, []
            self._resume()
            return succeed(rows)
        if self._end is not None:
            return fail(StoreUnavailable(self._end))
        self._waiting = Deferred()
        return self._waiting

    def close(self, reason: str = "it was closed") -> None:
        """Read no more."""
        if self._end is None:
            self._end = reason
            self._silence.stop()
            abort(self.transport)
            self._tell()

    def connectionMade(self) -> None:
        """Begin to count the silence."""
        self._silence.heard()

    def dataReceived(self, data: bytes) -> None:
        """Take a piece of the feed."""
        if self._end is not None:
            return
        self._silence.heard()
        try:
            for line in self._cutter.cut(data):
                if line and (row := _row(line)).seq != "":
                    number_of(row.place)
                    self._rows.append(row)
        except (ValueError, RecursionError, LineTooLong):
            self.close("it sent what is no change")
        if len(self._rows) > ROWS_WAITING and self._end is None:
            self._pause()
        self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End, whatever the reason is: a feed has no end of its own."""
        self.close("its connection was lost")

    def _tell(self) -> None:
        waiting = self._waiting
        if waiting is not None and (self._rows or self._end is not None):
            self._waiting = None
            if not waiting.called:  # cancelled in the meantime
                self.rows().chainDeferred(waiting)

    def _pause(self) -> None:
        transport: Any = self.transport
        transport.pauseProducing()
        self._silence.stop()
        self._paused = True

    def _resume(self) -> None:
        if self._paused and self._end is None:
            transport: Any = self.transport
            transport.resumeProducing()
            self._silence.heard()
        self._paused = False
