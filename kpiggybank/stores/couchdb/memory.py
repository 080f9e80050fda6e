"""Which ids have been told."""

from __future__ import annotations

import attrs

#: Ids that a memory holds.
REMEMBERED = 50_000

#: Clocks of daemons may be so many milliseconds apart.
_CLOCKS_APART = 60_000


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
