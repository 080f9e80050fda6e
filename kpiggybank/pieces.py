"""Changes that were read together, once for all followers, and the newest of such pieces."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import attrs

from kpiggybank.events import Change
from kpiggybank.where import Where

T = TypeVar("T")

#: Pieces on a shelf, and bytes of JSON in them, at the most; the newest one stays whatever it has.
SHELF_PIECES = 32
SHELF_BYTES = 2 * 2**20


@attrs.define(eq=False)
class Piece:
    """Some changes one after the other, shared by all followers that stand before them.

    Attributes:
        changes: may be none.
        cursor: the place after them, and after those that were left out.
        reset: why there is a gap before this piece, None where there is none.
        size: bytes of the JSON of its events.
    """

    changes: Sequence[Change]
    cursor: str
    reset: str | None = None
    size: int = attrs.field(init=False)
    _made: dict[Hashable, Any] = attrs.field(factory=dict, init=False, repr=False)

    @size.default
    def _sum(self) -> int:
        return sum([len(change.event.json) for change in self.changes])

    def made(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returns; it is called once, and then what it made is kept under this key."""
        try:
            made: T = self._made[key]
        except KeyError:
            made = self._made[key] = make()
        return made

    def only(self, where: Where) -> Piece:
        """The same piece without the changes that are not wanted."""
        return self.made(where, lambda: self._sifted(where)) if where else self

    def first(self, count: int) -> Piece:
        """The beginning of the piece, with at least one change; this very one if it is all."""
        if count >= len(self.changes):
            return self
        changes = self.changes[:count]
        return Piece(changes, changes[-1].cursor)

    def up_to(self, cursor: str) -> Piece:
        """The piece up to a place in it; this very one where the place is not in it."""
        for count, change in enumerate(self.changes, 1):
            if change.cursor == cursor:
                return self.first(count)
        return self

    def _sifted(self, where: Where) -> Piece:
        wanted = [change for change in self.changes if where.holds(change.event.json)]
        return Piece(wanted, self.cursor)


@attrs.define(eq=False)
class Shelf:
    """The newest pieces, by the cursors before them.

    A piece on it is always right: there may be more after its cursor by now, but not before it.
    """

    _pieces: dict[str, Piece] = attrs.field(factory=dict)
    _size: int = 0

    def get(self, cursor: str) -> Piece | None:
        """The piece after a cursor, if it is here."""
        return self._pieces.get(cursor)

    def put(self, cursor: str, piece: Piece) -> None:
        """Keep a piece that is not here yet, in the place of the oldest ones."""
        self._pieces[cursor] = piece
        self._size += piece.size
        while len(self._pieces) > 1 and (
            len(self._pieces) > SHELF_PIECES or self._size > SHELF_BYTES
        ):
            oldest = next(iter(self._pieces))
            self._size -= self._pieces.pop(oldest).size
