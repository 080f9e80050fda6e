"""Events as values, and the one way from a request's bytes to them.

An event is decoded once, checked, and encoded once, as compact JSON on a single line. From then on
it is bytes: stores keep those bytes, ranges and feeds copy them.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import attrs
import msgspec

from kpiggybank.where import EVERYTHING, Where

Number = int | float

#: Levels of arrays and objects in one event, the event itself being the first.
MAX_DEPTH = 64

_INT64 = range(-(2**63), 2**63)
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_LINE = re.compile(rb"[^\n]+")
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class InvalidEvent(ValueError):
    """What was sent is no event; the text says why, and which one of a list (from 0)."""


# Not by attrs: of these, one is made for each event that passes, in a third of the time.
class Event(msgspec.Struct, frozen=True, gc=False):
    """A JSON object with a time and a name; immutable.

    Attributes:
        id: unique in the store.
        timestamp: the event's own time exactly as sent; its unit is the sender's business.
        json: the event, compact, on one line, UTF-8.
    """

    id: str
    timestamp: Number
    json: bytes


class Change(msgspec.Struct, frozen=True):
    """The fact that an event was stored.

    Attributes:
        cursor: the place just after this change; opaque to all but the store that made it.
        event: what was stored.
    """

    cursor: str
    event: Event


@attrs.frozen
class Range:
    """An interval of timestamps with both ends included; None leaves an end open."""

    start: Number | None = None
    end: Number | None = None


@attrs.frozen
class Page:
    """Which piece of a range to read.

    Attributes:
        limit: events at the most, 1 or more.
        after: the `EventPage.after` of the piece before; None begins at the range's edge.
        descending: the newest timestamp first (among equals, the latest arrival first).
        where: what the events must meet; others are passed over.
    """

    limit: int
    after: str | None = None
    descending: bool = False
    where: Where = EVERYTHING


@attrs.frozen
class EventPage:
    """A piece of a range, in order.

    Attributes:
        events: what is there, `Page.limit` or fewer.
        after: where the next piece begins; None when this one is the last.
    """

    events: Sequence[Event]
    after: str | None

    def joined(self, comma: bytes) -> EventText:
        """The same piece as text."""
        return EventText(comma.join([event.json for event in self.events]), self.after)


@attrs.frozen
class EventText:
    """A piece of a range as text.

    Attributes:
        text: the JSON of its events, with commas between them; may be empty.
        after: as `EventPage.after`.
    """

    text: bytes
    after: str | None


class Draft(NamedTuple):
    """A checked event that has no id yet; the fields are those of `Event`."""

    timestamp: Number
    json: bytes


@attrs.frozen
class Deposit:
    """What one request brought.

    Attributes:
        drafts: its events, lists already flattened.
        single: whether it was one event by itself rather than a list, even of one.
    """

    drafts: Sequence[Draft]
    single: bool


def sortable(timestamp: Number) -> Number:
    """The number that orders a timestamp in every store.

    Exact for 64-bit integers and floats, which compare exactly with each other both in Python and
    in SQLite; a larger integer takes part as the nearest float.

    Raises:
        InvalidEvent: an integer beyond the range of a double.
    """
    if isinstance(timestamp, float) or timestamp in _INT64:
        return timestamp
    try:
        return float(timestamp)
    except OverflowError:
        raise InvalidEvent("a timestamp must be within the range of a double") from None


def exact_timestamp(number: Number, json: bytes) -> Number:
    """The timestamp of an event as sent, given what `sortable` made of it.

    Only a float beyond 64 bits can hide an integer, so only then is the event decoded.
    """
    if isinstance(number, float) and not -(2.0**63) < number < 2.0**63:
        timestamp: Number = _decode(json)["timestamp"]
        return timestamp
    return number


def same_value(one: bytes, other: bytes) -> bool:
    """Whether two events are equal as JSON values, whatever the order of an object's members."""
    return one == other or _encode_sorted(_decode(one)) == _encode_sorted(_decode(other))


