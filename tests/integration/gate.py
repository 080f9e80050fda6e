"""A door before a server that a test opens and shuts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest_twisted
from OpenSSL import SSL
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.python.failure import Failure

from tests.integration.daemon import reactor


@attrs.define(eq=False)
class Gate(Factory):
    """Passes connections on to a port of 127.0.0.1, as long as it is open.

    Attributes:
        port: where it listens.
        heard: all that clients have sent.
        deaf: bytes are taken and not passed on, in either direction.
    """

    noisy = False

    target: int
    deaf: bool = False
    heard: bytearray = attrs.field(factory=bytearray)
    port: int = 0
    _listening: IListeningPort | None = None
    _passing: set[_Passing] = attrs.field(factory=set)

    def open(self, pem: Path | None = None) -> None:
        """Listen at the same port as before if there was one, with the certificate for TLS."""
        place = {"interface": "127.0.0.1"}
        if pem is None:
            listening = reactor.listenTCP(self.port, self, **place)
        else:
            context = DefaultOpenSSLContextFactory(str(pem), str(pem), SSL.TLS_METHOD)
            listening = reactor.listenSSL(self.port, self, context, **place)
        self._listening = listening
        self.port = listening.getHost().port

    def shut(self) -> Deferred[Any]:
        """Listen no more and cut all connections; fires when they are gone."""
        listening, self._listening = self._listening, None
        stopped = [maybeDeferred(listening.stopListening)] if listening is not None else []
        return gatherResults([*stopped, *(each.cut() for each in tuple(self._passing))])

    def buildProtocol(self, addr: object) -> Protocol:
        """A connection that came."""
        return _Passing(self)


@attrs.define(eq=False)
class _Passing(Protocol):
    """One connection through the gate."""

    gate: Gate
    _far: Any = None
    _early: list[bytes] = attrs.field(factory=list)
    _gone: Deferred[None] = attrs.field(factory=Deferred)

    def cut(self) -> Deferred[None]:
        if not self._gone.called:
            transport: Any = self.transport
            transport.abortConnection()
        return self._gone

    def connectionMade(self) -> None:
        self.gate._passing.add(self)
        far = HostnameEndpoint(reactor, b"127.0.0.1", self.gate.target)
        far.connect(Factory.forProtocol(lambda: _Far(self))).addErrback(lambda failure: self.cut())

    def dataReceived(self, data: bytes) -> None:
        self.gate.heard += data
        if self.gate.deaf:
            return
        if self._far is None:
            self._early.append(data)
        else:
            self._far.write(data)

    def reached(self, far: Any) -> None:
        self._far = far
        if self._gone.called:
            far.abortConnection()
        for piece in self._early:
            far.write(piece)

    def answered(self, data: bytes) -> None:
        if not self.gate.deaf:
            transport: Any = self.transport
            transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gate._passing.discard(self)
        if self._far is not None:
            self._far.abortConnection()
        self._gone.callback(None)


@attrs.define(eq=False)
class _Far(Protocol):
    """The other side of a connection through the gate."""

    near: _Passing

    def connectionMade(self) -> None:
        self.near.reached(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self.near.answered(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.near.cut()


@pytest_twisted.async_yield_fixture
async def gates() -> Any:
    """Makes gates, and shuts them in the end."""
    made: list[Gate] = []

    def make(target: int) -> Gate:
        gate = Gate(target)
        made.append(gate)
        return gate

    yield make
    for gate in made:
        await gate.shut()
