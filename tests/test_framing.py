"""Requests that are not framed as HTTP should be, over real sockets: refused at a small cost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater

from kpiggybank.stores.memory import MemoryStore
from tests.socket_client import Server, chunk, post, reactor, settle

PING = b"GET /wsapi/ping HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
EVENT = b'{"timestamp":1}'


@pytest_twisted.async_yield_fixture
async def server() -> AsyncIterator[Server]:
    """A listening server."""
    server = Server()
    await server.start()
    yield server
    await server.stop()


def buffered(connection: Any) -> int:
    """Bytes that the server keeps of a connection, in both directions."""
    transport = connection.transport
    unread = sum(map(len, connection._dataBuffer)) + len(connection._buffer)
    return len(transport.dataBuffer) + int(transport._tempDataLen) + unread


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(EVENT, b"Content-Length: 15", b"Content-Length: 15"),
        post(EVENT, b"Content-Length: 15", b"Content-Length: 16"),
        post(EVENT, b"Content-Length: 15, 15"),
        post(EVENT, b"Content-Length: +15"),
        post(EVENT, b"Content-Length: 0x0f"),
        post(EVENT, b"Content-Length:"),
        post(chunk(EVENT) + chunk(b""), b"Content-Length: 15", CHUNKED),
        post(chunk(EVENT) + chunk(b""), CHUNKED, b"Content-Length: 15"),
        post(chunk(EVENT) + chunk(b""), CHUNKED, CHUNKED),
        post(chunk(EVENT) + chunk(b""), CHUNKED, b"Transfer-Encoding: identity"),
        post(chunk(EVENT) + chunk(b""), CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0"),
        post(chunk(EVENT) + chunk(b""), b"Transfer-Encoding: chunked, gzip"),
        post(chunk(EVENT) + chunk(b""), b"Transfer-Encoding : chunked"),
        post(EVENT, b"Transfer-Encoding: identity"),
        post(EVENT, b"Transfer-Encoding: identity", b"Content-Length: 15"),
        post(b"-1\r\n\r\n", CHUNKED),
        post(b"0x1\r\nx\r\n", CHUNKED),
        post(b"1 \r\nxy\r\n", CHUNKED),
        post(b"1\r\nxy\r\n", CHUNKED),
        post(b"1;" + b"x" * 2000 + b"\r\nx\r\n", CHUNKED),
        post(b"f" * 2000, CHUNKED),
        post(chunk(EVENT) + b"0\r\n" + b"X: x\r\n" * 100_000, CHUNKED),
        b"GET /wsapi/pi\0ng HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /wsapi/ping%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        PING + b"X: a\0b\r\n\r\n",
        PING + b"X\0: a\r\n\r\n",
        PING + b" folded: first\r\n\r\n",
        PING + b"X: a\rb\r\n\r\n",
    ],
    ids=range(28),
)
@ensureDeferred
async def test_bad_framing(server: Server, request_bytes: bytes) -> None:
    """What could be read in two ways, or in none, is 400, and nothing of it is stored."""
    answer = await server.ask(request_bytes + PING + b"Host: x\r\n\r\n")
    assert answer.status == 400
    assert answer.value["error"] == "bad_request"
    assert server.door.get("/count").value == 0


@pytest.mark.parametrize(
    "head",
    [b"X: x\r\n" * 501, (b"X: " + b"x" * 9_000 + b"\r\n") * 2],
    ids=["headers", "bytes"],
)
@ensureDeferred
async def test_too_long_a_head(server: Server, head: bytes) -> None:
    """So is a head with too many headers, or too many bytes in all of them."""
    answer = await server.ask(PING + head + b"\r\n")
    assert (answer.status, answer.value["error"]) == (431, "too_large")
    assert "500 headers and 16384 bytes" in answer.reason


@ensureDeferred
async def test_length_beyond_numbers(server: Server) -> None:
    """A length of more digits than Python reads is a body that is too large."""
    answer = await server.ask(post(b"", b"Content-Length: " + b"9" * 5_000))
    assert (answer.status, answer.value["error"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://localhost/wsapi/ping", 200),
        (b"HTTPS://[::1]:8443/wsapi/ping?x", 200),
        (b"http://localhost", 404),
        (b"http://", 404),
        (b"ftp://localhost/wsapi/ping", 404),
    ],
)
@ensureDeferred
async def test_target_with_a_host(server: Server, target: bytes, status: int) -> None:
    """The form of a target that proxies use is taken as well, and its host beats the header."""
    end = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert (await server.ask(b"GET " + target + end)).status == status


@ensureDeferred
async def test_pipelined_beside_others(server: Server) -> None:
    """Who asks a thousand times at once has all answers, but nobody waits until the last one."""
    greedy, other = await server.connect(), await server.connect()
    request = PING + b"Host: x\r\n\r\n"
    greedy.send(request * 1000)
    await greedy.until(b"pong")
    other.send(request)
    await other.until(b"pong")
    assert greedy.received.count(b"pong") < 500
    while greedy.received.count(b"pong") < 1000:
        await settle()
    greedy.send(request)
    while greedy.received.count(b"pong") < 1001:
        await settle()


@pytest.mark.parametrize("request_bytes", [post(EVENT), PING + b"Host: x\r\n\r\n"])
@ensureDeferred
async def test_one_after_the_other(server: Server, request_bytes: bytes) -> None:
    """Who waits for each answer is never made to wait for his turn."""
    client = await server.connect()
    (connection,) = server.site.connections
    for count in range(1, 20):
        client.send(request_bytes)
        while client.received.count(b"HTTP/1.1 20") < count:
            await settle(1)
    assert connection._next_turn is None


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /" + b"x" * 2**20 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /wsapi/ping?" + b"x=1&" * 2**18 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"x" * 2**20, 414),
        (PING + b"X: " + b"x" * 2**20 + b"\r\n\r\n", 431),
        (PING + b"x" * 2**20, 431),
    ],
    ids=["path", "query", "no line", "header", "no header"],
)
@ensureDeferred
async def test_a_mebibyte(server: Server, request_bytes: bytes, status: int) -> None:
    """A line of a mebibyte is refused as too long, when 16 KiB of it have come."""
    client = await server.connect()
    (connection,) = server.site.connections
    client.send(request_bytes)
    answer = await client.answer()
    assert answer.status == status
    assert answer.value["error"] == "too_large"
    assert buffered(connection) < 2**17


@ensureDeferred
async def test_pipelined_and_never_read(server: Server) -> None:
    """Who asks and asks and reads nothing is not read any more, and costs little."""
    server.door.save({"timestamp": 1, "x": "x" * 10_000})
    client = await server.connect()
    (connection,) = server.site.connections
    client.pause()
    request = post(b"", b"X: " + b"x" * 8_000).replace(b"POST", b"GET")
    most = 0
    for _ in range(160):  # forty megabytes, more than the kernel keeps for us
        client.send(request * 32)
        await settle()
        most = max(most, buffered(connection))
    transport: Any = client.transport
    assert len(transport.dataBuffer) + transport._tempDataLen > 2**20, "it was read to the end"
    assert most < 2**20
    connection.transport.abortConnection()  # as it is not read, it would not see its client go


@ensureDeferred
async def test_pipelined_posts(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes with the end of a body waits in the kernel, too, while that is being stored."""
    append = MemoryStore.append

    def later(store: MemoryStore, *arguments: Any) -> Any:
        return deferLater(reactor, 0, append, store, *arguments)

    monkeypatch.setattr(MemoryStore, "append", later)
    client = await server.connect()
    (connection,) = server.site.connections
    most = 0
    client.send(post(EVENT) * 2000)
    while client.received.count(b"201 Created") < 2000:
        await settle(1)
        most = max(most, buffered(connection))
    assert most < 2**17
    assert server.door.get("/count").value == 2000


