"""What a client may cost: bodies that are too big, and bytes that are no HTTP, on a real port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kpiggybank.web.bounds import LIMITS, Limits
from tests.socket_client import HalfCloseableTransport, Server, chunk, padded_event, post, turn
from tests.web_client import ROOT, Door

LIMIT = 1000
CHUNKED = b"Transfer-Encoding: chunked"
PING = b"GET /wsapi/ping HTTP/1.1\r\n"


@pytest.fixture
def small_limit() -> None:
    """Let a body have 1000 bytes."""


@pytest_twisted.async_yield_fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A listening server."""
    small = "small_limit" in request.fixturenames
    server = Server(Door(limits=Limits(body_bytes=LIMIT) if small else LIMITS))
    await server.start()
    yield server
    await server.stop()


@ensureDeferred
async def test_declared_excess(server: Server) -> None:
    """A body that is said to be too big is refused before it is sent."""
    length = b"Content-Length: %d" % (LIMITS.body_bytes + 1)
    answer = await server.ask(post(b"", length))
    assert answer.status == 413
    assert answer.value["error"] == "too_large"
    assert str(LIMITS.body_bytes) in answer.reason
    assert answer.headers["connection"] == "close"
    assert server.site.journal.requests[b"POST", ROOT].outcomes == {"4xx": 1}


@ensureDeferred
async def test_declared_excess_of_any_size(server: Server) -> None:
    """A length beyond all sizes is refused like any other."""
    answer = await server.ask(post(b"", b"Content-Length: " + b"9" * 100))
    assert answer.status == 413


@pytest.mark.usefixtures("small_limit")
@ensureDeferred
async def test_declared_excess_that_is_sent_all_the_same(server: Server) -> None:
    """A client that sends its whole body at once still sees the one answer, and nothing more."""
    answer = await server.ask(post(padded_event(LIMIT + 1)) + PING + b"\r\n")
    assert answer.status == 413
    assert server.door.get("/count").value == 0


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("length", [b"Content-Length: %d" % (LIMIT + 1), CHUNKED])
@ensureDeferred
async def test_big_body_on_another_route(server: Server, length: bytes) -> None:
    """The limit is that of every request, also of one that has no use for a body."""
    body = chunk(b"x" * (LIMIT + 1)) if length == CHUNKED else b""
    answer = await server.ask(PING + b"Host: x\r\n" + length + b"\r\n\r\n" + body)
    assert answer.status == 413


@ensureDeferred
async def test_excess_that_asks_before(server: Server) -> None:
    """A client that asks whether to send too big a body is told not to, and only that."""
    length = b"Content-Length: %d" % (LIMITS.body_bytes + 1)
    client = await server.connect()
    client.send(post(b"", length, b"Expect: 100-continue"))
    answer = await client.answer()
    assert answer.status == 413
    assert b"100 Continue" not in client.received


@ensureDeferred
async def test_asking_before(server: Server) -> None:
    """A client that asks whether to send a body that fits is told to go on."""
    body = padded_event(100)
    client = await server.connect()
    client.send(post(b"", b"Content-Length: 100", b"Expect: 100-continue", b"Connection: close"))
    await client.until(b"HTTP/1.1 100 Continue\r\n\r\n")
    client.send(body)
    await client.until_the_end()
    assert b"HTTP/1.1 201 Created" in client.received


@pytest.mark.usefixtures("small_limit")
@ensureDeferred
async def test_chunked_excess(server: Server) -> None:
    """A body that turns out to be too big is refused as soon as it does."""
    client = await server.connect()
    client.send(post(b"", CHUNKED))
    for _ in range(3):
        client.send(chunk(b"x" * 400))
    answer = await client.answer()
    assert answer.status == 413
    assert str(LIMIT) in answer.reason


@pytest.mark.usefixtures("small_limit")
@ensureDeferred
async def test_chunked_excess_in_one_piece(server: Server) -> None:
    """A whole body that is too big, and a request behind it, have one answer."""
    body = chunk(b"x" * 400) * 3 + chunk(b"")
    answer = await server.ask(post(body, CHUNKED) + PING + b"\r\n")
    assert answer.status == 413
    assert server.door.get("/count").value == 0


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
@pytest.mark.parametrize("chunked", [False, True])
@ensureDeferred
async def test_body_of_the_limit(server: Server, size: int, chunked: bool) -> None:
    """A body that just fits is taken, however it is sent."""
    body = padded_event(size)
    if chunked:
        pieces = chunk(body[:500]) + chunk(body[500:]) + chunk(b"")
        request = post(pieces, CHUNKED, b"Connection: close")
    else:
        request = post(body, b"Connection: close")
    answer = await server.ask(request)
    assert answer.status == 201
    assert server.door.get().body == body.replace(b" ", b"").join([b"[", b"]"])


