"""`where` on ranges and counts."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from kpiggybank.interfaces import PASSED_OVER
from tests.web_client import Door

EVENTS = [{"timestamp": n, "kind": "ab"[n % 2], "agent": {"os": "Linux"}} for n in range(20)]


@pytest.fixture
def door() -> Door:
    """A door with events of two kinds behind it."""
    door = Door()
    door.save(EVENTS)
    return door


def test_range(door: Door) -> None:
    """Only what is wanted is in a range, in every format, in both directions."""
    wanted = [event for event in EVENTS if event["kind"] == "b"]
    assert door.get("?where=kind:b").value == wanted
    assert door.get("?where=kind:b&where=agent.os:Linux").value == wanted
    assert door.get("?where=kind:b&descending=true").value == wanted[::-1]
    assert door.get("?where=kind:b&start=3&end=7").value == wanted[1:4]
    assert [row["value"] for row in door.get("/rows?where=kind:b").value] == wanted
    assert door.get("?where=kind:b&where=kind:a").value == []


def test_count(door: Door) -> None:
    """A count is that of the range."""
    assert door.get("/count?where=kind:b").value == 10
    assert door.get("/count?where=kind:b&start=3&end=7").value == 3
    assert door.get("/count?where=kind:c").value == 0


def test_quoted(door: Door) -> None:
    """Any text can be said in an address."""
    text = "a & b: é=+%\n"
    door.save({"timestamp": 99, "text": text})
    assert door.get(f"/count?where=text:{quote(text)}").value == 1


def test_semicolon_ends_no_parameter(door: Door) -> None:
    """Only `&` is between parameters."""
    door.save([{"timestamp": 30, "kind": "b;c"}])
    assert door.get("?where=kind:b;c").value == [{"timestamp": 30, "kind": "b;c"}]
    assert door.get("/count?where=kind:b;where=kind:a").value == 0
    assert door.get("?start=5;end=6").status == 400


@pytest.mark.parametrize(
    "path", ["?limit", "?start", "/count?end&start=1", "?where", "/count?where"]
)
def test_parameter_without_a_value(door: Door, path: str) -> None:
    """It is not as good as none: its value is empty, which is no number and no condition."""
    assert door.get(path).status == 400
    assert door.get(path.replace("&", "=&") + "=").status == 400
    assert door.get("?&start=1&&").status == 200


def test_pages_are_full(door: Door) -> None:
    """A page holds as many as were asked for, wherever they are, and links to the next ones."""
    for _ in range(3):
        door.save([{"timestamp": 50 + n / PASSED_OVER} for n in range(PASSED_OVER - 7)])
    door.save([{"timestamp": 60 + n, "kind": "b"} for n in range(5)])
    seen, path = [], "/wsapi/interaction_data?where=kind:b&limit=4"
    sizes = []
    while path:
        waiting = door.begin("GET", path)
        door.flush()
        answer = door.finish(waiting)
        seen += [event["timestamp"] for event in answer.value]
        sizes.append(len(answer.value))
        path = answer.next or ""
    assert seen == [*range(1, 20, 2), *range(60, 65)]
    assert sizes == [4, 4, 4, 3]


def test_streamed_with_empty_pieces(door: Door) -> None:
    """A long range with little in it is well formed, whatever its pieces hold."""
    door.save([{"timestamp": 50 + n / PASSED_OVER} for n in range(2 * PASSED_OVER)])
    for query, expected in (("kind:b", 10), ("kind:c", 0), ("timestamp:51", 1)):
        waiting = door.begin("GET", f"/wsapi/interaction_data?where={query}")
        door.flush()
        answer = door.finish(waiting)
        assert len(answer.value) == expected
        counting = door.begin("GET", f"/wsapi/interaction_data/count?where={query}")
        door.flush()
        assert door.finish(counting).value == expected


@pytest.mark.parametrize("path", ["", "/rows", "/count"])
@pytest.mark.parametrize("where", ["", "kind", ":b", "a..b:1"])
def test_no_condition(door: Door, path: str, where: str) -> None:
    """What is no condition is refused, and named."""
    answer = door.get(f"{path}?where={where}")
    assert answer.status == 400
    assert "'where'" in answer.reason
