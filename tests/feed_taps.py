"""A door whose answers flow as slowly as a test wants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.web.http import HTTPChannel

from kpiggybank.web.limits import Connection
from kpiggybank.web.site import BankSite
from tests.web_client import Door


class Tap(Connection):
    """A connection that is full after every write while it is narrow.

    Transports in memory are never full by themselves.
    """

    narrow = False

    def connectionMade(self) -> None:
        """Be as the site wants new connections to be."""
        super().connectionMade()
        self.narrow = self.site.narrow

    def write(self, data: bytes) -> None:
        """Write, and ask for a pause while doing so."""
        HTTPChannel.write(self, data)
        self._fill()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Write, and ask for a pause while doing so."""
        HTTPChannel.writeSequence(self, iovec)
        self._fill()

    def _fill(self) -> None:
        if self.narrow:
            self.pause()

    def pause(self) -> None:
        """Be full."""
        HTTPChannel.pauseProducing(self)

    def drip(self) -> None:
        """Be empty again, until the next write if it is narrow."""
        HTTPChannel.resumeProducing(self)


class TapSite(BankSite):
    """Serves over taps."""

    protocol = Tap
    #: Whether new connections are narrow.
    narrow = False

    @property
    def taps(self) -> set[Tap]:
        """All connections that are there now."""
        return {tap for tap in self.connections if isinstance(tap, Tap)}


class TurningClock(Clock):
    """A clock that lets pass one turn of the reactor; `advance` lets pass all that are due."""

    def turn(self) -> None:
        """Let happen what is due by now, but nothing that only comes of that."""
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        for call in due:
            if call.active():  # or one before it has cancelled it
                self.calls.remove(call)
                call.called = 1  # as `advance` does
                call.func(*call.args, **call.kw)


@attrs.define(eq=False)
class TapDoor(Door):
    """A door that knows its connections, and lets only little happen when a test is in haste.

    Attributes:
        taps: what serves.
        haste: whether `flush` lets pass one turn rather than all that are due.
    """

    clock: TurningClock = attrs.field(factory=TurningClock)
    taps: TapSite = attrs.field(init=False)
    haste: bool = attrs.field(default=False, init=False)

    def flush(self) -> None:
        """Let happen all that is due, or less of it."""
        if not self.haste:
            return super().flush()
        self._treq.flush()
        return self.clock.turn()

    def site(self, reactor: Any) -> BankSite:
        """The interface behind taps."""
        self.taps = TapSite(self._api.resource, reactor)
        return self.taps
