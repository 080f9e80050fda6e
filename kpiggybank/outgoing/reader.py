"""Answers without end, read line by line, no faster than somebody takes what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from kpiggybank.outgoing.bodies import Silence, abort
from kpiggybank.outgoing.lines import LineCutter, LineTooLong

T = TypeVar("T")

#: So many bytes may wait until somebody takes what they say; then the other side has to wait.
BYTES_WAITING = 256 * 2**10


@attrs.define(eq=False)
class LineReader(Protocol, Generic[T]):
    """Reads the body of an answer until it ends, falls silent or says what makes no sense.

    Args:
        clock: counts the silence.
        seconds: for which the answer may be silent; not counted while it has to wait for us.
        decode: what a line says, None for nothing; is not asked about empty lines, which are
            heartbeats. Raises `ValueError` or `RecursionError`.
        lost: makes the error of the reason why nothing more comes.
        garbled: the same, where a line was too long or could not be decoded.
    """

    _clock: IReactorTime
    _seconds: float
    _decode: Callable[[bytes], T | None]
    _lost: Callable[[str], Exception]
    _garbled: Callable[[str], Exception]
    _came: list[T] = attrs.field(factory=list, init=False, repr=False)
    _waiting: Deferred[list[T]] | None = attrs.field(default=None, init=False)
    #: Why nothing more comes.
    _end: Exception | None = attrs.field(default=None, init=False)
    _cutter: LineCutter = attrs.field(factory=LineCutter, init=False)
    _silence: Silence = attrs.field(init=False)
    #: Bytes that have come since somebody took something.
    _bytes: int = attrs.field(default=0, init=False)
    _paused: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        reason = f"nothing came for {self._seconds:g} seconds"
        self._silence = Silence(self._clock, self._seconds, lambda: self.close(reason))

    def take(self) -> Deferred[list[T]]:
        """Fire with what the lines said that have come since, one of them at least.

        Fails when all was taken and nothing more comes. One may wait at a time; cancelling gives
        that up and loses nothing.
        """
        if self._came:
            came, self._came, self._bytes = self._came, [], 0
            self._resume()
            return succeed(came)
        if self._end is not None:
            return fail(self._end)
        self._waiting = Deferred()
        return self._waiting

    def close(self, reason: str = "it was closed") -> None:
        """Read no more, and cut the connection; harmless if the end was there already."""
        self._stop(self._lost(reason))

    def connectionMade(self) -> None:
        """Begin to count the silence."""
        self._silence.heard()

    def dataReceived(self, data: bytes) -> None:
        """Take a piece of the answer."""
        if self._end is not None:
            return
        self._silence.heard()
        self._bytes += len(data)
        try:
            for line in self._cutter.cut(data):
                if line and (said := self._decode(line)) is not None:
                    self._came.append(said)
        except (ValueError, RecursionError, LineTooLong) as error:
            self._stop(self._garbled(str(error)))
        else:
            self._tell()
            # Not for a long line that is yet to end: nobody could take it.
            if self._bytes > BYTES_WAITING and self._came:
                self._pause()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End; what has come may still be taken."""
        if isinstance(reason.value, ResponseDone):
            self.close("the server ended the stream without a farewell")
        else:
            self.close("the connection was cut")

    def _stop(self, end: Exception) -> None:
        if self._end is None:
            self._end = end
            self._silence.stop()
            abort(self.transport)
            self._tell()

    def _tell(self) -> None:
        waiting = self._waiting
        if waiting is not None and (self._came or self._end is not None):
            self._waiting = None
            if not waiting.called:  # cancelled in the meantime
                self.take().chainDeferred(waiting)

    def _pause(self) -> None:
        # Each time: twisted.web resumes by itself after it has handed over what came with the head.
        transport: Any = self.transport
        transport.pauseProducing()
        self._silence.stop()
        self._paused = True

    def _resume(self) -> None:
        if self._paused and self._end is None:
            transport: Any = self.transport
            transport.resumeProducing()
            self._silence.heard()
        self._paused = False
