"""From a request's bytes to events: what is taken, what is refused, and what stays equal."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, quote_plus, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kpiggybank import parsing
from kpiggybank.events import Deposit, InvalidEvent, exact_timestamp, same_value, sortable
from kpiggybank.rules import LIMITS
from kpiggybank.texts import Texts
from tests.reading import from_form, from_json, from_lines

GOOD = b'{"timestamp":1}'
#: Of which it may be hard to tell what they are in a form.
SIGNS = [b"%", b"%", b"=", b"+", b"\n", b"\r", b"3", b"D", b"d", b"2", b"5", b"%41", b"x"]


def values(deposit: Deposit) -> list[Any]:
    """The events of a deposit, decoded."""
    return [json.loads(text) for text in deposit.texts]


def form(body: bytes) -> bytes:
    """A form with that body in its field `data`."""
    return b"data=" + quote_plus(body).encode()


READERS = pytest.mark.parametrize(
    "read",
    [from_json, lambda body: from_form(form(body)), from_lines],
    ids=["json", "form", "ndjson"],
)


@READERS
@pytest.mark.parametrize(
    "value",
    [
        b"0",
        b"-1",
        b"1.5",
        b"1.0",
        b"1700000000",
        b"1700000000000",
        b"-0.0",
        b"18446744073709551616",
        b"123456789012345678901234567890",
        b"1e300",
    ],
)
def test_timestamps_stay_as_sent(read: Any, value: bytes) -> None:
    """Any finite number is a time, and is kept to the letter."""
    deposit = read(b'{"timestamp":%b}' % value)
    assert deposit.texts == [b'{"timestamp":%b}' % value]
    assert repr(deposit.timestamps) == repr([json.loads(value)])


@READERS
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"nonsense",
        b"null",
        b"1",
        b'"text"',
        b"true",
        b"{}",
        b'{"timestamp":"1"}',
        b'{"timestamp":true}',
        b'{"timestamp":null}',
        b'{"timestamp":[1]}',
        b'{"timestamp":NaN}',
        b'{"timestamp":Infinity}',
        b'{"timestamp":-Infinity}',
        b'{"timestamp":1e400}',
        b'{"timestamp":1' + b"0" * 400 + b"}",
        b'{"timestamp":1,"big":' + b"1" * 5000 + b"}",
        b'{"timestamp":1,"_id":"x"}',
        b'{"timestamp":1,"_":1}',
        b'{"timestamp":1,"x":"\\ud800"}',
        b'{"timestamp":1,"x":"\\udc00\\ud800"}',
        b'{"timestamp":1,"x":"\xff"}',
        b'{"timestamp":1,"x":"\xed\xa0\x80"}',
        b'{"timestamp":1,"x":"\x01"}',
        b'{"timestamp":1} x',
        b'{"timestamp":1}{"timestamp":2}',
        b'{"timestamp":1',
        b"{'timestamp':1}",
        b"[" * 100_000,
        b'{"timestamp":1,"x":' + b"[" * 100_000,
        b'{"timestamp":1,"x":' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)
def test_refused(read: Any, body: bytes) -> None:
    """What is no event is refused, in one line, whatever it came in."""
    with pytest.raises(InvalidEvent) as refused:
        read(body)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_depth() -> None:
    """Nesting is limited, counted from the event itself; width is not."""

    def nested(levels: int) -> bytes:
        arrays = levels - 1
        return b'{"timestamp":1,"x":' + b"[" * arrays + b"]" * arrays + b"}"

    assert from_json(nested(LIMITS.depth)).texts
    with pytest.raises(InvalidEvent, match="nested"):
        from_json(nested(LIMITS.depth + 1))
    assert from_json(b'{"timestamp":1,"x":[' + b"[]," * 500 + b"[]]}").texts


def test_lists_nested_one_level_are_flattened() -> None:
    """What a sign-in server sends by mistake is understood."""
    deposit = from_json(b'[[{"timestamp":1},{"timestamp":2}],{"timestamp":3},[]]')
    assert deposit.timestamps == [1, 2, 3]
    with pytest.raises(InvalidEvent, match="event 0 "):
        from_json(b'[[[{"timestamp":1}]]]')


@pytest.mark.parametrize(
    ("body", "index"),
    [
        (b'[{"timestamp":1},{}]', 1),
        (b'[[{"timestamp":1},{"timestamp":1}],3]', 2),
        (b'[{"timestamp":1},{"timestamp":1,"_a":1},{}]', 1),
    ],
)
def test_index_of_the_bad_event(body: bytes, index: int) -> None:
    """The place of the first bad event is named, counted in the flattened list from 0."""
    with pytest.raises(InvalidEvent, match=f"event {index}"):
        from_json(body)


def test_index_of_the_bad_line() -> None:
    """Lines are counted without the empty ones."""
    with pytest.raises(InvalidEvent, match="event 1 "):
        from_lines(GOOD + b"\n\n{broken\n")


def test_lines() -> None:
    """An event a line, whatever ends the lines; empty ones are nothing."""
    deposit = from_lines(b'\n{"timestamp":1}\r\n \t\n\n{"timestamp":2}')
    assert deposit.timestamps == [1, 2]
    assert not deposit.single


def test_single_or_list() -> None:
    """A list of one is a list."""
    assert from_json(GOOD).single
    assert not from_json(b"[%b]" % GOOD).single
    assert from_json(b"[]") == Deposit([], Texts.of([]), single=False)


@pytest.mark.parametrize(
    ("body", "single"),
    [
        (b'{"data":{"timestamp":1}}', True),
        (b'{"data":[{"timestamp":1}]}', False),
        (b'{"data":"{\\"timestamp\\":1}"}', True),
        (b'{"data":"[{\\"timestamp\\":1}]"}', False),
    ],
)
def test_wrapped(body: bytes, single: bool) -> None:
    """A JSON body may hold its events in `data`, even as a text."""
    deposit = from_json(body)
    assert values(deposit) == [{"timestamp": 1}]
    assert deposit.single is single


def test_event_with_a_member_data() -> None:
    """An event may have a member of that name."""
    body = b'{"timestamp":1,"data":"x"}'
    assert from_json(body).texts == [body]


def test_large_data_that_is_not_json() -> None:
    """It is no event that is too large."""
    events = b",".join([b'{"timestamp":1}'] * LIMITS.events)
    with pytest.raises(InvalidEvent, match=r"not JSON.*byte") as caught:
        from_json(b'{"data":[%b,%b,nul]}' % (events, b'"%b"' % (b"x" * LIMITS.event_bytes)))
    assert caught.type is InvalidEvent


@pytest.mark.parametrize("body", [b"", b"date=1", b"xdata=1", b"data", b"a=1&b=data=1"])
def test_form_without_the_field(body: bytes) -> None:
    """A form must have the field."""
    with pytest.raises(InvalidEvent, match="no field 'data'"):
        from_form(body)


def test_form_with_other_fields() -> None:
    """Other fields, before and after, do not matter; a second `data` is refused."""
    assert from_form(b"a=1&" + form(GOOD) + b"&b=2").single
    with pytest.raises(InvalidEvent, match="more than one"):
        from_form(form(GOOD) + b"&" + form(GOOD))


@pytest.mark.parametrize("quoting", [quote, quote_plus, lambda body: body.decode()])
def test_quoting_of_forms(quoting: Any) -> None:
    """Spaces may be + or %20, and what needs no quoting may stand as it is."""
    body = b'{"timestamp": 1, "text": "a = b, 100% c=3D"}'
    (value,) = values(from_form(b"data=" + quoting(body).encode()))
    assert value == json.loads(body)


@given(st.binary() | st.lists(st.sampled_from(SIGNS)).map(b"".join))
@example(b"%\nx\ry")
@example(b"%%41")
@example(b"=%3d%3D%25%2")
def test_unquoting_is_that_of_urllib(quoted: bytes) -> None:
    """The fast way to unquote gives what the usual one gives, but for NUL, which JSON has not."""
    plain = unquote_to_bytes(quoted.replace(b"+", b" "))
    try:
        assert parsing._unquote_piece(quoted)[0] == plain
    except InvalidEvent:
        assert b"\0" in plain


@given(st.binary(), st.sampled_from([quote, quote_plus]))
def test_quoted_bytes_come_back(raw: bytes, quoting: Any) -> None:
    """Whatever was quoted is found again."""
    assert parsing._unquote_piece(quoting(raw).encode())[0] == raw


@pytest.mark.parametrize("field", [b'{"timestamp":1,"x":"%00"}', b'=\0{"timestamp":1}', b"%=%00"])
def test_nul_is_not_json(field: bytes) -> None:
    """There is none in JSON, whatever else is in the field."""
    with pytest.raises(InvalidEvent, match="not JSON"):
        from_form(b"data=" + field)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(
    st.dictionaries(st.text().filter(lambda name: not name.startswith("_")), JSON_VALUES),
    st.integers() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_values_are_exact(fields: dict[str, Any], timestamp: float) -> None:
    """What was read equals what was sent, in value and kind, and is one line."""
    event = {**fields, "timestamp": timestamp}
    (text,) = from_json(json.dumps(event).encode()).texts
    assert repr(json.loads(text)) == repr(event)
    assert b"\n" not in text
    assert b"\r" not in text


def test_duplicate_names() -> None:
    """Of members with the same name the last one counts, and only it is kept."""
    deposit = from_json(b'{"timestamp":1,"a":1,"timestamp":2,"a":3}')
    assert deposit == Deposit([2], Texts.of([b'{"timestamp":2,"a":3}']), single=True)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_sortable(timestamp: float) -> None:
    """Every time has a place among all others, and is found again from its event."""
    number = sortable(timestamp)
    assert isinstance(number, float) or number == timestamp
    body = json.dumps({"timestamp": timestamp}).encode()
    assert repr(exact_timestamp(number, body)) == repr(timestamp)


def test_same_value() -> None:
    """Equal are equal values of equal kinds; the order of members is no matter."""
    assert same_value(b'{"a":1,"b":[1,{"c":2,"d":3}]}', b'{"b":[1,{"d":3,"c":2}],"a":1}')
    assert not same_value(b'{"a":1}', b'{"a":1.0}')
    assert not same_value(b'{"a":1}', b'{"a":true}')
    assert not same_value(b'{"a":[1,2]}', b'{"a":[2,1]}')
