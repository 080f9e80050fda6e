"""Servers on ports of this machine that a test plays, and the clients that visit them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import attrs
import pytest_twisted
from twisted.internet.defer import (
    Deferred,
    gatherResults,
    maybeDeferred,
)
from twisted.internet.interfaces import IAddress, IListeningPort, IPushProducer
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.web.server import Site
from zope.interface import implementer

from kpiggybank.client import (
    KPIggyBank,
)
from tests.client_stage import PlayedServer, reactor


class Door(WrappingFactory):
    """Counts the connections that a server has, and tells when the last one is gone."""

    noisy = False
    total = 0

    def __init__(self, factory: ServerFactory) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self.empty: list[Deferred[None]] = []

    def registerProtocol(self, p: Any) -> None:
        """Count one that comes."""
        super().registerProtocol(p)  # type: ignore[no-untyped-call]
        self.total += 1

    def unregisterProtocol(self, p: Any) -> None:
        """Count one that goes."""
        super().unregisterProtocol(p)  # type: ignore[no-untyped-call]
        if not self.protocols:
            waiting, self.empty = self.empty, []
            for each in waiting:
                each.callback(None)

    def when_empty(self) -> Deferred[None]:
        """Fires when no connection is open; fails a test that waits too long."""
        waiting: Deferred[None] = Deferred()
        if self.protocols:
            self.empty.append(waiting)
            waiting.addTimeout(10, reactor)
        else:
            waiting.callback(None)
        return waiting


class Reciting(Protocol):
    """Says the first of its factory's parts when it is asked; says or cuts more when told."""

    def dataReceived(self, data: bytes) -> None:
        """Answer, whatever the question is."""
        factory = cast(Recital, self.factory)
        if factory.spoken is None:
            factory.spoken = self
            assert self.transport is not None
            self.transport.write(factory.opening)
            factory.asked.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nothing more to say."""


class Recital(ServerFactory):
    """A server that says what a test wrote, byte for byte."""

    noisy = False
    protocol = Reciting

    def __init__(self, opening: bytes) -> None:
        self.opening = opening
        self.asked: Deferred[None] = Deferred()
        self.spoken: Reciting | None = None

    def cut(self) -> None:
        """Cut the connection after what was said."""
        assert self.spoken is not None and self.spoken.transport is not None
        self.spoken.transport.loseConnection()


class Hearing(Protocol):
    """Says the next of its factory's texts when it is asked, and hangs up unless it is the last."""

    def dataReceived(self, data: bytes) -> None:
        """Answer, whatever the question is."""
        factory = cast(Series, self.factory)
        assert self.transport is not None
        factory.heard.append(data)
        self.transport.write(factory.texts[len(factory.heard) - 1])
        if len(factory.heard) < len(factory.texts):
            self.transport.loseConnection()


class Series(ServerFactory):
    """A server that says one text to each connection, byte for byte."""

    noisy = False
    protocol = Hearing

    def __init__(self, *texts: bytes) -> None:
        self.texts = texts
        self.heard: list[bytes] = []


@implementer(IPushProducer)
@attrs.define(eq=False)
class Flood:
    """Says piece after piece to a connection for as long as the other side takes them."""

    _transport: Any
    _pieces: Iterator[bytes]
    said: int = 0
    _paused: bool = False

    def start(self) -> None:
        """Begin."""
        self._transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        while not self._paused and (piece := next(self._pieces, None)) is not None:
            self.said += 1
            self._transport.write(piece)

    def pauseProducing(self) -> None:
        """Wait."""
        self._paused = True

    def stopProducing(self) -> None:
        """Say no more."""
        self._pieces = iter(())

    async def stuck(self) -> None:
        """Return when nothing more was taken for many turns of the reactor."""
        before, turns = -1, 0
        while turns < 500:
            await pause()
            turns = turns + 1 if self.said == before else 0
            before = self.said


@attrs.define(eq=False)
class Street:
    """Servers on ports of this machine, and the clients that visit them."""

    ports: list[IListeningPort] = attrs.field(factory=list)
    doors: list[Door] = attrs.field(factory=list)
    clients: list[KPIggyBank] = attrs.field(factory=list)

    def open(self, factory: Any) -> Door:
        """Start a server."""
        door = Door(factory)
        self.ports.append(reactor.listenTCP(0, door, interface="127.0.0.1"))
        self.doors.append(door)
        return door

    def client(self, **options: Any) -> KPIggyBank:
        """A client of the latest server."""
        address: IAddress = self.ports[-1].getHost()
        self.clients.append(KPIggyBank("127.0.0.1", cast(Any, address).port, **options))
        return self.clients[-1]

    async def clear(self) -> None:
        """Close everything."""
        await gatherResults([client.close() for client in self.clients])
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        for door in self.doors:
            await door.when_empty()


@pytest_twisted.async_yield_fixture
async def street() -> AsyncIterator[Street]:
    """A street, cleared after the test."""
    street = Street()
    yield street
    await street.clear()


def playing(server: PlayedServer) -> Site:
    """A site that is quiet in the log."""
    site = Site(server)
    site.noisy = False
    return site


def head(*lines: bytes) -> bytes:
    """The head of an answer that is fine."""
    return b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", b""))


CHUNKED = head(b"Transfer-Encoding: chunked")


def chunk(*lines: bytes) -> bytes:
    """Lines as a chunk of an answer."""
    text = b"".join(lines)
    return b"%x\r\n%b\r\n" % (len(text), text)


def pause() -> Deferred[None]:
    """Fires in the next turn of the reactor."""
    turn: Deferred[None] = Deferred()
    reactor.callLater(0, turn.callback, None)
    return turn
