"""The one way from a request's bytes to events.

An event is checked, and kept as compact JSON. A list is read in the quick way where that is sure to
be right, all else in the thorough one.

Objects cost many times as much memory as their text, so there are never those of a whole body: a
list is read in pieces, or event by event, and what is too large is refused before it is decoded.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Generator
from io import BytesIO
from typing import Any

import msgspec

from kpiggybank.events import EventLimits, InvalidEvent
from kpiggybank.quickly import quickly
from kpiggybank.rules import LIMITS, PIECE_BYTES, SPACES, Steps, compact, limit_size
from kpiggybank.thoroughly import decoder_of_some, listed, thoroughly

_decode_text = msgspec.json.Decoder(str).decode

#: A line with something on it, or a piece of what is between such lines.
_LINE = re.compile(rb"(\S[^\n]*)\n?|\s{1,65536}")
#: A place in a JSON string that is within neither a character nor an escape, nor a pair of them.
_BETWEEN = re.compile(
    rb"""[^\\]{12}(?=[\x00-\x7f\xc0-\xff])|\\(?:[bfnrt/"]|u(?![dD][89abAB])[0-9a-fA-F]{4})""",
    re.DOTALL,
)

#: What is written in another way as quoted-printable. `=` has a meaning there, so it becomes NUL,
#: which is in no JSON; and what is still one afterwards was a `%` that stood for itself.
_PRINTABLE, _PLAIN = bytes.maketrans(b"%+=", b"= \0"), bytes.maketrans(b"=\0", b"%=")
_SPACED = bytes.maketrans(b"+", b" ")

#: White space between the parts of JSON; and in so many bytes of a list it shows, if it has any.
_WHITE, _LOOKED_BYTES = re.compile(rb"[\[{,:]\s|\s[\]}]"), 250

#: Of a longer field of a form, so many bytes are unquoted at once.
_QUOTED_BYTES = 2**16
#: How much easier it is than to decode: to take apart a text in `data`, and to unquote a field.
_EASIER_TEXT, _EASIER_FIELD = 8, 8


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """An object with the sole member `data`."""

    data: msgspec.Raw


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def prepare(limits: EventLimits) -> None:
    """Make what long lists are read with, before there is one: it takes a tenth of a second."""
    decoder_of_some(limits.events + 1)


def from_form(body: bytes, limits: EventLimits = LIMITS) -> Steps:
    """The events in the field `data` of a form (application/x-www-form-urlencoded).

    Raises:
        InvalidEvent: no such field, more than one, or what it holds is no event or list of events.
        ExcessiveEvent: one of them is too large, or there are too many.
    """
    # Only the one field is cut out and unquoted: parsing all of them costs ten times as much, and
    # half a million fields would stop the reactor.
    begin = 5 if body.startswith(b"data=") else body.find(b"&data=") + 6
    if begin == 5 and not body.startswith(b"data="):
        raise InvalidEvent("the form has no field 'data'")
    if body.find(b"&data=", begin) >= 0:
        raise InvalidEvent("the form has more than one field 'data'")
    end = body.find(b"&", begin)
    text = yield from _unquote(body, begin, len(body) if end < 0 else end, limits)
    del body  # where nobody else knows it, its memory is free now
    return (yield from _deposit(text, limits))


def from_json(body: bytes, limits: EventLimits = LIMITS) -> Steps:
    """The events in a JSON body: an event, a list, or an object with the sole member `data`.

    Raises:
        InvalidEvent: it is none of these, or one of the events is none.
        ExcessiveEvent: one of them is too large, or there are too many.
    """
    text = body.strip(SPACES)
    del body
    if text.startswith(b"{") and (b'"data"' in text or b"\\" in text):
        text = yield from _data(text)
    return (yield from _deposit(text, limits))


def from_lines(body: bytes, limits: EventLimits = LIMITS) -> Steps:
    r"""The events in a body with one on each line (application/x-ndjson); empty lines are nothing.

    Raises:
        InvalidEvent: there is no event at all, or a line holds none.
        ExcessiveEvent: one of them is too large, or there are too many.
    """
    deposit = yield from listed((match[1] for match in _LINE.finditer(body)), limits)
    if not deposit.timestamps:
        raise InvalidEvent("the body has no data: not one line with an event")
    return deposit


def _data(text: bytes) -> Generator[int, None, bytes]:
    """The JSON in the sole member `data` of an object, or the object where it is another one."""
    try:
        data: Any = memoryview(_decode_envelope(text).data)
    except (msgspec.ValidationError, RecursionError):
        return text
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"the data is not JSON: {error}") from None
    yield len(text) // _EASIER_TEXT
    if data[:1] != b'"':
        return bytes(data)
    return (yield from _text(data)).strip(SPACES)


