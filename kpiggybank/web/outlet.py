"""A streamed answer that goes at the pace of its reader."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from kpiggybank.web.sending import offer, send_now, unread

T = TypeVar("T")

#: How often a reader that takes nothing is looked at, in the time that it has. The first look sees
#: what the kernel took at the beginning, which is not yet a sign of life.
LOOKS = 8

#: Bytes that are given to the transport at once.
SLICE_BYTES = 256 * 2**10


class Stalled(Exception):
    """A reader has taken nothing for too long; the text is one line."""


@implementer(IPushProducer)
@attrs.define(eq=False)
class Outlet:
    """One streamed answer with brakes: use it in `with`, and await every write.

    The reader's socket pauses and resumes it, both possibly from within `write`. When the client
    goes, Klein cancels the coroutine that writes, and leaving the `with` cleans up. Leaving it by
    any other exception aborts the connection, so that a cut answer never looks complete.

    Args:
        request: a `twisted.web.server.Request` whose head is set and not yet written. Nobody else
            may write to it.
        clock: counts the patience.
        patience: seconds after which a reader that has taken nothing of what waits is given up.
    """

    _request: Any
    _clock: IReactorTime
    _patience: float
    _paused: Deferred[None] | None = attrs.field(default=None, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _unread: int = attrs.field(default=0, init=False)
    _taken_at: float = attrs.field(default=0.0, init=False)

    def __enter__(self) -> Outlet:
        self._request.registerProducer(self, True)
        # An empty write sends the head at once.
        self._request.write(b"")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._request.channel is None:
            return  # the client has gone, and with it all there was to clean up
        self._request.unregisterProducer()
        if error is not None:
            self._request.transport.abortConnection()

    async def write(self, piece: bytes, before: bytes = b"") -> None:
        """Send a piece, and something short before it; returns when the reader can take more.

        Raises:
            Stalled: the reader took nothing of it for too long.
        """
        channel = self._request.channel
        left = offer(channel, self._framed(before, piece))
        while left:
            # The transport copies what it gets, so it gets no more than it can send soon.
            first, *others = left
            channel.write(bytes(first[:SLICE_BYTES]))
            left = [first[SLICE_BYTES:], *others] if len(first) > SLICE_BYTES else others
            if self._paused is not None:
                await self._patiently(self._paused)
            left = offer(channel, left)

    def send(self, piece: bytes) -> Deferred[None] | None:
        """Send a piece as `write` does, without a coroutine where there is nothing to wait for.

        Returns:
            None if the reader can take the next one, else a Deferred that fires when it can, and
            fails as `write` does.
        """
        if len(piece) > SLICE_BYTES:
            return Deferred.fromCoroutine(self.write(piece))
        send_now(self._request.channel, *self._framed(piece))
        return None if self._paused is None else self._patiently(self._paused)

    def _framed(self, *parts: bytes) -> Sequence[bytes]:
        """Parts of the body together as they are to be sent; none where the client has gone."""
        request = self._request
        size = sum(map(len, parts))
        if request.channel is None or not size:  # a chunk of no bytes would be the last one
            return ()
        request.sentLength += size
        return (b"%x\r\n" % size, *parts, b"\r\n") if request.chunked else parts

    def _patiently(self, paused: Deferred[None]) -> Deferred[None]:
        # The transport resumes only when all that it has is with the kernel, and the kernel takes
        # more only when a good part of its own is read: a slow reader may need longer for that than
        # a patience lasts.
        self._unread, self._taken_at = unread(self._request.transport), self._clock.seconds()
        self._timer = self._clock.callLater(self._patience / LOOKS, self._look, paused)
        return paused.addBoth(self._look_no_more)

    def _look(self, paused: Deferred[None]) -> None:
        before, self._unread = self._unread, unread(self._request.transport)
        now = self._clock.seconds()
        if self._unread != before:
            self._taken_at = now
        left = self._taken_at + self._patience - now
        if left > 0:
            pause = min(left, self._patience / LOOKS)
            self._timer = self._clock.callLater(pause, self._look, paused)
        else:
            self._paused = None
            text = f"its reader took nothing for {self._patience:g} seconds"
            paused.errback(Stalled(text))

    def _look_no_more(self, result: T) -> T:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        return result

    def pauseProducing(self) -> None:
        """Make the next `write` wait; called by the transport when its buffer is full."""
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        """Let a waiting `write` return; called by the transport when its buffer is empty."""
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.callback(None)

    def stopProducing(self) -> None:
        """Nothing to do: the connection is lost, and the request tells its own end."""
