"""A store that keeps nothing and answers with made-up events: for load tests of clients."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence as Seq
from itertools import islice
from zlib import crc32

import attrs
import msgspec
from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import implementer

from kpiggybank.events import Change, Event, EventPage, Page, Range, sortable
from kpiggybank.interfaces import ForgottenCursor, IEventBank, StoreUnavailable
from kpiggybank.sample import SignIns
from kpiggybank.stores.bounds import Basket, piece_of
from kpiggybank.stores.sequence import Sequence

#: Made-up events, all of the last 90 days before the store was made.
MADE_UP = 1000
#: Changes that stay known, so that followers hear of what was posted.
RING = 1000


def _made_up() -> Seq[Event]:
    events = SignIns(seed=1, now=time.time()).take(MADE_UP)
    return [
        Event(f"dummy-{index:04}", event["timestamp"], msgspec.json.encode(event))
        for index, event in enumerate(sorted(events, key=lambda event: event["timestamp"]))
    ]


@implementer(IEventBank)
@attrs.define(eq=False)
class DummyStore:
    """Accepts every append and forgets it; ranges, counts and ids are answered from made-up events.

    The feed is live: followers hear of what is posted, unless they fall too far behind.
    """

    _sequence: Sequence = attrs.field(factory=Sequence)
    _events: Seq[Event] = attrs.field(factory=_made_up)
    _newest: deque[Change] = attrs.field(factory=lambda: deque(maxlen=RING))
    _number: int = 0
    _closed: bool = False

    def open(self) -> Deferred[None]:
        """Nothing to do."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """Refuse all that comes later."""
        self._closed = True
        return succeed(None)

    def describe(self) -> str:
        """A warning rather than a place."""
        return "dummy (nothing is kept; answers are made up)"

    def append(self, events: Seq[Event], absent: Seq[str] = ()) -> Deferred[None]:
        """Accept anything; no id is ever taken."""
        return execute(self._append, events)

    def read(self, span: Range, page: Page) -> Deferred[EventPage]:
        """A piece of the made-up events."""
        return execute(self._read, span, page)

    def get(self, id: str) -> Deferred[Event]:
        """A made-up event for any id, always the same one for the same id."""
        return execute(self._get, id)

    def count(self, span: Range) -> Deferred[int]:
        """How many of the made-up events a range holds."""
        return execute(lambda: len(self._span(span)))

    def changes(self, since: str, limit: int) -> Deferred[Seq[Change]]:
        """The changes after a cursor, as far as they are still known."""
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

    def _append(self, events: Seq[Event]) -> None:
        self._check_open()
        for event in events:
            self._number += 1
            self._newest.append(Change(self._sequence.cursor(self._number), event))

    def _span(self, span: Range) -> Seq[int]:
        """The places of a range among the made-up events, ascending."""
        self._check_open()
        return [
            place
            for place, event in enumerate(self._events)
            if (span.start is None or event.timestamp >= sortable(span.start))
            and (span.end is None or event.timestamp <= sortable(span.end))
        ]

    def _read(self, span: Range, page: Page) -> EventPage:
        places = self._span(span)
        after = None if page.after is None else self._sequence.place(page.after, MADE_UP) - 1
        if page.descending:
            places = [place for place in reversed(places) if after is None or place < after]
        else:
            places = [place for place in places if after is None or place > after]
        basket = Basket(page)
        for place in places:
            if basket.put(self._events[place]):
                more = place != places[-1]
                return EventPage(basket.events, self._sequence.cursor(place + 1) if more else None)
        return EventPage(basket.events, None)

    def _get(self, id: str) -> Event:
        self._check_open()
        like = self._events[crc32(id.encode()) % MADE_UP]
        return Event(id, like.timestamp, like.json)

    def _changes(self, since: str, limit: int) -> Seq[Change]:
        behind = self._pending(since)
        known = len(self._newest)
        if behind > known:
            text = f"the dummy store knows only the newest {RING} changes"
            raise ForgottenCursor(text, self._first())
        newest = list(islice(reversed(self._newest), behind))
        return piece_of(reversed(newest), limit)

    def _first(self) -> str:
        self._check_open()
        return self._sequence.cursor(self._number - len(self._newest))

    def _pending(self, since: str) -> int:
        self._check_open()
        return self._number - self._sequence.number(since, self._number)

    def _last(self) -> str:
        self._check_open()
        return self._sequence.cursor(self._number)
