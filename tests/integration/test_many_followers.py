"""Crowds of followers: they leave nothing behind, and a stop tells each where to go on."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.integration.costs import memory, needs_proc, open_files
from tests.integration.daemon import DEADLINE_SECONDS, Daemon, ask, connect, get, post
from tests.integration.readers import (
    CONNECTED_AT_ONCE,
    StreamReader,
    following,
    pause,
    reactor,
    readers,
    save,
)
from tests.integration.test_stop import assert_clean

SQLITE = {"DB_BACKEND": "sqlite"}

#: What a crowd's followers ask for, in turn.
QUERIES = ("", "?since=0", "?since=0&format=sse", "?since=0&where=odd:true", "?where=odd:false")

CROWD, ROUNDS = 1000, 10
#: So many of a crowd leave before the daemon has answered.
HASTY = 200
#: The round from which on the daemon's memory must not grow any more, and what is left to chance:
#: 600 bytes for each follower that came after it, where one that stayed would take many times that.
GROWN_UP_ROUND = 3
MEMORY_KIB = 4 * 1024

#: Followers at a stop, and what is there to catch up on: more than the kernel takes.
FOLLOWERS = 200
POSTS, EVENTS_A_POST, PAD = 4, 300, "x" * 5000


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Let this process and its daemons have as many connections as a crowd needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4 * CROWD:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * CROWD, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def numbered(start: int, count: int, **fields: Any) -> list[dict[str, Any]]:
    """So many events, whose numbers begin with `start`."""
    numbers = range(start, start + count)
    return [{"timestamp": n, "n": n, "odd": n % 2 == 1, **fields} for n in numbers]


async def only_open(daemon: Daemon, count: int) -> None:
    """Wait until the daemon has so many files open, and no more."""
    deadline = reactor.seconds() + DEADLINE_SECONDS
    while open_files(daemon) > count:
        assert reactor.seconds() < deadline, f"{open_files(daemon)} files are open, not {count}"
        await pause(0.01)


async def crowd(daemon: Daemon, number: int) -> None:
    """Followers come, hear of an event, and leave: politely or not, some before they are heard."""
    for _ in range(HASTY // CONNECTED_AT_ONCE):
        hasty = await readers(daemon, islice(cycle(QUERIES), CONNECTED_AT_ONCE))
        await pause(0)  # their requests are on their way then
        for place, reader in enumerate(hasty):
            (reader.leave if place % 2 else reader.abort)()
        await ask(daemon.port, get("/wsapi/ping"))  # connections are accepted in their order
    staying = await following(daemon, *islice(cycle(QUERIES), CROWD - HASTY))
    await save(daemon, numbered(number, 1))
    for place, reader in enumerate(staying):
        if reader.query == "":
            await reader.has(1)
            assert reader.numbers == [number]
        (reader.leave if place % 2 else reader.abort)()
    for reader in staying:
        await reader.ended()


@needs_proc
@ensureDeferred
async def test_followers_that_come_and_go_leave_nothing(tmp_path: Path) -> None:
    """No file, no follower and no memory is left of crowds, however their followers left."""
    sizes = []
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        await save(daemon, numbered(-10, 10))
        before = open_files(daemon)
        [witness] = await following(daemon, "")
        for number in range(ROUNDS):
            await crowd(daemon, number)
            await only_open(daemon, before + 1)
            sizes.append(memory(daemon, "VmRSS"))
        assert sizes[-1] - sizes[GROWN_UP_ROUND - 1] <= MEMORY_KIB, sizes
        await witness.has(ROUNDS)
        assert await daemon.terminate() == 0
        assert_clean(daemon)
        await witness.ended()
    assert witness.numbers == list(range(ROUNDS))
    assert witness.complete


def wanted(query: str, start: int, count: int) -> list[int]:
    """The numbers that a follower wants of all."""
    numbers = range(start, count)
    if "where" in query:
        return [n for n in numbers if (n % 2 == 1) == ("true" in query)]
    return list(numbers)


def resumed(reader: StreamReader) -> str:
    """The query that goes on where a stream ended."""
    rest = [pair for pair in reader.query[1:].split("&") if pair and "since" not in pair]
    return "?" + "&".join([f"since={reader.farewell['last_seq']}", *rest])


@ensureDeferred
async def test_stop_tells_a_crowd_where_to_go_on(tmp_path: Path) -> None:
    """Every stream that is read ends in order, wherever it is, and goes on after a restart."""
    past = POSTS * EVENTS_A_POST
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        for start in range(0, past, EVENTS_A_POST):
            await save(daemon, numbered(start, EVENTS_A_POST, pad=PAD))
        crowd = await following(daemon, *islice(cycle(QUERIES), FOLLOWERS))
        # These stay in the middle of the past until the feed has ended.
        behind = await following(daemon, *QUERIES[1:3] * 5)
        for reader in behind:
            reader.pause()
        await save(daemon, numbered(past, 10))
        writer = await connect(daemon.port)
        writer.send(post(numbered(past + 10, 20)))
        daemon.signal("TERM")
        await daemon.says(r"\(TCP Port \d+ Closed\)")
        for reader in behind:
            reader.resume()
        assert (await writer.answer()).status == 201
        for reader in (*crowd, *behind):
            await reader.ended()
            assert reader.complete
            assert reader.farewell == {"last_seq": reader.cursor}
        assert await daemon.ended() == 0
        assert_clean(daemon)
    everything = past + 31
    assert all(0 < len(reader.numbers) < past for reader in behind)
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        ended = [*crowd, *behind]
        again = await following(daemon, *map(resumed, ended))
        await save(daemon, numbered(past + 30, 1))
        for first, second in zip(ended, again, strict=True):
            start = 0 if "since=0" in first.query else past
            numbers = wanted(first.query, start, everything)
            await second.has(len(numbers) - len(first.numbers))
            assert first.numbers + second.numbers == numbers
        assert await daemon.terminate() == 0
        assert_clean(daemon)
        for reader in again:
            await reader.ended()
            assert reader.complete
