"""The site: a resource, its open connections, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import time
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IAddress
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.http import Request, datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import Site

from kpiggybank.web.access import Access
from kpiggybank.web.bounds import LIMITS, Limits, Work
from kpiggybank.web.journal import OTHER, Journal
from kpiggybank.web.limits import FIRST_REQUEST_SECONDS, Connection
from kpiggybank.web.request import BankRequest
from kpiggybank.web.sending import Outbox

#: How often a warning is given again.
WARNING_SECONDS = 60.0
#: How long it is waited for that what is cut is lost.
CUT_SECONDS = 1.0


class BankSite(Site):
    """Serves a resource over connections that it knows and can wind up.

    Args:
        resource: answers all requests; a leaf.
        reactor: for the time limits of connections.
        limits: what clients may cost.
        journal: where its requests are noted.
        access: decides who may make them; None lets everybody.

    Attributes:
        limits, access: the same.
        route_of: the route of a path, as it is written in the table of routes.
        work: the requests in work.
        outbox: has the answers that are about to be sent.
    """

    # HTTP/1.1 only: the default would wrap each connection in a choice of versions.
    protocol: Any = Connection

    _log = Logger()

    def __init__(
        self,
        resource: IResource,
        reactor: Any,
        limits: Limits = LIMITS,
        journal: Journal | None = None,
        access: Access | None = None,
    ) -> None:
        super().__init__(
            resource, requestFactory=BankRequest, parsePOSTFormSubmission=False, reactor=reactor
        )
        self.limits = limits
        self.route_of: Callable[[bytes], str] = getattr(resource, "route_of", lambda path: OTHER)
        self.access = access
        self.work = Work(limits)
        self.outbox = Outbox(reactor)
        self.journal = Journal() if journal is None else journal
        self.connections: set[Connection] = set()
        self.draining = False
        self._empty: Deferred[None] | None = None
        self._warn_again = -inf
        self._second = -1
        self._date = b""

    @property
    def date(self) -> bytes:
        """The time of day as answers tell it; written anew once a second."""
        second = int(time())
        if second != self._second:
            self._second, self._date = second, datetimeToString(second)
        return self._date

    def listens_at(self, address: IAddress) -> None:
        """Know where it can be reached now."""
        if self.access is not None:
            self.access.listens_at(address)

    def log(self, request: Request) -> None:
        """Note that a request was answered."""
        self.journal.ended(request)

    def tell_of_excess(self) -> None:
        """Warn that clients are turned away, once a minute at the most."""
        now = self.reactor.seconds()
        if now >= self._warn_again:
            self._warn_again = now + WARNING_SECONDS
            count = self.limits.connections
            self._log.warn("{count} connections are open; more are turned away", count=count)

    def connection_lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if self._empty is not None and not self.connections:
            empty, self._empty = self._empty, None
            empty.callback(None)

    async def drain(self, patience: float) -> None:
        """Answer every request that has begun to arrive, close all connections, and return.

        A connection that was only just made has a second to bring its first request: whoever made
        it cannot know that this is the end. To be called when nothing listens any more. After
        `patience` seconds, what is still open is cut.
        """
        self.draining = True
        # What came just before may still be unread.
        for _ in range(2):
            await deferLater(self.reactor, 0)
        grace = min(FIRST_REQUEST_SECONDS, patience)
        new = [connection for connection in self.connections if connection.is_new()]
        for connection in self.connections.difference(new):
            connection.wind_up()
        if new and not await self._emptied(grace):
            for connection in self.connections.intersection(new):
                connection.wind_up()
            patience -= grace
        if not await self._emptied(patience):
            for connection in tuple(self.connections):
                connection.transport.abortConnection()
            # They are lost in a later turn. Until then their answers go on, and ask a store that
            # whoever called this is about to close.
            await self._emptied(CUT_SECONDS)

    async def _emptied(self, seconds: float) -> bool:
        """Wait for so long that no connection is left; tells whether none is."""
        if self.connections:
            self._empty = Deferred()
            try:
                await self._empty.addTimeout(seconds, self.reactor)
            except TimeoutError:
                self._empty = None
        return not self.connections
