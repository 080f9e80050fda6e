"""The JSON of many events, in few pieces of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import chain, islice
from operator import itemgetter

import msgspec

_without_end = itemgetter(slice(-1))


def split(lines: bytes) -> list[bytes]:
    """The texts in some lines, each of which has an end."""
    # Its way to find the ends takes a quarter of the time that `bytes.split` takes.
    return list(map(_without_end, BytesIO(lines)))


class Texts(msgspec.Struct, frozen=True, eq=False):
    """Some texts without ends of lines in them; they are made anew each time, in pieces.

    A thousand texts that stay by themselves are spread over the memory. To have and to free them
    takes longer than to make them again where they are wanted, a few at a time in the same place.

    Args:
        lines: pieces of some texts, each with the end of its line.
        counts: how many texts are in each piece.
    """

    lines: Sequence[bytes]
    counts: Sequence[int]

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> Texts:
        """These texts, in one piece."""
        return cls([b"%b\n" % b"\n".join(texts)], [len(texts)]) if texts else cls([], [])

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        """The texts of one part after those of the other."""
        return cls(
            [lines for part in parts for lines in part.lines],
            [count for part in parts for count in part.counts],
        )

    @property
    def size(self) -> int:
        """Bytes of all texts."""
        return sum(map(len, self.lines)) - len(self)

    def since(self, place: int) -> Iterator[bytes]:
        """The texts from a place on."""
        for number, count in enumerate(self.counts):
            if place < count:
                return islice(chain.from_iterable(map(split, self.lines[number:])), place, None)
            place -= count
        return iter(())

    def __len__(self) -> int:
        return sum(self.counts)

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(map(split, self.lines))

    def __getitem__(self, place: int) -> bytes:
        return next(self.since(range(len(self))[place]))

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Texts | list) else NotImplemented
