"""The outlet at the pace of its reader: signs of life, stalls, and the short way to the socket."""

from __future__ import annotations

import gc
import os
import socket
from importlib.util import find_spec, module_from_spec
from typing import Any, cast
from weakref import ref

import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from kpiggybank.web.outlet import LOOKS, SLICE_BYTES, Outlet, Stalled
from tests.socket_client import RawClient, Server, settle, turn
from tests.test_outlet import PATIENCE_SECONDS, Stage, full_transport, write
from tests.web_client import STALL_SECONDS, has_fired, result_of

STREAM = b"GET /wsapi/interaction_data/stream HTTP/1.1\r\nHost: x\r\n\r\n"


def test_send_at_full_speed() -> None:
    """As long as nobody asks for a pause there is nothing to wait for."""
    stage = Stage()
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        assert outlet.send(b"one ") is None
        assert outlet.send(b"two") is None
    assert stage.body == b"one two"


def test_send_in_a_pause() -> None:
    """What to wait for fires when the reader can take more."""
    stage = Stage(full_transport())
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        waiting = outlet.send(b"one")
        assert waiting is not None and not has_fired(waiting)
        stage.resume()
        result_of(waiting)
    assert stage.clock.getDelayedCalls() == []


def test_large_pieces_are_sliced() -> None:
    """A large piece goes slice by slice, each when the one before was taken, complete."""
    stage = Stage(full_transport())
    piece = os.urandom(2 * SLICE_BYTES + 5)
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        waiting = outlet.send(piece)
        assert waiting is not None
        for slices in (1, 2):
            assert stage.body == piece[: slices * SLICE_BYTES]
            stage.resume()
        assert stage.body == piece
        assert not has_fired(waiting)
        stage.resume()
        result_of(waiting)


@pytest.mark.parametrize("size", [10, 3 * SLICE_BYTES])
def test_stall(size: int) -> None:
    """A reader that takes nothing is given up when the patience ends, not before."""
    stage = Stage(full_transport())
    with (
        pytest.raises(Stalled, match="nothing for 7 seconds"),
        Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet,
    ):
        waiting = outlet.send(b"x" * size)
        assert waiting is not None
        stage.clock.advance(PATIENCE_SECONDS - 0.1)
        assert not has_fired(waiting)
        stage.clock.advance(0.2)
        result_of(waiting)
    assert stage.transport.disconnected


def test_each_slice_is_a_sign_of_life() -> None:
    """A slow reader is no dead one: the patience begins anew with each slice that it takes."""
    stage = Stage(full_transport())
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        waiting = write(outlet, b"x" * (3 * SLICE_BYTES))
        for _ in range(3):
            stage.clock.advance(PATIENCE_SECONDS - 0.1)
            stage.resume()
        result_of(waiting)
    assert stage.clock.getDelayedCalls() == []


def test_silence_is_no_stall() -> None:
    """A reader for whom there is nothing has all the time in the world."""
    stage = Stage()
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        outlet.send(b"one")
        stage.clock.advance(100 * PATIENCE_SECONDS)
        assert outlet.send(b" two") is None
    assert stage.body == b"one two"


@attrs.define(eq=False)
class Streaming:
    """A stream of changes over a real connection."""

    server: Server
    client: RawClient
    #: That of the server.
    transport: Any

    @classmethod
    async def begin(cls, request: bytes = STREAM) -> Streaming:
        """Open one."""
        server = Server()
        await server.start()
        client = await server.connect()
        client.send(request)
        await client.until(b"\r\n\r\n")
        await settle()
        (connection,) = server.site.connections
        return cls(server, client, connection.transport)

    async def lose_patience(self) -> None:
        """Let time go on until the server gives its reader up.

        Once may not be enough: on a busy machine the kernel acknowledges late what it has taken
        before, and that is a sign of life.
        """
        for _ in range(20):
            self.server.door.clock.advance(STALL_SECONDS)
            await settle()
            if not self.server.site.connections:
                return
        raise AssertionError("it has patience without end")

    async def save(self, *texts: str) -> None:
        """Store events, and wait until the followers have been told."""
        self.server.door.save([{"timestamp": 1, "text": text} for text in texts])
        self.server.door.flush()


@ensureDeferred
async def test_short_way() -> None:
    """What nothing waits in front of is with the kernel before the turn ends, in proper chunks."""
    streaming = await Streaming.begin()
    await streaming.save("one")
    assert not streaming.transport._tempDataBuffer
    assert not streaming.transport.dataBuffer
    await streaming.save("two", "three")
    await streaming.client.until(b'"three"}}\r\n\r\n')
    _, _, body = bytes(streaming.client.received).partition(b"\r\n\r\n")
    chunks = []
    while body:
        size, _, body = body.partition(b"\r\n")
        chunks.append(body[: int(size, 16)])
        assert body[int(size, 16) :][:2] == b"\r\n"
        body = body[int(size, 16) + 2 :]
    assert [chunk.count(b'{"seq":') for chunk in chunks] == [1, 2]
    await streaming.server.stop()