def from_form(body: bytes) -> Deposit:
    """The events in the field `data` of a form (application/x-www-form-urlencoded).

    Raises:
        InvalidEvent: no such field, more than one, or what it holds is no event or list of events.
    """
    # Only the one field is cut out and unquoted: parsing all of them costs ten times as much, and
    # half a million fields would stop the reactor.
    _, *fields = (b"&" + body).split(b"&data=", 2)
    if len(fields) != 1:
        raise InvalidEvent(f"the form has {'more than one' if fields else 'no'} field 'data'")
    return _deposit(_value(_unquote(fields[0].partition(b"&")[0])))


def from_json(body: bytes) -> Deposit:
    """The events in a JSON body: an event, a list, or an object with the sole member `data`.

    Raises:
        InvalidEvent: it is none of these, or one of the events is none.
    """
    value = _value(body)
    if isinstance(value, dict) and value.keys() == {"data"}:
        value = value["data"]
        if isinstance(value, str):
            value = _value(value.encode())
    return _deposit(value)


def from_lines(body: bytes) -> Deposit:
    r"""The events in a body with one on each line (application/x-ndjson); empty lines are nothing.

    Raises:
        InvalidEvent: there is no event at all, or a line holds none.
    """
    lines = [match[0] for match in _LINE.finditer(body) if not match[0].isspace()]
    if not lines:
        raise InvalidEvent("the body has no data: not one line with an event")
    return _list(_value(line, f"event {index} ") for index, line in enumerate(lines))


def _deposit(value: Any) -> Deposit:
    if not isinstance(value, list):
        return Deposit((_draft(value, 0),), single=True)
    flat: list[Any] = []
    for item in value:
        # Some writers nest lists by mistake: [[event, event], event].
        flat.extend(item) if isinstance(item, list) else flat.append(item)
    return _list(flat)


def _list(values: Iterable[Any]) -> Deposit:
    return Deposit([_draft(value, index) for index, value in enumerate(values)], single=False)


def _draft(value: Any, index: int) -> Draft:
    if not isinstance(value, dict):
        raise InvalidEvent(f"event {index} is not an object")
    timestamp = value.get("timestamp")
    if type(timestamp) is not int and type(timestamp) is not float:  # a bool is an int, too
        trouble = "is not a finite number" if "timestamp" in value else "is missing"
        raise InvalidEvent(f"event {index}: 'timestamp' {trouble}")
    try:
        sortable(timestamp)
        encoded = _encode(value)
    except InvalidEvent as error:
        raise InvalidEvent(f"event {index}: {error}") from None
    except RecursionError:
        raise InvalidEvent(f"event {index} is nested too deep") from None
    # To look for the beginning of such a name is cheaper than to look at all names.
    if b'"_' in encoded and any(name.startswith("_") for name in value):
        raise InvalidEvent(f"event {index}: a name that begins with '_' is reserved")
    # Counting brackets is cheap and settles it for nearly every event.
    if encoded.count(b"{") + encoded.count(b"[") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise InvalidEvent(f"event {index} is nested deeper than {MAX_DEPTH} levels")
    return Draft(timestamp, encoded)


def _deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            child
            for parent in layer
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
    return bool(layer)


def _value(raw: bytes, where: str = "") -> Any:
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"{where or 'the data '}is not JSON: {error}") from None
    except RecursionError:
        raise InvalidEvent(f"{where or 'the data '}is nested too deep") from None


def _unquote(quoted: bytes) -> bytes:
    plain = quoted.replace(b"+", b" ")
    if _STRAY_PERCENT.search(plain):
        # A hand-written form with a bare "%" in it; everybody leaves such a sign as it is.
        return unquote_to_bytes(plain)
    # Quoted-printable is percent-encoding with another sign, and its decoder is written in C:
    # 2 us for a typical event where urllib takes 27.
    return a2b_qp(plain.replace(b"=", b"%3D").replace(b"%", b"="))
