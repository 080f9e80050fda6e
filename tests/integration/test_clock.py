"""A clock that is set back an hour."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest_twisted

from tests.integration.daemon import EVENTS, Daemon, ask, get, post
from tests.integration.load import SQLITE

CLOSE = b"Connection: close"


async def saved(daemon: Daemon, first: int) -> list[str]:
    """The ids of a few events, posted one by one."""
    ids = []
    for number in range(first, first + 5):
        answer = await ask(daemon.port, post({"timestamp": number}, CLOSE))
        ids += answer.json["ids"]
    return ids


async def changes(daemon: Daemon, since: str) -> tuple[list[str], str]:
    """The ids of what is told after a cursor, and the cursor at its end."""
    answer = await ask(daemon.port, get(f"{EVENTS}/stream?since={since}&feed=normal"))
    *lines, end = [json.loads(line) for line in answer.body.splitlines() if line]
    return [line["id"] for line in lines], end["last_seq"]


@pytest_twisted.ensureDeferred
async def test_clock_is_set_back(tmp_path: Path) -> None:
    """Ids and cursors go on in order within a process, and in the next one; nothing is lost."""
    moved = tmp_path / "moved"
    moved.write_text("0")
    runner = (sys.executable, "-m", "tests.integration.moved_clock", str(moved), "-n", "--pidfile=")
    async with Daemon(tmp_path, environ=SQLITE, runner=runner) as daemon:
        ids = await saved(daemon, 0)
        far = post({"timestamp": 99}, CLOSE, b"Idempotency-Key: " + b"f" * 28)
        assert (await ask(daemon.port, far)).status == 201
        told, cursor = await changes(daemon, "0")
        assert told == [*ids, "f" * 28]
        moved.write_text("-3600")
        ids += await saved(daemon, 5)
        await daemon.kill()
    async with Daemon(tmp_path, environ=SQLITE, runner=runner) as daemon:
        ids += await saved(daemon, 10)
        assert ids == sorted(set(ids)) and len(ids) == 15
        assert max(ids) < "f"
        assert (await changes(daemon, cursor))[0] == ids[5:]
        everything = (await ask(daemon.port, get(f"{EVENTS}?end=98"))).json
        assert everything == [{"timestamp": number} for number in range(15)]
