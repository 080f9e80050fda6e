"""One reader of changes."""

from __future__ import annotations

from types import TracebackType

import attrs
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


@attrs.define(eq=False)
class Follower:
    """One reader of changes, with its own cursor into the store; catching up and live are one path.

    It hears the feed's bell inside its `with`.

    Attributes:
        cursor: the place after what `more` has returned, and after what was passed over.
    """

    _feed: Feed
    _clock: IReactorTime
    cursor: str
    _wish: Wish = attrs.field(factory=Wish)
    _left: int | None = attrs.field(init=False)
    _bell: Bell = attrs.field(factory=Bell, init=False)
    _at_end: bool = attrs.field(init=False)
    _deadline: float = attrs.field(default=0.0, init=False)
    _alarm: IDelayedCall | None = attrs.field(default=None, init=False)

    @_left.default
    def _all_left(self) -> int | None:
        return self._wish.limit

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
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()

    @property
    def done(self) -> bool:
        """Whether it has all that it wanted, or the feed has ended: do not ask for more."""
        return self._at_end or self._left == 0 or self._feed.ended

    async def more(self, patience: float) -> Piece | None:
        """The next changes that are wanted, or word of a gap; waits for them.

        None after `patience` seconds in which nothing was found, and when it is done. To a follower
        without end, a store that cannot answer is silent: it is asked again when the bell rings, or
        when this is called again.

        Raises:
            StoreUnavailable: and the follower has an end.
            InvalidCursor: the place is in a database that is gone.
        """
        self._deadline = self._clock.seconds() + patience
        while not self.done:
            # Muffled before reading: what arrives during the read rings again.
            self._bell.muffle()
            piece = await self._next()
            if piece is not None:
                self._pass(piece)
                if piece.changes or piece.reset is not None:
                    return piece
            elif self._wish.until is not None:
                self._at_end = True
                break
            if self._clock.seconds() >= self._deadline:
                break
            if piece is None:
                self._set_alarm()
                await self._bell.wait()
            else:
                # Nothing wanted was in it, and the next one may be at hand as well.
                await deferLater(self._clock, 0)
        return None

    async def _next(self) -> Piece | None:
        """What is wanted of the next piece, None where there is none."""
        try:
            piece = await self._feed.after(self.cursor)
        except StoreUnavailable:
            if self._wish.until is not None:
                raise
            return None
        if not piece.changes:
            return None if piece.reset is None else piece
        if self._wish.until is not None:
            piece = piece.up_to(self._wish.until)
        piece = piece.only(self._wish.where)
        return piece if self._left is None else piece.first(self._left)

    def _pass(self, piece: Piece) -> None:
        self.cursor = piece.cursor
        if self._left is not None:
            self._left -= len(piece.changes)
        self._at_end = self.cursor == self._wish.until

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
            self._bell.ring()
