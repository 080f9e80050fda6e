"""One continuous answer of `_changes`, as it comes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from kpiggybank.events import Event
from kpiggybank.outgoing.bodies import Silence, abort
from kpiggybank.outgoing.lines import LineCutter, LineTooLong
from kpiggybank.stores.couchdb.documents import arrival, event_in
from kpiggybank.stores.couchdb.ring import number_of

#: CouchDB is asked for a sign of life so often, and given up after so long a silence. In seconds.
HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 3.5 * HEARTBEAT_SECONDS


class Row(msgspec.Struct):
    """One change as CouchDB tells it; the last line of a feed has a `last_seq` instead."""

    id: str = ""
    seq: str | int = ""
    deleted: bool = False
    doc: dict[str, Any] | None = None

    @property
    def place(self) -> str:
        """The place after this change: a text in CouchDB, a number in pouchdb-server."""
        return str(self.seq)

    @property
    def event(self) -> Event | None:
        """The event that was stored, None for anything else that happens in a database."""
        return None if self.doc is None or self.deleted else event_in(self.doc)

    @property
    def arrival(self) -> str | None:
        """The stamp of the event's arrival, if it has one."""
        return None if self.doc is None else arrival(self.doc)


_row = msgspec.json.Decoder(Row).decode


@attrs.define(eq=False)
class Lines(Protocol):
    """Reads a feed until it ends, falls silent or says what is no change.

    Args:
        clock: counts the silence.
        tell: gets the rows that come together; no heartbeats, no last line.
    """

    _clock: IReactorTime
    _tell: Callable[[Sequence[Row]], object]
    #: Fires with the reason, in words, when nothing more comes.
    ended: Deferred[str] = attrs.field(init=False)
    _cutter: LineCutter = attrs.field(factory=LineCutter, init=False)
    _silence: Silence = attrs.field(init=False)
    _over: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        # Cancelled by who does not want to hear more.
        self.ended = Deferred(lambda _: self._finish())
        self._silence = Silence(self._clock, SILENCE_SECONDS, lambda: self._end("it fell silent"))

    def connectionMade(self) -> None:
        """Begin to count the silence."""
        self._silence.heard()

    def dataReceived(self, data: bytes) -> None:
        """Take a piece of the feed."""
        if self._over:
            return
        self._silence.heard()
        rows: list[Row] = []
        broken = False
        try:
            for line in self._cutter.cut(data):
                if line and (row := _row(line)).seq != "":
                    number_of(row.place)
                    rows.append(row)
        except (ValueError, RecursionError, LineTooLong):
            broken = True
        if rows:
            self._tell(rows)
        if broken:
            self._end("it sent what is no change")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End, whatever the reason is: a feed has no end of its own."""
        self._end("its connection was lost")

    def _end(self, reason: str) -> None:
        if not self._over:
            self._finish()
            self.ended.callback(reason)

    def _finish(self) -> None:
        self._over = True
        self._silence.stop()
        abort(self.transport)
