"""Clients that are slow, or send too much, before a real daemon: what they cost it."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.integration.costs import forget_peak, memory, needs_proc
from tests.integration.daemon import EVENTS, TWISTD, Answer, Daemon, Wire, ask, connect, get, post

SQLITE = {"DB_BACKEND": "sqlite"}
BODY_BYTES = 8 * 2**20
#: What a refused body may cost, in KiB: itself and 16 MiB.
COST_KIB = (BODY_BYTES + 16 * 2**20) // 1024

SLOW_CLIENTS = 500
#: Rounds in turn without and beside them, and posts in each, of which the slowest but one counts.
ROUNDS = 7
REQUESTS = 100

HEAD = (
    f"POST {EVENTS} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\n"
    "Connection: close\r\n%s\r\n\r\n"
)
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
GZIP = "\r\nContent-Encoding: gzip"


def declared(body: bytes, content_type: str = JSON, head: str = "") -> bytes:
    """A request with this body."""
    return (HEAD % (content_type, f"Content-Length: {len(body)}{head}")).encode() + body


def chunked(body: bytes, content_type: str = JSON) -> bytes:
    """The same in chunks of 50,000 bytes."""
    head = (HEAD % (content_type, "Transfer-Encoding: chunked")).encode()
    pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


#: What slow clients begin with, and what they say from time to time: of a head, of a body in one
#: piece, of one in chunks, and of one that is compressed.
SLOW = [
    (b"GET /wsapi/ping HT", b"x"),
    (declared(b"x" * 1000)[:-999], b"x"),
    (chunked(b"")[: -len(b"0\r\n\r\n")], b"1\r\nx\r\n"),
    (declared(gzip.compress(bytes(2**20)), JSON, GZIP)[:-1000], b"\0"),
]


def filled(item: bytes, size: int = BODY_BYTES) -> bytes:
    """A list of the same again and again, of so many bytes at the most."""
    return b"[%b]" % b",".join([item] * ((size - 2) // (len(item) + 1)))


@needs_proc
@ensureDeferred
async def test_memory_of_refused_bodies(tmp_path: Path) -> None:
    """Whatever a body is full of, and however it comes, to refuse it costs itself and 16 MiB."""
    requests = {
        "too long": (declared(b" " * (BODY_BYTES + 1)), 413),
        "too long, in chunks": (chunked(b" " * (BODY_BYTES + 1)), 413),
        "too long a form": (chunked(b"data=" + b"x" * BODY_BYTES, FORM), 413),
        "lists": (declared(filled(b"[]")), 413),
        "events": (chunked(filled(b'{"timestamp":1}')), 413),
        "objects": (declared(filled(b'{"a":1}')), 413),
        "one event": (declared(b'{"timestamp":1,"x":%b}' % filled(b"[]", BODY_BYTES - 20)), 413),
        "members": (declared(b'[{"x":%b}]' % filled(b'{"":1}', BODY_BYTES - 20)), 413),
        "form": (declared(b"data=" + filled(b"{}", BODY_BYTES - 5), FORM), 413),
        "fields": (declared(b"a=1&" * (BODY_BYTES // 4), FORM), 400),
        "depth": (declared(b"[" * BODY_BYTES), 400),
        "bomb": (declared(gzip.compress(bytes(2**29)), JSON, GZIP), 413),
    }
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        await ask(daemon.port, post({"timestamp": 1}, b"Connection: close"))
        first = memory(daemon, "VmRSS")
        for name, (request, status) in requests.items():
            before = memory(daemon, "VmRSS")
            forget_peak(daemon)
            answer = await ask(daemon.port, request)
            assert answer.status == status, (name, answer)
            assert memory(daemon, "VmHWM") - before < COST_KIB, name
        assert memory(daemon, "VmRSS") - first < 16 * 1024
        assert (await ask(daemon.port, get("/wsapi/ping"))).body == b"pong"
        assert (await ask(daemon.port, get(f"{EVENTS}/count"))).body == b"1"
        assert daemon.err == ""


@asynccontextmanager
async def slow_clients(daemon: Daemon) -> AsyncIterator[list[Wire]]:
    """Clients that have sent a part of a request, as `SLOW` says."""
    wires = []
    for index in range(SLOW_CLIENTS):
        wires.append(await connect(daemon.port))
        wires[-1].send(SLOW[index % len(SLOW)][0])
    yield wires
    for wire in wires:
        wire.close()


async def p99(daemon: Daemon, slow: list[Wire]) -> float:
    """The seconds of the slowest but one of a good client's posts, while slow ones trickle."""
    times = []
    wire = await connect(daemon.port)
    for number in range(REQUESTS):
        for index in range(number % 100, len(slow), 100):
            if slow[index].end is None:
                slow[index].send(SLOW[index % len(SLOW)][1])
        heard = len(wire.received)
        begin = perf_counter()
        wire.send(post({"timestamp": number}))
        assert await wire.more(heard)
        times.append(perf_counter() - begin)
    wire.close()
    assert wire.received.count(b" 201 Created") == REQUESTS
    return sorted(times)[-2]


