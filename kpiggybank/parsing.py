"""The one way from a request's bytes to events.

An event is checked, and kept as compact JSON. One by itself is decoded for that, and encoded again.
Of a list's events only the members are found, in half the time: msgspec passes over their values,
by which it checks that they are JSON, and joins them again; a few searches through the text tell
that nothing else can be wrong with them. A list of which they cannot tell that is decoded, too.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from kpiggybank.events import Deposit, InvalidEvent, Number, sortable

#: Levels of arrays and objects in one event, the event itself being the first.
MAX_DEPTH = 64

_decode = msgspec.json.Decoder().decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_decode_numbers = msgspec.json.Decoder(list[Number]).decode
_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines

_LINE = re.compile(rb"[^\n]+")
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")

_WHITE = (b" ", b"\n", b"\r", b"\t")
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


def from_form(body: bytes) -> Deposit:
    """The events in the field `data` of a form (application/x-www-form-urlencoded).

    Raises:
        InvalidEvent: no such field, more than one, or what it holds is no event or list of events.
    """
    # Only the one field is cut out and unquoted: parsing all of them costs ten times as much, and
    # half a million fields would stop the reactor.
    _, *fields = (b"&" + body).split(b"&data=", 2)
    if len(fields) != 1:
        raise InvalidEvent(f"the form has {'more than one' if fields else 'no'} field 'data'")
    return _deposit(_unquote(fields[0].partition(b"&")[0]))


def from_json(body: bytes) -> Deposit:
    """The events in a JSON body: an event, a list, or an object with the sole member `data`.

    Raises:
        InvalidEvent: it is none of these, or one of the events is none.
    """
    deposit = _quickly(body)
    if deposit is not None:
        return deposit
    value = _value(body)
    if isinstance(value, dict) and value.keys() == {"data"}:
        value = value["data"]
        if isinstance(value, str):
            return _deposit(value.encode())
    return _thoroughly(value)


def from_lines(body: bytes) -> Deposit:
    r"""The events in a body with one on each line (application/x-ndjson); empty lines are nothing.

    Raises:
        InvalidEvent: there is no event at all, or a line holds none.
    """
    lines = [match[0] for match in _LINE.finditer(body) if not match[0].isspace()]
    if not lines:
        raise InvalidEvent("the body has no data: not one line with an event")
    return _list(_value(line, f"event {index} ") for index, line in enumerate(lines))


def _deposit(text: bytes) -> Deposit:
    return _quickly(text) or _thoroughly(_value(text))


def _quickly(text: bytes) -> Deposit | None:
    """The events of a list, None where it takes more to be sure that they are some."""
    if not text.startswith(b"["):
        return None
    try:
        if any(white in text for white in _WHITE):
            text = msgspec.json.format(text, indent=-1)
        if _may_be_large(text) or not _is_utf8(text):
            return None
        events = _decode_members(text)
        numbers = b",".join([event["timestamp"] for event in events])
        timestamps = _decode_numbers(b"[%b]" % numbers)
        lines = _encode_lines(events)
        # As many levels as brackets are opened, at the most.
        openings = lines.translate(None, _NO_OPENINGS)
        if (
            max(map(len, openings.split(b"\n"))) > MAX_DEPTH
            or _any_reserved(set().union(*events))
            or _may_have_twins(lines, openings.count(b"{") - len(events))
        ):
            return None
    except (msgspec.DecodeError, RecursionError, KeyError):
        return None
    texts = lines.split(b"\n")
    texts.pop()  # what comes after the last line's end
    return Deposit(timestamps, texts, single=False)


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


def _thoroughly(value: Any) -> Deposit:
    """The events in a decoded value."""
    if not isinstance(value, list):
        timestamp, json = _event(value, 0)
        return Deposit([timestamp], [json], single=True)
    flat: list[Any] = []
    for item in value:
        # Some writers nest lists by mistake: [[event, event], event].
        flat.extend(item) if isinstance(item, list) else flat.append(item)
    return _list(flat)


def _list(values: Iterable[Any]) -> Deposit:
    events = [_event(value, index) for index, value in enumerate(values)]
    return Deposit([number for number, _ in events], [json for _, json in events], single=False)


def _event(value: Any, index: int) -> tuple[Number, bytes]:
    """The timestamp of a decoded event, and its JSON."""
    if not isinstance(value, dict):
        raise InvalidEvent(f"event {index} is not an object")
    timestamp = value.get("timestamp")
    if type(timestamp) is not int and type(timestamp) is not float:  # a bool is an int, too
        trouble = "is not a finite number" if "timestamp" in value else "is missing"
        raise InvalidEvent(f"event {index}: 'timestamp' {trouble}")
    try:
        sortable(timestamp)
        encoded = _encode(value)
    except InvalidEvent as error:
        raise InvalidEvent(f"event {index}: {error}") from None
    except RecursionError:
        raise InvalidEvent(f"event {index} is nested too deep") from None
    if _any_reserved(value.keys()):
        raise InvalidEvent(f"event {index}: a name that begins with '_' is reserved")
    # Counting brackets is cheap and settles it for nearly every event.
    if encoded.count(b"{") + encoded.count(b"[") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise InvalidEvent(f"event {index} is nested deeper than {MAX_DEPTH} levels")
    return timestamp, encoded


def _any_reserved(names: Collection[str]) -> bool:
    joined = "\n".join(names)  # to look at all names together is cheaper
    return (joined.startswith("_") or "\n_" in joined) and any(
        name.startswith("_") for name in names
    )


def _deeper(value: Any, levels: int) -> bool:
    layer = [value]
    while layer and levels:
        layer = [
            child
            for parent in layer
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        levels -= 1
    return bool(layer)


def _value(raw: bytes, where: str = "") -> Any:
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"{where or 'the data '}is not JSON: {error}") from None
    except RecursionError:
        raise InvalidEvent(f"{where or 'the data '}is nested too deep") from None


def _unquote(quoted: bytes) -> bytes:
    plain = quoted.replace(b"+", b" ")
    if _STRAY_PERCENT.search(plain):
        # A hand-written form with a bare "%" in it; everybody leaves such a sign as it is.
        return unquote_to_bytes(plain)
    # Quoted-printable is percent-encoding with another sign, and its decoder is written in C:
    # 2 us for a typical event where urllib takes 27.
    return a2b_qp(plain.replace(b"=", b"%3D").replace(b"%", b"="))
