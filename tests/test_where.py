"""Conditions on events: what they say, and which events meet them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpiggybank.where import EVERYTHING, Condition, Where
from tests.followers import conditions

EVENT = {
    "timestamp": 5,
    "lang": "en",
    "count": 2,
    "share": 0.5,
    "whole": 3.0,
    "big": 2**70,
    "new": True,
    "old": False,
    "none": None,
    "digits": "2",
    "word": "true",
    "empty": "",
    "colon": "a:b",
    "quote": 'say "hi" \\ \n',
    "é": "ü",
    "list": [1, {"a": 1}],
    "agent": {"browser": "Firefox", "version": {"major": 12}},
}
ENCODED = msgspec.json.encode(EVENT)


def test_met_however_it_was_written() -> None:
    """JSON may write any character as an escape."""
    written = b'{"timestamp":1,"agent":{"brow\\u0073er":"Fire\\/fox","os":"\\u00e9"}}'
    assert conditions("agent.browser:Fire/fox", "agent.os:é").holds(written)
    assert not conditions("agent.browser:Firefox").holds(written)


@pytest.mark.parametrize(
    "text",
    [
        "lang:en",
        "count:2",
        "count:2.0",
        "count:20e-1",
        "share:0.5",
        "share:5e-1",
        "whole:3",
        "whole:3.0",
        f"big:{2**70}",
        "new:true",
        "old:false",
        "none:null",
        "digits:2",
        "word:true",
        "empty:",
        "colon:a:b",
        'quote:say "hi" \\ \n',
        "é:ü",
        "agent.browser:Firefox",
        "agent.version.major:12",
        "timestamp:5",
    ],
)
def test_met(text: str) -> None:
    """The value equals, whether it is a text, a number or a word of JSON."""
    assert conditions(text).holds(ENCODED)


@pytest.mark.parametrize(
    "text",
    [
        "lang:EN",
        "lang:e",
        "lang:en ",
        'lang:"en"',
        "count:3",
        "count: 2",
        "digits:2.0",
        f"big:{2**70 + 1}",
        "new:True",
        "new:1",
        "old:0",
        "none:",
        "empty:null",
        "share:.5",
        "agent:Firefox",
        "browser:Firefox",
        "agent.version:12",
        "agent.browser.name:Firefox",
        "lang.x:en",
        "list:1",
        "list.0:1",
        "list.a:1",
        "missing:null",
        "missing:",
        "Firefox:Firefox",
        "count:NaN",
        "agent:[object Object]",
    ],
)
def test_not_met(text: str) -> None:
    """Another value, an object or a list, and a field that is not there equal nothing."""
    assert not conditions(text).holds(ENCODED)


def test_all_must_be_met() -> None:
    """Several conditions are one that wants all of them."""
    assert conditions("lang:en", "count:2", "agent.browser:Firefox").holds(ENCODED)
    assert not conditions("lang:en", "count:3").holds(ENCODED)


def test_no_conditions() -> None:
    """Without conditions every event will do, and nothing is decoded."""
    assert EVERYTHING.holds(b"not even JSON")
    assert not EVERYTHING
    assert conditions("a:b")


def test_name_in_another_place() -> None:
    """The right words in the wrong place are found out."""
    tricky = msgspec.json.encode({"timestamp": 1, "a": {"lang": "en"}, "b": '"lang":"en"'})
    assert b'"lang":"en"' in tricky
    assert not conditions("lang:en").holds(tricky)


@pytest.mark.parametrize("text", ["", "lang", ":en", ".a:1", "a.:1", "a..b:1", "."])
def test_no_condition(text: str) -> None:
    """What has no name, or no colon, says nothing."""
    with pytest.raises(ValueError, match="name"):
        Condition.of(text)


def test_equal_conditions_are_one() -> None:
    """Conditions are values: followers who want the same can share what was found."""
    assert conditions("a.b:1") == conditions("a.b:1")
    assert hash(conditions("a.b:1")) == hash(conditions("a.b:1"))
    assert conditions("a.b:1") != conditions("a.b:1.0")


_names = st.text(st.sampled_from('ab"\\é\n '), min_size=1, max_size=3)
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(_names, _names, _scalars | st.just("2"), _scalars)
def test_nothing_is_passed_over(name: str, inner: str, value: Any, other: Any) -> None:
    """What is found by its bytes first is what looking at each event finds."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        value = 0.5
    event = {"timestamp": 1, "other": other if other == other else None, name: {inner: value}}
    encoded = msgspec.json.encode(event)
    text = value if isinstance(value, str) else json.dumps(value)
    wanted = Where((Condition((name, inner), text),))
    assert wanted.holds(encoded)
    assert not Where((Condition((name, inner), text + "x"),)).holds(encoded)