@ensureDeferred
async def test_good_client_beside_slow_ones(tmp_path: Path) -> None:
    """Beside 500 slow connections a good client is served as fast as without them, or nearly so."""
    async with Daemon(tmp_path, environ={"DB_BACKEND": "memory"}) as daemon:
        await p99(daemon, [])
        alone, beside = [], []
        for _ in range(ROUNDS):
            alone.append(await p99(daemon, []))
            async with slow_clients(daemon) as slow:
                beside.append(await p99(daemon, slow))
        assert median(beside) < 2 * median(alone), (alone, beside)


@ensureDeferred
async def test_slow_clients_are_closed(tmp_path: Path) -> None:
    """Whoever trickles a head or a body is closed when the time for it is over."""
    times = {"HEAD_TIMEOUT": "0.5", "BODY_TIMEOUT": "1", "IDLE_TIMEOUT": "0.5"}
    async with Daemon(tmp_path, environ={"DB_BACKEND": "memory"} | times) as daemon:
        async with slow_clients(daemon) as slow:
            for wire in slow:
                assert await wire.rest() == b""
        wire = await connect(daemon.port)
        wire.send(post({"timestamp": 1}))
        assert (await wire.rest()).startswith(b"HTTP/1.1 201 ")


def under(limits: str) -> tuple[str, ...]:
    """A runner with other limits of open files."""
    return ("/bin/sh", "-c", f'{limits}; exec "$@"', "sh", *TWISTD)


@pytest.mark.parametrize(
    ("limits", "warning"),
    [
        ("ulimit -Sn 250", None),
        ("ulimit -Sn 250; ulimit -Hn 300", r"MAX_CONNECTIONS is 400, but with 300 .* it is 100"),
    ],
)
@ensureDeferred
async def test_open_files(limits: str, warning: str | None, tmp_path: Path) -> None:
    """The daemon may open as many files as it needs, or says in one line that it may not."""
    environ: dict[str, str] = {"DB_BACKEND": "memory", "MAX_CONNECTIONS": "400"}
    async with Daemon(tmp_path, environ=environ, runner=under(limits)) as daemon:
        assert len(re.findall("MAX_CONNECTIONS", daemon.out)) == (warning is not None)
        assert warning is None or re.search(warning, daemon.out)
        most = 100 if warning else 400
        wires = [await connect(daemon.port) for _ in range(most)]
        wires[-1].send(b"GET /wsapi/ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await wires[-1].heard(b"pong")
        extra: Any = Answer.parse(await (await connect(daemon.port)).rest())
        assert (extra.status, json.loads(extra.body)["error"]) == (503, "unavailable")
        await daemon.says(f"{most} connections are open; more are turned away")
        for wire in wires:
            wire.close()
        assert daemon.err == ""
