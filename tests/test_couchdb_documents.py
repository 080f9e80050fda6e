"""Events as CouchDB's documents: exact, wherever JavaScript has had its hands on them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpiggybank.events import Event, EventLimits, InvalidEvent, same_value, sortable
from kpiggybank.stores.couchdb.documents import (
    DOCUMENT_BYTES,
    Moment,
    arrival,
    document,
    document_id,
    event_id,
    event_in,
    together_with,
)
from tests.reading import from_json

MINTED = "01a20abceaf8775d50d5bf054de4"
STAMP = "01a20abceaf8775d50d5bf054de5"

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["a", "__proto__", "kpiggybank", "2", "é"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
events = st.fixed_dictionaries(
    {"timestamp": st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)},
    optional={name: values for name in ("x", "kpiggybank", "10")},
)


def event_of(value: Any, id: str = MINTED) -> Event:
    """The event that a posted value becomes."""
    deposit = from_json(msgspec.json.encode([value]), EventLimits(2**24))
    return Event(id, deposit.timestamps[0], deposit.texts[0])


def spoiled(value: Any) -> Any:
    """What is left of a value that has been through JavaScript."""
    match value:
        case bool():
            return value
        case int() | float():
            rounded = float(value)
            whole = rounded.is_integer() and abs(rounded) < 1e21
            return int(rounded) if whole else rounded
        case list():
            return [spoiled(each) for each in value]
        case dict():
            return {name: spoiled(each) for name, each in value.items() if name != "__proto__"}
    return value


@given(events, st.sampled_from([MINTED, "key", "key.7", "_local"]))
@settings(max_examples=300, deadline=None)
def test_exact_after_javascript(value: Any, id: str) -> None:
    """Whatever an event holds, it comes back from its document, also from one that was spoiled."""
    event = event_of(value, id)
    stored = msgspec.json.decode(document(event, lambda: STAMP, 3))
    assert stored["_id"] == document_id(id)
    for read in (stored, spoiled(stored)):
        found = event_in({**read, "_rev": "1-a"})
        assert found is not None
        assert found.id == id
        assert same_value(found.json, event.json)
        assert repr(found.timestamp) == repr(event.timestamp)
    assert arrival(stored) == (id if id == MINTED else STAMP)
    assert together_with(stored) == (None if id == MINTED else 3)


@pytest.mark.parametrize(
    "text",
    [
        '{"timestamp":1,"a":{"\\u005f_proto__":1}}',
        '{"timestamp":1,"\\u006bpiggybank":{"arrival":"x"}}',
        '{"timestamp":1.00,"a":[10e-1,1E2,100000000000000000000.0,-0.0]}',
    ],
)
def test_exact_however_it_was_written(text: str) -> None:
    """What has other forms in JSON, too, is found in each of them."""
    deposit = from_json(f"[{text}]".encode())
    event = Event(MINTED, deposit.timestamps[0], deposit.texts[0])
    found = event_in({**spoiled(msgspec.json.decode(document(event, lambda: STAMP))), "_rev": "1"})
    assert found is not None
    assert same_value(found.json, text.encode())


def test_usual_event_is_a_plain_document() -> None:
    """What JavaScript can hold needs no note."""
    value = {"timestamp": 1354800000000, "event_stream": [["start", 0], ["end", 12.5]], "rate": 0.1}
    stored = json.loads(document(event_of(value), lambda: STAMP))
    assert stored == {"_id": MINTED, **value}


@pytest.mark.parametrize(
    "stored",
    [
        {"_id": "a"},
        {"_id": "a", "timestamp": "1"},
        {"_id": "a", "timestamp": True},
        {"_id": "a", "timestamp": None},
        {"_id": "_design/a", "timestamp": 1},
    ],
)
def test_document_without_event(stored: dict[str, Any]) -> None:
    """Only a document with a numeric time is an event, and a design document never."""
    assert event_in(stored) is None


@pytest.mark.parametrize(
    "note",
    [7, "text", {}, {"arrival": 1}, {"arrival": "today"}, {"arrival": STAMP, "json": "no"}],
    ids=str,
)
def test_field_that_is_no_note_of_ours(note: Any) -> None:
    """A document of another program may have a field of that name; nothing of it is lost."""
    found = event_in({"_id": "a", "timestamp": 1, "kpiggybank": note})
    assert found is not None
    expected = {"timestamp": 1} if note == {"arrival": STAMP, "json": "no"} else None
    assert json.loads(found.json) == (expected or {"timestamp": 1, "kpiggybank": note})


def test_too_large_a_document() -> None:
    """What CouchDB would not take is refused before it is sent, with the others unharmed."""
    with pytest.raises(InvalidEvent, match=str(DOCUMENT_BYTES)):
        document(event_of({"timestamp": 1, "text": "x" * DOCUMENT_BYTES}), lambda: STAMP)


@pytest.mark.parametrize("id", ["a", "_a", "__", "~", "~a", "a~_"])
def test_ids(id: str) -> None:
    """No document has a name that belongs to CouchDB, and each id comes back."""
    assert not document_id(id).startswith("_")
    assert event_id(document_id(id)) == id


numbers = st.integers(-(2**66), 2**66) | st.floats(allow_nan=False, allow_infinity=False)


@given(numbers, numbers)
@settings(max_examples=500, deadline=None)
def test_moments_are_in_order(one: float, other: float) -> None:
    """Moments compare as the timestamps do, exactly."""
    first, second = Moment.of(one), Moment.of(other)
    assert (first.order < second.order) == (sortable(one) < sortable(other))
    assert (first.order == second.order) == (sortable(one) == sortable(other))


@given(numbers)
@settings(max_examples=500, deadline=None)
def test_moment_is_what_javascript_writes(number: float) -> None:
    """The number in a key is the one that the view's JavaScript makes of the timestamp."""
    moment = Moment.of(number)
    assert float(moment.time) == float(sortable(number))
    assert (moment.rest is None) == (abs(float(sortable(number))) < 2**53)
