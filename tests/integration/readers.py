"""Readers of a real daemon's streams, at whatever pace, and what they read."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.feed_readers import messages
from tests.integration.daemon import (
    DEADLINE_SECONDS,
    EVENTS,
    Daemon,
    Pulse,
    connect,
    get,
)

reactor: Any = _reactor  # to mypy, it is a module

#: Fewer than the connections that wait in the kernel until Twisted accepts them.
CONNECTED_AT_ONCE = 40
#: The receive buffer of a reader, so that what it leaves waits at the server soon.
WINDOW_BYTES = 2**17


@attrs.define(eq=False)
class StreamReader(Protocol):
    """Reads one stream of changes, whose events have a number `n` each.

    Attributes:
        query: what it asks for; `format=sse` in it says how it reads.
        numbers: of the events that have come as a whole.
        cursor: the place after what has come as a whole; empty before the head has come.
        farewell: the values of the last message, None while there is none.
        complete: whether the answer has ended by the rules of HTTP.
        taken: bytes since this was last set to 0.
        end: why the connection ended; None while it is open.
    """

    query: str
    numbers: list[int] = attrs.field(factory=list, init=False)
    cursor: str = attrs.field(default="", init=False)
    farewell: Any = attrs.field(default=None, init=False)
    complete: bool = attrs.field(default=False, init=False)
    taken: int = attrs.field(default=0, init=False)
    end: Failure | None = attrs.field(default=None, init=False)
    _pulse: Pulse = attrs.field(factory=Pulse, init=False)
    #: What has come of the head or the chunks, and what of a message's text; not yet understood.
    _raw: bytes = attrs.field(default=b"", init=False)
    _text: bytes = attrs.field(default=b"", init=False)
    #: Bytes that are still to come of a chunk.
    _chunk: int = attrs.field(default=0, init=False)

    def connectionMade(self) -> None:
        """Ask for the stream."""
        transport: Any = self.transport
        transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
        transport.write(get(f"{EVENTS}/stream{self.query}"))

    def dataReceived(self, data: bytes) -> None:
        """Understand as much as has come as a whole."""
        self.taken += len(data)
        self._raw += data
        if not self.cursor:
            self._read_head()
        if self.cursor:
            self._read_chunks()
        self._pulse.beat()

    def _read_head(self) -> None:
        head, end, rest = self._raw.partition(b"\r\n\r\n")
        if end:
            status, *lines = head.decode().split("\r\n")
            assert status == "HTTP/1.1 200 OK"
            headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
            self.cursor = headers["kpiggybank-cursor"]
            self._raw = rest

    def _read_chunks(self) -> None:
        pieces = [self._text]
        while self._raw:
            if self._chunk:
                pieces.append(self._raw[: self._chunk])
                self._chunk -= len(pieces[-1])
                self._raw = self._raw[len(pieces[-1]) :]
                continue
            line, end, rest = self._raw.partition(b"\r\n")
            if not end:
                break
            self._raw = rest
            if line:  # an empty one ends a chunk
                self._chunk = int(line, 16)
                self.complete = self._chunk == 0
        text = b"".join(pieces)
        told, length = messages(text, "sse" if "format=sse" in self.query else "ndjson")
        self._text = text[length:]
        for message in told:
            assert self.farewell is None
            self.cursor, self.farewell = message.cursor, message.last
            if message.change is not None:
                self.numbers.append(message.change[1]["n"])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep the reason."""
        self.end = reason
        self._pulse.beat()

    def pause(self) -> None:
        """Read nothing from now on."""
        transport: Any = self.transport
        transport.pauseProducing()

    def resume(self) -> None:
        """Read on."""
        transport: Any = self.transport
        transport.resumeProducing()

    def leave(self) -> None:
        """Close the connection in order."""
        transport: Any = self.transport
        transport.loseConnection()

    def abort(self) -> None:
        """Cut the connection, so that the server's kernel is told of a reset."""
        transport: Any = self.transport
        transport.abortConnection()

    async def opened(self) -> None:
        """Wait until the head has come: nothing that is stored from now on is hidden."""
        await self._until(lambda: bool(self.cursor), "the head")

    async def has(self, count: int) -> None:
        """Wait until so many events have come."""
        await self._until(lambda: len(self.numbers) >= count, f"event {count}")

    async def took(self, size: int, count: int) -> None:
        """Wait until so many bytes are taken, or so many events have come."""
        await self._until(lambda: self.taken >= size or len(self.numbers) >= count, "more")

    async def ended(self) -> None:
        """Wait until the connection has ended."""
        await self._until(lambda: self.end is not None, "the end")

    async def _until(self, holds: Any, what: str) -> None:
        def seek() -> bool | None:
            held: bool = holds()
            assert held or self.end is None, f"{self.query}: {self.end} before {what}"
            return held or None

        await self._pulse.until(seek, lambda: f"{what} of {self.query}")


async def readers(daemon: Daemon, queries: Iterable[str]) -> list[StreamReader]:
    """A reader for each query, `CONNECTED_AT_ONCE` at the most; none need be noticed by now."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", daemon.port, timeout=DEADLINE_SECONDS)
    connected = [connectProtocol(endpoint, StreamReader(query)) for query in queries]
    made: list[StreamReader] = await gatherResults(connected, consumeErrors=True)
    return made


async def following(daemon: Daemon, *queries: str) -> list[StreamReader]:
    """A reader for each query, from which nothing that is stored from now on is hidden."""
    made: list[StreamReader] = []
    for start in range(0, len(queries), CONNECTED_AT_ONCE):
        some = await readers(daemon, queries[start : start + CONNECTED_AT_ONCE])
        for reader in some:
            await reader.opened()
        made += some
    return made


def pause(seconds: float) -> Deferred[None]:
    """Fires after so many seconds."""
    return deferLater(reactor, seconds)


async def save(daemon: Daemon, events: Sequence[dict[str, Any]]) -> None:
    """Post events, a line for each, over a connection of their own; they must be taken."""
    body = "\n".join(map(json.dumps, events)).encode()
    wire = await connect(daemon.port)
    transport: Any = wire.transport
    transport.write(
        f"POST {EVENTS} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    assert (await wire.answer()).status == 201