@ensureDeferred
async def test_pipelined_behind_what_is_not_read(server: Server) -> None:
    """What is sent behind an answer that is not taken waits in the kernel."""
    for number in range(100):
        server.door.save({"timestamp": number, "x": "x" * 200_000})
    client = await server.connect()
    (connection,) = server.site.connections
    client.pause()
    client.send(b"GET /wsapi/interaction_data HTTP/1.1\r\nHost: x\r\n\r\n")
    for _ in range(20):
        await settle()
        client.send(b"x" * 2**20)
    assert sum(map(len, connection._dataBuffer)) < 2**18
    connection.transport.abortConnection()


@pytest.mark.parametrize(
    ("size", "count", "status"),
    [(1, 1000, 201), (1, 1070, 400), (1, 100_000, 400), (16, 10_000, 201), (15, 17_000, 400)],
)
@ensureDeferred
async def test_many_small_chunks(server: Server, size: int, count: int, status: int) -> None:
    """Chunks cost more than what is in them, so they may not all be small."""
    body = chunk(EVENT) + chunk(b" " * size) * (count - 1) + chunk(b"")
    client = await server.connect()
    client.send(post(body, CHUNKED, b"Connection: close"))
    answer = await client.answer()
    assert answer.status == status
    if status == 400:
        assert "16 bytes on average" in answer.reason


@pytest.mark.parametrize("size", [b"800001", b"7fffffffffffffff", b"f" * 40])
@ensureDeferred
async def test_chunk_that_says_too_much(server: Server, size: bytes) -> None:
    """A size beyond what a body may have is refused before any of the chunk has come."""
    answer = await server.ask(post(chunk(EVENT) + size + b"\r\n", CHUNKED))
    assert answer.status == 413
    assert answer.value["error"] == "too_large"


@ensureDeferred
async def test_pipelined_behind_a_stream(server: Server) -> None:
    """What is sent behind a request that takes long waits in the kernel, not here."""
    client = await server.connect()
    (connection,) = server.site.connections
    client.send(b"GET /wsapi/interaction_data/stream HTTP/1.1\r\nHost: x\r\n\r\n")
    await client.until(b"\r\n\r\n")
    for _ in range(20):
        client.send(b"x" * 2**20)
        await settle()
    assert buffered(connection) < 2**18
    connection.transport.abortConnection()
