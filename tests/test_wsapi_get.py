"""Asking for events: ranges, their order and formats, one event, how many, and the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from kpiggybank.events import Event, EventPage, Page, Range
from kpiggybank.stores.memory import MemoryStore
from tests.web_client import JSON, NDJSON, ROOT, Door

FORTNIGHT_MS = 14 * 24 * 3600 * 1000


def bank_of(timestamps: Sequence[float]) -> Door:
    """A bank with an event for each of these times; `n` is its place in the order of arrival."""
    door = Door()
    for n, timestamp in enumerate(timestamps):
        door.save({"timestamp": timestamp, "n": n})
    return door


def times(value: Sequence[Any]) -> list[float]:
    """The timestamps of some events."""
    return [event["timestamp"] for event in value]


def places(value: Sequence[Any]) -> list[int]:
    """The places of some events in the order of arrival."""
    return [event["n"] for event in value]


def test_empty_bank() -> None:
    """No events are an empty array."""
    answer = Door().get()
    assert (answer.status, answer.body) == (200, b"[]")
    assert answer.headers["content-type"] == JSON


def test_all_events() -> None:
    """Without parameters, all events come, exactly as saved and nothing added."""
    door = Door()
    door.save([{"timestamp": 2, "b": None}, {"timestamp": 1, "a": {"z": 1, "y": []}}])
    assert door.get().body == b'[{"timestamp":1,"a":{"z":1,"y":[]}},{"timestamp":2,"b":null}]'


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?start=20", [20, 30, 40]),
        ("?end=30", [10, 20, 30]),
        ("?start=20&end=30", [20, 30]),
        ("?start=30&end=30", [30]),
        ("?start=20.5&end=29.5", []),
        ("?start=19.999&end=20.001", [20]),
        ("?start=1e1&end=2.0E1", [10, 20]),
        ("?start=-5&end=0", []),
        ("?start=41", []),
        ("?start=30&end=20", []),
        ("?start=30&end=20&descending=true", []),
        ("?start=20&unknown=1", [20, 30, 40]),
    ],
)
def test_range(query: str, expected: list[float]) -> None:
    """Both ends are included, both are optional, and a start after the end is no error."""
    answer = bank_of([10, 20, 30, 40]).get(query)
    assert answer.status == 200
    assert times(answer.value) == expected


def test_ends_are_exact() -> None:
    """Neighbouring integers beyond the precision of a float are told apart."""
    door = bank_of([2**53, 2**53 + 1, 2**53 + 2])
    assert times(door.get(f"?start={2**53 + 1}&end={2**53 + 1}").value) == [2**53 + 1]


def test_any_number_is_a_time() -> None:
    """Below zero, zero, fractions, seconds and milliseconds stand in one order of numbers."""
    given = [1_700_000_000_000, 0, -1.5, 1_700_000_000, 0.25, -7]
    door = bank_of(given)
    assert times(door.get().value) == sorted(given)
    assert times(door.get("?start=-2&end=0.25").value) == [-1.5, 0, 0.25]


def test_order() -> None:
    """Events come by timestamp and, where it is equal, by arrival; 1 and 1.0 are equal."""
    door = bank_of([5, 1, 5, 1.0, 3, 5.0, 1])
    assert places(door.get().value) == [1, 3, 6, 4, 0, 2, 5]


def test_order_within_a_list() -> None:
    """The events of one list arrive in its order."""
    door = Door()
    door.save([{"timestamp": 1, "n": n} for n in range(20)])
    assert places(door.get().value) == list(range(20))


def test_descending() -> None:
    """Descending is the exact reverse, also among equal timestamps."""
    door = bank_of([5, 1, 5, 1.0, 3, 5.0, 1])
    assert places(door.get("?descending=true").value) == [5, 2, 0, 4, 6, 3, 1]


def test_descending_range() -> None:
    """Start stays the lower end when the order is reversed."""
    door = bank_of([10, 20, 30, 40])
    assert times(door.get("?start=20&end=30&descending=true").value) == [30, 20]


def test_descending_false() -> None:
    """False is a value of `descending`, too."""
    assert times(bank_of([2, 1]).get("?descending=false").value) == [1, 2]


@pytest.mark.parametrize("path", ["?format=rows", "/rows"])
def test_rows(path: str) -> None:
    """A row has the id that the post gave, the timestamp as key, and the event as value."""
    door = Door()
    second, first = door.save([{"timestamp": 2.5, "b": 1}, {"timestamp": 1}])
    answer = door.get(path)
    assert answer.headers["content-type"] == JSON
    assert answer.value == [
        {"id": first, "key": 1, "value": {"timestamp": 1}},
        {"id": second, "key": 2.5, "value": {"timestamp": 2.5, "b": 1}},
    ]


def test_members_of_a_row_in_order() -> None:
    """A row is written as it was by the first KPIggyBank: id, key, value."""
    door = Door()
    door.save({"timestamp": 1}, "k")
    assert door.get("/rows").body == b'[{"id":"k","key":1,"value":{"timestamp":1}}]'


@pytest.mark.parametrize("query", ["?start=2&end=3", "?start=2&descending=true", "?limit=2", ""])
def test_rows_by_path(query: str) -> None:
    """The path `rows` takes the same parameters as the format."""
    door = bank_of([1, 2, 3, 4])
    by_format = door.get(f"{query or '?'}&format=rows").body
    assert door.get(f"/rows{query}").body == by_format


def test_original_reader() -> None:
    """The dashboard's fortnights, the next one from the end + 1, hold every event exactly once."""
    first = 1_700_000_000_000
    edges = [first + step * FORTNIGHT_MS for step in range(4)]
    given = [edge + offset for edge in edges for offset in (-1, 0, 1)]
    door = bank_of(given)
    seen: list[Any] = []
    start = edges[0] - 10
    while start <= edges[-1] + 10:
        end = start + FORTNIGHT_MS
        seen.extend(door.get(f"/rows?start={start}&end={end}").value)
        start = end + 1
    assert [row["key"] for row in seen] == given
    assert len({row["id"] for row in seen}) == len(given)
    assert door.get("/rows").value == seen


