"""A large range, read from the real daemon by a fast and by a slow reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred

from kpiggybank.sample import SignIns
from tests.integration.costs import forget_peak, memory, needs_proc
from tests.integration.daemon import EVENTS, Daemon, ask, connect, get
from tests.integration.readers import save

#: About 24 MB of events, sent in posts below the limit of a body.
POSTS, EVENTS_A_POST = 5, 10_000
#: What reading them may cost the daemon; it would be all of them if they were collected first.
MEMORY_KIB = 12 * 1024


@needs_proc
@ensureDeferred
async def test_large_range_costs_constant_memory(tmp_path: Path) -> None:
    """Ranges are streamed: neither their size nor a slow reader costs memory."""
    made_up = SignIns(seed=5)
    async with Daemon(tmp_path, environ={"DB_BACKEND": "sqlite"}) as daemon:
        for _ in range(POSTS):
            await save(daemon, made_up.take(EVENTS_A_POST))
        before = memory(daemon, "VmRSS")
        forget_peak(daemon)

        still = await connect(daemon.port)
        standing: Any = still.transport
        standing.pauseProducing()
        still.send(get(EVENTS))
        answer = await ask(daemon.port, get(EVENTS))
        assert len(answer.json) == POSTS * EVENTS_A_POST
        assert memory(daemon, "VmHWM") - before < MEMORY_KIB

        standing.resumeProducing()
        assert (await still.answer()).body == answer.body
        assert await daemon.terminate() == 0
