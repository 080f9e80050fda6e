"""How the events of a range are written."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import msgspec
from twisted.internet.defer import Deferred

from kpiggybank.bank import Bank
from kpiggybank.events import Event, EventPage, EventText, Page, Range

JSON = b"application/json"
NDJSON = b"application/x-ndjson"

_encode = msgspec.json.Encoder().encode


@attrs.frozen
class Format:
    """A way to write events: what stands before, between and after them, and each of them.

    Attributes:
        end: what stands behind the last event, if there is any.
        one: writes an event; None where that is its JSON as it is.
    """

    content_type: bytes
    head: bytes
    comma: bytes
    end: bytes
    tail: bytes
    one: Callable[[Event], bytes] | None = None

    def read(self, bank: Bank, span: Range, page: Page) -> Deferred[EventText]:
        """Read a piece of a range, and write it with commas between its events."""
        if self.one is None:
            return bank.copy(span, page, self.comma)
        return bank.read(span, page).addCallback(self.piece)

    def piece(self, page: EventPage) -> EventText:
        """A piece of a range, written with commas between its events."""
        if self.one is None:
            return page.joined(self.comma)
        return EventText(self.comma.join(map(self.one, page.events)), page.after)

    def whole(self, text: bytes) -> bytes:
        """A range that consists of this text only."""
        return self.head + text + (self.end if text else b"") + self.tail


def _row(event: Event) -> bytes:
    key = _encode(event.timestamp)
    return b'{"id":%b,"key":%b,"value":%b}' % (_encode(event.id), key, event.json)


#: By the value of the parameter `format`.
FORMATS = {
    "json": Format(JSON, b"[", b",", b"", b"]"),
    # What dashboards of the first KPIggyBank read.
    "rows": Format(JSON, b"[", b",", b"", b"]", _row),
    "ndjson": Format(NDJSON, b"", b"\n", b"\n", b""),
}
