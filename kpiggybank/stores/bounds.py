"""How much of a range, or of the changes, a store gives at once."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import attrs

from kpiggybank.events import Change, Event, Page
from kpiggybank.interfaces import CHANGES_BYTES, PASSED_OVER


@attrs.define(eq=False)
class Basket:
    """Gathers the events of one piece of a range.

    Attributes:
        events: the wanted ones so far.
    """

    _page: Page
    events: list[Event] = attrs.field(factory=list, init=False)
    _size: int = attrs.field(default=0, init=False)
    _passed_over: int = attrs.field(default=0, init=False)

    def put(self, event: Event) -> bool:
        """Take an event if it is wanted; tells whether the piece ends with it."""
        if self._page.where.holds(event.json):
            self.events.append(event)
            self._size += len(event.json)
        else:
            self._passed_over += 1
        return (
            len(self.events) == self._page.limit
            or self._size >= self._page.size
            or self._passed_over == PASSED_OVER
        )


def piece_of(changes: Iterable[Change], limit: int) -> list[Change]:
    """The first of some changes: `limit` at the most, and fewer where they are large."""
    piece = []
    size = 0
    for change in islice(changes, limit):
        piece.append(change)
        size += len(change.event.json)
        if size >= CHANGES_BYTES:
            break
    return piece
