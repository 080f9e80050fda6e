"""Bodies as the client sends and reads them: bounded, and never without a time limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IConsumer, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer


@implementer(IBodyProducer)
@attrs.frozen
class BytesProducer:
    """A request body that is in memory already and goes out in one write.

    Twisted's own producer for it reads a piece a reactor turn, by the global reactor's timers.
    """

    body: bytes = attrs.field(repr=False)
    length: int = attrs.field(init=False)

    @length.default
    def _length_of_body(self) -> int:
        return len(self.body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write it all; has fired already."""
        consumer.write(self.body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing to do: there is only the one write."""

    def resumeProducing(self) -> None:
        """Nothing to do: there is only the one write."""

    def stopProducing(self) -> None:
        """Nothing to do: there is only the one write."""


@attrs.define(eq=False)
class Silence:
    """Calls once when nothing was heard for so many seconds, counted from the last `heard`."""

    _clock: IReactorTime
    _seconds: float
    _too_long: Callable[[], object]
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)

    def heard(self) -> None:
        """Count the seconds from now."""
        if self._timer is None or not self._timer.active():
            self._timer = self._clock.callLater(self._seconds, self._too_long)
        else:
            self._timer.reset(self._seconds)

    def stop(self) -> None:
        """Call no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


def abort(transport: Any) -> None:
    """Cut the connection that brings an answer, unsent bytes and all; harmless if it is gone."""
    # The transport which twisted.web gives to the protocol of a body stands in for the connection
    # and can only close it politely; over TLS, a peer that went deaf would keep it open for ever.
    for connection in (transport, getattr(transport, "_producer", None)):
        cut = getattr(connection, "abortConnection", None)
        if cut is not None:
            cut()
            return
    if transport is not None:
        transport.loseConnection()


@attrs.define(eq=False)
class _BodyReader(Protocol):
    """Collects the body of an answer; see `read_body`."""

    _clock: IReactorTime
    _seconds: float
    _limit: int | None
    _body: bytearray = attrs.field(factory=bytearray, init=False, repr=False)
    _silence: Silence = attrs.field(init=False)
    finished: Deferred[bytes] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._silence = Silence(self._clock, self._seconds, self._give_up)
        self.finished = Deferred(lambda _: self._fail(CancelledError()))

    def connectionMade(self) -> None:
        self._silence.heard()

    def dataReceived(self, data: bytes) -> None:
        if self.finished.called:  # cut already, but this was still on its way
            return
        self._silence.heard()
        self._body += data
        if self._limit is not None and len(self._body) >= self._limit:
            self._succeed()
            abort(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.finished.called:
            return
        if self._limit is not None or isinstance(reason.value, ResponseDone):
            self._succeed()
        else:
            self._silence.stop()
            self.finished.errback(reason)

    def _give_up(self) -> None:
        if self._limit is not None:
            self._succeed()
            abort(self.transport)
        else:
            self._fail(TimeoutError(f"no byte of the answer for {self._seconds:g} seconds"))

    def _succeed(self) -> None:
        self._silence.stop()
        self.finished.callback(bytes(self._body[: self._limit]))

    def _fail(self, error: Exception) -> None:
        self._silence.stop()
        self.finished.errback(error)
        abort(self.transport)


def read_body(
    response: IResponse, clock: IReactorTime, seconds: float, limit: int | None = None
) -> Deferred[bytes]:
    """Read the body of an answer, all of it or, given a limit, its beginning.

    Args:
        response: its body must not have been delivered to anybody.
        clock: counts the seconds.
        seconds: for which the body may be silent.
        limit: bytes at the most; whatever comes of them is then good enough, even if the rest is
            cut or does not come.

    Returns:
        A Deferred of the body. Without a limit it fails with `TimeoutError` on silence, and with
        what twisted.web says of a body that ended early. An answer of unknown length that ends with
        its connection counts as such: nothing tells whether it was cut. Cancelling cuts the
        connection and fails with `CancelledError`.
    """
    reader = _BodyReader(clock, seconds, limit)
    response.deliverBody(reader)
    return reader.finished
