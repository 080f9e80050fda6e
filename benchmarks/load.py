"""A load of HTTP requests over many connections, from one process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure


class Poster(Protocol):
    """Sends a request as soon as the one before is answered; counts the answers."""

    transport: Any

    def __init__(self, requests: Iterator[bytes], expected: bytes) -> None:
        self._requests = requests
        self._expected = expected
        self._answer = b""
        self._going = True
        self.answers = 0
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Send the first request."""
        self.transport.setTcpNoDelay(True)
        self.transport.write(next(self._requests))

    def dataReceived(self, data: bytes) -> None:
        """Take (a part of) an answer, and send on when it is complete."""
        answer = self._answer + data
        head, end, body = answer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(length):
            self._answer = answer
            return
        if not answer.startswith(self._expected):
            raise RuntimeError(f"unexpected answer: {answer!r}")
        self._answer = b""
        self.answers += 1
        if self._going:
            self.transport.write(next(self._requests))
        else:
            self.transport.loseConnection()

    def finish(self) -> None:
        """Close after the next answer."""
        self._going = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell that no more answers come."""
        self.gone.callback(None)


async def load(
    reactor: Any,
    port: int,
    requests: Sequence[bytes],
    expected: bytes,
    connections: int,
    seconds: float,
) -> float:
    """Send requests for a while; the answers a second.

    Args:
        reactor: the reactor.
        port: where the server listens on 127.0.0.1.
        requests: whole HTTP/1.1 requests, sent in turn.
        expected: how an answer that counts begins.
        connections: how many send at a time, each one request after the other.
        seconds: how long to measure.
    """
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    cycle = itertools.cycle(requests)
    posters = await gatherResults(
        connectProtocol(endpoint, Poster(cycle, expected)) for _ in range(connections)
    )
    started, before = reactor.seconds(), sum(poster.answers for poster in posters)
    await deferLater(reactor, seconds)
    rate = (sum(poster.answers for poster in posters) - before) / (reactor.seconds() - started)
    for poster in posters:
        poster.finish()
    await gatherResults(poster.gone for poster in posters)
    return float(rate)
