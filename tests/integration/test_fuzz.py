"""Whatever comes over the wire: the daemon answers in order, stays small, and keeps its promises.

The requests are made by hypothesis and sent by plain sockets to one daemon with a SQLite store.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.integration.daemon import EVENTS, Daemon
from tests.integration.load import SOAKING, SQLITE

EXAMPLES = 5000 if SOAKING else 150
PATIENCE_SECONDS = 20.0
#: By how much the daemon may be larger afterwards, in bytes: caches, the newest events, the heap.
GROWTH_BYTES = 48 * 2**20

#: What any request may be answered with; 503 and 507 are for a store that fails, which ours do not.
REFUSALS = {400, 401, 403, 404, 405, 406, 408, 409, 411, 413, 414, 415, 417, 421, 431, 501, 505}
TAKEN = {200, 201, 204}

ROUTES = [
    EVENTS,
    *(f"{EVENTS}/{name}" for name in ("rows", "count", "last", "stream")),
    *("/wsapi/ping", "/__heartbeat__", "/__lbheartbeat__", "/__version__"),
    *("/", "/wsapi", "//", "/%00", "/%ff", "/..;/", "*"),
]
METHODS = st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "get", "X"])
NAMES = st.sampled_from(
    [
        *("start", "end", "descending", "limit", "after", "format", "where"),
        *("since", "feed", "heartbeat", "id", "_", "__proto__"),
    ]
)
HOSTILE = st.sampled_from(
    ["", "0", "-1", "1e309", "NaN", "9" * 400, "now", "true", "a.b:c", "\x00", "\u2028", "%", "<b>"]
)
TEXTS = HOSTILE | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PARAMETERS = st.lists(st.tuples(NAMES | TEXTS, TEXTS | st.integers().map(str)), max_size=4)
TYPES = st.sampled_from(
    [
        "application/json",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "APPLICATION/JSON; charset=utf-8",
        "",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
EVENT = st.dictionaries(TEXTS | st.just("timestamp"), VALUES, max_size=4).flatmap(
    lambda fields: st.sampled_from([fields, {**fields, "timestamp": 1}])
)
JSON_BODIES = (EVENT | st.lists(EVENT, max_size=4) | VALUES).map(lambda body: json.dumps(body))
BODIES = st.one_of(
    st.binary(max_size=60),
    JSON_BODIES.map(str.encode),
    JSON_BODIES.map(lambda text: f"data={quote(text)}".encode()),
)
HEADERS = st.lists(
    st.sampled_from(
        [
            "Idempotency-Key: again",
            "Idempotency-Key: \xe9",
            "Content-Encoding: gzip",
            "Content-Encoding: nothing",
            "Expect: 100-continue",
            "Accept: text/event-stream",
            "Last-Event-ID: x",
            "Origin: http://evil.example",
            "Host: evil.example",
            "Authorization: Bearer x",
            "X-Request-Id: a b",
            "Range: bytes=0-1",
        ]
    ),
    max_size=2,
    unique=True,
)
#: Heads and bodies that are hardly HTTP.
RAW = st.lists(
    st.sampled_from(
        [
            b"GET /wsapi/ping HTTP/1.1\r\n",
            b"POST /wsapi/interaction_data HTTP/1.1\r\n",
            b"GET /wsapi/ping HTTP/9.9\r\n",
            b"Host: 127.0.0.1\r\n",
            b"Content-Type: application/json\r\n",
            b"Content-Length: 15\r\n",
            b"Content-Length: -1\r\n",
            b"Content-Length: 1 5\r\n",
            b"Content-Length: 99999999999999999999\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked, chunked\r\n",
            b"f\r\n",
            b"fffffffffffffffff\r\n",
            b"0\r\n\r\n",
            b'{"timestamp":1}',
            b"\r\n",
            b"\n",
            b"\x00",
            b": x\r\n",
            b" folded\r\n",
            b"A" * 20_000,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ]
    )
    | st.binary(max_size=20),
    min_size=1,
    max_size=12,
).map(b"".join)


@attrs.define(eq=False)
class Target:
    """The daemon, and what it has acknowledged."""

    daemon: Daemon
    kept: set[str] = attrs.field(factory=set)

    @property
    def memory(self) -> int:
        """The memory it has now, in bytes."""
        status = Path(f"/proc/{self.daemon.pid}/status").read_text()
        (size,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        return int(size) * 1024

    def connect(self) -> socket.socket:
        """A connection to it."""
        connection = socket.create_connection(("127.0.0.1", self.daemon.port), PATIENCE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, request: bytes, method: str = "GET") -> tuple[int, bytes]:
        """The status and body of an answer; the request must end the connection."""
        with closing(self.connect()) as connection:
            connection.sendall(request)
            response = HTTPResponse(connection, method=method)
            response.begin()
            with response:
                return response.status, response.read()

    def assert_well(self) -> None:
        """Holds if it answers, and has what it promised."""
        status, body = self.ask(head("GET", "/wsapi/ping"))
        assert (status, body) == (200, b"pong")
        for id in self.kept:
            assert self.ask(head("GET", f"{EVENTS}?id={id}"))[0] == 200


def head(method: str, path: str, *lines: str) -> bytes:
    """The head of a request after which the connection ends."""
    host = () if any(line.startswith("Host:") for line in lines) else ("Host: 127.0.0.1",)
    first = f"{method} {path} HTTP/1.1"
    return "\r\n".join((first, *host, "Connection: close", *lines, "", "")).encode("latin-1")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A daemon for all tests here, which must be well in the end."""
    folder = tmp_path_factory.mktemp("fuzz")
    daemon = Daemon(folder, environ=SQLITE)
    pytest_twisted.blockon(Deferred.fromCoroutine(daemon.__aenter__()))
    try:
        target = Target(daemon)
        target.assert_well()
        before = target.memory
        yield target
        target.assert_well()
        assert target.memory < before + GROWTH_BYTES
        assert pytest_twisted.blockon(Deferred.fromCoroutine(daemon.terminate())) == 0
        assert "Traceback" not in daemon.out + daemon.err
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u2028]", daemon.out)
    finally:
        pytest_twisted.blockon(Deferred.fromCoroutine(daemon.kill()))


FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(METHODS, st.sampled_from(ROUTES), PARAMETERS, HEADERS, TYPES, BODIES)
@FUZZ
def test_any_request(
    target: Target,
    method: str,
    path: str,
    parameters: list[tuple[str, str]],
    headers: list[str],
    content_type: str,
    body: bytes,
) -> None:
    """Each request has one answer, of a status that is documented, and a JSON body if it fails."""
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in parameters)
    if path.endswith("/stream"):
        query += "&feed=normal"
    lines = [*headers, f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    status, answer = target.ask(head(method, f"{path}?{query}", *lines) + body, method)
    assert status in TAKEN | REFUSALS, answer
    if status in REFUSALS and method != "HEAD":
        error = json.loads(answer)
        assert error.keys() == {"error", "reason"}
        assert "\n" not in error["reason"]
    if status == 201:
        ids: Any = json.loads(answer)["ids"]
        target.kept.update(ids)


@given(RAW)
@FUZZ
def test_any_bytes(target: Target, text: bytes) -> None:
    """What is no HTTP is answered with 4xx or 5xx for what it is, or the connection is closed."""
    with closing(target.connect()) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        received = bytearray()
        while piece := receive(connection):
            received += piece
    for status in re.findall(rb"^HTTP/1\.[01] (\d+) ", bytes(received), re.MULTILINE):
        assert int(status) in TAKEN | REFUSALS | {100}


def receive(connection: socket.socket) -> bytes:
    """More bytes, none when the connection has ended, in order or not."""
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""
