"""Cursors of the stores that number their changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from secrets import token_hex

import attrs

from kpiggybank.interfaces import InvalidCursor

_CURSOR = re.compile(r"([0-9]{1,18})-([0-9a-f]{8})")


def is_generation(text: str) -> bool:
    """Whether it can be the `Sequence.generation` of a store."""
    return _CURSOR.fullmatch(f"0-{text}") is not None


@attrs.frozen
class Sequence:
    """Turns sequences into cursors and back: `12-9f3a04c1`.

    The second part names the life of the store. A cursor from a database that was deleted since, or
    from another one, is recognised by it and refused, instead of skipping whatever the number says.

    Args:
        generation: 8 hexadecimal digits; by default those of a new, empty store.
        ancestors: the lives that this one is a copy of, each with its newest number at that time:
            up to there, their cursors mean the same places here.
    """

    generation: str = attrs.field(factory=lambda: token_hex(4))
    ancestors: Mapping[str, int] = attrs.field(factory=dict)

    def cursor(self, number: int) -> str:
        """The place after change `number` (from 1); 0 is the beginning."""
        return f"{number}-{self.generation}"

    def number(self, cursor: str, newest: int) -> int:
        """The sequence behind a cursor.

        Args:
            cursor: what a client handed back.
            newest: the greatest number given out so far.

        Raises:
            InvalidCursor: this store never gave it out.
        """
        match = _CURSOR.fullmatch(cursor)
        if match:
            number, generation = int(match[1]), match[2]
            if number <= (newest if generation == self.generation else self._shared(generation)):
                return number
        raise InvalidCursor("the cursor is none that this store has given out")

    def _shared(self, generation: str) -> int:
        return self.ancestors.get(generation, -1)

    def place(self, after: str, newest: int) -> int:
        """The sequence of the event behind an `EventPage.after`; raises as `number` does."""
        number = self.number(after, newest)
        if number == 0:
            raise InvalidCursor("'after' is none that this store has given out")
        return number