@ensureDeferred
async def test_body_of_the_real_limit(server: Server) -> None:
    """8 MiB of events are taken and come back."""
    assert LIMITS.body_bytes == 8 * 2**20
    event = padded_event(2**18).replace(b" ", b"")
    body = b"[%b]" % b",".join([event] * 31)
    request = post(body + b" " * (2**23 - len(body)), b"Connection: close")
    asked = Deferred.fromCoroutine(server.ask(request))
    while not asked.called:
        server.door.clock.advance(0)  # so large a body is read in a turn of its own
        await turn()
    assert (await asked).status == 201
    assert server.door.get().body == body


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [(post(b"", b"Content-Length: 99999999"), 413), (b"nonsense\r\n\r\n", 400)],
)
def test_refused_client_that_stays(request_bytes: bytes, status: int) -> None:
    """A refused client that does not leave is cut after five seconds, whatever it still sends."""
    clock = Clock()
    transport: Any = HalfCloseableTransport()
    site: Any = Door().site(clock)
    connection = site.buildProtocol(None)
    connection.makeConnection(transport)
    connection.dataReceived(request_bytes)
    assert transport.value().startswith(b"HTTP/1.1 %d " % status)
    assert transport.half_closed and not transport.disconnecting
    for _ in range(4):
        clock.advance(1)
        connection.dataReceived(b"x" * 20_000)
    assert not transport.disconnecting
    clock.advance(1)
    assert transport.disconnected
    connection.connectionLost(Failure(ConnectionDone()))
    assert clock.getDelayedCalls() == []


@ensureDeferred
async def test_refused_client_that_goes_on_sending(server: Server) -> None:
    """A client that first sends everything and then reads sees its answer all the same."""
    client = await server.connect()
    client.send(post(b"", b"Content-Length: %d" % (4 * LIMITS.body_bytes)))
    for _ in range(16):
        client.send(b"x" * 2**20)
    answer = await client.answer()
    assert answer.status == 413


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /wsapi/ping\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET /wsapi/ping HTTP/1.1 x\r\n\r\n",
        b"G\xc4T /wsapi/ping HTTP/1.1\r\n\r\n",
        PING + b"no colon\r\n\r\n",
        PING + b"bad name: x\r\n\r\n",
        PING + b"Content-Length: abc\r\n\r\n",
        PING + b"Content-Length: -1\r\n\r\n",
        PING + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        PING + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        PING + b"Transfer-Encoding: gzip\r\n\r\n",
        PING + b"Transfer-Encoding: chunked\r\n\r\nnot a number\r\n",
    ],
)
@ensureDeferred
async def test_no_http(server: Server, request_bytes: bytes) -> None:
    """What is no HTTP has one answer, formed as all errors are, and the connection ends."""
    answer = await server.ask(request_bytes)
    assert answer.status == 400
    assert answer.value["error"] == "bad_request"
    assert answer.reason
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "request_bytes",
    [
        PING + b"X: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /wsapi/interaction_data?x=" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        PING + b"X: " + b"x" * 20_000,
    ],
)
@ensureDeferred
async def test_line_that_is_too_long(server: Server, request_bytes: bytes) -> None:
    """A line of the head that is too long is answered, too, before the connection ends."""
    answer = await server.ask(request_bytes)
    assert 400 <= answer.status < 500
    assert answer.reason


@pytest.mark.parametrize("path", [b"/wsapi/%ff", b"/%C3%28", b"/wsapi/\xff", b"/wsapi/ping/%80"])
@ensureDeferred
async def test_path_that_is_no_text(server: Server, path: bytes) -> None:
    """A path that is not UTF-8 is refused with an ordinary error."""
    answer = await server.ask(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.status == 400
    assert answer.value["error"] == "bad_request"
    assert answer.reason


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"Host:\r\n",
        b"Host: a..b\r\n",
        b"Host: .\r\n",
        b"Host: \xff\xfe\r\n",
        b"Host: " + b"x" * 300 + b"\r\n",
        b"Host: [::1\r\n",
        b"Host: a:b:c\r\n",
        b"Host: x:99999999\r\n",
        b"Host: b\xc3\xa4nk\r\n",
        b"Host: x\r\nHost: y\r\n",
    ],
)
@ensureDeferred
async def test_any_host(server: Server, host: bytes) -> None:
    """No route depends on what a client calls the server."""
    answer = await server.ask(PING + host + b"Connection: close\r\n\r\n")
    assert (answer.status, answer.body) == (200, b"pong")


@ensureDeferred
async def test_server_survives(server: Server) -> None:
    """After all kinds of bad clients, the next good one is served."""
    await server.ask(b"nonsense\r\n\r\n")
    await server.ask(post(b"", b"Content-Length: 99999999999"))
    await server.ask(b"GET /%ff HTTP/1.1\r\n\r\n")
    answer = await server.ask(PING + b"Connection: close\r\n\r\n")
    assert (answer.status, answer.body) == (200, b"pong")


@pytest.mark.parametrize("key", [b"\xe9", b"\xff\xfe", b"\xc3\xa9"])
@ensureDeferred
async def test_key_that_is_no_text(server: Server, key: bytes) -> None:
    """An idempotency key of any bytes is refused, not stumbled over."""
    request = post(b'{"timestamp":1}', b"Idempotency-Key: " + key, b"Connection: close")
    answer = await server.ask(request)
    assert answer.status == 400
    assert "Idempotency-Key" in answer.reason
