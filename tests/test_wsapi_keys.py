"""Posting with an idempotency key: a repeat is one, and anything else is a conflict."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.web_client import NDJSON, Door

KEY = "Order_66-a"
A = {"timestamp": 1, "type": "a", "size": {"width": 1, "height": 2}}
B = {"timestamp": 2, "type": "b"}
C = {"timestamp": 3, "type": "c"}


def test_ids_of_one_event() -> None:
    """The key is the id of a single event."""
    assert Door().save(A, KEY) == [KEY]


@pytest.mark.parametrize("events", [[], [A], [A, B, C]])
def test_ids_of_a_list(events: list[Any]) -> None:
    """The events of a list, also of one, are numbered from 0."""
    assert Door().save(events, KEY) == [f"{KEY}.{index}" for index in range(len(events))]


def test_ids_of_a_nested_list() -> None:
    """The numbers are those of the flattened list."""
    assert Door().save([[A, B], C], KEY) == [f"{KEY}.0", f"{KEY}.1", f"{KEY}.2"]


def test_ids_of_a_wrapped_event() -> None:
    """A wrapper makes no list of an event."""
    assert Door().save({"data": A}, KEY) == [KEY]


def test_ids_of_lines() -> None:
    """Lines are a list, even when there is only one."""
    answer = Door().post(json.dumps(A).encode(), NDJSON, Idempotency_Key=KEY)
    assert answer.value["ids"] == [f"{KEY}.0"]


def test_event_of_that_id() -> None:
    """The event can be asked for by the id that the key gave it."""
    door = Door()
    door.save([A, B], KEY)
    assert door.get(f"?id={KEY}.1").value == {"results": B}


@pytest.mark.parametrize("events", [A, [A], [A, B, C], [A, A]])
def test_repeat(events: Any) -> None:
    """Sending the same again is answered the same and stores nothing."""
    door = Door()
    ids = door.save(events, KEY)
    stored = door.get("/rows").value
    assert door.save(events, KEY) == ids
    assert door.get("/rows").value == stored


def test_repeat_with_members_in_another_order() -> None:
    """The order of an object's members says nothing, at any depth."""
    door = Door()
    door.save([A, B], KEY)
    shuffled = {"size": {"height": 2, "width": 1}, "type": "a", "timestamp": 1}
    assert door.save([shuffled, B], KEY) == [f"{KEY}.0", f"{KEY}.1"]
    assert door.get("/count").value == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(A, B, id="other-event"),
        pytest.param({"timestamp": 1}, {"timestamp": 1.0}, id="integer-float"),
        pytest.param({"timestamp": 2**64}, {"timestamp": 2**64 + 1}, id="big-integers"),
        pytest.param({"timestamp": 1, "a": [1, 2]}, {"timestamp": 1, "a": [2, 1]}, id="order"),
        pytest.param([A, B], [A, C], id="other-event-in-list"),
        pytest.param([A, B], [B, A], id="other-order-of-list"),
        pytest.param([A, B, C], [A, B], id="shorter"),
        pytest.param([A, B], [A, B, C], id="longer"),
        pytest.param(A, [A], id="single-then-list"),
        pytest.param([A], A, id="list-then-single"),
        pytest.param([A, B], A, id="longer-list-then-single"),
        pytest.param(A, [], id="single-then-nothing"),
        pytest.param([A], [], id="list-then-nothing"),
    ],
)
def test_conflict(first: Any, second: Any) -> None:
    """The same key with anything else is refused, and nothing is stored."""
    door = Door()
    door.save(first, KEY)
    stored = door.get("/rows").value
    answer = door.post(json.dumps(second).encode(), Idempotency_Key=KEY)
    assert answer.status == 409
    assert answer.value["error"] == "conflict"
    assert answer.reason
    assert door.get("/rows").value == stored


def test_repeat_after_a_conflict() -> None:
    """A refused deposit leaves the key as it was."""
    door = Door()
    door.save([A, B], KEY)
    door.post(json.dumps([A, C]).encode(), Idempotency_Key=KEY)
    assert door.save([A, B], KEY) == [f"{KEY}.0", f"{KEY}.1"]


def test_refused_events_do_not_use_the_key() -> None:
    """After a 400 the key is still free."""
    door = Door()
    assert door.post(b"[{}]", Idempotency_Key=KEY).status == 400
    assert door.save([A, B], KEY) == [f"{KEY}.0", f"{KEY}.1"]


def test_other_keys_are_independent() -> None:
    """The same event under two keys is two events, also where one key begins with the other."""
    door = Door()
    assert door.save(A, "k") + door.save(A, "k0") + door.save([A], "k-0") == ["k", "k0", "k-0.0"]
    assert door.get("/count").value == 3


@pytest.mark.parametrize("key", ["a", "0", "-", "_", "x" * 64])
def test_key(key: str) -> None:
    """From 1 to 64 letters, digits, lines and underlines are a key."""
    assert Door().save(A, key) == [key]


@pytest.mark.parametrize("key", ["", "x" * 65, "a b", "a.0", "ä", "a/b", "a,b", "{}"])
def test_no_key(key: str) -> None:
    """Anything else is refused, and the answer names the header."""
    door = Door()
    answer = door.post(json.dumps(A).encode(), Idempotency_Key=key)
    assert answer.status == 400
    assert "Idempotency-Key" in answer.reason
    assert door.get("/count").value == 0
