"""The newest events in memory: who follows need not ask the file for them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from itertools import chain, islice

import attrs

from kpiggybank.events import Change, Columns, Event
from kpiggybank.interfaces import InvalidCursor
from kpiggybank.stores.bounds import piece_of
from kpiggybank.stores.ring import RING_BYTES, RING_CHANGES
from kpiggybank.stores.sequence import Sequence


@attrs.define(eq=False)
class Recent:
    """The newest events of a store that numbers them.

    It does what a `Ring` does, but events come in lists: their cursors are numbers, so that changes
    are made only for those who ask for them.

    Args:
        sequence: turns numbers into cursors.
        newest: the number of the newest event so far.
    """

    _sequence: Sequence
    _newest: int
    #: The lists that came, and the number of the newest event in each.
    _lists: list[Columns] = attrs.field(factory=list, init=False)
    _ends: list[int] = attrs.field(factory=list, init=False)
    _count: int = attrs.field(default=0, init=False)
    _size: int = attrs.field(default=0, init=False)

    @property
    def head(self) -> str:
        """The cursor after the newest event."""
        return self._sequence.cursor(self._newest)

    def extend(self, events: Columns) -> None:
        """Take the next events, and drop old ones, as many together as came together."""
        self._newest += len(events)
        if events.texts.size > RING_BYTES:  # by themselves: only the newest of them can stay
            events = _newest_of(events)
            self._lists, self._ends = [], []
            self._count = self._size = 0
        self._lists.append(events)
        self._ends.append(self._newest)
        self._count += len(events)
        self._size += events.texts.size
        if self._count > RING_CHANGES or self._size > RING_BYTES:
            self._shrink()

    def since(self, cursor: str, limit: int) -> Seq[Change] | None:
        """A piece of the changes after a cursor; None where the file has to answer."""
        try:
            number = self._sequence.number(cursor, self._newest)
        except InvalidCursor:
            return None
        if number < self._newest - self._count:
            return None
        numbered = enumerate(islice(self._after(number), limit), number + 1)
        changes = (Change(self._sequence.cursor(each), event) for each, event in numbered)
        return piece_of(changes, limit)

    def _after(self, number: int) -> Iterator[Event]:
        """The events after a number."""
        place = bisect_right(self._ends, number)
        for events in self._lists[place : place + 1]:
            yield from events.since(len(events) + number - self._ends[place])
        yield from chain.from_iterable(self._lists[place + 1 :])

    def _shrink(self) -> None:
        # By a quarter at once: taking one from the front of a list moves all the others.
        count = 0
        while count < len(self._lists) - 1 and (
            self._count > RING_CHANGES * 3 // 4 or self._size > RING_BYTES * 3 // 4
        ):
            self._count -= len(self._lists[count])
            self._size -= self._lists[count].texts.size
            count += 1
        del self._lists[:count], self._ends[:count]


def _newest_of(events: Columns) -> Columns:
    """The end of a list that may stay."""
    size = 0
    for count, text in enumerate(reversed(list(events.texts))):
        size += len(text)
        if count and size > RING_BYTES * 3 // 4:
            return events[len(events) - count :]
    return events
