"""Followers that read slowly or not at all: what they cost, whom they disturb, how they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred

from tests.integration.costs import forget_peak, memory, needs_proc
from tests.integration.daemon import EVENTS, Daemon, ask, get
from tests.integration.figures import METRICS, metrics_port
from tests.integration.readers import StreamReader, following, pause, save
from tests.integration.test_stop import assert_clean

#: The greatest events of a post, and as many as its body may have.
PAD = "x" * 20_000
EVENTS_A_POST = 350
#: About 7 MB each.
WARM_UP_POSTS = 6
POSTS = 29

FOLLOWERS = 20
#: What each of them may cost the daemon.
MEMORY_KIB = 2 * 1024

#: What a slow reader takes at once, and then it rests for so long.
SIP_BYTES = 2**20
REST_SECONDS = 0.2


def padded(start: int, count: int = EVENTS_A_POST) -> list[dict[str, Any]]:
    """So many events, whose numbers begin with `start`."""
    return [{"timestamp": n, "n": n, "pad": PAD} for n in range(start, start + count)]


@asynccontextmanager
async def traffic(daemon: Daemon, posts: int, start: int) -> AsyncIterator[StreamReader]:
    """Posts go through to a healthy follower, which has got all of them at the end."""
    [healthy] = await following(daemon, "")
    yield healthy
    for post in range(posts):
        await save(daemon, padded(start + post * EVENTS_A_POST))
    await healthy.has(posts * EVENTS_A_POST)
    assert healthy.numbers == list(range(start, start + posts * EVENTS_A_POST))
    healthy.abort()
    await healthy.ended()


@needs_proc
@ensureDeferred
async def test_followers_that_read_nothing_cost_little(tmp_path: Path) -> None:
    """200 MB pass by followers that read nothing: they cost little, and nobody is held up."""
    environ = {"DB_BACKEND": "sqlite", "STALL_TIMEOUT": "600"}
    async with Daemon(tmp_path, environ=environ) as daemon:
        # All caches are full after this, and the memory that is needed meanwhile was once there.
        async with traffic(daemon, WARM_UP_POSTS, 0):
            pass
        forget_peak(daemon)
        async with traffic(daemon, POSTS, 0):
            pass
        without = memory(daemon, "VmHWM")
        forget_peak(daemon)
        async with traffic(daemon, POSTS, 0):
            still = await following(daemon, *[""] * FOLLOWERS)
            for reader in still:
                reader.pause()
        cost = memory(daemon, "VmHWM") - without
        assert cost <= FOLLOWERS * MEMORY_KIB
        for reader in still:
            assert reader.numbers == []
            reader.abort()
            await reader.ended()
        assert await daemon.terminate() == 0
        assert_clean(daemon)


@ensureDeferred
async def test_only_who_reads_nothing_is_cut_off(tmp_path: Path) -> None:
    """A slow reader stays, as does one that has nothing to read; one that was cut off resumes."""
    environ = {"DB_BACKEND": "sqlite", "STALL_TIMEOUT": "2"} | METRICS
    posts = 4
    everything = list(range(posts * EVENTS_A_POST))
    async with Daemon(tmp_path, environ=environ) as daemon:
        for post in range(posts):
            await save(daemon, padded(post * EVENTS_A_POST))
        [quiet] = await following(daemon, "")
        still, slow = await following(daemon, "?since=0", "?since=0")
        still.pause()
        while len(slow.numbers) < len(everything):
            slow.pause()
            await pause(REST_SECONDS)
            slow.taken = 0
            slow.resume()
            await slow.took(SIP_BYTES, len(everything))
        await daemon.says("an answer was cut: its reader took nothing for 2 seconds")
        # From its metrics, too: the one was cut, the others were not.
        figures = (await ask(await metrics_port(daemon), get("/metrics"))).body.decode()
        assert f'slow_readers_cut_total{{route="{EVENTS}/stream"}} 1.0' in figures
        still.resume()
        await still.ended()
        assert not still.complete
        assert 0 < len(still.numbers) < len(everything)
        [resumed] = await following(daemon, f"?since={still.cursor}")
        await resumed.has(len(everything) - len(still.numbers))
        await save(daemon, [{"timestamp": 0, "n": -1}])
        assert await daemon.terminate() == 0
        assert_clean(daemon)
        assert daemon.out.count("an answer was cut") == 1
        for reader in (quiet, slow, resumed):
            await reader.ended()
            assert reader.complete
            assert reader.farewell == {"last_seq": reader.cursor}
    assert quiet.numbers == [-1]
    assert slow.numbers == [*everything, -1]
    assert still.numbers + resumed.numbers == [*everything, -1]
