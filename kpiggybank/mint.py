"""Ids as the server makes them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from secrets import randbits

import attrs

_MINTED = re.compile("[0-9a-f]{28}")
#: The last three digits of an id; to write many ids as a whole takes twice as long.
_ENDINGS = [f"{number:03x}" for number in range(16**3)]
_DAY_MILLISECONDS = 24 * 60 * 60 * 1000


@attrs.define(eq=False)
class Mint:
    """Makes ids: 28 hexadecimal digits, unique, and in order of time.

    The first 12 digits are the milliseconds since 1970, the others begin at random in each
    millisecond and count up within it. An id is always greater than the one before, also when the
    clock is set back, so that the index of ids grows at its end only: random ids make a store of a
    million events several times slower.
    """

    _now: Callable[[], float] = time.time
    _last: int = -1

    @property
    def horizon(self) -> str:
        """The id of a day ahead: nothing that looks like a later one is worth going on after."""
        return f"{(self._milliseconds() + _DAY_MILLISECONDS) << 64:028x}"

    def go_on_after(self, id: str) -> None:
        """Make greater ids than this one, which was made before this process began."""
        self._last = max(self._last, int(id, 16))

    def _milliseconds(self) -> int:
        return int(self._now() * 1000)

    def __call__(self) -> str:
        """The next id."""
        return self.several(1)[0]

    def several(self, count: int) -> list[str]:
        """The next ids, at less cost than one by one."""
        now = self._milliseconds()
        first = (now << 64) | randbits(63) if now > self._last >> 64 else self._last + 1
        self._last = max(self._last, first + count - 1)
        if count == 1:
            return [f"{first:028x}"]
        ids: list[str] = []
        while len(ids) < count:
            high, low = divmod(first + len(ids), len(_ENDINGS))
            endings = _ENDINGS[low : low + count - len(ids)]
            ids += map(f"{high:025x}".__add__, endings)
        return ids


def is_minted(id: str) -> bool:
    """Whether an id looks like those of `Mint`, which nobody else has used before."""
    return _MINTED.fullmatch(id) is not None
