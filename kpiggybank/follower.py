"""One reader of changes."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater

from kpiggybank.feed import Bell, Feed
from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.pieces import Piece
from kpiggybank.where import EVERYTHING, Where


@attrs.frozen
class Wish:
    """What a follower wants of the changes.

    Attributes:
        where: what their events must meet.
        limit: how many of them at the most; None for all.
        until: the place where to end, unless there is nothing more before; None never ends.
    """

    where: Where = EVERYTHING
    limit: int | None = None
    until: str | None = None


class Listener(Protocol):
    """Whom a follower tells.

    Both methods return None when more can be told at once, else a Deferred that fires when it can.
    """

    def take(self, piece: Piece) -> Deferred[None] | None:
        """Hear of changes, or of a gap before those that follow."""

    def silence(self, cursor: str) -> Deferred[None] | None:
        """Hear that there was nothing to tell for a while, up to this place."""


@attrs.define(eq=False)
class Follower:
    """One reader of changes, with its own cursor into the store; catching up and live are one path.

    It hears the feed's bell inside its `with`. As long as it keeps up, all that it tells is at hand
    when the bell rings, and is told within the ring.

    Attributes:
        cursor: the place after what was told, and after what was passed over.
    """

    _feed: Feed
    _clock: IReactorTime
    cursor: str
    _wish: Wish = attrs.field(factory=Wish)
    _left: int | None = attrs.field(init=False)
    _bell: Bell = attrs.field(init=False)
    _listener: Listener = attrs.field(init=False)
    _patience: float = attrs.field(default=0.0, init=False)
    #: What the listener wants to be waited for.
    _pause: Deferred[None] | None = attrs.field(default=None, init=False)
    _at_end: bool = attrs.field(init=False)
    _deadline: float = attrs.field(default=0.0, init=False)
    _alarm: IDelayedCall | None = attrs.field(default=None, init=False)

    @_left.default
    def _all_left(self) -> int | None:
        return self._wish.limit

    @_bell.default
    def _own_bell(self) -> Bell:
        return Bell(self._serve)

    @_at_end.default
    def _nothing_to_read(self) -> bool:
        return self.cursor == self._wish.until

    def __enter__(self) -> Follower:
        self._feed.join(self._bell)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._feed.leave(self._bell)
        del self._bell  # it knows us, and we whom we told: all that would stay for a while
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()

    @property
    def done(self) -> bool:
        """Whether it has told all that was wanted, or the feed has ended."""
        return self._at_end or self._left == 0 or self._feed.ended

    async def tell(self, listener: Listener, patience: float) -> None:
        """Tell a listener all that is wanted, in order, at its pace; returns when that is done.

        After each `patience` seconds in which nothing was told, its `silence` is called. To a
        follower without end, a store that cannot answer is silent: it is asked again when the bell
        rings, and after each silence.

        Raises:
            StoreUnavailable: and the follower has an end.
            InvalidCursor: the place is in a database that is gone.
            Exception: what the listener fails with.
        """
        self._listener, self._patience = listener, patience
        self._put_off()
        while not self.done:
            # Muffled before reading: what arrives during the read rings again.
            self._bell.muffle()
            piece = await self._next()
            if piece is not None:
                turn = self._feed.turn(piece.cost)
                if turn is not None:
                    await turn
                self._pass(piece)
            elif self._wish.until is not None:
                self._at_end = True
                break
            if self._clock.seconds() >= self._deadline:
                self._feed.doubt()
                self._put_off()
                self._pause = listener.silence(self.cursor)
            elif piece is None:
                self._set_alarm()
                await self._bell.wait()
            elif not piece.changes:
                # Nothing wanted was in it, and the next one may be at hand as well.
                await deferLater(self._clock, 0)
            pause, self._pause = self._pause, None
            if pause is not None:
                await pause

    async def _next(self) -> Piece | None:
        """What is wanted of the next piece, None where there is none."""
        try:
            piece = await self._feed.after(self.cursor)
        except StoreUnavailable:
            if self._wish.until is not None:
                raise
            return None
        if piece.changes:
            return self._wanted(piece)
        return None if piece.reset is None else piece

    def _wanted(self, piece: Piece) -> Piece:
        if self._wish.until is not None:
            piece = piece.up_to(self._wish.until)
        piece = piece.only(self._wish.where)
        return piece if self._left is None else piece.first(self._left)

    def _pass(self, piece: Piece) -> None:
        """Go to the end of a piece, and tell it if there is anything in it."""
        self.cursor = piece.cursor
        self._at_end = self.cursor == self._wish.until
        if piece.changes or piece.reset is not None:
            if self._left is not None:
                self._left -= len(piece.changes)
            self._put_off()
            self._feed.told += len(piece.changes)
            self._pause = self._listener.take(piece)

    def _serve(self) -> bool:
        """Tell what is at hand while `tell` waits; whether it can wait on."""
        self._bell.muffle()
        while not self.done:
            piece = self._feed.at_hand(self.cursor)
            if piece is None:
                return False
            if not piece.changes:
                return True
            try:
                self._pass(self._wanted(piece))
            except Exception:
                # Whatever it is, `tell` fails with it: it must not end the round of all the others.
                self._pause = fail()
            if self._pause is not None:
                return False
        return False

    def _put_off(self) -> None:
        self._deadline = self._clock.seconds() + self._patience

    def _set_alarm(self) -> None:
        # One alarm serves many waits: it rings when the latest deadline has passed.
        if self._alarm is None:
            left = self._deadline - self._clock.seconds()
            self._alarm = self._clock.callLater(max(0, left), self._alarmed)

    def _alarmed(self) -> None:
        self._alarm = None
        if self._clock.seconds() < self._deadline:
            self._set_alarm()
        else:
            self._bell.wake()
