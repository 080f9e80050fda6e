"""How a stream of changes ends: by the server, by its client, by a sender or a store that fails."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred

from kpiggybank.interfaces import StoreUnavailable
from tests.web_client import JSON, ROOT, Door, StagedStore, result_of


def test_farewell() -> None:
    """When the feed ends, the last line says where to go on, and the answer ends in order."""
    door = Door()
    stream = door.stream()
    door.save({"timestamp": 1})
    door.flush()
    (change,) = stream.changes()
    door.bank.end_feed()
    door.flush()
    assert (
        stream.take() == json.dumps({"last_seq": change["seq"]}).replace(" ", "").encode() + b"\r\n"
    )
    assert stream.ended_well
    assert len(door.feed) == 0
    assert door.clock.getDelayedCalls() == []


def test_farewell_of_a_quiet_stream() -> None:
    """A follower that heard nothing still learns where to go on."""
    door = Door()
    stream = door.stream()
    door.bank.end_feed()
    door.flush()
    (farewell,) = stream.changes()
    assert stream.ended_well
    door.save({"timestamp": 1}, "k")
    changes = result_of(door.store.changes(farewell["last_seq"], 10))
    assert [change.event.id for change in changes] == ["k"]


def test_stream_after_the_end_of_the_feed() -> None:
    """Who comes after the end is told so in order, rather than left waiting."""
    door = Door()
    door.bank.end_feed()
    stream = door.stream()
    (farewell,) = stream.changes()
    assert farewell.keys() == {"last_seq"}
    assert stream.ended_well


def test_every_stream_ends() -> None:
    """The end of the feed is the end of all streams."""
    door = Door()
    streams = [door.stream() for _ in range(5)]
    door.bank.end_feed()
    door.flush()
    assert all(stream.ended_well for stream in streams)


def test_client_goes_away() -> None:
    """A client that leaves is forgotten at once, with all that was kept for it."""
    door = Door()
    leaving, staying = door.stream(), door.stream()
    assert len(door.feed) == 2
    door.leave(leaving)
    assert len(door.feed) == 1
    door.save({"timestamp": 1})
    door.flush()
    assert len(staying.changes()) == 1
    door.leave(staying)
    assert len(door.feed) == 0
    assert door.clock.getDelayedCalls() == []


def test_sender_goes_away() -> None:
    """Followers hear of a deposit whose sender left before its ack."""
    hold: Deferred[None] = Deferred()
    store = StagedStore(hold=hold)
    door = Door(store)
    stream = door.stream()
    answer = door.begin("POST", ROOT, b'{"timestamp":1}', {"Content-Type": JSON})
    answer.addErrback(lambda reason: None)
    answer.cancel()
    door.flush()
    assert stream.take() == b""
    hold.callback(None)
    door.flush()
    assert len(stream.changes()) == 1


def test_store_fails_before_the_head() -> None:
    """When there is no cursor to begin from, the answer is an ordinary error."""
    door = Door(StagedStore(error=StoreUnavailable("gone")))
    assert door.get("/stream").status == 503
    assert len(door.feed) == 0


def test_store_fails_under_a_stream() -> None:
    """While the store fails, followers stay and get heartbeats; then they miss nothing."""
    store = StagedStore()
    door = Door(store)
    stream = door.stream()
    door.save({"timestamp": 1})
    store.error = StoreUnavailable("gone")
    door.feed.ring()
    door.clock.advance(15)
    door.flush()
    assert stream.end is None
    assert len(stream.changes()) == 1
    assert stream.received.endswith(b"\r\n\r\n")
    store.error = None
    door.save({"timestamp": 2})
    assert [change["doc"]["timestamp"] for change in stream.changes()] == [2]
