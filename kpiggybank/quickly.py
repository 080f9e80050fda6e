"""The quick way to read a list of events: their values are looked through, not decoded.

Only the members are found, in a third of the time. Where the type of a value is not known, msgspec
passes over it, by which it checks that it is JSON; a few searches through these values tell that
nothing else can be wrong with them. A list of which they cannot tell that is left to the thorough
way.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator

import msgspec

from kpiggybank.events import Deposit, EventLimits, Number
from kpiggybank.rules import LIMITS, PIECE_BYTES, deeper, too_many
from kpiggybank.shape import Listing, Shape
from kpiggybank.texts import Texts, split

_ALL = set(range(256))
_OPENINGS = b"[\n"
_NO_OPENINGS = bytes(_ALL - set(_OPENINGS))

_DIGITS, _ENDS = b"0123456789+-", b","
#: Digits and signs become `0`, and what may begin an exponent `e`. Openings, those of objects, too,
#: are left as they are, as is what ends a number, and all else is dropped.
_MARKS = bytes.maketrans(_DIGITS + b"E", b"0" * len(_DIGITS) + b"e")
_NO_MARKS = bytes(_ALL - set(_DIGITS + b"eE{" + _ENDS + _OPENINGS))
#: One of these is in every number that is too large: below an exponent of 100 it has 209 digits.
#: Fewer are looked for, as Python's search for more than 99 bytes has to prepare itself.
_EXPONENT, _LONG = b"0e000", b"0" * 99
#: The same exponent in the text itself, where it hardly ever is in anything but a number.
_NUMBER_WITH_EXPONENT = re.compile(rb"(?:^|[,\[])-?[0-9.]+[eE]\+?[0-9]{3}", re.MULTILINE)

#: Of the events, and of the objects among their members.
_LEVELS = 2

#: How much easier it is than to decode.
_EASIER = 8

_shape = Shape()


def quickly(text: bytes, limits: EventLimits = LIMITS) -> Generator[int, None, Deposit | None]:
    """The events of a compact list, None where it takes more to be sure that they are such.

    In steps, as `rules.Steps`.
    """
    if not text.startswith(b"[") or limits.depth < _LEVELS:
        return None
    timestamps: list[Number] = []
    lines: list[bytes] = []
    counts: list[int] = []
    try:
        for piece in _pieces(text):
            if len(piece) > PIECE_BYTES + limits.event_bytes:
                return None
            listing = _shape.read(piece)
            if listing is None:
                _shape.doubt(text)
                return None
            count = len(listing.timestamps)
            if len(timestamps) + count > limits.events:
                raise too_many(limits)
            if _may_be_wrong(listing, limits):
                _shape.doubt(text)
                return None
            timestamps += listing.timestamps
            lines.append(listing.lines)
            counts.append(count)
            yield len(piece) // _EASIER
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Deposit(timestamps, Texts(lines, counts), single=False)


def _pieces(text: bytes) -> Iterator[bytes]:
    """A list of objects as several lists: if each of them is one, so was the text.

    A cut may be at a wrong place, within an event. Then what is before it is no list.
    """
    begin, view = 1, memoryview(text)
    while (cut := text.find(b"},{", begin + PIECE_BYTES) + 1) > 0:
        yield b"".join((b"[", view[begin:cut], b"]"))
        begin = cut + 1
    yield text if begin == 1 else b"".join((b"[", view[begin:]))


def _may_be_wrong(listing: Listing, limits: EventLimits) -> bool:
    """Whether there may be something wrong with one of some events."""
    lines, values = listing.lines, listing.values
    marks = values.translate(_MARKS, _NO_MARKS)
    return (
        # There are objects within the values, or brackets in a text.
        b"{" in marks
        # As many levels as brackets are opened, at the most.
        or (
            b"[" * (limits.depth - _LEVELS + 1) in marks.translate(None, _NO_OPENINGS)
            and any(deeper(text, limits.depth) for text in split(lines))
        )
        or (len(lines) > limits.event_bytes and max(map(len, split(lines))) > limits.event_bytes)
        # A number may be beyond a double, or have more digits than Python takes.
        or _LONG in marks
        # From its end the search takes half the time.
        or (marks.rfind(_EXPONENT) >= 0 and _NUMBER_WITH_EXPONENT.search(values) is not None)
        # All other texts were decoded.
        or not _is_utf8(values)
    )


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
