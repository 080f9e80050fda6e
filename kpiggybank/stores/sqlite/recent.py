"""The newest events in memory: who follows need not ask the file for them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from itertools import islice
from operator import attrgetter

import attrs
import msgspec

from kpiggybank.events import Change, Columns, Event
from kpiggybank.interfaces import InvalidCursor
from kpiggybank.stores.bounds import piece_of
from kpiggybank.stores.ring import RING_BYTES, RING_CHANGES
from kpiggybank.stores.sequence import Sequence

#: Changes of a list, and bytes of JSON, up to which it is put together with others.
FEW_CHANGES, FEW_BYTES = 16, 16 * 2**10


class _List(msgspec.Struct):
    """Events that came together, the number of the newest of them, and the bytes of their JSON."""

    events: Columns
    end: int
    size: int


_end = attrgetter("end")


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
    _lists: list[_List] = attrs.field(factory=list, init=False)
    _count: int = attrs.field(default=0, init=False)
    _size: int = attrs.field(default=0, init=False)

    @property
    def head(self) -> str:
        """The cursor after the newest event."""
        return self._sequence.cursor(self._newest)

    def extend(self, events: Columns) -> None:
        """Take the next events, and drop old ones, as many together as came together."""
        count, size = len(events), events.texts.size
        self._newest += count
        if size > RING_BYTES:  # by themselves: only the newest of them can stay
            events = _newest_of(events)
            count, size = len(events), events.texts.size
            self._lists, self._count, self._size = [], 0, 0
        self._count += count
        self._size += size
        if count < FEW_CHANGES and self._lists:  # a list takes as much memory as some events
            last = self._lists[-1]
            if len(last.events) + count <= FEW_CHANGES and last.size + size <= FEW_BYTES:
                self._lists.pop()
                events, size = Columns.joined([last.events, events]), last.size + size
        self._lists.append(_List(events, self._newest, size))
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
        place = bisect_right(self._lists, number, key=_end)
        for each in self._lists[place : place + 1]:
            yield from each.events.since(len(each.events) + number - each.end)
        for each in islice(self._lists, place + 1, None):
            yield from each.events

    def _shrink(self) -> None:
        # By a quarter at once: taking one from the front of a list moves all the others.
        count = 0
        while count < len(self._lists) - 1 and (
            self._count > RING_CHANGES * 3 // 4 or self._size > RING_BYTES * 3 // 4
        ):
            self._count -= len(self._lists[count].events)
            self._size -= self._lists[count].size
            count += 1
        del self._lists[:count]


def _newest_of(events: Columns) -> Columns:
    """The end of a list that may stay."""
    size = 0
    for count, text in enumerate(reversed(list(events.texts))):
        size += len(text)
        if count and size > RING_BYTES * 3 // 4:
            return events[len(events) - count :]
    return events
