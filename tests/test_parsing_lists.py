"""The quick way to read a list of events: it takes nothing that the thorough one would not."""

from __future__ import annotations

import json
import re
import time
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpiggybank import kinds, parsing, shape
from kpiggybank.events import Deposit, InvalidEvent
from kpiggybank.rules import LIMITS, compact
from kpiggybank.texts import Texts, split
from tests.reading import from_json, quickly, thoroughly
from tests.test_parsing import JSON_VALUES

#: What breaks a rule, and what only looks like it: in a name, in a value, in a list or an object.
PARTS = [
    b'"a":1',
    b'"a":"b"',
    b'"o":{"a":1,"b":[1,2]}',
    b'"o":{"a":{"b":1}}',
    b'"o":{"a":1,"a":2}',
    b'"o":{"a":1,"\\u0061":2}',
    b'"o":[{"a":1,"a":2}]',
    b'"o":{"a":"}","a":1}',
    b'"o":{"a":":{","b":":"}',
    b'"o":{}',
    b'"\\":{":{"a":1,"b":2}',
    b'"a":"\\":{"',
    b'"_a":1',
    b'"\\u005fa":1',
    b'"a\\n_b":1',
    b'"a":"_b"',
    b'"a":1e400',
    b'"a":[-1.5E+400]',
    b'"a":1e-400',
    b'"a":1e100',
    b'"a":"3e000"',
    b'"a":' + b"1" * 250,
    b'"a":' + b"1" * 4301,
    b'"a":1.50',
    b'"a":"\\ud800"',
    b'"a":"\\ud83d\\ude00"',
    b'"a":"\xff"',
    b'"\xff":1',
    b'"\xed\xa0\x80":1',
    b'"o":{"\xff":1}',
    b'"a":"\xc3\xa9"',
    b'"a":"\x01"',
    b'"a":NaN',
    b'"a":01',
    b'"a" : [ 1 , "x y" ]',
    b'"timestamp":2',
    b'"timestamp":true',
    b'"timestamp":null',
    b'"timestamp":1e400',
    b'"timestamp":' + b"9" * 320,
    b'"a":' + b"[" * LIMITS.depth + b"]" * LIMITS.depth,
    b'"a":' + b'["]",' * LIMITS.depth + b"1" + b',"["]' * LIMITS.depth,
    b'"a":[' + b"[]," * LIMITS.depth + b"[]]",
]
EVENTS = st.lists(st.sampled_from(PARTS), max_size=3).map(
    lambda parts: b"{%b}" % b",".join([b'"timestamp":1', *parts])
)
ITEMS = EVENTS | st.sampled_from([b"{}", b"3", b"null", b"[]", b'[{"timestamp":3}]', b'{"a":1}'])


@pytest.fixture(autouse=True)
def _quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "LEARN_BYTES", 0)


def pairs(text: bytes) -> Any:
    """A value with the members of objects as lists, so that none is lost."""
    return json.loads(text, object_pairs_hook=list)


def allowed(text: bytes) -> Deposit | None:
    """What the thorough way makes of a text, None where it refuses it."""
    try:
        return thoroughly(text)
    except InvalidEvent:
        return None


def assert_same(text: bytes) -> None:
    """Holds if what the quick way takes is taken by the thorough one, too, and is the same."""
    quick, thorough = quickly(compact(text)), allowed(text)
    if quick is None:
        return
    assert thorough is not None, "taken, though it is not allowed"
    assert repr(quick.timestamps) == repr(thorough.timestamps)
    assert not quick.single
    assert not re.search(rb"[\n\r]", b"".join(quick.texts))
    assert [*map(pairs, quick.texts)] == [*map(pairs, thorough.texts)]


@given(st.lists(ITEMS, max_size=3))
@settings(max_examples=1000, deadline=None)
def test_same_as_the_thorough_way(items: list[bytes]) -> None:
    """Of lists made of all that is forbidden, or looks so."""
    assert_same(b"[%b]" % b",".join(items))


@given(
    st.lists(EVENTS, min_size=1, max_size=3),
    st.integers(0, 400),
    st.sampled_from([*b'[]{}",:\\ _0e']),
)
@settings(max_examples=1000, deadline=None)
def test_same_with_a_wrong_byte(items: list[bytes], place: int, byte: int) -> None:
    """Of texts in which one byte is another one."""
    text = bytearray(b"[%b]" % b",".join(items))
    text[place % len(text)] = byte
    assert_same(bytes(text))


@pytest.mark.parametrize("part", PARTS)
def test_part_in_a_list(part: bytes) -> None:
    """A list is taken or refused as its events are by themselves."""
    event = b'{"timestamp":1,%b}' % part
    alone = allowed(event)
    text = b'[{"timestamp":0},%b]' % event
    if alone is None:
        with pytest.raises(InvalidEvent):
            from_json(text)
    else:
        deposit = from_json(text)
        assert repr(deposit.timestamps) == repr([0, *alone.timestamps])
        assert pairs(deposit.texts[1]) == pairs(alone.texts[0])


