"""More than there may be at a time: connections, requests in work, and what waits for the store."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import attrs
import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kpiggybank.events import Event
from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.stores.memory import MemoryStore
from kpiggybank.web.bounds import Limits
from tests.socket_client import (
    HalfCloseableTransport,
    RawClient,
    Server,
    chunk,
    padded_event,
    post,
    settle,
    turn,
)
from tests.web_client import Answer, Door

LIMITS = Limits(body_bytes=1000, connections=6, requests=2, request_bytes=1500)
EVENT = b'{"timestamp":1}'
PING = b"GET /wsapi/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
COUNT = PING.replace(b"ping", b"interaction_data/count")
STREAM = b"GET /wsapi/interaction_data/stream HTTP/1.1\r\nHost: x\r\n\r\n"


@attrs.define(eq=False)
class HeldStore(MemoryStore):
    """A store whose appends are answered when they are told to be.

    Attributes:
        held: what each of those waits for; None where they need not wait.
    """

    held: list[Deferred[None]] | None = attrs.field(factory=list)

    def append(self, events: Sequence[Event], absent: Sequence[str] = ()) -> Deferred[None]:
        """Append, and answer later."""
        stored = MemoryStore.append(self, events, absent)
        if self.held is None:
            return stored
        held: Deferred[None] = Deferred()
        self.held.append(held)
        return held.addCallback(lambda _: stored)


@pytest_twisted.async_yield_fixture
async def server() -> AsyncIterator[Server]:
    """A listening server with narrow limits, whose store answers when it is let go."""
    server = Server(Door(HeldStore(), limits=LIMITS))
    await server.start()
    yield server
    await server.stop()


def let_go(server: Server, error: Exception | None = None) -> None:
    """Have the store answer what it has held back until now, and answer at once from now on."""
    store = server.door.store
    assert isinstance(store, HeldStore) and store.held is not None
    held, store.held = store.held, None
    for each in held:
        if error is None:
            each.callback(None)
        else:
            each.errback(error)


async def until(condition: Callable[[], bool]) -> None:
    """Let turns of the reactor pass until this holds."""
    for _ in range(1000):
        if condition():
            return
        await turn()
    raise AssertionError("not in a thousand turns")


async def leave(client: RawClient) -> None:
    """Be a client that goes away."""
    transport: Any = client.transport
    transport.loseConnection()
    await client.until_lost()


async def ask(server: Server, request: bytes) -> Answer:
    """The answer to one request, over a connection of its own that is gone afterwards."""
    client = await server.connect()
    client.send(request)
    answer = await client.answer()
    await leave(client)
    return answer


async def begin(server: Server, request: bytes) -> RawClient:
    """A client whose request is in work."""
    client = await server.connect()
    before = server.site.work.requests
    client.send(request)
    await until(lambda: server.site.work.requests > before)
    return client


def assert_turned_away(answer: Answer) -> None:
    """Holds if an answer says to come again later."""
    assert answer.status == 503
    assert answer.value["error"] == "unavailable"
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("request_bytes", [post(EVENT), post(b"", b"Content-Length: 900"), COUNT])
@ensureDeferred
async def test_too_many_requests(server: Server, request_bytes: bytes) -> None:
    """One more than there may be is turned away, a body before it is sent; the others stay."""
    clients = [await begin(server, post(EVENT, b"Connection: close")) for _ in range(2)]
    assert_turned_away(await ask(server, request_bytes))
    assert (await ask(server, PING)).status == 200
    let_go(server)
    for client in clients:
        assert (await client.answer()).status == 201
        await leave(client)
    assert (await ask(server, COUNT)).body == b"2"
    assert (server.site.work.requests, server.site.work.bytes) == (0, 0)


@pytest.mark.parametrize("path", [b"/wsapi/ping", b"/wsapi/ping/", b"/__heartbeat__"])
@ensureDeferred
async def test_signs_of_life(server: Server, path: bytes) -> None:
    """While writes are turned away, the daemon still says that it lives."""
    for _ in range(2):
        await begin(server, post(EVENT))
    assert (await ask(server, PING.replace(b"/wsapi/ping", path))).status == 200


@ensureDeferred
async def test_streams_are_not_in_work(server: Server) -> None:
    """Any number of followers leaves room for requests."""
    for _ in range(3):
        client = await server.connect()
        client.send(STREAM)
        await client.until(b"\r\n\r\n")
    assert server.site.work.requests == 0


@pytest.mark.parametrize("kind", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
@ensureDeferred
async def test_too_many_bytes(server: Server, kind: bytes) -> None:
    """The bytes of all bodies are counted as they arrive, and given back when their client goes."""
    client = await server.connect()
    client.send(post(b"x" * 900, b"Content-Length: 1000"))
    await until(lambda: server.site.work.bytes == 900)
    piece = b"x" * 700
    request = post(chunk(piece) if kind.startswith(b"T") else piece, kind)
    assert_turned_away(await ask(server, request))
    assert server.site.work.bytes == 900
    await leave(client)
    await until(lambda: server.site.work.bytes == 0)
    let_go(server)
    assert (await ask(server, post(padded_event(900), b"Connection: close"))).status == 201


@ensureDeferred
async def test_clients_that_go(server: Server) -> None:
    """Deposits whose clients have gone are counted until they are stored, and are stored."""
    for _ in range(2):
        client = await begin(server, post(EVENT))
        await leave(client)
        await until(lambda: server.site.work.requests == 0)
    assert server.door.bank.appends.waiting == 2
    assert_turned_away(await ask(server, post(EVENT, b"Connection: close")))
    let_go(server)
    await settle()
    assert (server.door.bank.appends.waiting, server.door.bank.appends.bytes) == (0, 0)
    assert (await ask(server, COUNT)).body == b"2"


@ensureDeferred
async def test_bytes_that_wait(server: Server) -> None:
    """So are their bytes."""
    client = await begin(server, post(padded_event(1000)))
    await leave(client)
    await until(lambda: server.site.work.requests == 0)
    assert_turned_away(await ask(server, post(padded_event(900), b"Connection: close")))
    let_go(server)
    assert (await ask(server, post(padded_event(900), b"Connection: close"))).status == 201


@ensureDeferred
async def test_failed_deposits_are_not_counted(server: Server) -> None:
    """A deposit that fails waits no more."""
    await begin(server, post(EVENT))
    let_go(server, StoreUnavailable("gone"))
    await until(lambda: server.door.bank.appends.waiting == 0)


@ensureDeferred
async def test_too_many_connections(server: Server) -> None:
    """One more than there may be is told so; when one goes, there is room again."""
    clients = [await server.connect() for _ in range(6)]
    extra = await server.connect()
    answer = await extra.answer()
    assert_turned_away(answer)
    for client in (extra, clients[0]):
        await leave(client)
    await until(lambda: len(server.site.connections) == 5)
    assert (await ask(server, PING)).status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        PING[:30],
        post(b"{", b"Content-Length: 9"),
        post(b"", b"Content-Length: 99999999"),
        post(b"1\r\n{", b"Transfer-Encoding: chunked"),
        post(b"{}"),
    ],
)
def test_nothing_stays_of_who_has_gone(request_bytes: bytes) -> None:
    """A connection that is lost is free at once, with what has arrived of a body."""
    transport: Any = HalfCloseableTransport()
    site: Any = Door().site(Clock())
    connection = site.buildProtocol(None)
    gone = weakref.ref(connection)
    connection.makeConnection(transport)
    connection.dataReceived(request_bytes)
    gc.collect()
    gc.disable()
    try:
        connection.connectionLost(Failure(ConnectionDone()))
        transport.unregisterProducer()
        del connection
        assert gone() is None
    finally:
        gc.enable()
