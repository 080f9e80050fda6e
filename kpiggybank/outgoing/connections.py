"""The client's own connections: kept for the next request, and closed to the last one."""

from __future__ import annotations

from collections.abc import Hashable
from operator import attrgetter
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web._newclient import RequestNotSent
from twisted.web.client import HTTPConnectionPool, RequestTransmissionFailed, ResponseFailed
from zope.interface import implementer

#: An unused connection is kept for so many seconds: fewer than a server or a proxy on the way
#: waits, because a request that meets their closing is lost.
IDLE_SECONDS = 15

#: How a request ends without an answer: no connection, or one that dies, speaks no HTTP, is
#: not trusted.
LOST = (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseFailed,
)


class Connections(HTTPConnectionPool):
    """A pool that knows the connections in use, too, so that closing it leaves none behind.

    Args:
        reactor: where the connections are made.
        size: unused connections kept for one server.
    """

    cachedConnectionTimeout = IDLE_SECONDS

    def __init__(self, reactor: Any, size: int) -> None:
        super().__init__(reactor, persistent=True)  # type: ignore[no-untyped-call]
        self.maxPersistentPerHost = size
        self._open: set[ProtocolWrapper] = set()
        self._closing: list[Deferred[None]] = []

    def getConnection(self, key: Hashable, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        """A connection for one request, an unused one or a new one; see the base class."""
        return super().getConnection(key, _WatchedEndpoint(endpoint, self))

    def close(self) -> Deferred[None]:
        """Cut all connections at once, used and unused; fires when the last one is gone."""
        self.closeCachedConnections()  # type: ignore[no-untyped-call]
        if not self._open:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._closing.append(closed)
        for connection in tuple(self._open):
            # Not the polite way: a deaf peer could keep us waiting without end.
            connection.abortConnection()
        return closed

    def made(self, connection: ProtocolWrapper) -> None:
        """Note a connection that is there."""
        self._open.add(connection)

    def lost(self, connection: ProtocolWrapper) -> None:
        """Note that a connection is gone."""
        self._open.discard(connection)
        if not self._open:
            closing, self._closing = self._closing, []
            for closed in closing:
                closed.callback(None)


class _WatchingFactory(WrappingFactory):
    """Puts a layer below each connection that tells when it comes and goes.

    HTTP11ClientProtocol.abort() tells it as well, but not if it is called by somebody who has just
    heard from the protocol that the connection is lost.
    """

    noisy = False

    def __init__(self, factory: IProtocolFactory, connections: Connections) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self._connections = connections

    def registerProtocol(self, p: ProtocolWrapper) -> None:
        self._connections.made(p)

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        self._connections.lost(p)


@implementer(IStreamClientEndpoint)
@attrs.frozen
class _WatchedEndpoint:
    """An endpoint whose connections are watched."""

    _endpoint: IStreamClientEndpoint
    _connections: Connections

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        watching = _WatchingFactory(protocolFactory, self._connections)
        cast(Any, protocolFactory).noisy = False  # it would log each connection's coming and going
        layered: Deferred[Any] = self._endpoint.connect(watching)
        return layered.addCallback(attrgetter("wrappedProtocol"))
