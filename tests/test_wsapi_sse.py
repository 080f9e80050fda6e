"""Streams for browsers: Server-Sent Events, as the HTML standard reads them."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from kpiggybank.stores.dummy import RING, DummyStore
from tests.web_client import NDJSON, Door, Stream, result_of

SSE = "text/event-stream"


@attrs.frozen
class Message:
    """What a browser dispatches."""

    kind: str
    data: str
    last_id: str

    @property
    def value(self) -> Any:
        """The JSON in it."""
        return json.loads(self.data)


@attrs.define
class Browser:
    """Interprets an event stream, by the rules of the standard's section 9.2.6."""

    last_id: str = ""
    retry: int | None = None
    comments: int = 0
    messages: list[Message] = attrs.field(factory=list)

    def read(self, stream: Stream) -> list[Message]:
        """The messages that came since this was last called."""
        text = stream.take().decode()
        assert text.endswith("\n\n") or not text
        self.messages = []
        data: list[str] = []
        kind, current = "", self.last_id
        # Only these end a line there.
        for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "" if line:
                    self.comments += 1
                case "":
                    self.last_id = current
                    if data:
                        self.messages.append(Message(kind or "message", "\n".join(data), current))
                    kind, data = "", []
                case "id":
                    current = value
                case "event":
                    kind = value
                case "data":
                    data.append(value)
                case "retry":
                    self.retry = int(value)
                case _:
                    raise AssertionError(f"no field of the standard: {line!r}")
        return self.messages


def test_head() -> None:
    """The answer is what a browser accepts, and what proxies leave alone."""
    stream = Door().stream(Accept=SSE)
    assert stream.headers["content-type"] == SSE
    assert stream.headers["cache-control"] == "no-cache"
    assert stream.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    ("accept", "query", "content_type"),
    [
        ("text/event-stream", "", SSE),
        ("text/event-stream, */*;q=0.1", "", SSE),
        ("text/event-stream, */*", "", SSE),
        ("text/event-stream, application/x-ndjson", "", NDJSON),
        ("*/*", "", NDJSON),
        ("text/html, */*;q=0.8", "", NDJSON),
        ("application/x-ndjson, text/event-stream;q=0.5", "", NDJSON),
        ("text/event-stream;q=0", "", NDJSON),
        ("nonsense", "", NDJSON),
        ("*/*", "?format=sse", SSE),
        ("text/event-stream", "?format=ndjson", NDJSON),
    ],
)
def test_choice(accept: str, query: str, content_type: str) -> None:
    """The parameter decides, then what the client prefers; lines are the default."""
    assert Door().stream(query, Accept=accept).headers["content-type"] == content_type


def test_messages() -> None:
    """A change is a message: its id is the cursor, its data the line of the other format."""
    door = Door()
    stream, lines = door.stream(Accept=SSE), door.stream()
    door.save([{"timestamp": 1, "a": "é"}, {"timestamp": 2}])
    door.flush()
    messages = Browser().read(stream)
    changes = lines.changes()
    assert [message.value for message in messages] == changes
    assert [message.last_id for message in messages] == [change["seq"] for change in changes]
    assert {message.kind for message in messages} == {"message"}


def test_opening() -> None:
    """Before any change a browser knows when to come again, and from where."""
    door = Door()
    door.save({"timestamp": 1})
    browser = Browser()
    stream = door.stream(Accept=SSE)
    assert browser.read(stream) == []
    assert browser.retry
    assert browser.last_id == result_of(door.store.last())


def test_coming_again() -> None:
    """A browser that lost its stream goes on without gap or repeat, also before any change."""
    door = Door()
    browser = Browser()
    stream = door.stream(Accept=SSE)
    browser.read(stream)
    door.leave(stream)
    door.save({"timestamp": 1})
    stream = door.stream(Accept=SSE, Last_Event_ID=browser.last_id)
    assert [message.value["doc"]["timestamp"] for message in browser.read(stream)] == [1]
    door.leave(stream)
    door.save({"timestamp": 2})
    stream = door.stream(Accept=SSE, Last_Event_ID=browser.last_id)
    assert [message.value["doc"]["timestamp"] for message in browser.read(stream)] == [2]


def test_heartbeats() -> None:
    """A silence is a comment, and moves the place over what was not wanted."""
    door = Door()
    browser = Browser()
    stream = door.stream("?where=kind:b", Accept=SSE)
    browser.read(stream)
    door.save({"timestamp": 1, "kind": "a"})
    door.clock.advance(15)
    door.flush()
    assert browser.read(stream) == []
    assert browser.comments == 1
    assert browser.last_id == result_of(door.store.last())


def test_farewell() -> None:
    """The end has a kind of its own, so that it is taken for no change."""
    door = Door()
    browser = Browser()
    stream = door.stream(Accept=SSE)
    door.save({"timestamp": 1})
    door.flush()
    (change,) = browser.read(stream)
    door.bank.end_feed()
    door.flush()
    (last,) = browser.read(stream)
    assert (last.kind, last.value) == ("last_seq", {"last_seq": change.last_id})
    assert browser.last_id == change.last_id
    assert stream.ended_well


def test_reset() -> None:
    """A gap has a kind of its own as well."""
    door = Door(DummyStore())
    cursor = result_of(door.store.last())
    door.save([{"timestamp": n} for n in range(RING + 1)])
    reset, *changes = Browser().read(door.stream(f"?since={cursor}", Accept=SSE))
    assert reset.kind == "reset"
    assert reset.value["reset"] == reset.last_id == result_of(door.store.first())
    assert len(changes) == RING


HOSTILE = [
    "line\nfeed",
    "carriage\rreturn",
    "both\r\ndata: forged",
    "\n\ndata: forged\n\n",
    "\r\rid: 9\r\r",
    "\u2028data: forged\u2029event: x",
    "\x85id: 9",
    "\x0b\x0c\x1c\x1d\x1e\x00\x7f",
    "\ufeff: comment",
    "data: forged",
    "é😀",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_ends_a_field(text: str) -> None:
    """Whatever an event holds, in names and in values, it is one message and nothing else."""
    door = Door()
    browser = Browser()
    stream = door.stream(Accept=SSE)
    browser.read(stream)
    event = {"timestamp": 1, text: {"deep": [text]}, "text": text}
    door.save(event)
    door.flush()
    (message,) = browser.read(stream)
    assert message.kind == "message"
    assert message.value["doc"] == event
    assert browser.comments == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_ends_a_line_for_others_either(text: str) -> None:
    """Readers that take more characters for the end of a line see one line, too."""
    door = Door()
    stream = door.stream(Accept=SSE)
    stream.take()
    door.save({"timestamp": 1, "text": text})
    door.flush()
    assert len(stream.take().decode().splitlines()) == 3
