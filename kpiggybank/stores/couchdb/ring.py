"""The newest changes in memory, and which ids have been told."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from kpiggybank.events import Change

#: Changes and bytes of JSON that a ring keeps, at the most; a last change that is larger stays.
RING_CHANGES = 20_000
RING_BYTES = 16 * 2**20

#: Ids that a memory holds.
REMEMBERED = 50_000

#: Clocks of daemons may be so many milliseconds apart.
_CLOCKS_APART = 60_000


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
        """The changes after a cursor, `limit` at the most; None for one of elsewhere."""
        place = self._places.get(cursor)
        if place is None:
            return None
        first = place - self._dropped
        return self._changes[first : first + limit]

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


def number_of(place: str) -> int:
    """The number at the beginning of CouchDB's sequence: how many changes it stands for.

    Raises:
        ValueError: it has none.
    """
    return int(place.partition("-")[0])


@attrs.define(eq=False)
class Memory:
    """Which ids have been told, so that none is told twice, however far CouchDB's feed goes back.

    When a node dies, the feed goes on from another node's copy and tells some, perhaps all, old
    documents again. The newest ids are remembered. What is older is known by the stamp of its
    arrival, which counts only while the feed is behind a place where it was before: at any other
    time an unknown document is new, whatever its writer's clock says.

    Args:
        began: milliseconds since 1970.
        horizon: the like, before which not all is remembered; 0 if all is.
        furthest: the number of the sequence behind which the feed never was.
    """

    _began: int
    _horizon: int
    _furthest: int
    _ids: dict[str, str | None] = attrs.field(factory=dict)

    def __contains__(self, id: str) -> bool:
        return id in self._ids

    def is_new(self, number: int, id: str, stamp: str | None) -> bool:
        """Whether a document is told for the first time; it then is remembered.

        Args:
            number: of the change's sequence. It grows, save when the feed goes back.
            id: of the document.
            stamp: of its arrival, if it has one; see `kpiggybank.mint.Mint`.
        """
        behind = number <= self._furthest
        self._furthest = max(self._furthest, number)
        if id in self._ids or (behind and self._horizon and self._is_old(stamp)):
            return False
        self.remember(id, stamp)
        return True

    def remember(self, id: str, stamp: str | None) -> None:
        """Note that a document was told, or was there before."""
        self._ids[id] = stamp
        if len(self._ids) > REMEMBERED:
            gone = self._ids.pop(next(iter(self._ids)))
            # One without a stamp was there when all this began, or another program wrote it.
            age = self._began if gone is None else _milliseconds(gone)
            self._horizon = max(self._horizon, age)

    def forget(self, id: str) -> None:
        """Note that a document was deleted: one of the same id would be another one."""
        self._ids.pop(id, None)

    def _is_old(self, stamp: str | None) -> bool:
        return stamp is None or _milliseconds(stamp) < self._horizon - _CLOCKS_APART


def _milliseconds(stamp: str) -> int:
    return int(stamp[:12], 16)
