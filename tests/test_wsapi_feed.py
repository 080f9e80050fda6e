"""The parameters of a stream: where it begins and ends, how often it gives a sign of life."""

from __future__ import annotations

import pytest

from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.stores.dummy import RING, DummyStore
from tests.web_client import ROOT, Door, StagedStore, Stream, result_of


def times(stream: Stream) -> list[float]:
    """The times of the events that a stream has told, without its last line."""
    return [line["doc"]["timestamp"] for line in stream.changes() if "doc" in line]


def saved(*timestamps: float) -> Door:
    """A door with events of these times behind it."""
    door = Door()
    for timestamp in timestamps:
        door.save({"timestamp": timestamp})
    return door


def test_where_it_begins_is_in_the_head() -> None:
    """A client that loses a stream before any change knows where to go on."""
    door = saved(1)
    stream = door.stream()
    cursor = stream.headers["kpiggybank-cursor"]
    assert cursor == result_of(door.store.last())
    door.save({"timestamp": 2})
    assert times(door.stream(f"?since={cursor}")) == [2]


def test_since_now() -> None:
    """`now` is the default, said."""
    door = saved(1)
    stream = door.stream("?since=now")
    door.save({"timestamp": 2})
    door.flush()
    assert times(stream) == [2]


def test_since_zero() -> None:
    """`0` is everything, and then what comes."""
    door = saved(1, 2)
    stream = door.stream("?since=0")
    door.save({"timestamp": 3})
    door.flush()
    assert times(stream) == [1, 2, 3]


def test_last_event_id() -> None:
    """The header of a browser that comes again is more than what its address says."""
    door = saved(1, 2, 3)
    first, second = (line["seq"] for line in door.stream("?since=0&limit=2").changes()[:2])
    assert times(door.stream(Last_Event_ID=second)) == [3]
    assert times(door.stream(f"?since={first}", Last_Event_ID=second)) == [3]
    assert times(door.stream("?since=0", Last_Event_ID="")) == [1, 2, 3]


@pytest.mark.parametrize("last", ["nonsense", "9-12345678", "\xff"])
def test_garbled_last_event_id(last: str) -> None:
    """A place that the server never gave out is refused there, too."""
    door = saved(1)
    headers = {"Last-Event-ID": last}
    answer = door.request("GET", f"{ROOT}/stream", headers=headers)
    assert answer.status == 400
    assert answer.reason


def test_limit() -> None:
    """After so many changes the stream ends in order, with the place to go on from."""
    door = saved(1, 2)
    stream = door.stream("?since=0&limit=3")
    assert stream.end is None
    door.save([{"timestamp": 3}, {"timestamp": 4}])
    door.flush()
    *changes, last = stream.changes()
    assert [change["doc"]["timestamp"] for change in changes] == [1, 2, 3]
    assert last == {"last_seq": changes[-1]["seq"]}
    assert stream.ended_well
    assert len(door.feed) == 0
    assert times(door.stream(f"?since={last['last_seq']}")) == [4]


def test_normal() -> None:
    """`feed=normal` answers what there is, and ends with a line that says so."""
    door = saved(1, 2)
    stream = door.stream("?feed=normal&since=0")
    *changes, last = stream.changes()
    assert [change["doc"]["timestamp"] for change in changes] == [1, 2]
    assert last == {"last_seq": changes[-1]["seq"], "pending": 0}
    assert stream.ended_well


def test_normal_in_parts() -> None:
    """With a limit, it says how many there still are; going on from there gives the rest."""
    door = saved(*range(7))
    since, seen, pending = "0", [], []
    while True:
        *changes, last = door.stream(f"?feed=normal&since={since}&limit=3").changes()
        seen += [change["doc"]["timestamp"] for change in changes]
        pending.append(last["pending"])
        since = last["last_seq"]
        if not last["pending"]:
            break
    assert seen == list(range(7))
    assert pending == [4, 1, 0]


def test_normal_from_now() -> None:
    """With nothing to tell, it is the way to ask for the present place."""
    door = saved(1)
    (last,) = door.stream("?feed=normal").changes()
    assert last == {"last_seq": result_of(door.store.last()), "pending": 0}


def test_normal_with_a_store_that_fails() -> None:
    """A store that fails before the answer began is an ordinary error."""
    door = Door(StagedStore(error=StoreUnavailable("gone")))
    for since in ("now", "0", "1-12345678"):
        assert door.get(f"/stream?feed=normal&since={since}").status == 503


def test_heartbeat_of_ones_own() -> None:
    """The client says how much silence it can bear."""
    door = Door()
    stream = door.stream("?heartbeat=1.5")
    for _ in range(2):
        door.clock.advance(1.4)
        assert stream.take() == b""
        door.clock.advance(0.1)
        door.flush()
        assert stream.take() == b"\r\n"


@pytest.mark.parametrize(
    "query",
    [
        "heartbeat=0.9",
        "heartbeat=61",
        "heartbeat=",
        "heartbeat=x",
        "heartbeat=1e400",
        "limit=0",
        "limit=-1",
        "limit=1.5",
        "limit=9999999999",
        "feed=longpoll",
        "feed=",
        "format=",
        "format=json",
        "format=rows",
        "where=x",
        "since=now&since=0",
        "&".join(["where=a:b"] * 17),
    ],
)
def test_wrong_parameter(query: str) -> None:
    """A wrong parameter is refused with its name, and nobody follows."""
    door = Door()
    answer = door.get(f"/stream?{query}")
    assert answer.status == 400
    assert f"'{query.partition('=')[0]}'" in answer.reason
    assert len(door.feed) == 0


def test_where() -> None:
    """Only what is wanted is told, old and new."""
    door = Door()
    door.save([{"timestamp": n, "agent": {"os": "ab"[n % 2]}} for n in range(4)])
    stream = door.stream("?since=0&where=agent.os:b")
    both = door.stream("?since=0&where=agent.os:b&where=timestamp:3")
    door.save([{"timestamp": n, "agent": {"os": "ab"[n % 2]}} for n in range(4, 8)])
    door.flush()
    assert times(stream) == [1, 3, 5, 7]
    assert times(both) == [3]


def test_reset() -> None:
    """Where the store has forgotten, a line says so and leads to what it still knows."""
    door = Door(DummyStore())
    cursor = result_of(door.store.last())
    door.save([{"timestamp": n} for n in range(RING + 5)])
    stream = door.stream(f"?since={cursor}")
    reset, *changes = stream.changes()
    assert reset.keys() == {"reset", "reason"}
    assert [change["doc"]["timestamp"] for change in changes] == list(range(5, RING + 5))
    again = door.stream(f"?since={reset['reset']}").changes()
    assert again == changes


def test_head_of_a_stream() -> None:
    """HEAD answers at once, and nobody follows."""
    door = saved(1)
    answer = door.request("HEAD", f"{ROOT}/stream?since=0")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["kpiggybank-cursor"] == result_of(door.store.first())
    assert len(door.feed) == 0


def test_written_once() -> None:
    """What many followers are told together is made once for all of them."""
    door = Door()
    streams = [door.stream("?heartbeat=20") for _ in range(50)]
    start = result_of(door.store.last())
    door.save([{"timestamp": 1}, {"timestamp": 2}])
    door.flush()
    piece = door.feed.at_hand(start)
    assert piece is not None
    assert len(piece._made) == 1
    assert len({stream.take() for stream in streams}) == 1
