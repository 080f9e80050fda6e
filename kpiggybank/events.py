"""Events as values.

An event is bytes, from its way in to its way out: stores keep those bytes, ranges and feeds copy
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import attrs
import msgspec

from kpiggybank.decoding import decode
from kpiggybank.texts import Texts
from kpiggybank.where import EVERYTHING, Where

Number = int | float

#: JSON bytes of a piece of a range, unless its reader says otherwise.
PAGE_BYTES = 4 * 2**20

_INT64 = range(-(2**63), 2**63)
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class InvalidEvent(ValueError):
    """What was sent is no event; the text says why, and which one of a list (from 0)."""


class ExcessiveEvent(InvalidEvent):
    """An event that is too large, or one too many for one request."""


@attrs.frozen
class EventLimits:
    """What the events of one request may be.

    Attributes:
        event_bytes: of one event's JSON, without white space between its parts.
        depth: levels of arrays and objects in one, the event itself being the first.
        events: how many there may be.
    """

    event_bytes: int = 256 * 2**10
    depth: int = 64
    events: int = 10_000


# Not by attrs: of this and the next ones, one is made for each event or request that passes, in a
# third of the time.
class Event(msgspec.Struct, frozen=True, gc=False):
    """A JSON object with a time and a name; immutable.

    Attributes:
        id: unique in the store.
        timestamp: the event's own time exactly as sent; its unit is the sender's business.
        json: the event as sent, without white space between its parts: UTF-8, on one line.
    """

    id: str
    timestamp: Number
    json: bytes


@attrs.define(eq=False)
class Columns(Sequence[Event]):
    """Events, column by column: an object for each would take a twentieth of the time of an append.

    Attributes:
        ids: of all.
        timestamps: of all, in the same order.
        texts: their JSON.
    """

    ids: Sequence[str]
    timestamps: Sequence[Number]
    texts: Texts

    @classmethod
    def of(cls, events: Sequence[Event]) -> Columns:
        """The same events, column by column."""
        if isinstance(events, Columns):
            return events
        return cls(
            [event.id for event in events],
            [event.timestamp for event in events],
            Texts.of([event.json for event in events]),
        )

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """The events of one part after those of the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            [id for part in parts for id in part.ids],
            [timestamp for part in parts for timestamp in part.timestamps],
            Texts.joined([part.texts for part in parts]),
        )

    def since(self, place: int) -> Iterator[Event]:
        """The events from a place on."""
        return map(Event, self.ids[place:], self.timestamps[place:], self.texts.since(place))

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Event]:
        return map(Event, self.ids, self.timestamps, self.texts)

    @overload
    def __getitem__(self, place: int) -> Event: ...
    @overload
    def __getitem__(self, place: slice) -> Columns: ...
    def __getitem__(self, place: int | slice) -> Event | Columns:
        if isinstance(place, int):
            return Event(self.ids[place], self.timestamps[place], self.texts[place])
        texts = Texts.of(list(self.texts)[place])
        return Columns(self.ids[place], self.timestamps[place], texts)


class Change(msgspec.Struct, frozen=True):
    """The fact that an event was stored.

    Attributes:
        cursor: the place just after this change; opaque to all but the store that made it.
        event: what was stored.
    """

    cursor: str
    event: Event


class Range(msgspec.Struct, frozen=True):
    """An interval of timestamps with both ends included; None leaves an end open."""

    start: Number | None = None
    end: Number | None = None


class Page(msgspec.Struct, frozen=True):
    """Which piece of a range to read.

    Attributes:
        limit: events at the most, 1 or more.
        after: the `EventPage.after` of the piece before; None begins at the range's edge.
        descending: the newest timestamp first (among equals, the latest arrival first).
        where: what the events must meet; others are passed over.
        size: JSON bytes after which the piece ends early; one event is always in it.
    """

    limit: int
    after: str | None = None
    descending: bool = False
    where: Where = EVERYTHING
    size: int = PAGE_BYTES


class EventPage(msgspec.Struct, frozen=True):
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


class EventText(msgspec.Struct, frozen=True):
    """A piece of a range as text.

    Attributes:
        text: the JSON of its events, with commas between them; may be empty.
        after: as `EventPage.after`.
    """

    text: bytes
    after: str | None


class Deposit(msgspec.Struct, frozen=True):
    """What one request brought: events that have no ids yet.

    Attributes:
        timestamps: of its events, lists already flattened.
        texts: the JSON of the same events, as in `Event`.
        single: whether it was one event by itself rather than a list, even of one.
    """

    timestamps: Sequence[Number]
    texts: Texts
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
        timestamp: Number = decode(json)["timestamp"]
        return timestamp
    return number


def same_value(one: bytes, other: bytes) -> bool:
    """Whether two events are equal as JSON values, whatever the order of an object's members."""
    return one == other or _encode_sorted(decode(one)) == _encode_sorted(decode(other))
