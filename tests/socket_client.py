"""The HTTP interface on a real port of this machine, and clients that write bytes to it."""

from __future__ import annotations

import json
from typing import Any, cast

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from kpiggybank.web.site import BankSite
from tests.web_client import Answer, Door

reactor = cast(Any, _reactor)

#: After so long, a test that waits in vain fails instead of hanging.
PATIENCE_SECONDS = 10


class HalfCloseableTransport(StringTransport):
    """A transport that notes when its sending half is closed."""

    half_closed = False

    def __init__(self) -> None:
        begin: Any = super().__init__
        begin()

    def loseWriteConnection(self) -> None:
        """Close the sending half."""
        self.half_closed = True


@implementer(IHalfCloseableProtocol)
class RawClient(Protocol):
    """A connection that keeps all it gets, and whose own half stays open until it closes it.

    Attributes:
        received: all bytes so far.
        server_ended: whether the server has ended its half in order.
        lost: how the connection was lost as a whole, in order or not.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.server_ended = False
        self.lost: Failure | None = None
        self._waiting: list[Deferred[None]] = []

    def send(self, *pieces: bytes) -> None:
        """Write some bytes."""
        transport: Any = self.transport
        transport.write(b"".join(pieces))

    def send_at_once(self, data: bytes) -> None:
        """Hand some bytes to the kernel before anything else can happen."""
        transport: Any = self.transport
        assert transport.getHandle().send(data) == len(data)

    def pause(self) -> None:
        """Stop reading."""
        transport: Any = self.transport
        transport.pauseProducing()

    def resume(self) -> None:
        """Go on reading."""
        transport: Any = self.transport
        transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Keep a piece."""
        self.received += data
        self._wake()

    def readConnectionLost(self) -> None:
        """Note that the server sends no more."""
        self.server_ended = True
        self._wake()

    def writeConnectionLost(self) -> None:
        """Nothing to do: this half is never closed alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note how the connection was lost."""
        self.lost = reason
        self._wake()

    async def until(self, text: bytes) -> None:
        """Return when this has arrived; the test fails if the server ends before it has."""
        while self.received.find(text) < 0:
            assert not self.server_ended and self.lost is None, self.received
            await self._more()

    async def until_the_end(self) -> None:
        """Return when the server sends no more."""
        while not self.server_ended and self.lost is None:
            await self._more()

    async def until_lost(self) -> None:
        """Return when the connection is lost as a whole."""
        while self.lost is None:
            await self._more()

    async def answer(self) -> Answer:
        """The one answer, with a length, that the server sent before it ended."""
        await self.until_the_end()
        assert self.received, "the server ended without a word"
        head, _, body = bytes(self.received).partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        assert int(headers["content-length"]) == len(body)
        return Answer(int(status.split(" ")[1]), headers, body)

    def _more(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting.addTimeout(PATIENCE_SECONDS, reactor)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)


@attrs.define(eq=False)
class Server:
    """The interface of a bank on a port, and all clients that were made for it.

    Attributes:
        door: the bank and what is put into it.
        site: what listens.
    """

    door: Door = attrs.field(factory=Door)
    site: BankSite = attrs.field(init=False)
    _port: Any = None
    _clients: list[RawClient] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.site = self.door.site(reactor)

    async def start(self) -> None:
        """Listen."""
        port: IListeningPort = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            self.site
        )
        self._port = port

    async def connect(self) -> RawClient:
        """One more client."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self._port.getHost().port)
        client: Any = await endpoint.connect(Factory.forProtocol(RawClient))
        self._clients.append(client)
        while len(self.site.connections) < sum(client.lost is None for client in self._clients):
            await turn()
        return cast(RawClient, client)

    async def ask(self, request: bytes) -> Answer:
        """The answer to the bytes of one request, after which the server ends."""
        client = await self.connect()
        client.send(request)
        return await client.answer()

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self._port.stopListening()
        for client in self._clients:
            if client.lost is None:
                transport: Any = client.transport
                transport.abortConnection()
                await client.until_lost()
        while self.site.connections:
            await turn()


def turn() -> Deferred[None]:
    """One turn of the reactor."""
    return deferLater(reactor, 0)


async def settle(turns: int = 4) -> None:
    """Let pass so many turns of the reactor that what is to happen now has happened."""
    for _ in range(turns):
        await turn()


def post(body: bytes, *headers: bytes) -> bytes:
    """The bytes of a JSON deposit; `Content-Length` is there unless the headers say how long."""
    lines = [
        b"POST /wsapi/interaction_data HTTP/1.1",
        b"Host: x",
        b"Content-Type: application/json",
    ]
    lines += headers
    if not any(line.startswith((b"Content-Length", b"Transfer-Encoding")) for line in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def padded_event(size: int) -> bytes:
    """A JSON event of exactly so many bytes."""
    frame = len(json.dumps({"timestamp": 1, "pad": ""}))
    body = json.dumps({"timestamp": 1, "pad": "x" * (size - frame)}).encode()
    assert len(body) == size
    return body
