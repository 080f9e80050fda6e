"""The stream of changes: its form, its silence, where it begins, and that nothing is missed."""

from __future__ import annotations

import json

import pytest

from kpiggybank.feed import CHANGES_AT_ONCE
from kpiggybank.web.query import HEARTBEAT_SECONDS
from tests.web_client import NDJSON, ROOT, Door, event, result_of


def test_head_at_once() -> None:
    """The head arrives before there is anything to tell."""
    door = Door()
    response = result_of(door.begin("GET", f"{ROOT}/stream"))
    assert response.code == 200
    assert response.headers.getRawHeaders("Content-Type") == [NDJSON]


def test_chunks_on_the_wire() -> None:
    """The answer is chunked, and has not a byte of body before the first change."""
    head, end, body = (
        Door().raw(f"GET {ROOT}/stream HTTP/1.1\r\nHost: x\r\n\r\n".encode()).partition(b"\r\n\r\n")
    )
    assert b"Transfer-Encoding: chunked" in head.split(b"\r\n")
    assert (end, body) == (b"\r\n\r\n", b"")


def test_line() -> None:
    """A change is one line: seq, id, doc, and CRLF at its end."""
    door = Door()
    stream = door.stream()
    door.post(b'{ "timestamp": 1,\n "a": [ 1 ] }', Idempotency_Key="k")
    door.flush()
    line = stream.take()
    cursor = json.dumps(json.loads(line)["seq"]).encode()
    assert line == b'{"seq":' + cursor + b',"id":"k","doc":{"timestamp":1,"a":[1]}}\r\n'


def test_ids_of_lines() -> None:
    """A line has the id that the post was answered."""
    door = Door()
    stream = door.stream()
    ids = door.save([{"timestamp": 2}, {"timestamp": 1}])
    door.flush()
    assert [change["id"] for change in stream.changes()] == ids


def test_order_of_arrival() -> None:
    """Changes come in the order of arrival, whatever their timestamps."""
    door = Door()
    stream = door.stream()
    for timestamp in (5, 1, 3, 1):
        door.save({"timestamp": timestamp})
    door.flush()
    assert [change["doc"]["timestamp"] for change in stream.changes()] == [5, 1, 3, 1]


def test_from_now_on() -> None:
    """Without `since`, a follower hears nothing of what was there before."""
    door = Door()
    door.save({"timestamp": 1})
    stream = door.stream()
    assert stream.take() == b""
    door.save({"timestamp": 2})
    door.flush()
    assert [change["doc"] for change in stream.changes()] == [{"timestamp": 2}]


def test_repeated_deposit_is_no_change() -> None:
    """A repeat under an idempotency key is told to nobody."""
    door = Door()
    door.save({"timestamp": 1}, "k")
    stream = door.stream()
    door.save({"timestamp": 1}, "k")
    door.flush()
    assert stream.take() == b""


def test_refused_deposit_is_no_change() -> None:
    """What was not stored is told to nobody."""
    door = Door()
    stream = door.stream()
    door.post(b'[{"timestamp":1},{}]')
    door.flush()
    assert stream.take() == b""


def test_every_follower_hears_all() -> None:
    """Followers do not take changes from each other."""
    door = Door()
    streams = [door.stream() for _ in range(5)]
    door.save([{"timestamp": 1}, {"timestamp": 2}])
    door.flush()
    told = [stream.take() for stream in streams]
    assert told[0].count(b"\r\n") == 2
    assert told == [told[0]] * 5


def test_since() -> None:
    """From each cursor on, exactly the changes after it come, whether old or new."""
    door = Door()
    first = door.stream()
    door.save([{"timestamp": n} for n in range(5)])
    door.flush()
    changes = first.changes()
    followers = [door.stream(f"?since={change['seq']}") for change in changes]
    door.save({"timestamp": 5})
    door.flush()
    changes += first.changes()
    for place, follower in enumerate(followers):
        assert follower.changes() == changes[place + 1 :]


