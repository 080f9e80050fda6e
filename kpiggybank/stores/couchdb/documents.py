"""Events as CouchDB's documents, and back.

The event is the document: its fields are at the top level, `_id` is its id. Where CouchDB or the
JavaScript of its views cannot hold all that an event is, the document has one more field, a note::

    "kpiggybank": {"arrival": "01a2...", "of": 1, "json": "{'timestamp': 1.0}", "rest": 0}

`arrival` is there in every note: 28 hexadecimal digits in the order of arrival. An id that the
server made is such a stamp itself; an event that its sender named gets a note, in which `of` says
how many were appended together. `json` is the exact text of an event that JavaScript would spoil
(integers from 2**53, 1.0, ...); CouchDB itself keeps all of these but -0.0, pouchdb-server does
not. `rest` is the timestamp less what JavaScript makes of it.

An id that begins with "_" is CouchDB's own business, so "_x" is the document "~_x".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import attrs
import msgspec

from kpiggybank.decoding import decode
from kpiggybank.events import Event, InvalidEvent, Number, sortable
from kpiggybank.mint import is_minted

#: Bytes of one document: somewhat less than what CouchDB takes unless told otherwise (8,000,000).
DOCUMENT_BYTES = 7_500_000

_NOTE = "kpiggybank"
# Numbers that JavaScript changes, or may change.
_WHOLE_WITH_POINT = re.compile(rb"\.0[,}\]]")
_FRAGILE_NUMBER = re.compile(rb"[:,\[]-?(?:[0-9]{16}|[0-9.]+e)")
# Looking for that is slow, so the digits are looked at first.
_SHAPES = (
    bytes(
        ord("0") if chr(code).isdigit() else code if code == ord("e") else ord("-")
        for code in range(128)
    )
    + b"-" * 128
)
_LONG, _EXPONENT = b"0" * 16, b"0e"
_EXACT_IN_JAVASCRIPT = 2**53
_WRITTEN_IN_FULL = 1e21  # below that, JavaScript writes whole numbers without an exponent

_encode = msgspec.json.Encoder().encode


class _Timed(msgspec.Struct):
    timestamp: int | float


_timed = msgspec.json.Decoder(_Timed).decode


def document_id(id: str) -> str:
    """The `_id` of the document of an event."""
    return f"~{id}" if id.startswith("_") else id


def event_id(document_id: str) -> str:
    """The id of the event in a document."""
    return document_id[1:] if document_id.startswith("~_") else document_id


@attrs.frozen
class Moment:
    """A timestamp as JavaScript has it, and how far it is off; in the order of time.

    Attributes:
        time: as JavaScript writes it.
        rest: what is to be added for the exact value; None where it is exact by nature.
    """

    time: Number
    rest: int | None

    @classmethod
    def of(cls, timestamp: Number) -> Moment:
        """The moment of any timestamp."""
        exact = sortable(timestamp)
        rounded = float(exact)
        if abs(rounded) < _EXACT_IN_JAVASCRIPT:
            return cls(exact or 0, None)  # -0.0 is 0
        rest = exact - int(rounded) if isinstance(exact, int) else 0
        if abs(rounded) < _WRITTEN_IN_FULL:
            # JavaScript writes the shortest digits that mean this double, and fills up with zeros.
            return cls(int(Decimal(repr(rounded))), rest)
        return cls(rounded, rest)

    @property
    def order(self) -> tuple[Number, int]:
        """What moments are compared by."""
        return self.time, self.rest or 0

    @property
    def key(self) -> list[Any]:
        """The beginning of the keys in the view `by_time`."""
        return [self.time] if self.rest is None else [self.time, self.rest]


def document(event: Event, stamp: Callable[[], str], together: int = 1) -> bytes:
    """The document of an event, as JSON.

    Args:
        event: what to write.
        stamp: makes the stamp of an arrival.
        together: how many events are appended with it, itself included.

    Raises:
        InvalidEvent: it is larger than CouchDB takes.
    """
    # Written in one way, so that what is looked for below is found.
    fields = _encode(decode(event.json))
    head = b'{"_id":' + _encode(document_id(event.id))
    exact = not _is_fragile(fields)
    minted = is_minted(event.id)
    if not exact or not minted:
        note: dict[str, Any] = {"arrival": event.id}
        if not minted:
            note = {"arrival": stamp(), "of": together}
        if not exact:
            note["json"] = fields.decode()
            if rest := Moment.of(event.timestamp).rest:
                note["rest"] = rest
            fields = _without_note(fields)
        head += b',"kpiggybank":' + _encode(note)
    size = len(head) + len(fields)
    if size > DOCUMENT_BYTES:
        raise InvalidEvent(f"an event takes {size} bytes in CouchDB, more than {DOCUMENT_BYTES}")
    return head + b"," + fields[1:]


def _is_fragile(fields: bytes) -> bool:
    """Whether JavaScript could spoil an event."""
    # Whole numbers with a point, a name that JavaScript treats as none, and the name of our note.
    # Where a text has it, too, a note more does no harm.
    if _WHOLE_WITH_POINT.search(fields) or b'"__proto__":' in fields or b'"kpiggybank":' in fields:
        return True
    shapes = fields.translate(_SHAPES)
    return (_LONG in shapes or _EXPONENT in shapes) and bool(_FRAGILE_NUMBER.search(fields))


def _without_note(fields: bytes) -> bytes:
    if b'"kpiggybank":' not in fields:
        return fields
    value = decode(fields)
    value.pop(_NOTE, None)
    return _encode(value)


def together_with(document: Mapping[str, Any]) -> int | None:
    """How many events were appended with the one in a document; None where that is not known."""
    note = _note(document)
    of = None if note is None else note.get("of")
    return of if isinstance(of, int) else None


def event_in(document: Mapping[str, Any]) -> Event | None:
    """The event in a document, None where there is none: it has no numeric `timestamp`."""
    timestamp: Any = document.get("timestamp")
    id = document["_id"]
    if type(timestamp) not in (int, float) or id.startswith("_design/"):
        return None
    note = _note(document)
    if note is not None and (event := exact_event(id, note.get("json"))):
        return event
    fields = {
        name: value
        for name, value in document.items()
        if not (name.startswith("_") or (note is not None and name == _NOTE))
    }
    return Event(event_id(id), timestamp, _encode(fields))


def exact_event(document_id: str, text: object) -> Event | None:
    """The event of a document, given its exact JSON; None where the text is no such thing."""
    if not isinstance(text, str):
        return None
    json = text.encode()
    try:
        return Event(event_id(document_id), _timed(json).timestamp, json)
    except ValueError:
        return None


def arrival(document: Mapping[str, Any]) -> str | None:
    """The stamp of a document's arrival, None where another program wrote it."""
    note = _note(document)
    if note is not None:
        return str(note["arrival"])
    id: str = document["_id"]
    return id if is_minted(id) else None


def _note(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    match document.get(_NOTE):
        case {"arrival": str(stamp)} as note if is_minted(stamp):
            return note
    return None
