"""Followers of a bank in memory, and listeners that keep what they hear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from kpiggybank.bank import NOW, Bank
from kpiggybank.feed import Feed
from kpiggybank.follower import Follower
from kpiggybank.interfaces import IEventBank
from kpiggybank.pieces import Piece
from kpiggybank.stores.memory import MemoryStore
from kpiggybank.where import Condition, Where
from tests.reading import from_json
from tests.web_client import has_fired, result_of

#: Seconds after which these followers tell of silence.
PATIENCE = 15.0


def conditions(*texts: str) -> Where:
    """The conditions that some texts say."""
    return Where(tuple(map(Condition.of, texts)))


@attrs.define(eq=False)
class Ear:
    """A listener that keeps what it hears, and can be full.

    Attributes:
        pieces: what was told.
        silences: the places of the silences.
        full: whether it wants to be waited for after each piece.
        pause: what is waited for.
        error: what it fails with.
    """

    pieces: list[Piece] = attrs.field(factory=list)
    silences: list[str] = attrs.field(factory=list)
    full: bool = False
    pause: Deferred[None] | None = None
    error: Exception | None = None

    @property
    def times(self) -> list[float]:
        """The times of all events that were told."""
        return [change.event.timestamp for piece in self.pieces for change in piece.changes]

    def take(self, piece: Piece) -> Deferred[None] | None:
        """Keep a piece."""
        assert self.pause is None or self.pause.called, "it was not waited for"
        if self.error is not None:
            raise self.error
        self.pieces.append(piece)
        self.pause = Deferred() if self.full else None
        return self.pause

    def silence(self, cursor: str) -> Deferred[None] | None:
        """Keep a silence."""
        self.silences.append(cursor)
        return None

    def empty(self) -> None:
        """Be able to take more."""
        pause, self.pause = self.pause, None
        assert pause is not None
        pause.callback(None)


@attrs.define(eq=False)
class Stage:
    """A bank, time by hand, and the followers that were made."""

    store: IEventBank = attrs.field(factory=MemoryStore)
    clock: Clock = attrs.field(factory=Clock)
    bank: Bank = attrs.field(init=False)
    told: list[Deferred[None]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.bank = Bank(self.store, self.clock)

    @property
    def feed(self) -> Feed:
        """That of the bank."""
        return self.bank._feed

    def deposit(self, *timestamps: float, **fields: Any) -> None:
        """Store an event of each of these times, and let the turn of the reactor end."""
        for timestamp in timestamps:
            event = msgspec.json.encode({"timestamp": timestamp, **fields})
            result_of(self.bank.deposit(from_json(event)))
        self.turn()

    def turn(self) -> None:
        """Let happen all that is due."""
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def follow(self, since: str = NOW, **wish: Any) -> tuple[Follower, Ear]:
        """A follower that tells a new ear."""
        return self.tell(result_of(Deferred.fromCoroutine(self.bank.follow(since, **wish))))

    def catch_up(self, since: str = NOW, **wish: Any) -> tuple[Follower, Ear]:
        """A follower with an end that tells a new ear."""
        return self.tell(result_of(Deferred.fromCoroutine(self.bank.catch_up(since, **wish))))

    def tell(self, follower: Follower) -> tuple[Follower, Ear]:
        """Let a follower tell a new ear."""
        ear = Ear()

        async def tell() -> None:
            with follower:
                await follower.tell(ear, PATIENCE)

        self.told.append(Deferred.fromCoroutine(tell()))
        self.turn()
        return follower, ear

    @property
    def waiting(self) -> list[bool]:
        """Of each follower that was made, whether it still goes on."""
        return [not has_fired(told) for told in self.told]

    def leave(self) -> None:
        """Let all followers leave."""
        for told in self.told:
            told.addErrback(lambda failure: failure.trap(CancelledError) and None)
            told.cancel()


def stage_of(store: IEventBank | None = None) -> Iterator[Stage]:
    """A stage, of which nothing may be left waiting when its followers have left."""
    stage = Stage(store or MemoryStore())
    yield stage
    stage.leave()
    assert len(stage.feed) == 0
    stage.turn()
    assert stage.clock.getDelayedCalls() == []
