"""The JSON of many events, in few pieces of memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpiggybank.events import Columns, Event
from kpiggybank.texts import Texts

LISTS = st.lists(st.lists(st.binary().filter(lambda text: b"\n" not in text), max_size=5))


@given(LISTS)
def test_parts_are_one_list(parts: list[list[bytes]]) -> None:
    """However texts came together, they are those that were given, from each place on."""
    expected = [text for part in parts for text in part]
    texts = Texts.joined([Texts.of(part) for part in parts])
    assert texts == expected == list(texts)
    assert len(texts) == len(expected)
    assert texts.size == sum(map(len, expected))
    for place in range(len(expected) + 2):
        assert list(texts.since(place)) == expected[place:]
    for place in range(len(expected)):
        assert texts[place] == expected[place]
        assert texts[place - len(expected)] == expected[place]
    with pytest.raises(IndexError):
        texts[len(expected)]


@given(LISTS)
def test_columns_are_events(parts: list[list[bytes]]) -> None:
    """Events in columns are a sequence of events like any other."""
    lists = [
        [Event(f"{part}-{place}", place, text) for place, text in enumerate(texts)]
        for part, texts in enumerate(parts)
    ]
    expected = [event for events in lists for event in events]
    columns = Columns.joined([Columns.of(events) for events in lists])
    assert list(columns) == expected == [columns[place] for place in range(len(expected))]
    assert Columns.of(columns) is columns
    for place in range(len(expected) + 2):
        assert list(columns.since(place)) == expected[place:] == list(columns[place:])
