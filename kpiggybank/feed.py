"""The feed: who follows, who must wake when there is more, and what all of them read together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from kpiggybank.events import Change
from kpiggybank.interfaces import CHANGES_BYTES, ForgottenCursor, IChangeHistory
from kpiggybank.pieces import Piece, Shelf
from kpiggybank.shield import shield

#: Changes that are read at once, unless they are large (`CHANGES_BYTES`): the memory that a slow
#: follower costs.
CHANGES_AT_ONCE = 500

#: Followers that are woken in one turn of the reactor; requests are served between the turns.
BELLS_AT_ONCE = 100


#: Bytes that are told to those who catch up in one turn of the reactor; to tell anything counts as
#: some more.
BYTES_AT_ONCE, BYTES_BESIDE = 2**20, 2**14


def _not_served() -> bool:
    """Stands for a follower that must be woken to read."""
    return False


@attrs.define(eq=False)
class Bell:
    """A follower's wake-up: a mark that there is more, and perhaps somebody who waits for it.

    It is no queue, since followers can be slow: it only says that reading the store on from one's
    own cursor is worth while, and ringing it twice says no more than ringing it once.

    Args:
        serve: is called when the bell rings for somebody who waits; tells whether that did it, so
            that who waits need not be woken. To wake a coroutine costs more than to write a line.
    """

    _serve: Callable[[], bool] = _not_served
    _rung: bool = attrs.field(default=False, init=False)
    _waiting: Deferred[None] | None = attrs.field(default=None, init=False)

    def ring(self) -> None:
        """Serve or wake who waits, or let the next `wait` return at once."""
        self._rung = True
        if self._waiting is not None and not self._serve():
            self.wake()

    def wake(self) -> None:
        """Wake who waits."""
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
    """The bells of all followers, and what these followers read.

    Followers that stand at the same place, as all do that keep up, get the same `Piece`: it is read
    once, and whatever is made of it is made once.

    Args:
        history: what is read.
        clock: tells when a turn of the reactor ends.

    Attributes:
        told: how many changes its followers have told, each of them counted.
    """

    _history: IChangeHistory
    _clock: IReactorTime
    told: int = attrs.field(default=0, init=False)
    _bells: dict[Bell, None] = attrs.field(factory=dict, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    #: Bells that are still to be rung in the round that is under way, if any is.
    _round: Iterator[Bell] | None = attrs.field(default=None, init=False)
    _another_round: bool = attrs.field(default=False, init=False)
    _shelf: Shelf = attrs.field(factory=Shelf, init=False)
    #: Reads of the store under way, each with all who want the same.
    _reads: dict[str, list[Deferred[Piece]]] = attrs.field(factory=dict, init=False)
    #: The place after all that was found, and whether that still is all.
    _end: str = attrs.field(default="", init=False)
    _at_end: bool = attrs.field(default=False, init=False)
    _rings: int = attrs.field(default=0, init=False)
    #: What has been told in this turn, and who waits for a later one to tell so many bytes.
    _told_now: int = attrs.field(default=0, init=False)
    _queue: deque[tuple[Deferred[None], int]] = attrs.field(factory=deque, init=False)

    @property
    def ended(self) -> bool:
        """Whether followers shall say good-bye."""
        return self._ended

    def __len__(self) -> int:
        """How many follow."""
        return len(self._bells)

    def join(self, bell: Bell) -> None:
        """Ring this bell, too, from now on."""
        self._bells[bell] = None

    def leave(self, bell: Bell) -> None:
        """Ring this bell no longer."""
        self._bells.pop(bell, None)

    def ring(self) -> None:
        """Tell every follower that there is more, in the next turns of the reactor.

        Not at once: what else is stored in this turn goes to each of them together, and whoever
        stored it gets the answer first.
        """
        self.doubt()
        if not self._bells:
            return
        if self._round is None:
            self._begin_round()
        else:
            self._another_round = True

    def doubt(self) -> None:
        """Look into the store again, where the end had been found."""
        self._rings += 1
        self._at_end = False

    def end(self) -> None:
        """Let every follower, also one that comes later, say good-bye."""
        self._ended = True
        for bell in tuple(self._bells):
            bell.ring()

    def at_hand(self, cursor: str) -> Piece | None:
        """What `after` would give, where that needs no reading."""
        piece = self._shelf.get(cursor)
        if piece is None and self._at_end and cursor == self._end:
            return Piece((), cursor)
        return piece

    def after(self, cursor: str) -> Deferred[Piece]:
        """The next changes after a cursor, `CHANGES_AT_ONCE` or fewer; none if there are none.

        Where the store does not know all of them any more, the piece says so. Fails with
        `InvalidCursor`, and with `StoreUnavailable` when they cannot be read now.
        """
        piece = self.at_hand(cursor)
        if piece is not None:
            return succeed(piece)
        if cursor not in self._reads:
            return shield(self._read(cursor))
        wanted: Deferred[Piece] = Deferred()
        self._reads[cursor].append(wanted)
        return wanted

    def turn(self, size: int) -> Deferred[None] | None:
        """Ask for one's turn to tell so many bytes that need not be waited for.

        All who catch up together have the same pieces at hand, and sockets that take megabytes: one
        after the other would hold up everybody else.

        Returns:
            None if it is now, else a Deferred that fires when it is; it may be cancelled.
        """
        if not self._queue and self._told_now < BYTES_AT_ONCE:
            self._tell_now(size)
            return None
        turn: Deferred[None] = Deferred()
        self._queue.append((turn, size))
        return turn

    def _tell_now(self, size: int) -> None:
        if not self._told_now:
            self._clock.callLater(0, self._next_turn)
        self._told_now += size + BYTES_BESIDE

    def _next_turn(self) -> None:
        self._told_now = 0
        while self._queue and self._told_now < BYTES_AT_ONCE:
            turn, size = self._queue.popleft()
            if not turn.called:  # it was given up
                self._tell_now(size)
                turn.callback(None)

    def _read(self, cursor: str) -> Deferred[Piece]:
        self._reads[cursor] = []
        read = self._history.changes(cursor, CHANGES_AT_ONCE)
        found = read.addCallbacks(self._found, _forgotten, callbackArgs=(cursor, self._rings))
        return found.addBoth(self._answer, cursor)

    def _found(self, changes: Sequence[Change], cursor: str, rings: int) -> Piece:
        piece = Piece(changes, changes[-1].cursor if changes else cursor)
        if changes:
            self._shelf.put(cursor, piece)
        if rings == self._rings and len(changes) < CHANGES_AT_ONCE and piece.size < CHANGES_BYTES:
            self._end, self._at_end = piece.cursor, True
        return piece

    def _answer(self, result: Any, cursor: str) -> Any:
        for wanted in self._reads.pop(cursor):
            if not wanted.called:  # cancelled in the meantime
                wanted.callback(result)  # or fails, if the result is a failure
        return result

    def _begin_round(self) -> None:
        self._another_round = False
        self._round = iter(tuple(self._bells))
        # The call that is due next may come before the answers of this turn are sent; the one that
        # it makes comes after them.
        self._clock.callLater(0, self._clock.callLater, 0, self._read_ahead)

    def _read_ahead(self) -> None:
        # What all who keep up wait for; whether that could be read, each of them will see.
        if self._bells and self._end:
            self.after(self._end).addBoth(self._ring_some)
        else:
            self._ring_some()

    def _ring_some(self, _: object = None) -> None:
        assert self._round is not None
        count = 0
        for bell in islice(self._round, BELLS_AT_ONCE):
            count += 1
            if bell in self._bells:  # or it has left meanwhile
                bell.ring()
        if count == BELLS_AT_ONCE:
            self._clock.callLater(0, self._ring_some)
        elif self._another_round:
            self._begin_round()
        else:
            self._round = None


def _forgotten(failure: Failure) -> Piece:
    error = failure.value
    if isinstance(error, ForgottenCursor):
        return Piece((), error.oldest, reset=str(error))
    failure.raiseException()
