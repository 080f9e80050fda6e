"""The newest events in memory: who follows need not ask the file for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Seq

import attrs

from kpiggybank.events import Change, Event
from kpiggybank.interfaces import InvalidCursor
from kpiggybank.stores.bounds import piece_of
from kpiggybank.stores.ring import RING_BYTES, RING_CHANGES
from kpiggybank.stores.sequence import Sequence


@attrs.define(eq=False)
class Recent:
    """The newest events of a store that numbers them.

    It does what a `Ring` does, but events come as they are, in lists: their cursors are numbers, so
    that changes are made only for those who ask for them.

    Args:
        sequence: turns numbers into cursors.
        newest: the number of the newest event so far.
    """

    _sequence: Sequence
    _newest: int
    _events: list[Event] = attrs.field(factory=list, init=False)
    #: Of each list that came, how many events it had, and their size.
    _lists: deque[tuple[int, int]] = attrs.field(factory=deque, init=False)
    _size: int = attrs.field(default=0, init=False)

    @property
    def head(self) -> str:
        """The cursor after the newest event."""
        return self._sequence.cursor(self._newest)

    def extend(self, events: Seq[Event]) -> None:
        """Take the next events, and drop old ones, as many together as came together."""
        self._newest += len(events)
        size = sum([len(event.json) for event in events])
        if size > RING_BYTES:  # by themselves: only the newest of them can stay
            self._events, self._size = [], 0
            self._lists.clear()
            events, size = _newest_of(events)
        self._events += events
        self._lists.append((len(events), size))
        self._size += size
        if len(self._events) > RING_CHANGES or self._size > RING_BYTES:
            self._shrink()

    def since(self, cursor: str, limit: int) -> Seq[Change] | None:
        """A piece of the changes after a cursor; None where the file has to answer."""
        try:
            number = self._sequence.number(cursor, self._newest)
        except InvalidCursor:
            return None
        place = number + len(self._events) - self._newest
        if place < 0:
            return None
        numbered = enumerate(self._events[place : place + limit], number + 1)
        changes = (Change(self._sequence.cursor(each), event) for each, event in numbered)
        return piece_of(changes, limit)

    def _shrink(self) -> None:
        # By a quarter at once: taking one from the front of a list moves all the others.
        count = 0
        while len(self._lists) > 1 and (
            len(self._events) - count > RING_CHANGES * 3 // 4 or self._size > RING_BYTES * 3 // 4
        ):
            dropped, size = self._lists.popleft()
            count += dropped
            self._size -= size
        del self._events[:count]


def _newest_of(events: Seq[Event]) -> tuple[Seq[Event], int]:
    """The end of a list that may stay, and its size."""
    size = 0
    for count, event in enumerate(reversed(events)):
        if count and size + len(event.json) > RING_BYTES * 3 // 4:
            return events[len(events) - count :], size
        size += len(event.json)
    return events, size
