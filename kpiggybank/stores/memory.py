"""A store that keeps nothing beyond its life: for trying things out, and the executable promise."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence as Seq

import attrs
from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import implementer

from kpiggybank.events import (
    Change,
    Event,
    EventPage,
    Number,
    Page,
    Range,
    same_value,
    sortable,
)
from kpiggybank.interfaces import (
    EventNotFound,
    IdConflict,
    IDisposable,
    IEventBank,
    StoreUnavailable,
)
from kpiggybank.stores.bounds import Basket, piece_of
from kpiggybank.stores.sequence import Sequence

_Key = tuple[Number, int]
_FIRST, _LAST = 0, 2**63  # before and after every sequence


@implementer(IEventBank, IDisposable)
@attrs.define(eq=False)
class MemoryStore:
    """Keeps events in lists and a dictionary."""

    _sequence: Sequence = attrs.field(factory=Sequence)
    _arrivals: list[Event] = attrs.field(factory=list)
    #: (sortable timestamp, sequence) of every event, in order.
    _keys: list[_Key] = attrs.field(factory=list)
    _numbers: dict[str, int] = attrs.field(factory=dict)
    _closed: bool = False

    def open(self) -> Deferred[None]:
        """Nothing to do."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """Refuse all that comes later."""
        self._closed = True
        return succeed(None)

    def destroy(self) -> Deferred[None]:
        """Forget everything."""
        self._arrivals.clear()
        self._keys.clear()
        self._numbers.clear()
        return succeed(None)

    def describe(self) -> str:
        """A warning rather than a place."""
        return "memory (nothing is kept when the server stops)"

    def append(self, events: Seq[Event], absent: Seq[str] = ()) -> Deferred[None]:
        """See `IEventStore.append`."""
        return execute(self._append, events, absent)

    def read(self, span: Range, page: Page) -> Deferred[EventPage]:
        """See `IEventStore.read`."""
        return execute(self._read, span, page)

    def get(self, id: str) -> Deferred[Event]:
        """See `IEventStore.get`."""
        return execute(self._get, id)

    def count(self, span: Range) -> Deferred[int]:
        """See `IEventStore.count`."""
        return execute(self._count, span)

    def changes(self, since: str, limit: int) -> Deferred[Seq[Change]]:
        """See `IChangeHistory.changes`."""
        return execute(self._changes, since, limit)

    def first(self) -> Deferred[str]:
        """See `IChangeHistory.first`."""
        return execute(self._first)

    def last(self) -> Deferred[str]:
        """See `IChangeHistory.last`."""
        return execute(self._last)

    def pending(self, since: str) -> Deferred[int]:
        """See `IChangeHistory.pending`."""
        return execute(self._pending, since)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    def _append(self, events: Seq[Event], absent: Seq[str]) -> None:
        self._check_open()
        if any(id in self._numbers for id in absent):
            raise IdConflict("the key came with other events before")
        there = sum(event.id in self._numbers for event in events)
        if there and not (there == len(events) and all(map(self._has, events))):
            raise IdConflict("the id is taken by another event")
        if not there:
            for event in events:
                self._arrivals.append(event)
                number = len(self._arrivals)
                self._numbers[event.id] = number
                insort(self._keys, (sortable(event.timestamp), number))

    def _has(self, event: Event) -> bool:
        return same_value(self._get(event.id).json, event.json)

    def _change(self, number: int) -> Change:
        return Change(self._sequence.cursor(number), self._arrivals[number - 1])

    def _bounds(self, span: Range) -> tuple[int, int]:
        """Where a range begins and ends among the keys."""
        low, high = 0, len(self._keys)
        if span.start is not None:
            low = bisect_left(self._keys, (sortable(span.start), _FIRST))
        if span.end is not None:
            high = bisect_right(self._keys, (sortable(span.end), _LAST))
        return low, max(low, high)

    def _read(self, span: Range, page: Page) -> EventPage:
        self._check_open()
        low, high = self._bounds(span)
        if page.after is not None:
            number = self._sequence.place(page.after, len(self._arrivals))
            key = (sortable(self._arrivals[number - 1].timestamp), number)
            if page.descending:
                high = min(high, bisect_left(self._keys, key))
            else:
                low = max(low, bisect_right(self._keys, key))
        places = range(high - 1, low - 1, -1) if page.descending else range(low, high)
        basket = Basket(page)
        after = None
        for place in places:
            number = self._keys[place][1]
            if basket.put(self._arrivals[number - 1]):
                after = self._sequence.cursor(number) if place != places[-1] else None
                break
        return EventPage(basket.events, after)

    def _get(self, id: str) -> Event:
        self._check_open()
        if id not in self._numbers:
            raise EventNotFound("there is no event of that id")
        return self._arrivals[self._numbers[id] - 1]

    def _count(self, span: Range) -> int:
        self._check_open()
        low, high = self._bounds(span)
        return high - low

    def _changes(self, since: str, limit: int) -> Seq[Change]:
        self._check_open()
        number = self._sequence.number(since, len(self._arrivals))
        newest = min(number + limit, len(self._arrivals))
        return piece_of(map(self._change, range(number + 1, newest + 1)), limit)

    def _first(self) -> str:
        self._check_open()
        return self._sequence.cursor(0)

    def _last(self) -> str:
        self._check_open()
        return self._sequence.cursor(len(self._arrivals))

    def _pending(self, since: str) -> int:
        self._check_open()
        newest = len(self._arrivals)
        return newest - self._sequence.number(since, newest)
