"""Ids as the server makes them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from secrets import randbits
from typing import overload

import attrs
from msgspec import Raw

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

    def several(self, count: int) -> Sequence[str]:
        """The next ids, at less cost than one by one."""
        now = self._milliseconds()
        first = (now << 64) | randbits(63) if now > self._last >> 64 else self._last + 1
        self._last = max(self._last, first + count - 1)
        if count == 1:
            return [f"{first:028x}"]
        return Minted(first, count)


class Minted(Sequence[str]):
    """Ids that follow each other, made anew each time they are asked for.

    As with the texts of events: to have and to free a thousand of them takes longer than to make
    them again, a few at a time.
    """

    def __init__(self, first: int, count: int) -> None:
        self._numbers = range(first, first + count)
        #: Those that begin alike, by their beginning and their endings.
        self._runs: list[tuple[str, Sequence[str]]] = []
        while count > 0:
            high, low = divmod(first, len(_ENDINGS))
            endings = _ENDINGS[low : low + count]
            self._runs.append((f"{high:025x}", endings))
            first += len(endings)
            count -= len(endings)

    @property
    def json(self) -> Raw:
        """All of them as a JSON array."""
        runs = [f'"{start}' + f'","{start}'.join(endings) + '"' for start, endings in self._runs]
        return Raw(f"[{','.join(runs)}]")

    def __len__(self) -> int:
        return self._numbers.stop - self._numbers.start

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable([map(start.__add__, ends) for start, ends in self._runs])

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        return list(self)[place] if isinstance(place, slice) else f"{self._numbers[place]:028x}"


def is_minted(id: str) -> bool:
    """Whether an id looks like those of `Mint`, which nobody else has used before."""
    return _MINTED.fullmatch(id) is not None
