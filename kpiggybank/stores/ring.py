"""The newest changes in memory: what lives on a disk, or elsewhere, need not be asked for them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from kpiggybank.events import Change
from kpiggybank.stores.bounds import piece_of

#: Changes and bytes of JSON that a ring keeps, at the most; a last change that is larger stays.
RING_CHANGES = 20_000
RING_BYTES = 16 * 2**20


@attrs.define(eq=False)
class Ring:
    """The newest changes in the order in which they came, found by the cursor before them.

    Args:
        head: the cursor where it begins.
    """

    head: str
    _changes: list[Change] = attrs.field(factory=list)
    _size: int = 0
    #: How many changes have been dropped; the place of a cursor counts them, too.
    _dropped: int = 0
    _places: dict[str, int] = attrs.field(init=False)

    @_places.default
    def _beginning(self) -> dict[str, int]:
        return {self.head: 0}

    def add(self, change: Change) -> None:
        """Take the next change, and drop old ones."""
        if change.cursor in self._places:
            # It would lead two ways. Who stands at an older place reads on from CouchDB itself.
            self._changes, self._size, self._places = [], 0, {}
        self._changes.append(change)
        self._size += len(change.event.json)
        self.head = change.cursor
        self._places[self.head] = self._dropped + len(self._changes)
        if len(self._changes) > RING_CHANGES or self._size > RING_BYTES:
            self._shrink()

    def since(self, cursor: str, limit: int) -> Sequence[Change] | None:
        """A piece of the changes after a cursor; None for one of elsewhere."""
        place = self._places.get(cursor)
        if place is None:
            return None
        first = place - self._dropped
        return piece_of(self._changes[first : first + limit], limit)

    def pending(self, cursor: str) -> int:
        """How many changes come after a cursor that it knows."""
        return self._dropped + len(self._changes) - self._places[cursor]

    def knows(self, cursor: str) -> bool:
        """Whether `since` can answer."""
        return cursor in self._places

    def _shrink(self) -> None:
        # By a quarter at once: taking one from the front of a list moves all the others.
        count = 0
        while count < len(self._changes) - 1 and (
            len(self._changes) - count > RING_CHANGES * 3 // 4 or self._size > RING_BYTES * 3 // 4
        ):
            self._size -= len(self._changes[count].event.json)
            count += 1
        del self._changes[:count]
        self._dropped += count
        # Dictionaries keep their order: the cursors of what was dropped come first.
        for cursor in list(self._places)[:count]:
            del self._places[cursor]