def test_reconnecting() -> None:
    """Going on from the last line that was read misses nothing and repeats nothing."""
    door = Door()
    stream = door.stream()
    seen = []
    for n in range(10):
        door.save([{"timestamp": n, "half": half} for half in (0, 1)])
        if n % 3 == 0:
            door.flush()
            seen += stream.changes()
            door.leave(stream)
        elif n % 3 == 1:
            stream = door.stream(f"?since={seen[-1]['seq']}")
    door.flush()
    seen += stream.changes()
    expected = [(n, half) for n in range(10) for half in (0, 1)]
    assert [(one["doc"]["timestamp"], one["doc"]["half"]) for one in seen] == expected


@pytest.mark.parametrize("more", [-1, 0, 1, CHANGES_AT_ONCE + 1])
def test_long_past(more: int) -> None:
    """A follower catches up whatever the number of changes that it reads at once."""
    door = Door()
    since = result_of(door.store.last())
    given = [event(f"e{n}", -n) for n in range(CHANGES_AT_ONCE + more)]
    result_of(door.store.append(given))
    stream = door.stream(f"?since={since}")
    door.save({"timestamp": 1}, "new")
    door.flush()
    assert [change["id"] for change in stream.changes()] == [*(one.id for one in given), "new"]


@pytest.mark.parametrize("since", ["nonsense", "", "1", "-1", "%FF", "999-00000000", "9" * 400])
def test_garbled_since(since: str) -> None:
    """A cursor that the server never gave out is refused with an ordinary answer."""
    door = Door()
    answer = door.get(f"/stream?since={since}")
    assert answer.status == 400
    assert answer.reason
    assert len(door.feed) == 0


def test_since_given_twice() -> None:
    """Which of two cursors is meant is not guessed."""
    door = Door()
    cursor = result_of(door.store.last())
    answer = door.get(f"/stream?since={cursor}&since={cursor}")
    assert answer.status == 400
    assert "'since'" in answer.reason


def test_since_of_another_bank() -> None:
    """A cursor of another bank, or of one deleted since, is refused rather than misread."""
    other = Door()
    other.save({"timestamp": 1})
    door = Door()
    door.save([{"timestamp": 1}, {"timestamp": 2}])
    cursor = result_of(other.store.last())
    assert door.get(f"/stream?since={cursor}").status == 400


def test_heartbeat() -> None:
    """An empty line comes after 15 s of silence, not before, and again after 15 more."""
    assert HEARTBEAT_SECONDS == 15
    door = Door()
    stream = door.stream()
    for _ in range(3):
        door.clock.advance(14.9)
        door.flush()
        assert stream.take() == b""
        door.clock.advance(0.1)
        door.flush()
        assert stream.take() == b"\r\n"


def test_change_puts_the_heartbeat_off() -> None:
    """The silence is counted from the last change."""
    door = Door()
    stream = door.stream()
    door.clock.advance(10)
    door.save({"timestamp": 1})
    door.flush()
    assert len(stream.changes()) == 1
    door.clock.advance(14.9)
    door.flush()
    assert stream.take() == b""
    door.clock.advance(0.1)
    door.flush()
    assert stream.take() == b"\r\n"


def test_nothing_does_not_put_the_heartbeat_off() -> None:
    """A deposit that stores nothing does not keep a stream silent for longer."""
    door = Door()
    stream = door.stream()
    door.clock.advance(10)
    door.save([])
    door.clock.advance(5)
    door.flush()
    assert stream.take() == b"\r\n"


def test_change_after_heartbeats() -> None:
    """A long silence costs no change."""
    door = Door()
    stream = door.stream()
    for _ in range(4):
        door.clock.advance(HEARTBEAT_SECONDS)
    door.save({"timestamp": 1})
    door.flush()
    assert stream.received.startswith(b'\r\n\r\n\r\n\r\n{"seq":')
