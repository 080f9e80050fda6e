"""Changes that were read together, once for all followers, and the newest of such pieces."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from sys import getsizeof
from typing import Any, TypeVar

import attrs

from kpiggybank.events import Change
from kpiggybank.where import Where

T = TypeVar("T")

#: Pieces on a shelf, and bytes of JSON in them, at the most; the newest one stays whatever it has.
SHELF_PIECES = 32
SHELF_BYTES = 2 * 2**20

#: What was made of a piece may take so many times the bytes of its JSON, and so many more; and be
#: so many things.
MADE_TIMES = 4
MADE_BYTES = 16 * 2**10
MADE_MOST = 64


@attrs.define(eq=False)
class Piece:
    """Some changes one after the other, shared by all followers that stand before them.

    Attributes:
        changes: may be none.
        cursor: the place after them, and after those that were left out.
        reset: why there is a gap before this piece, None where there is none.
    """

    changes: Sequence[Change]
    cursor: str
    reset: str | None = None
    #: The piece that this one was sifted from, and by which conditions.
    _sifted: tuple[Piece, Where] | None = None
    _made: dict[Hashable, Any] = attrs.field(factory=dict, init=False, repr=False)
    _made_bytes: int = attrs.field(default=0, init=False, repr=False)

    @cached_property
    def size(self) -> int:
        """Bytes of the JSON of its events."""
        return sum([len(change.event.json) for change in self.changes])

    @property
    def cost(self) -> int:
        """Bytes that were looked at for it, at the least."""
        return self.size if self._sifted is None else self._sifted[0].size

    def made(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returns; it is kept under this key, unless too much was made since."""
        if self._sifted is not None:
            # All that is made of a piece is counted together.
            whole, where = self._sifted
            return whole.made((where, key), make)
        try:
            made: T = self._made[key]
        except KeyError:
            made = make()
            self._keep(key, made)
        return made

    def only(self, where: Where) -> Piece:
        """The same piece without the changes that are not wanted."""
        if not where:
            return self
        wanted = self.made(where, lambda: self._those(where))
        return Piece(wanted, self.cursor, sifted=(self, where))

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

    def _those(self, where: Where) -> Sequence[Change]:
        return [change for change in self.changes if where.holds(change.event.json)]

    def _keep(self, key: Hashable, made: object) -> None:
        # There are as many conditions as clients can think of.
        self._made_bytes += getsizeof(made)
        too_many = self._made_bytes > MADE_TIMES * self.size + MADE_BYTES
        if too_many or len(self._made) == MADE_MOST:
            self._made, self._made_bytes = {}, getsizeof(made)
        self._made[key] = made


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
