"""A door whose answers flow as slowly as a test wants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
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


@attrs.define(eq=False)
class TapDoor(Door):
    """A door that knows its connections, and lets only little happen when a test is in haste.

    Attributes:
        taps: what serves.
        haste: whether `flush` lets pass one turn rather than all that are due.
    """

    taps: TapSite = attrs.field(init=False)
    haste: bool = attrs.field(default=False, init=False)

    def flush(self) -> None:
        """Let happen all that is due, or less of it."""
        if not self.haste:
            return super().flush()
        self._treq.flush()
        self.clock.advance(0)
        return None

    def site(self, reactor: Any) -> BankSite:
        """The interface behind taps."""
        self.taps = TapSite(self._api.resource, reactor)
        return self.taps
