"""Winding up: every request that has begun gets its answer, and every connection its end."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from kpiggybank.events import Range
from kpiggybank.web.ranges import BYTES_AT_ONCE, EVENTS_AT_ONCE
from tests.socket_client import Server, padded_event, post, settle, turn
from tests.web_client import Door, StagedStore, event, has_fired, result_of

PING = b"GET /wsapi/ping HTTP/1.1\r\nHost: x\r\n\r\n"
STREAM = b"GET /wsapi/interaction_data/stream HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE = 5
SHORT = 0.05

#: Events of which a range is made of more than sockets buffer.
MANY = 10_000


@pytest_twisted.async_yield_fixture
async def server() -> AsyncIterator[Server]:
    """A listening server whose store holds appends back when it is told to."""
    server = Server(Door(StagedStore()))
    await server.start()
    yield server
    await server.stop()


def drain(server: Server, patience: float = PATIENCE) -> Deferred[None]:
    """Begin to drain."""
    return Deferred.fromCoroutine(server.site.drain(patience))


def hold_appends(server: Server) -> Deferred[None]:
    """Answer no deposit until this is fired."""
    store = server.door.store
    assert isinstance(store, StagedStore)
    store.hold = Deferred()
    return store.hold


async def until_called(server: Server, calls: int) -> None:
    """Return when the store has been called so often."""
    store = server.door.store
    assert isinstance(store, StagedStore)
    while store.calls < calls:
        await turn()


@ensureDeferred
async def test_no_connection(server: Server) -> None:
    """Where nobody is connected, there is nothing to wait for."""
    await drain(server)


@ensureDeferred
async def test_kept_connection(server: Server) -> None:
    """In ordinary times a connection is kept for the next request."""
    client = await server.connect()
    for count in range(1, 4):
        client.send(PING)
        while client.received.count(b"pong") < count:
            await turn()
    assert b"Connection: close" not in client.received


@ensureDeferred
async def test_fresh_connection(server: Server) -> None:
    """A connection on which nothing was asked is closed."""
    client = await server.connect()
    await drain(server)
    await client.until_the_end()
    assert client.server_ended
    assert client.received == b""


@ensureDeferred
async def test_idle_connection(server: Server) -> None:
    """A kept connection between two requests is closed."""
    client = await server.connect()
    client.send(PING)
    await client.until(b"pong")
    await drain(server)
    await client.until_the_end()
    assert client.server_ended


@ensureDeferred
async def test_request_in_work(server: Server) -> None:
    """A deposit that is under way gets its ack, which says that the connection ends."""
    hold = hold_appends(server)
    client = await server.connect()
    client.send(post(padded_event(100)))
    await until_called(server, 1)
    done = drain(server)
    await settle()
    assert not has_fired(done)
    hold.callback(None)
    answer = await client.answer()
    assert answer.status == 201
    assert answer.headers["connection"] == "close"
    await done


@ensureDeferred
async def test_many_requests_in_work(server: Server) -> None:
    """Each of many deposits under way gets its own ack."""
    hold = hold_appends(server)
    clients = [await server.connect() for _ in range(20)]
    for client in clients:
        client.send(post(padded_event(100)))
    await until_called(server, len(clients))
    done = drain(server)
    await settle()
    hold.callback(None)
    answers = [await client.answer() for client in clients]
    assert {answer.status for answer in answers} == {201}
    assert len({answer.value["ids"][0] for answer in answers}) == len(clients)
    await done


@ensureDeferred
async def test_unread_request(server: Server) -> None:
    """A request that the kernel has taken but nobody has read yet is answered, too."""
    client = await server.connect()
    client.send_at_once(PING)
    await drain(server)
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"pong")
    assert answer.headers["connection"] == "close"


@ensureDeferred
async def test_half_arrived_body(server: Server) -> None:
    """A body that has begun to arrive may arrive as a whole, and is stored and acknowledged."""
    request = post(padded_event(5000))
    client = await server.connect()
    client.send(request[:3000])
    await until_begun(server)
    done = drain(server)
    await settle()
    client.send(request[3000:])
    answer = await client.answer()
    assert answer.status == 201
    assert answer.headers["connection"] == "close"
    await done
    assert await server.door.bank.count(Range()) == 1


async def until_begun(server: Server) -> None:
    """Return when each connection has read something of a request."""
    while not all(connection.requests for connection in server.site.connections):
        await turn()


@ensureDeferred
async def test_half_arrived_head(server: Server) -> None:
    """A request of which only the first line has arrived is answered when the rest comes."""
    client = await server.connect()
    client.send(PING[:30])
    await until_begun(server)
    done = drain(server)
    await settle()
    client.send(PING[30:])
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"pong")
    assert answer.headers["connection"] == "close"
    await done


@ensureDeferred
async def test_next_request_on_a_closing_connection(server: Server) -> None:
    """Behind the last answer there is none, even when a request is already waiting there."""
    hold = hold_appends(server)
    client = await server.connect()
    client.send(post(padded_event(100)) + PING)
    await until_called(server, 1)
    done = drain(server)
    await settle()
    hold.callback(None)
    answer = await client.answer()
    assert answer.status == 201
    await done


@ensureDeferred
async def test_client_that_never_ends(server: Server) -> None:
    """A body that does not arrive within the patience is cut."""
    client = await server.connect()
    client.send(post(padded_event(5000))[:3000])
    await until_begun(server)
    await drain(server, SHORT)
    await client.until_lost()
    assert client.received == b""


@ensureDeferred
async def test_deposit_that_never_ends(server: Server) -> None:
    """A deposit that the store does not answer within the patience is cut without an ack."""
    hold = hold_appends(server)
    client = await server.connect()
    client.send(post(padded_event(100)))
    await until_called(server, 1)
    await drain(server, SHORT)
    await client.until_lost()
    assert client.received == b""
    hold.callback(None)


@ensureDeferred
async def test_stream(server: Server) -> None:
    """A stream whose feed has ended says good-bye, and then its connection ends."""
    client = await server.connect()
    client.send(STREAM)
    await client.until(b"\r\n\r\n")
    server.door.bank.end_feed()
    done = drain(server)
    await client.until_the_end()
    assert b'{"last_seq":' in client.received
    assert client.received.endswith(b"\r\n0\r\n\r\n")
    await done


@ensureDeferred
async def test_reader_that_does_not_read(server: Server) -> None:
    """A reader that has stopped reading holds the drain up no longer than the patience."""
    await store_much(server)
    client = await server.connect()
    client.send(b"GET /wsapi/interaction_data HTTP/1.1\r\nHost: x\r\n\r\n")
    await client.until(b"200 OK")
    client.pause()
    await drain(server, SHORT)
    assert not server.site.connections  # so that nobody asks the store when it is closed
    client.resume()
    await client.until_lost()
    assert not client.received.endswith(b"0\r\n\r\n")


@ensureDeferred
async def test_slow_reader_gets_all(server: Server) -> None:
    """A reader that pauses holds back the reading of the store, and still gets the whole range."""
    pages = await store_much(server)
    store = server.door.store
    assert isinstance(store, StagedStore)
    store.calls = 0
    client = await server.connect()
    client.send(
        b"GET /wsapi/interaction_data?format=ndjson HTTP/1.1\r\n"
        b"Host: x\r\nConnection: close\r\n\r\n"
    )
    await client.until(b"200 OK")
    client.pause()
    await settle(50)
    assert store.calls < pages
    client.resume()
    await client.until_the_end()
    assert store.calls == pages
    assert client.received.endswith(b"\r\n0\r\n\r\n")
    assert client.received.count(b'"pad":') == MANY


async def store_much(server: Server) -> int:
    """Store more than sockets buffer, 20 MB; how many pages it is read in."""
    one = event("", 1, pad="x" * 2000)
    batch = [type(one)(str(number), 1, one.json) for number in range(MANY)]
    result_of(server.door.store.append(batch))
    at_once = min(EVENTS_AT_ONCE, math.ceil(BYTES_AT_ONCE / len(one.json)))
    return math.ceil(MANY / at_once)
