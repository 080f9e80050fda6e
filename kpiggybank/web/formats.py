"""How the events of a range are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter

import attrs
import msgspec

from kpiggybank.events import Event

JSON = b"application/json"
NDJSON = b"application/x-ndjson"

_encode = msgspec.json.Encoder().encode


@attrs.frozen
class Format:
    """A way to write events: what stands before, between and after them, and each of them."""

    content_type: bytes
    head: bytes
    comma: bytes
    tail: bytes
    one: Callable[[Event], bytes]

    def write(self, events: Sequence[Event]) -> bytes:
        """Some events, with commas between them."""
        return self.comma.join(map(self.one, events))


def _row(event: Event) -> bytes:
    key = _encode(event.timestamp)
    return b'{"id":%b,"key":%b,"value":%b}' % (_encode(event.id), key, event.json)


def _line(event: Event) -> bytes:
    return event.json + b"\n"


#: By the value of the parameter `format`.
FORMATS = {
    "json": Format(JSON, b"[", b",", b"]", attrgetter("json")),
    # What dashboards of the first KPIggyBank read.
    "rows": Format(JSON, b"[", b",", b"]", _row),
    "ndjson": Format(NDJSON, b"", b"", b"", _line),
}
