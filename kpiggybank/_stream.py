"""The change stream as the client reads it: bytes are cut into lines, lines become changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from kpiggybank.outgoing.bodies import Silence, abort
from kpiggybank.outgoing.lines import LineCutter, LineTooLong

#: The server sends at least an empty line in so many seconds.
HEARTBEAT_SECONDS = 15.0

#: Silence after which the connection counts as dead: three heartbeats lost.
SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS


class StreamEnded(Exception):
    """The change stream is over.

    Attributes:
        reason: why, in words.
        cursor: the place up to which all was delivered: that of the last change or, when the server
            ended the stream in order, the one it said farewell with. None when neither came.
    """

    def __init__(self, reason: str, cursor: str | None) -> None:
        super().__init__(reason, cursor)
        self.reason = reason
        self.cursor = cursor

    def __str__(self) -> str:
        return f"{self.reason} (cursor {self.cursor})"


@attrs.define(eq=False)
class ChangeStream(Protocol):
    """Reads the body of one change stream and tells its changes, then once its end.

    A line is a change, `{"seq": cursor, "id": id, "doc": event}`; the server's farewell,
    `{"last_seq": cursor}`; or empty, a heartbeat. Anything else ends the stream, as do silence and
    the loss of the connection.
    """

    _clock: IReactorTime
    _on_change: Callable[[dict[str, Any]], object]
    _on_end: Callable[[StreamEnded], object]
    _cutter: LineCutter = attrs.field(factory=LineCutter, init=False)
    _silence: Silence = attrs.field(init=False)
    _cursor: str | None = attrs.field(default=None, init=False)
    _farewell: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._silence = Silence(
            self._clock,
            SILENCE_SECONDS,
            lambda: self._end(f"nothing came for {SILENCE_SECONDS:g} seconds"),
        )

    def stop(self) -> None:
        """Cut the connection and tell nothing any more."""
        self._ended = True
        self._silence.stop()
        abort(self.transport)

    def connectionMade(self) -> None:
        self._silence.heard()

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        self._silence.heard()
        try:
            for line in self._cutter.cut(data):
                self._take(line)
        except LineTooLong as error:
            self._end(str(error))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if isinstance(reason.value, ResponseDone):
            self._end("the server ended the stream without a farewell")
        else:
            self._end("the connection was cut")

    def _take(self, line: bytes) -> None:
        # A callback may have stopped the stream in the middle of a piece. Empty is a heartbeat.
        if self._ended or self._farewell or not line:
            return
        try:
            value = msgspec.json.decode(line)
        except (ValueError, RecursionError) as error:
            self._end(f"a line of {len(line)} bytes is not JSON: {error}")
            return
        match value:
            case {"seq": str(cursor), "id": str(), "doc": dict()}:
                self._cursor = cursor
                self._on_change(value)
            case {"last_seq": str(cursor)}:
                # The end itself is awaited: cutting here could spoil a connection that the server
                # is about to give back in order.
                self._cursor = cursor
                self._farewell = True
            case _:
                # Never the line itself: it may be an event, and this text may be logged.
                self._end(f"a line of {len(line)} bytes is no change")

    def _end(self, reason: str) -> None:
        if self._ended:
            return
        self.stop()
        if self._farewell:
            reason = "the server ended the stream"
        self._on_end(StreamEnded(reason, self._cursor))