def _text(literal: Any) -> Generator[int, None, bytes]:
    """The UTF-8 of a JSON string; in pieces, as a text may take four times the memory of that."""
    text = BytesIO()
    begin, end = 1, len(literal) - 1
    while begin < end:
        place = _BETWEEN.search(literal, begin + PIECE_BYTES, end)
        cut = end if place is None else place.end()
        try:
            text.write(_decode_text(b'"%b"' % literal[begin:cut]).encode())
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidEvent(f"the data is not JSON: {error}") from None
        yield (cut - begin) // _EASIER_TEXT
        begin = cut
    return text.getvalue()


def _deposit(text: bytes, limits: EventLimits) -> Steps:
    if not text.startswith(b"["):
        return (yield from thoroughly(text, limits))
    # To take white space out takes a tenth of the work on a list, and most have some within texts.
    spaced = _WHITE.search(text, 0, _LOOKED_BYTES) is not None
    deposit = None if spaced else (yield from quickly(text, limits))
    if deposit is None:
        solid = compact(text)
        if spaced or len(solid) < len(text):
            deposit = yield from quickly(solid, limits)
        text = solid
    return deposit or (yield from thoroughly(text, limits))


def _unquote(body: bytes, begin: int, end: int, limits: EventLimits) -> Generator[int, None, bytes]:
    """What was percent-encoded.

    Raises:
        InvalidEvent: it has a byte that is in no JSON.
        ExcessiveEvent: it is no list, or one that begins with such an event, and larger than an
            event may be.
    """
    if end - begin <= _QUOTED_BYTES:
        return _unquote_piece(body[begin:end])[0]
    text = BytesIO()
    first, alone, solid = b"", True, 0
    while begin < end:
        cut = min(begin + _QUOTED_BYTES, end)
        sign = body.find(b"%", cut - 2, cut)  # two digits may follow
        cut = cut if sign < 0 or cut == end else sign
        piece, work = _unquote_piece(body[begin:cut])
        text.write(piece)
        first = first or piece.lstrip(SPACES)[:1]
        alone = alone and (first != b"[" or b"}" not in piece)
        if alone:  # it is said now, as to go on takes as long as to decide all else
            solid += len(piece.translate(None, SPACES + b"["))
            limit_size(solid, 0, limits)
        yield work
        begin = cut
    return text.getvalue()


def _unquote_piece(quoted: bytes) -> tuple[bytes, int]:
    """What a piece says, and how much work that was."""
    easy = len(quoted) // _EASIER_FIELD
    if b"%" not in quoted:
        return (quoted.translate(_SPACED) if b"+" in quoted else quoted), easy
    # Quoted-printable is percent-encoding with another sign, and its decoder is written in C:
    # 2 us for a typical event where urllib takes 27.
    printable = quoted.translate(_PRINTABLE)
    plain = a2b_qp(printable)
    if (
        len(printable) - len(plain) == 2 * printable.count(b"=")
        and b"\0" not in printable
        and b"=\n" not in printable
        and b"=\r" not in printable
    ):
        return plain, easy
    # A hand-written form has a bare "%" in it, and everybody leaves such a sign as it is; or "=".
    if b"\0" in quoted or b"%00" in quoted:
        raise InvalidEvent("the data is not JSON: there is a NUL in it")
    printable = printable.replace(b"=3D", b"\0").replace(b"=3d", b"\0")
    # Here a sign would not be left, but tell of a line that goes on; it may be just before another.
    for after in (b"\n", b"\r", b"=", b"="):
        printable = printable.replace(b"=" + after, b"=25" + after)
    if printable.endswith(b"="):
        printable += b"25"
    return a2b_qp(printable).translate(_PLAIN), len(quoted)
