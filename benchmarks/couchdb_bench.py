"""Where and what the CouchDB benchmark measures, and the lines of its table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater

from benchmarks.answers import Asker, Feed
from benchmarks.couchdb_place import Place
from benchmarks.servers import BANK, server

API = "/wsapi/interaction_data"
CREATED = b"HTTP/1.1 201 "


@attrs.frozen
class Bench:
    """Where to measure.

    Attributes:
        reactor: the reactor.
        place: the CouchDB.
        core: of the daemon; None for any.
        events: to be sent in turn.
    """

    reactor: Any
    place: Place
    core: int | None
    events: Sequence[bytes]

    @contextmanager
    def bank(self) -> Iterator[int]:
        """A daemon: its port."""
        with server(BANK, self.core, **self.place.environ) as (port, _):
            yield port

    @contextmanager
    def new_bank(self) -> Iterator[int]:
        """A daemon on a new database."""
        self.place.forget()
        with self.bank() as port:
            yield port

    def new_database(self) -> None:
        """An empty database as a daemon makes it, and no daemon."""
        with self.new_bank():
            pass

    async def asker(self, port: int | None = None) -> Asker:
        """A connection to a daemon, or to CouchDB."""
        asker = Asker()
        await self._connect(asker, port)
        return asker

    async def feed(self, request: bytes, port: int | None = None) -> Feed:
        """An open feed of a daemon, or of CouchDB."""
        feed = Feed(request)
        await self._connect(feed, port)
        await deferLater(self.reactor, 0.5)
        return feed

    async def _connect(self, protocol: Asker | Feed, port: int | None) -> None:
        host, there = ("127.0.0.1", port) if port else (self.place.host, self.place.port)
        await connectProtocol(TCP4ClientEndpoint(self.reactor, host, there), protocol)
        protocol.transport.setTcpNoDelay(True)


def post(body: bytes) -> bytes:
    """A whole request that posts JSON to a daemon."""
    return (
        f"POST {API} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def get(path: str) -> bytes:
    """A whole request that asks a daemon."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def documents(mint: Callable[[], str], events: Sequence[bytes]) -> bytes:
    """The body of a `_bulk_docs`; the documents are those that KPIggyBank would write."""
    return b'{"docs":[%b]}' % b",".join(
        b'{"_id":"%b",%b' % (mint().encode(), event[1:]) for event in events
    )


@attrs.define
class Line:
    """One line of the table, as its rounds come in."""

    name: str
    unit: str
    goal: float
    at_most: bool = False
    digits: int = 0
    bank: list[float] = attrs.field(factory=list)
    straight: list[float] = attrs.field(factory=list)

    def __str__(self) -> str:
        ratios = [bank / straight for bank, straight in zip(self.bank, self.straight, strict=True)]
        ratio = statistics.median(ratios)
        met = ratio <= self.goal if self.at_most else ratio >= self.goal
        return (
            f"{self.name:<30} {statistics.median(self.bank):8,.{self.digits}f} {self.unit:<2}"
            f" {statistics.median(self.straight):8,.{self.digits}f} {self.unit:<2}"
            f" {ratio:5.2f}  {min(ratios):.2f} to {max(ratios):.2f}"
            f"  at {'most ' if self.at_most else 'least'} {self.goal:<3g} {'yes' if met else 'NO'}"
        )
