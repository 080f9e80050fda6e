"""The client over real connections, which can be cut, refused and kept."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import pytest
import pytest_twisted
from treq.client import HTTPClient
from twisted.internet.defer import (
    CancelledError,
    TimeoutError,
    gatherResults,
    maybeDeferred,
)
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.web.client import Agent

from kpiggybank.client import (
    ClientClosed,
    RequestFailed,
)
from tests.client_stage import EVENT, PlayedServer, reactor
from tests.client_street import CHUNKED, Recital, Series, Street, head, pause, playing


@pytest_twisted.ensureDeferred
async def test_connection_is_kept(street: Street) -> None:
    """One call after the other uses one connection, and close closes it."""
    server = PlayedServer()
    door = street.open(playing(server))
    api = street.client()
    server.answers = [(201, b'{"ids":["a"]}'), (200, json.dumps([EVENT]).encode()), (200, b"1")]
    assert await api.saveData(EVENT) == ["a"]
    assert await api.fetchRange() == [EVENT]
    assert await api.count() == 1
    assert (door.total, len(cast(Any, door.protocols))) == (1, 1)
    assert json.loads(server.bodies[0]) == EVENT
    await api.close()
    await door.when_empty()


@pytest_twisted.ensureDeferred
async def test_many_calls_at_once(street: Street) -> None:
    """A thousand calls at once use 64 connections at the most."""
    server = PlayedServer()
    door = street.open(playing(server))
    server.answers = [(200, b"%d" % each) for each in range(1000)]
    api = street.client()
    assert sorted(await gatherResults([api.count() for _ in range(1000)])) == list(range(1000))
    assert door.total <= 64


@pytest_twisted.ensureDeferred
async def test_large_body(street: Street) -> None:
    """Bodies of some megabytes go both ways whole."""
    server = PlayedServer()
    street.open(playing(server))
    events = [{"timestamp": 1, "text": "🐷" * 1_000_000}]
    server.answers = [(201, b'{"ids":["a"]}'), (200, json.dumps(events).encode())]
    api = street.client()
    await api.saveData(events)
    assert json.loads(server.bodies[0]) == events
    assert await api.fetchRange() == events


@pytest_twisted.ensureDeferred
async def test_nobody_there(street: Street) -> None:
    """Without a server, a call fails with Twisted's error for it."""
    street.open(Recital(b""))
    api = street.client()
    await maybeDeferred(street.ports[0].stopListening)
    with pytest.raises(ConnectionRefusedError):
        await api.count()


@pytest.mark.parametrize(
    "opening",
    [
        CHUNKED + b"5\r\n[1,",
        CHUNKED + b"2\r\n[]\r\n",
        head(b"Content-Length: 10") + b"[]",
        b"HTTP/1.0 200 OK\r\n\r\n[]",
    ],
)
@pytest_twisted.ensureDeferred
async def test_cut_in_the_body(street: Street, opening: bytes) -> None:
    """A body cut short by its connection fails the call, even if what came would do as JSON."""
    server = Recital(opening)
    street.open(server)
    call = street.client().fetchRange()
    await server.asked
    server.cut()
    with pytest.raises(RequestFailed, match="incomplete"):
        await call


@pytest_twisted.ensureDeferred
async def test_save_again(street: Street) -> None:
    """An answer that is lost in any way is asked for again, under the same key."""
    server = Series(
        b"",
        b"HTTP/1.1 2",
        head(b"Content-Length: 10").replace(b"200", b"201") + b'{"ids"',
        head(b"Content-Length: 13").replace(b"200", b"201") + b'{"ids":["a"]}',
    )
    street.open(server)
    assert await street.client().saveData(EVENT, initial_delay=0) == ["a"]
    keys = [re.findall(rb"Idempotency-Key: (\S+)", heard) for heard in server.heard]
    assert keys == [keys[0]] * 4


@pytest.mark.parametrize("opening", [b"", head(b"Content-Length: 10"), CHUNKED + b"5\r\n[1,"])
@pytest_twisted.ensureDeferred
async def test_silent_server(street: Street, opening: bytes) -> None:
    """A server that falls silent, at any place, fails the call in time and loses the connection."""
    server, clock = Recital(opening), Clock()
    door = street.open(server)
    agent = cast(Any, Agent)(reactor)
    call = street.client(treq=HTTPClient(agent), reactor=clock).fetchRange()
    await server.asked
    for _ in range(50):  # turns of the reactor, in which the opening arrives
        await pause()
    clock.advance(30)
    with pytest.raises(TimeoutError):
        await call
    await door.when_empty()


@pytest.mark.parametrize("opening", [b"", CHUNKED + b"5\r\n[1,"])
@pytest_twisted.ensureDeferred
async def test_close_under_way(street: Street, opening: bytes) -> None:
    """Closing cuts connections in use, too, and fails what they were used for."""
    server = Recital(opening)
    door = street.open(server)
    api = street.client()
    call = api.fetchRange()
    await server.asked
    closed = api.close()
    with pytest.raises(ClientClosed):
        await call
    await closed
    await door.when_empty()


@pytest_twisted.ensureDeferred
async def test_close_while_connecting(street: Street) -> None:
    """Closing before the connection is made leaves none behind."""
    door = street.open(Recital(b""))
    api = street.client()
    call = api.count()
    closed = api.close()
    with pytest.raises(ClientClosed):
        await call
    await closed
    await door.when_empty()


@pytest_twisted.ensureDeferred
async def test_cancel_over_a_real_connection(street: Street) -> None:
    """Cancelling fails with `CancelledError`, whatever the layers below say, and cuts."""
    server = Recital(b"")
    door = street.open(server)
    call = street.client().saveData(EVENT)
    await server.asked
    call.cancel()
    with pytest.raises(CancelledError):
        await call
    await door.when_empty()