def test_rereading() -> None:
    """The same question is answered by the same bytes."""
    door = bank_of([3, 1, 2, 1])
    assert door.get("/rows").body == door.get("/rows").body


def test_lines() -> None:
    """As ndjson, each event is on a line of its own, and the last line is ended, too."""
    door = bank_of([2, 1])
    answer = door.get("?format=ndjson")
    assert answer.headers["content-type"] == NDJSON
    assert answer.body == b'{"timestamp":1,"n":1}\n{"timestamp":2,"n":0}\n'


def test_no_lines() -> None:
    """No events are no lines."""
    assert Door().get("?format=ndjson").body == b""


def test_lines_can_be_posted_again() -> None:
    """What one bank gives as ndjson, another one takes."""
    one, other = bank_of([2, 1, 3]), Door()
    other.post(one.get("?format=ndjson").body, NDJSON)
    assert other.get().body == one.get().body


def test_format_json() -> None:
    """The default format has a name, too."""
    door = bank_of([2, 1])
    assert door.get("?format=json").body == door.get().body


@pytest.mark.parametrize("query", ["?format=xml", "?format=", "?format=JSON", "?descending=yes"])
def test_unknown_choice(query: str) -> None:
    """A format or an order that there is not is refused, and the answer names the parameter."""
    answer = Door().get(query)
    assert answer.status == 400
    assert query[1:].partition("=")[0] in answer.reason


NO_NUMBERS = ["abc", "", "NaN", "Infinity", "true", "null", "%221%22", "1e400", "0x10", "%2B1"]


