"""A load of HTTP requests over many connections, from one process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure


class Poster(Protocol):
    """Sends a request as soon as the one before is answered; counts the answers.

    It closes the connection when there are no more requests. An answer that is not expected, or
    none at all, ends it, and is told by `gone`.
    """

    transport: Any

    def __init__(self, requests: Iterator[bytes], expected: bytes) -> None:
        self._requests = requests
        self._expected = expected
        self._answer = b""
        self._waiting = False
        self._going = True
        self.answers = 0
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Send the first request."""
        self.transport.setTcpNoDelay(True)
        self._next()

    def dataReceived(self, data: bytes) -> None:
        """Take (a part of) an answer, and send on when it is complete."""
        answer = self._answer + data
        head, end, body = answer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if end and (not answer.startswith(self._expected) or b'"error":' in body):
            self._answer = answer
            self.transport.loseConnection()
            return
        if not end or len(body) < int(length):
            self._answer = answer
            return
        self._answer = b""
        self._waiting = False
        self.answers += 1
        self._next()

    def finish(self) -> None:
        """Close after the next answer."""
        self._going = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell that no more answers come."""
        if self._waiting:
            self.gone.errback(RuntimeError(f"unexpected answer: {self._answer[:1000]!r}"))
        else:
            self.gone.callback(None)

    def _next(self) -> None:
        request = next(self._requests, None) if self._going else None
        if request is None:
            self.transport.loseConnection()
        else:
            self._waiting = True
            self.transport.write(request)


async def load(
    reactor: Any,
    port: int,
    requests: Iterable[bytes],
    expected: bytes,
    connections: int,
    seconds: float,
    host: str = "127.0.0.1",
) -> float:
    """Send requests for a while; the answers a second.

    Args:
        reactor: the reactor.
        port: where the server listens.
        requests: whole HTTP/1.1 requests, sent in turn; more than are needed.
        expected: how an answer that counts begins; any other is an error.
        connections: how many send at a time, each one request after the other.
        seconds: how long to measure.
        host: where the server is.
    """
    posters = await _posters(reactor, host, port, iter(requests), expected, connections)
    started, before = reactor.seconds(), sum(poster.answers for poster in posters)
    await deferLater(reactor, seconds)
    rate = (sum(poster.answers for poster in posters) - before) / (reactor.seconds() - started)
    for poster in posters:
        poster.finish()
    await gatherResults((poster.gone for poster in posters), consumeErrors=True)
    return float(rate)


async def burst(
    reactor: Any,
    port: int,
    requests: Iterable[bytes],
    expected: bytes,
    connections: int,
    host: str = "127.0.0.1",
) -> float:
    """Send all of some requests; the answers a second. The arguments are those of `load`."""
    started = reactor.seconds()
    posters = await _posters(reactor, host, port, iter(requests), expected, connections)
    await gatherResults((poster.gone for poster in posters), consumeErrors=True)
    return float(sum(poster.answers for poster in posters) / (reactor.seconds() - started))


async def _posters(
    reactor: Any, host: str, port: int, requests: Iterator[bytes], expected: bytes, connections: int
) -> list[Poster]:
    endpoint = TCP4ClientEndpoint(reactor, host, port)
    return await gatherResults(
        connectProtocol(endpoint, Poster(requests, expected)) for _ in range(connections)
    )
