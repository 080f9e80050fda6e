"""Clients that follow over HTTP in memory: slow ones, too, and through many streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.feed_model import Kept, Model, query_of
from tests.feed_taps import Tap, TapDoor
from tests.web_client import ROOT, Stream


@attrs.frozen
class Message:
    """One thing that a stream says.

    Attributes:
        cursor: the place after it.
        change: the id and the event, if it is one.
        last: the values of the last message.
    """

    cursor: str
    change: tuple[str, Any] | None = None
    last: Any = None


def messages(text: bytes, form: str) -> tuple[list[Message], int]:
    """What is said by the whole lines, or browser's events, of a text; and how long they are."""
    end = b"\n\n" if form == "sse" else b"\r\n"
    *blocks, rest = text.split(end)
    read = _of_event if form == "sse" else _of_line
    return [read(block) for block in blocks if block], len(text) - len(rest)


def _of_line(line: bytes, cursor: str | None = None) -> Message:
    value = json.loads(line)
    if "last_seq" in value:
        return Message(value["last_seq"], last=value)
    assert value.keys() == {"seq", "id", "doc"}
    return Message(value["seq"], (value["id"], value["doc"]))


def _of_event(block: bytes) -> Message:
    assert len(block.decode().splitlines()) == block.count(b"\n") + 1  # nothing else ends a line
    fields = dict(line.partition(": ")[::2] for line in block.decode().split("\n"))
    if "data" not in fields:
        return Message(fields["id"])
    message = _of_line(fields["data"].encode())
    assert fields["id"] == message.cursor
    assert fields.get("event") == (None if message.last is None else "last_seq")
    return message


