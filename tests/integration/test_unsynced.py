"""What a killed daemon had written but not synced: the next one must sync it before it counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import pytest_twisted

from tests.integration.daemon import EVENTS, Daemon, ask, get, post
from tests.integration.disk import Disk, Fault
from tests.integration.load import SQLITE
from tests.integration.platter import cut_power


async def killed_in_a_sync(folder: Path, disk: Disk, request: bytes) -> None:
    """A daemon that has a first event, and dies when it has written a second but not synced it."""
    async with Daemon(folder, environ=SQLITE, runner=disk.runner) as daemon:
        first = post({"timestamp": 0}, b"Connection: close")
        assert (await ask(daemon.port, first)).status == 201
        disk.begin(Fault.DEATH)
        with pytest.raises(AssertionError, match="without an answer"):
            await ask(daemon.port, request)
        await daemon.ended()


@pytest_twisted.ensureDeferred
async def test_repeat_of_what_was_not_synced(tmp_path: Path) -> None:
    """What a killed daemon wrote but never synced is synced before the next one promises it.

    That one finds the event and answers a repeat of it with 201, for it is there.
    """
    disk = Disk(tmp_path / "disk")
    request = post({"timestamp": 1}, b"Idempotency-Key: again", b"Connection: close")
    await killed_in_a_sync(tmp_path, disk, request)
    async with Daemon(tmp_path, environ=SQLITE, runner=disk.runner) as daemon:
        assert (await ask(daemon.port, request)).status == 201
    cut_power(tmp_path, SQLITE["DB_NAME"], disk.state)
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        assert (await ask(daemon.port, get(f"{EVENTS}?id=again"))).status == 200
        assert (await ask(daemon.port, get(f"{EVENTS}/count"))).json == 2


@pytest_twisted.ensureDeferred
async def test_cursor_of_what_was_not_synced(tmp_path: Path) -> None:
    """No follower is told a place that a power cut takes back, and then misses what comes there."""
    disk = Disk(tmp_path / "disk")
    await killed_in_a_sync(tmp_path, disk, post({"timestamp": 1}, b"Connection: close"))
    everything = get(f"{EVENTS}/stream?since=0&feed=normal")
    async with Daemon(tmp_path, environ=SQLITE, runner=disk.runner) as daemon:
        end = (await ask(daemon.port, everything)).body.splitlines()[-1]
        cursor = json.loads(end)["last_seq"]
    cut_power(tmp_path, SQLITE["DB_NAME"], disk.state)
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        answer = await ask(daemon.port, post({"timestamp": 2}, b"Connection: close"))
        [id] = answer.json["ids"]
        later = await ask(daemon.port, get(f"{EVENTS}/stream?since={cursor}&feed=normal"))
        assert id in later.body.decode()