def test_names_are_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of names that come again are quick, in any mixture; those that never do cost little."""
    monkeypatch.setattr(shape, "LEARN_BYTES", 1000)
    known = shape.Shape()
    one = b'{"timestamp":1,"a":{"b":1,"c":2},"d":3}'
    other = b'{"timestamp":1,"a":{"c":2},"x":4,"d":3}'
    third = b'{"timestamp":1,"a":null,"y":4}'
    for event in (one, other, third):
        text = b"[%b]" % b",".join([event] * 10)
        while known.read(text) is None:
            pass
    text = b"[%b]" % b",".join([third, one, other] * 10)
    listing = known.read(text)
    assert listing is not None
    assert listing.timestamps == [1] * 30
    assert not listing.values  # the type of each value is known
    assert b",".join(split(listing.lines)) == text[1:-1]
    # The names that are known say nothing of what is the case.
    for wrong in (b'{"a":1}', b'{"timestamp":1,"d":3,"a":null}', b'{"timestamp":1,"d":1,"d":2}'):
        assert known.read(b"[%b]" % wrong) is None
    assert known.read(b"[%b]" % one) is not None


def test_usual_lists_are_quick() -> None:
    """What products send is not decoded, also where a text looks like a number or has brackets."""
    event = {
        "timestamp": 1_700_000_000_000,
        "id": "0e000fe1-3e123-4e999",
        "event_stream": [["start", 0], ["end", 12.5]],
        "user_agent": {"os": "é", "version": "1.0"},
        "screen": {"width": 1, "height": 2},
    }
    for text in (json.dumps([event] * 3), json.dumps([event] * 3, separators=(",", ":"))):
        deposit = quickly(compact(text.encode()))
        assert deposit is not None
        assert [*map(json.loads, deposit.texts)] == [event] * 3
    assert quickly(b"[]") == Deposit([], Texts.of([]), single=False)


@pytest.mark.parametrize("white", [b" ", b"\n", b"\t\r\n  "])
@pytest.mark.parametrize("place", [0, 1, 20])
def test_white_space_between_events(white: bytes, place: int) -> None:
    """A list is the same wherever there is white space in it, and though its texts have some."""
    event = b'{"timestamp":1,"text":"one, two: [ ] %b"}' % (b"x" * 200)
    events = [event] * 30
    spaced = [white + text if index >= place else text for index, text in enumerate(events)]
    for text in (b"[%b]" % b",".join(events), b"[%b]" % b",".join(spaced)):
        assert from_json(text).texts == events


@pytest.mark.parametrize("white", [b" ", b"\t", b"\r", b"\n"])
@pytest.mark.parametrize("member", [b'"l":[1,%b2]', b'"o":{"l":[[%b],2]}'])
@pytest.mark.parametrize("first", [b'"l":[0],"o":{"l":[0]}', b'"l":[0]', b'"l":1'])
def test_white_space_in_lists_within(white: bytes, member: bytes, first: bytes) -> None:
    """None is kept, also where only some events have it, and others have texts with spaces."""
    usual = [b'{"timestamp":1,"t":"%b",%b}' % (b"x y " * 100, first)] * 30
    odd, solid = (b'{"timestamp":1,%b}' % (member % space) for space in (white, b""))
    for _ in range(2):  # the second time the names are known
        text = b"[%b]" % b",".join([*usual, odd])
        assert from_json(text).texts == [*usual, solid]


@given(
    st.lists(
        st.fixed_dictionaries(
            {"timestamp": st.integers(), "a": JSON_VALUES},
            optional={"b": JSON_VALUES, "c": st.fixed_dictionaries({"d": JSON_VALUES})},
        ),
        min_size=1,
    ),
    st.integers(0),
    st.sampled_from(" \t\r\n"),
)
def test_white_space_anywhere(events: list[dict[str, Any]], place: int, white: str) -> None:
    """Wherever there is white space between the parts of a list, none of it is kept."""
    solid = json.dumps(events, separators=(",", ":"))
    places = [
        match.start() + (match[0] in "[{,:")
        for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]', solid)
        if match[0][0] != '"'
    ]
    cut = places[place % len(places)]
    text = f"{solid[:cut]}{white}{solid[cut:]}".encode()
    with mock.patch.object(parsing, "_LOOKED_BYTES", 0), mock.patch.object(shape, "LEARN_BYTES", 0):
        texts = list(from_json(text).texts)
    assert repr([*map(json.loads, texts)]) == repr(events)
    assert [*map(compact, texts)] == texts


def test_names_without_end_cost_little() -> None:
    """One event in a list may have thousands of names: they are not joined one by one."""
    event = b'{"timestamp":1,%b}' % b",".join(b'"%d":1' % n for n in range(20_000))
    seconds = []
    for text in (event, b"[%b]" % event):
        thoroughly(text)  # what is made only once is made now
        started = time.process_time()
        assert from_json(text).texts == [event]
        seconds.append(time.process_time() - started)
    alone, in_list = seconds
    assert in_list < 30 * alone  # to join them took 500 times as long


def test_few_names_are_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where objects have many names together they are not learnt: to use them would be dear."""
    monkeypatch.setattr(shape, "LEARN_BYTES", 1)
    known = shape.Shape()
    inner = b"{%b}" % b",".join(b'"%d":1' % n for n in range(20))
    for prefix, count in ((b"a", 2), (b"b", 3), (b"c", 2)):
        members = b",".join(b'"%b%d":%b' % (prefix, n, inner) for n in range(count))
        listing = known.read(b'[{"timestamp":1,%b}]' % members)
        assert listing is not None
        # Where they are not known as objects, they may be anything.
        assert (b"{" in listing.values) == (20 * count > kinds.NAMES)