@attrs.define(eq=False)
class Reader:
    """A client that follows, through as many streams as it takes.

    Attributes:
        where: its conditions.
        limit: changes that it wants at the most.
        form: "ndjson" or "sse".
        feed: "continuous" or "normal".
        since: where its next stream shall begin, or its present one was to.
        slow_since: when it began to take nothing; None while it takes all.
        heard: all that it heard through all its streams, each beginning with its header's cursor.
        last: the values of the last message of its present stream.
        stream: its present stream, once the head has come.
    """

    where: Sequence[str]
    limit: int | None
    form: str
    feed: str
    since: str
    slow_since: float | None = None
    heard: list[Message] = attrs.field(factory=list, init=False)
    last: Any = attrs.field(default=None, init=False)
    stream: Stream | None = attrs.field(default=None, init=False)
    _tap: Tap | None = attrs.field(default=None, init=False)
    _first: str = attrs.field(init=False)
    _opening: Deferred[None] | None = attrs.field(default=None, init=False)
    #: The place of all that was acknowledged when its present stream was asked for.
    _floor: int = attrs.field(default=0, init=False)
    #: Bytes of its present stream that it has understood.
    _taken: int = attrs.field(default=0, init=False)
    #: What it heard so far and was right, and the place after that.
    _checked: int = attrs.field(default=0, init=False)
    _place: int = attrs.field(default=0, init=False)

    @_first.default
    def _first_since(self) -> str:
        return self.since

    @property
    def following(self) -> bool:
        """Whether it has a stream that has not ended yet."""
        return self._opening is not None and (self.stream is None or self.stream.end is None)

    @property
    def cut(self) -> bool:
        """Whether the server has cut it off."""
        stream = self.stream
        return stream is not None and stream.end is not None and not stream.ended_well

    @property
    def finite(self) -> bool:
        """Whether its streams end with what is there."""
        return self.feed == "normal"

    @property
    def left(self) -> int | None:
        """How many changes it still wants at the most."""
        if self.limit is None:
            return None
        return self.limit - sum(message.change is not None for message in self.heard)

    def open(self, door: TapDoor, acknowledged: int) -> None:
        """Ask for a stream.

        Args:
            door: whom to ask.
            acknowledged: the place of all that was acknowledged by now.
        """
        self._floor = acknowledged
        # A browser asks for its first URL again, and tells by a header where it was.
        again = self.form == "sse" and self.heard
        since = self._first if again else self.since
        headers = {"Last-Event-ID": self.since} if again else {}
        query = query_of(self.where, since=since, limit=self.left, format=self.form, feed=self.feed)
        before = door.taps.taps
        door.taps.narrow = self.slow_since is not None
        self.stream, self.last, self._taken = None, None, 0
        opening = door.begin("GET", f"{ROOT}/stream{query}", headers=headers)
        door.taps.narrow = False
        self._tap = next(iter(door.taps.taps - before), None)
        self._opening = opening.addCallbacks(self._opened, self._not_opened)
        door.flush()

    def _opened(self, response: Any) -> None:
        assert response.code == 200
        [cursor] = response.headers.getRawHeaders("KPIggyBank-Cursor")
        assert self.since in ("0", "now", cursor)
        self.since = cursor
        self.heard.append(Message(cursor))
        self.stream = Stream()
        response.deliverBody(self.stream)

    def _not_opened(self, failure: Failure) -> None:
        assert self._opening is None, failure  # or it has left

    def hear(self, lost: int = 0) -> None:
        """Take in what has arrived, but for so many bytes that were lost at the end."""
        if self.stream is None:
            return
        text = self.stream.received
        new, length = messages(text[self._taken : max(self._taken, len(text) - lost)], self.form)
        self._taken += length
        for message in new:
            assert self.last is None, "something comes after the last message"
            self.last = message.last
            self.since = message.cursor
        self.heard += new

    def leave(self, door: TapDoor, lost: int = 0) -> None:
        """Go away, if it is there, while so many bytes were on their way."""
        self.hear(lost)
        stream, opening = self.stream, self._opening
        self.stream = self._tap = self._opening = self.slow_since = None
        if stream is None and opening is not None:
            opening.cancel()
        elif stream is not None and stream.end is None:
            door.leave(stream)
        door.flush()

    def slow_down(self, now: float) -> None:
        """Take nothing from now on."""
        if self.following and self._tap is not None:
            self.slow_since = now
            self._tap.narrow = True
            self._tap.pause()

    def take_a_little(self, now: float) -> None:
        """Take what was written, and let one more piece be written, if it is slow."""
        if self.following and self.slow_since is not None and self._tap is not None:
            self.slow_since = now
            self._tap.drip()

    def hurry_up(self, now: float) -> None:
        """Take all from now on."""
        if self.following and self.slow_since is not None and self._tap is not None:
            self._tap.narrow = False
            self.take_a_little(now)
            self.slow_since = None

    def check(self, model: Model, place_of: Callable[[str], int]) -> None:
        """Hold if what it has heard is what it wants, each change once and in order.

        Args:
            model: has everything, and all of it is acknowledged.
            place_of: finds the place of a cursor.
        """
        self.hear()
        for message in self.heard[self._checked :]:
            self._check(message, model, place_of)
        assert self.left is None or self.left >= 0, "it is told more than it wanted"
        if self._opening is None:
            return
        assert self.stream is not None
        wanted = [] if self.left == 0 else model.wanted(self.where, self._place)
        if self.following:
            assert self.slow_since is not None or not (wanted or self.left == 0 or self.finite)
        elif self.stream.ended_well:
            self._check_end(model)

    def _check(self, message: Message, model: Model, place_of: Callable[[str], int]) -> None:
        if message.change is None:
            place = place_of(message.cursor)
            until = place
        else:
            place = model.changed(message.change)
            until = place - 1
            assert model.wanted(self.where, until, place), "it is not wanted"
        model.learn(message.cursor, place)
        if self._checked == 0:
            assert self._first != "now" or place >= self._floor
            self._place = place
        assert place >= self._place, "it goes backwards, or repeats"
        assert not model.wanted(self.where, self._place, until), "something was left out"
        self._place = place
        self._checked += 1

    def _check_end(self, model: Model) -> None:
        assert self.last is not None
        if not self.finite:
            assert (self.last.keys(), self.left) == ({"last_seq"}, 0)
            return
        assert self._floor <= self._place + self.last["pending"] <= len(model.all)
        assert self.left == 0 or self._place >= self._floor


def pairs(kept: Sequence[Kept]) -> list[tuple[str | None, Any]]:
    """Ids and events."""
    return [(each.id, each.doc) for each in kept]
