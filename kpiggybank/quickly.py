"""The quick way to read a list of events: their values are looked through, not decoded.

Only the members are found, in half the time: msgspec passes over their values, by which it checks
that they are JSON, and joins them again; a few searches through the text tell that nothing else can
be wrong with them. A list of which they cannot tell that is left to the thorough way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from kpiggybank.events import Deposit, EventLimits, Number
from kpiggybank.rules import LIMITS, PIECE_BYTES, any_reserved, deeper, too_many

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_decode_numbers = msgspec.json.Decoder(list[Number]).decode
_encode_lines = msgspec.json.Encoder().encode_lines

_ALL = set(range(256))
_NO_OPENINGS = bytes(_ALL - set(b"[{\n"))

_DIGITS, _ENDS = b"0123456789+-", b'":,[]{}'
#: Digits and signs become `0`, what may begin an exponent `e`, and what ends a number a space.
_NUMERALS = bytes(
    ord("0" if char in _DIGITS else "e" if char in b"eE" else " ") for char in range(256)
)
_NO_NUMERALS = bytes(_ALL - set(_DIGITS + b"eE" + _ENDS))
#: One of these is in every number that is too large; below an exponent of 100 it has 209 digits.
_EXPONENT, _LONG = b"0e000", b"0" * 200
#: The same exponent in the text itself, where it hardly ever is in anything but a number.
_NUMBER_WITH_EXPONENT = re.compile(rb"[:,\[]-?[0-9.]+[eE]\+?[0-9]{3}")

#: The members of an object within an event, unless there are braces in it.
_INNER = re.compile(rb'":\{([^}]*)')


def quickly(text: bytes, limits: EventLimits = LIMITS) -> Deposit | None:
    """The events of a compact list, None where it takes more to be sure that they are some."""
    if not text.startswith(b"["):
        return None
    timestamps: list[Number] = []
    texts: list[bytes] = []
    try:
        for piece in _pieces(text):
            if len(piece) > PIECE_BYTES + limits.event_bytes:
                return None
            events = _decode_members(piece)
            if len(texts) + len(events) > limits.events:
                raise too_many(limits)
            if _may_be_large(piece) or not _is_utf8(piece):
                return None
            lines = _checked(events, limits)
            if lines is None:
                return None
            numbers = b",".join([event["timestamp"] for event in events])
            timestamps += _decode_numbers(b"[%b]" % numbers)
            texts += lines
    except (msgspec.DecodeError, RecursionError, KeyError):
        return None
    return Deposit(timestamps, texts, single=False)


def _pieces(text: bytes) -> Iterator[bytes]:
    """A list of objects as several lists: if each of them is one, so was the text.

    A cut may be at a wrong place, within an event. Then what is before it is no list.
    """
    begin = 1
    while (cut := text.find(b"},{", begin + PIECE_BYTES) + 1) > 0:
        yield b"[%b]" % text[begin:cut]
        begin = cut + 1
    yield text if begin == 1 else b"[%b" % text[begin:]


def _checked(events: Sequence[dict[str, msgspec.Raw]], limits: EventLimits) -> list[bytes] | None:
    """The texts of events; None where there may be something wrong with one of them."""
    lines = _encode_lines(events)
    texts = lines.split(b"\n")
    texts.pop()  # what comes after the last line's end
    # As many levels as brackets are opened, at the most.
    openings = lines.translate(None, _NO_OPENINGS)
    if (
        (
            max(map(len, openings.split(b"\n"))) > limits.depth
            and any(deeper(text, limits.depth) for text in texts)
        )
        or (len(lines) > limits.event_bytes and max(map(len, texts)) > limits.event_bytes)
        or any_reserved(set().union(*events))
        or _may_have_twins(lines, openings.count(b"{") - len(events))
    ):
        return None
    return texts


def _may_be_large(text: bytes) -> bool:
    """Whether a number may be beyond a double, or have more digits than Python takes."""
    numerals = text.translate(_NUMERALS, _NO_NUMERALS)
    return _LONG in numerals or (
        _EXPONENT in numerals and _NUMBER_WITH_EXPONENT.search(text) is not None
    )


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _may_have_twins(text: bytes, objects: int) -> bool:
    """Whether two members of one of so many objects within events may have the same name.

    Raises:
        msgspec.DecodeError: that cannot be told.
    """
    inner = _INNER.findall(text) if objects else ()
    if len(inner) != objects:
        return True  # there are some in arrays, or brackets in a text
    # As many names as members? What goes on after the first `}` is no JSON now. Most of them come
    # again and again.
    return any(len(_decode_object(b"{%b}" % one)) != one.count(b'":') for one in set(inner))
