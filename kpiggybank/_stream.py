"""The changes as one stream, through all the connections that it takes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from kpiggybank._lines import (
    CURSOR_HEADER,
    HEARTBEAT_SECONDS,
    SILENCE_SECONDS,
    Change,
    Farewell,
    Reset,
    StreamEnded,
    told_in,
)
from kpiggybank._retry import TROUBLE, asked_pause, growing_pauses, is_refusal
from kpiggybank._wire import EVENTS, Wire, header_of, where_params
from kpiggybank.outgoing.reader import LineReader

T = TypeVar("T")
Lines = LineReader[Change | Reset | Farewell]

#: A connection that was open for so many seconds had no trouble to begin with.
STEADY_SECONDS = 10.0

_pause = growing_pauses(0.2, 30.0)


class AlreadyFollowing(Exception):
    """A change stream of this client is open, or about to be."""

    def __str__(self) -> str:
        return "this client follows the changes already"


class _Lost(Exception):
    """A connection brings nothing more; another one may."""


class _Garbled(Exception):
    """A connection brought what makes no sense; another one would bring it again."""


@attrs.define(eq=False)
class ChangeStream:
    """The changes from one place on; begins again where it was when a connection is lost.

    Its cursor is the place of the change that was delivered last, not of the one received last:
    what had arrived before the connection was lost is delivered first.

    Args:
        wire: the way to the server.
        clock: for pauses and silence.
        tell: is called with "connected" and the cursor or None, "disconnected" and a `StreamEnded`,
            "reset" and a dict, as they happen between the changes.
        cursor: the place to begin after; None for now.
        where: which changes, as texts `path:value`.

    Attributes:
        opened: fires when the stream is open for the first time. Does not fail by itself;
            cancelling it stops the stream.
    """

    _wire: Wire
    _clock: IReactorTime
    _tell: Callable[[str, object], object]
    _cursor: str | None
    _where: Sequence[str]
    opened: Deferred[None] = attrs.field(init=False)
    _lines: Lines | None = attrs.field(default=None, init=False)
    #: Tries that failed since there was no trouble.
    _failures: int = attrs.field(default=0, init=False)
    #: From when on the connection that is open had none.
    _steady: float = attrs.field(default=0.0, init=False)
    #: What is awaited now. To cancel the whole coroutine instead would not do while it runs, as
    #: when a callback stops the stream that calls it.
    _waiting: Deferred[Any] | None = attrs.field(default=None, init=False)
    _verdict: Exception | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.opened = Deferred(lambda _: self.stop(CancelledError()))

    @property
    def stopped(self) -> bool:
        """Whether it was stopped, and did not end by itself."""
        return self._verdict is not None

    def stop(self, verdict: Exception) -> None:
        """Cut the connection; whoever waits for a change gets this error, at once."""
        self._verdict = verdict
        if self._waiting is not None:
            self._waiting.cancel()
        self._close()

    async def wait(self, deferred: Deferred[T]) -> T:
        """What a Deferred fires with; stopping the stream cancels it and raises the verdict."""
        self._waiting = deferred
        if self.stopped:
            deferred.cancel()
        try:
            return await deferred
        finally:
            self._waiting = None
            self._go_on()

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Each change once, in order; may be called once.

        It has no end but an error. Leaving the loop over it, or cancelling who waits in it, cuts
        the connection.

        Raises:
            StreamEnded: the server says what makes no sense.
            RequestFailed: it wants nothing of us; the first time the stream is opened, any status
                but 200, and any other error of a request, such as that of a connection.
        """
        self._go_on()
        # Nothing is awaited on the way out: a generator that is dropped could not do it.
        try:
            lines = await self._open()
            while True:
                reason, came = None, []
                try:
                    came = await self.wait(lines.take())
                except _Lost as lost:
                    reason = str(lost)
                except _Garbled as garbled:
                    raise self._disconnected(str(garbled)) from None
                for told in came:
                    if isinstance(told, dict):
                        self._failures = 0
                        self._cursor = told["seq"]
                        yield told
                    elif isinstance(told, Reset):
                        self._reset(told.cursor, told.reason)
                    else:
                        self._cursor = told.cursor
                        reason = "the server ended the stream"
                    self._go_on()
                if reason is not None:
                    self._disconnected(reason)
                    lines = await self._open_again()
        finally:
            self._close()

    async def _open(self) -> Lines:
        # Where no server has told a place, what came since the connection was lost is not known.
        gap = self._cursor is None and self._lines is not None
        params = [
            ("since", "now" if self._cursor is None else self._cursor),
            ("heartbeat", str(HEARTBEAT_SECONDS)),
            *where_params(self._where),
        ]
        response = await self.wait(
            Deferred.fromCoroutine(
                self._wire.head("GET", f"{EVENTS}/stream", HTTPStatus.OK, params=params)
            )
        )
        lines = self._lines = Lines(self._clock, SILENCE_SECONDS, told_in, _Lost, _Garbled)
        response.deliverBody(lines)
        if self._cursor in (None, "0"):  # else the place is known, and better than in this header
            self._cursor = header_of(response, CURSOR_HEADER) or self._cursor
        self._steady = self._clock.seconds() + STEADY_SECONDS
        self._tell("connected", self._cursor)
        if gap:
            self._reset(self._cursor, "the connection was lost before the server told any place")
        self._go_on()
        if not self.opened.called:
            self.opened.callback(None)
        return lines

    async def _open_again(self) -> Lines:
        seconds = 0.0
        while True:
            seconds += _pause(self._failures)
            self._failures += 1
            await self.wait(deferLater(self._clock, seconds))
            try:
                return await self._open()
            except TROUBLE as error:
                if is_refusal(error):
                    raise
                seconds = asked_pause(error)

    def _disconnected(self, reason: str) -> StreamEnded:
        self._close()
        if self._clock.seconds() >= self._steady:
            self._failures = 0
        ended = StreamEnded(reason, self._cursor)
        self._tell("disconnected", ended)
        self._go_on()
        return ended

    def _reset(self, cursor: str | None, reason: str) -> None:
        self._cursor = cursor
        self._tell("reset", {"reset": cursor, "reason": reason})

    def _close(self) -> None:
        if self._lines is not None:
            self._lines.close()

    def _go_on(self) -> None:
        if self._verdict is not None:
            raise self._verdict
