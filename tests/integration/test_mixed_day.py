"""A day of all kinds of clients at once, good ones and others: the good ones notice nothing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from kpiggybank import KPIggyBank
from kpiggybank.sample import SignIns
from tests.integration.costs import memory, needs_proc
from tests.integration.daemon import EVENTS, Daemon, ask, connect, get, reactor
from tests.integration.load import SOAKING, SQLITE
from tests.integration.readers import StreamReader, following, pause

SECONDS = 120 if SOAKING else 6
FOLLOWERS = 200 if SOAKING else 50
WRITERS, WRITER_REST = 6, 0.05
BULK_EVENTS, BULK_REST = 60, 0.5
READER_REST = 0.2
#: By how much the daemon may grow once all kinds of clients have been there for a while.
GROWTH_KIB = 32 * 1024

#: Requests of clients that mean no good, or know no better.
ABUSES = [
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
    *(
        b"POST /wsapi/interaction_data HTTP/1.1\r\nHost: 127.0.0.1\r\n" + rest
        for rest in (
            b"Content-Length: 1000\r\n\r\n{",
            b"Content-Length: 99999999\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        )
    ),
    b"GET /" + b"x" * 30_000,
    b"\x16\x03\x01\x02\x00" * 50,
    b"GET /wsapi/interaction_data HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 500,
    b"GET /wsapi/interaction_data/stream?since=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
]


@attrs.define(eq=False)
class Day:
    """All that goes on beside a daemon, until the evening."""

    daemon: Daemon
    acknowledged: list[int] = attrs.field(factory=list)
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)
    _sample: Iterator[dict[str, Any]] = attrs.field(factory=lambda: iter(SignIns(seed=5)))
    _evening: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._evening = reactor.seconds() + SECONDS

    def _events(self, count: int) -> list[dict[str, Any]]:
        return [{**next(self._sample), "n": next(self._numbers)} for _ in range(count)]

    async def until_evening(self, rest: float, turn: Callable[[], Awaitable[None]]) -> None:
        """Do something again and again."""
        while reactor.seconds() < self._evening:
            await turn()
            await pause(rest)

    async def write(self, client: KPIggyBank, count: int) -> None:
        """Save some events by one call, which must succeed at once."""
        events = self._events(count)
        await client.saveData(events[0] if count == 1 else events, retries=0)
        self.acknowledged += [event["n"] for event in events]

    async def look(self, query: str) -> None:
        """Ask for something that is there."""
        assert (await ask(self.daemon.port, get(f"{EVENTS}{query}"))).status == 200

    async def abuse(self, request: bytes) -> None:
        """Send what is no good, and leave after a while, without having read."""
        wire = await connect(self.daemon.port)
        transport: Any = wire.transport
        transport.pauseProducing()
        transport.write(request)
        await pause(0.5)
        wire.close()

    async def pass_by(self) -> None:
        """All of it together."""
        client = KPIggyBank("127.0.0.1", self.daemon.port)
        turns = [
            *[(WRITER_REST, lambda: self.write(client, 1))] * WRITERS,
            (BULK_REST, lambda: self.write(client, BULK_EVENTS)),
            *(
                (READER_REST, lambda query=query: self.look(query))
                for query in ("", "/count", "/count?where=lang:en-US", "/rows?limit=100", "/last")
            ),
            *((0.0, lambda request=request: self.abuse(request)) for request in ABUSES),
        ]
        try:
            await gatherResults(
                [Deferred.fromCoroutine(self.until_evening(*turn)) for turn in turns],
                consumeErrors=True,
            )
        finally:
            await client.close()


async def memory_after_a_third(daemon: Daemon) -> int:
    """The daemon's memory when all kinds of clients have been there for a while, in KiB."""
    await pause(SECONDS / 3)
    return memory(daemon, "VmRSS")


@needs_proc
@ensureDeferred
async def test_mixed_day(tmp_path: Path) -> None:
    """Good clients see no error, nothing is lost, followers get all; the daemon stays small."""
    async with Daemon(tmp_path, environ=SQLITE | {"MODE": "prod"}) as daemon:
        followers = await following(daemon, *[""] * FOLLOWERS)
        day = Day(daemon)
        early = Deferred.fromCoroutine(memory_after_a_third(daemon))
        await day.pass_by()
        grown = memory(daemon, "VmRSS") - await early
        await assert_all_told(followers, day.acknowledged)
        rows = await ask(daemon.port, get(f"{EVENTS}?format=ndjson"))
        kept = [json.loads(line)["n"] for line in rows.body.splitlines()]
        assert sorted(kept) == sorted(day.acknowledged)
        assert grown < GROWTH_KIB
        for follower in followers:
            follower.abort()
            await follower.ended()
        assert await daemon.terminate() == 0
        assert "Traceback" not in daemon.out + daemon.err
        print(f"{len(kept)} events, {FOLLOWERS} followers, memory grown by {grown} KiB")


async def assert_all_told(followers: list[StreamReader], acknowledged: list[int]) -> None:
    """Holds if each follower gets each event once, and all in the same order."""
    for follower in followers:
        await follower.has(len(acknowledged))
        assert follower.numbers == followers[0].numbers
    assert sorted(followers[0].numbers) == sorted(acknowledged)