@ensureDeferred
async def test_without_chunks() -> None:
    """A client of HTTP/1.0 gets the lines as they are."""
    streaming = await Streaming.begin(STREAM.replace(b"HTTP/1.1", b"HTTP/1.0"))
    await streaming.save("one")
    await streaming.client.until(b'"one"}}\r\n')
    _, _, body = bytes(streaming.client.received).partition(b"\r\n\r\n")
    assert body.startswith(b'{"seq":')
    await streaming.server.stop()


@ensureDeferred
async def test_order_when_the_socket_is_full() -> None:
    """Whether the kernel takes all, a part or nothing, the lines come whole and in order."""
    streaming = await Streaming.begin()
    streaming.client.pause()
    for number in range(400):
        await streaming.save(f"{number}-" + "x" * 40_000)
        await turn()
    assert streaming.transport.dataBuffer or streaming.transport._tempDataBuffer
    streaming.client.resume()
    while b'"399-' not in streaming.client.received:
        streaming.server.door.flush()  # who catches up tells so much in a turn
        await turn()
    found = bytes(streaming.client.received)
    places = [found.find(b'"text":"%d-' % number) for number in range(400)]
    assert places == sorted(places)
    assert places[0] > 0
    await streaming.server.stop()


@ensureDeferred
async def test_cut_off() -> None:
    """A follower that takes nothing is cut off, with a line in the log that is no warning."""
    logged: list[LogEvent] = []
    observer = cast(Any, logged.append)
    streaming = await Streaming.begin()
    globalLogPublisher.addObserver(observer)
    try:
        streaming.client.pause()
        while not streaming.transport.producerPaused:
            await streaming.save("x" * 100_000)
            await turn()
        await streaming.lose_patience()
    finally:
        globalLogPublisher.removeObserver(observer)
    assert len(streaming.server.door.feed) == 0
    lines = [event for event in logged if "took nothing" in str(event.get("reason"))]
    assert [event["log_level"] for event in lines] == [LogLevel.info]
    streaming.client.resume()
    await streaming.client.until_lost()
    await streaming.server.stop()


@ensureDeferred
async def test_slow_is_not_still() -> None:
    """A reader that takes a little now and then stays, however long it needs for all of it."""
    streaming = await Streaming.begin()
    client: Any = streaming.client.transport
    client.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 2**10)
    streaming.client.pause()
    while not streaming.transport.producerPaused:
        await streaming.save("x" * 100_000)
        await turn()
    clock = streaming.server.door.clock
    for _ in range(3):
        clock.advance(STALL_SECONDS - 1)
        taken = len(streaming.client.received)
        streaming.client.resume()
        while len(streaming.client.received) < taken + 100_000:
            await turn()
        streaming.client.pause()
        await settle()
        assert streaming.transport.producerPaused
        clock.advance(STALL_SECONDS / LOOKS)  # until somebody looks
        assert len(streaming.server.door.feed) == 1
    await streaming.lose_patience()
    assert len(streaming.server.door.feed) == 0
    streaming.client.resume()
    await streaming.client.until_lost()
    await streaming.server.stop()


@ensureDeferred
async def test_lost_while_sending() -> None:
    """A connection that is gone already is found out by the transport, as always."""
    streaming = await Streaming.begin()
    transport: Any = streaming.client.transport
    transport.abortConnection()
    await streaming.save("one")
    await streaming.save("two")
    while streaming.server.site.connections:
        await turn()
    assert len(streaming.server.door.feed) == 0
    await streaming.server.stop()


@pytest.fixture
def clean_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have failures let go of what they know, as they do but for pytest-twisted."""
    fresh = module_from_spec(cast(Any, find_spec("twisted.python.failure")))
    cast(Any, fresh.__loader__).exec_module(fresh)
    monkeypatch.setattr(Failure, "cleanFailure", fresh.Failure.cleanFailure)


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.usefixtures("clean_failures")
@ensureDeferred
async def test_unsent_is_free_at_once(leaves: bool) -> None:
    """Of who has left, or was cut off, nothing stays until somebody looks for cycles."""
    streaming = await Streaming.begin()
    streaming.client.pause()
    while not streaming.transport.producerPaused:
        await streaming.save("x" * 100_000)
        await turn()
    transport, streaming.transport = ref(streaming.transport), None
    gc.disable()
    try:
        if leaves:
            client: Any = streaming.client.transport
            client.abortConnection()
            while streaming.server.site.connections:
                await turn()
        else:
            await streaming.lose_patience()
        await settle()
        assert transport() is None
    finally:
        gc.enable()
    streaming.client.resume()
    await streaming.client.until_lost()
    await streaming.server.stop()