@pytest.mark.parametrize("path", ["", "/rows", "/count"])
@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize(
    "text", [*NO_NUMBERS, "1,5", "2020-01-01", "1%000", "%FF", "1" + "0" * 400]
)
def test_no_number(path: str, name: str, text: str) -> None:
    """An end of a range that is no finite number is refused, and the answer names it."""
    answer = Door().get(f"{path}?{name}={text}")
    assert answer.status == 400
    assert f"'{name}'" in answer.reason


@pytest.mark.parametrize(
    "query",
    [
        "?start=1&start=1",
        "?end=1&start=2&end=3",
        "?format=json&format=rows",
        "?descending=true&descending=true",
        "?limit=1&limit=2",
        "?after=a&after=a",
        "?id=a&id=b",
    ],
)
def test_parameter_given_twice(query: str) -> None:
    """Which of two values is meant is not guessed."""
    answer = Door().get(query)
    assert answer.status == 400
    assert "more than once" in answer.reason


def test_one_event() -> None:
    """An event can be asked for by its id."""
    door = Door()
    _, id = door.save([{"timestamp": 1}, {"timestamp": 2, "a": [1]}])
    answer = door.get(f"?id={id}")
    assert (answer.status, answer.body) == (200, b'{"results":{"timestamp":2,"a":[1]}}')
    assert answer.headers["content-type"] == JSON


@pytest.mark.parametrize("id", ["nobody", "", "%00", "..%2Fx", "x" * 1000])
def test_no_such_event(id: str) -> None:
    """An id that there is not is 404."""
    answer = bank_of([1]).get(f"?id={id}")
    assert answer.status == 404
    assert answer.value["error"] == "not_found"
    assert answer.reason


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", 4), ("?start=20", 3), ("?end=20", 2), ("?start=20&end=20", 1), ("?start=30&end=20", 0)],
)
def test_count(query: str, expected: int) -> None:
    """The count is a JSON number, of the same events that the range gives."""
    answer = bank_of([10, 20, 30, 40]).get(f"/count{query}")
    assert (answer.status, answer.body) == (200, str(expected).encode())
    assert answer.headers["content-type"] == JSON


def test_last() -> None:
    """The last event has the greatest timestamp, and is the latest of those that share it."""
    answer = bank_of([1, 9, 3, 9.0, 2]).get("/last")
    assert (answer.status, answer.body) == (200, b'{"timestamp":9.0,"n":3}')
    assert answer.headers["content-type"] == JSON


def test_last_of_an_empty_bank() -> None:
    """There is no last event in an empty bank."""
    answer = Door().get("/last")
    assert (answer.status, answer.body) == (200, b"null")


@attrs.define(eq=False)
class SilentStore(MemoryStore):
    """A store that never answers; it notes who does not wait for that any more."""

    asked: int = 0
    cancelled: int = 0

    def _ask(self) -> Deferred[Any]:
        def cancel(_: Deferred[Any]) -> None:
            self.cancelled += 1

        self.asked += 1
        return Deferred(cancel)

    def read(self, span: Range, page: Page) -> Deferred[EventPage]:
        """Never answer."""
        return self._ask()

    def get(self, id: str) -> Deferred[Event]:
        """Never answer."""
        return self._ask()

    def count(self, span: Range) -> Deferred[int]:
        """Never answer."""
        return self._ask()


@pytest.mark.parametrize(
    "path", ["", "?limit=5", "?where=n:1", "?id=x", "/count?start=1", "/count?where=n:1", "/last"]
)
def test_store_is_told_that_the_client_has_gone(path: str) -> None:
    """What a client asked for and does not wait for is not looked for any longer."""
    store = SilentStore()
    site: Any = Door(store).site(Clock())
    connection, transport = site.buildProtocol(None), StringTransport()
    connection.makeConnection(transport)
    connection.dataReceived(f"GET {ROOT}{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert (store.asked, store.cancelled) == (1, 0)
    connection.connectionLost(Failure(ConnectionError("it has gone")))
    assert (store.asked, store.cancelled) == (1, 1)
    assert transport.value() == b""
