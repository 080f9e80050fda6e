"""The one way from a request's bytes to events.

An event is checked, and kept as compact JSON. A list is read in the quick way where that is sure to
be right, all else in the thorough one.

Objects cost many times as much memory as their text, so there are never those of a whole body: a
list is read in pieces, or event by event, and what is too large is refused before it is decoded.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from kpiggybank.events import Deposit, EventLimits, InvalidEvent
from kpiggybank.quickly import quickly
from kpiggybank.rules import LIMITS, PIECE_BYTES, SPACES, compact
from kpiggybank.thoroughly import listed, thoroughly

_decode_text = msgspec.json.Decoder(str).decode

_LINE = re.compile(rb"\S[^\n]*")
#: A place in a JSON string that is within neither a character nor an escape, nor a pair of them.
_BETWEEN = re.compile(rb"[^\\]{12}(?=[\x00-\x7f\xc0-\xff])", re.DOTALL)
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """An object with the sole member `data`."""

    data: msgspec.Raw


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def from_form(body: bytes, limits: EventLimits = LIMITS) -> Deposit:
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
    text = _unquote(body, begin, len(body) if end < 0 else end)
    del body  # where nobody else knows it, its memory is free now
    return _deposit(text, limits)


def from_json(body: bytes, limits: EventLimits = LIMITS) -> Deposit:
    """The events in a JSON body: an event, a list, or an object with the sole member `data`.

    Raises:
        InvalidEvent: it is none of these, or one of the events is none.
        ExcessiveEvent: one of them is too large, or there are too many.
    """
    text = body.strip(SPACES)
    del body
    if text.startswith(b"{") and (b'"data"' in text or b"\\" in text):
        text = _data(text)
    return _deposit(text, limits)


def from_lines(body: bytes, limits: EventLimits = LIMITS) -> Deposit:
    r"""The events in a body with one on each line (application/x-ndjson); empty lines are nothing.

    Raises:
        InvalidEvent: there is no event at all, or a line holds none.
        ExcessiveEvent: one of them is too large, or there are too many.
    """
    deposit = listed((match[0] for match in _LINE.finditer(body)), limits)
    if not deposit.texts:
        raise InvalidEvent("the body has no data: not one line with an event")
    return deposit


def _data(text: bytes) -> bytes:
    """The JSON in the sole member `data` of an object, or the object where it is another one."""
    try:
        data: Any = memoryview(_decode_envelope(text).data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text
    return _text(data).strip(SPACES) if data[:1] == b'"' else bytes(data)


def _text(literal: Any) -> bytes:
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
        begin = cut
    return text.getvalue()


def _deposit(text: bytes, limits: EventLimits) -> Deposit:
    if not text.startswith(b"["):
        return thoroughly(text, limits)
    text = compact(text)
    return quickly(text, limits) or thoroughly(text, limits)


def _unquote(body: bytes, begin: int, end: int) -> bytes:
    """What was percent-encoded."""
    if end - begin <= PIECE_BYTES:
        return _unquote_piece(body[begin:end])
    text = BytesIO()
    while begin < end:
        cut = min(begin + PIECE_BYTES, end)
        sign = body.find(b"%", cut - 2, cut)  # two digits may follow
        cut = cut if sign < 0 or cut == end else sign
        text.write(_unquote_piece(body[begin:cut]))
        begin = cut
    return text.getvalue()


def _unquote_piece(quoted: bytes) -> bytes:
    plain = quoted.replace(b"+", b" ")
    if _STRAY_PERCENT.search(plain):
        # A hand-written form with a bare "%" in it; everybody leaves such a sign as it is.
        return unquote_to_bytes(plain)
    # Quoted-printable is percent-encoding with another sign, and its decoder is written in C:
    # 2 us for a typical event where urllib takes 27.
    return a2b_qp(plain.replace(b"=", b"%3D").replace(b"%", b"="))
