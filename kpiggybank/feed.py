"""The feed: who follows, and who must wake when there is more to read."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import attrs
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime

from kpiggybank.events import Change
from kpiggybank.interfaces import IChangeHistory, StoreUnavailable

#: Changes that a follower reads at once: the memory that a slow one costs.
CHANGES_AT_ONCE = 200


@attrs.define(eq=False)
class Bell:
    """A follower's wake-up: a mark that there is more, and perhaps somebody who waits for it.

    It is no queue, since followers can be slow: it only says that reading the store on from one's
    own cursor is worth while, and ringing it twice says no more than ringing it once.
    """

    _rung: bool = False
    _waiting: Deferred[None] | None = None

    def ring(self) -> None:
        """Wake who waits, or let the next `wait` return at once."""
        self._rung = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def muffle(self) -> None:
        """Forget the rings so far: what they told of is about to be read."""
        self._rung = False

    def wait(self) -> Deferred[None]:
        """Fire when the bell has rung since it was last muffled; one may wait at a time."""
        if self._rung:
            return succeed(None)
        self._waiting = Deferred(self._give_up)
        return self._waiting

    def _give_up(self, _: Deferred[None]) -> None:
        self._waiting = None


@attrs.define(eq=False)
class Feed:
    """The bells of all followers."""

    _bells: set[Bell] = attrs.field(factory=set)
    _ended: bool = False

    @property
    def ended(self) -> bool:
        """Whether followers shall say good-bye."""
        return self._ended

    def __len__(self) -> int:
        """How many follow."""
        return len(self._bells)

    def join(self, bell: Bell) -> None:
        """Ring this bell, too, from now on."""
        self._bells.add(bell)

    def leave(self, bell: Bell) -> None:
        """Ring this bell no longer."""
        self._bells.discard(bell)

    def ring(self) -> None:
        """Tell every follower that there is more."""
        for bell in tuple(self._bells):
            bell.ring()

    def end(self) -> None:
        """Let every follower, also one that comes later, say good-bye."""
        self._ended = True
        self.ring()


@attrs.define(eq=False)
class Follower:
    """One reader of changes, with its own cursor into the store; catching up and live are one path.

    It hears the feed's bell inside its `with`.
    """

    _history: IChangeHistory
    _feed: Feed
    _clock: IReactorTime
    _cursor: str
    _bell: Bell = attrs.field(factory=Bell)

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

    @property
    def cursor(self) -> str:
        """The place after the last change that `more` returned."""
        return self._cursor

    @property
    def ended(self) -> bool:
        """Whether the feed has ended: there is no need to ask for more."""
        return self._feed.ended

    async def more(self, patience: float) -> Sequence[Change]:
        """The next changes, at most `CHANGES_AT_ONCE`; waits for them where there are none.

        Empty after `patience` seconds of silence, or when the feed has ended. A store that cannot
        answer is silent: it is asked again when the bell rings, or when this is called again.
        """
        deadline = self._clock.seconds() + patience
        while not self._feed.ended:
            # Muffled before reading: what arrives during the read rings again.
            self._bell.muffle()
            try:
                changes = await self._history.changes(self._cursor, CHANGES_AT_ONCE)
            except StoreUnavailable:
                changes = ()
            if changes:
                self._cursor = changes[-1].cursor
                return changes
            left = deadline - self._clock.seconds()
            try:
                await self._bell.wait().addTimeout(max(0, left), self._clock)
            except TimeoutError:
                break
        return ()
