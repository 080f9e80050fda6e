"""What is learnt of the values of members tells how fast a list is read, never what is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import NoneType
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from kpiggybank import kinds, quickly, shape
from kpiggybank.events import EventLimits
from kpiggybank.rules import LIMITS
from tests.reading import quickly as read_quickly
from tests.test_parsing_lists import assert_same

#: A value of each kind.
USUAL = {
    "timestamp": b"1",
    "i": b"7",
    "b": b"true",
    "s": b'"x [y} 1e999"',
    "n": b"null",
    "o": b'{"i":-5,"s":"\xc3\xa9","l":[[1.5]]}',
    "l": b'[["a",1],2]',
}
ODD = [
    *(b"0", b"-0", b"1.0", b"1e3", b"-1e400", b"1E+400", b"01", b"1" * 19, b"-9223372036854775808"),
    *(b"9223372036854775808", b"1" * 250, b"9" * 320, b"1" * 4301),
    *(b"false", b"null", b"nul", b'"z"'),
    *(b'"\\u00e9"', b'"\\/"', b'"\\ud800"', b'"\xff"', b'"\x01"'),
    *(b"{}", b'{"i":1}', b'{"i":true,"s":1}', b'{"i":1,"i":2}', b'{"_i":1}'),
    *(b'{"o":{"i":1,"i":2}}', b'{ "i":1}', b'{"i":[1, 2]}'),
    *(b"[]", b"[1, 2]", b"[ ]", b'["a b"]', b"[1e400]", b'[{"a":1,"a":2}]'),
    *(b"[" * levels + b"]" * levels for levels in (LIMITS.depth - 1, LIMITS.depth)),
]
EVENTS = st.fixed_dictionaries(
    {"timestamp": st.sampled_from([USUAL["timestamp"]] * 20 + ODD)},
    optional={
        name: st.sampled_from([USUAL[name]] * 20 + ODD) for name in USUAL if name != "timestamp"
    },
)


@contextmanager
def fresh_shape() -> Iterator[None]:
    """Know of no members, and learn them from the first list that has any."""
    with (
        mock.patch.object(shape, "LEARN_BYTES", 0),
        mock.patch.object(quickly, "_shape", shape.Shape()),
    ):
        yield


def listed(*events: dict[str, bytes]) -> bytes:
    """A list of events, each given by the texts of its values."""
    objects = (b",".join(b'"%b":%b' % (n.encode(), v) for n, v in e.items()) for e in events)
    return b"[%b]" % b",".join(b"{%b}" % members for members in objects)


@given(st.lists(EVENTS, min_size=1, max_size=3))
@settings(max_examples=2000, deadline=None)
def test_same_as_the_thorough_way(events: list[dict[str, bytes]]) -> None:
    """Whatever comes where another type was usual, and when it comes again."""
    with fresh_shape():
        assert read_quickly(listed(USUAL, USUAL)) is not None
        for _ in range(2):
            assert_same(listed(USUAL, *events))
    with fresh_shape():
        for some in (events[:1] * 2, events, [USUAL]):
            assert_same(listed(*some))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", USUAL)
def test_each_odd_value(name: str, odd: bytes) -> None:
    """Each by itself, also within an object."""
    for event in ({**USUAL, name: odd}, {**USUAL, "o": b'{"i":%b}' % odd}):
        with fresh_shape():
            assert read_quickly(listed(USUAL)) is not None
            for _ in range(2):
                assert_same(listed(USUAL, event))
        with fresh_shape():
            assert_same(listed(event, event))


@pytest.mark.parametrize("depth", range(1, 7))
def test_depth(depth: int) -> None:
    """Objects and lists are levels, whatever is known of them."""
    values = {b"1": 1, b'{"a":1}': 2, b'{"a":[1]}': 3, b"[[[[1]]]]": 5}
    with fresh_shape():
        for value, levels in values.items():
            text = listed({"timestamp": b"1", "a": value})
            if read_quickly(text, EventLimits(depth=depth)) is not None:
                assert levels <= depth


def test_kinds() -> None:
    """The narrowest type that each member's values have; null says nothing of it."""
    events = [
        {"i": b"1", "s": b'"a"', "b": b"true", "n": b"null", "x": b"1"},
        {"i": b"null", "s": b'"b"', "b": b"false", "x": b"1.5"},
        {"s": b'"c"', "o": b'{"i":1,"o":{"i":1}}', "e": b'"\\n"'},
    ]
    raws = [{name: Raw(text) for name, text in event.items()} for event in events]
    scalars = {"i": int, "s": str, "b": bool, "n": NoneType, "x": Raw, "e": Raw}
    assert kinds.members_of(raws) == {**scalars, "o": {"i": int, "o": Raw}}


@pytest.mark.parametrize(
    ("known", "found", "united"),
    [
        ({"a": int}, {"a": int, "b": str}, {"a": int, "b": str}),
        ({"a": int}, {"a": str}, {"a": Raw}),
        ({"a": NoneType, "b": {"c": int}}, {"a": {"d": int}}, {"a": {"d": int}, "b": {"c": int}}),
        ({"a": {"b": int}}, {"a": {"b": str, "c": bool}}, {"a": {"b": Raw, "c": bool}}),
        ({"a": {"b": int}}, {"a": int}, None),
        ({"a": int, "b": int}, {"b": int, "a": int}, None),
    ],
)
def test_united(known: kinds.Members, found: kinds.Members, united: kinds.Members | None) -> None:
    """A type that is not always the same is none."""
    assert kinds.united(known, found) == united


def test_odd_lists_are_forgotten() -> None:
    """After a single odd list the usual ones are quick again some time later."""
    usual = listed(*[USUAL] * 1000)
    with fresh_shape():
        assert read_quickly(usual) is not None
        assert read_quickly(listed(USUAL, {**USUAL, "o": b"0"})) is None
        useless = 0
        while read_quickly(usual) is None:
            useless += len(usual)
        assert 0 < useless <= shape.FORGET_BYTES + len(usual)
