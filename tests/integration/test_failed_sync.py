"""A disk that fails to sync: from then on nothing is promised, and the daemon ends."""

from __future__ import annotations

from pathlib import Path

import pytest_twisted

from tests.integration.daemon import EVENTS, Daemon, ask, connect, get, post
from tests.integration.disk import Disk, Fault
from tests.integration.load import SQLITE

CLOSE = b"Connection: close"
HEARTBEAT = b"GET /__heartbeat__ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
#: More than the frames of the log after which it is written to the database.
LISTS, EVENTS_A_LIST = 60, 500


async def ended_in_one_line(daemon: Daemon) -> None:
    """Holds if a daemon ends by itself, with a status and a line that say that something failed."""
    assert await daemon.ended() == 1
    [line] = daemon.err.splitlines()
    assert line.startswith("kpiggybank: ") and "sync" in line
    assert "Traceback" not in daemon.out + daemon.err


@pytest_twisted.ensureDeferred
async def test_failed_sync_of_the_log(tmp_path: Path) -> None:
    """No answer after it is an ack, the heartbeat says so, and what was acknowledged is there."""
    disk = Disk(tmp_path / "disk")
    async with Daemon(tmp_path, environ=SQLITE, runner=disk.runner) as daemon:
        assert (await ask(daemon.port, post({"timestamp": 1}, CLOSE))).status == 201
        assert (await ask(daemon.port, get("/__heartbeat__"))).json["ok"] is True
        disk.begin(Fault.WAL_SYNC)
        wire = await connect(daemon.port)
        wire.send(post({"timestamp": 2}) + HEARTBEAT + post({"timestamp": 3}))
        answers = (await wire.rest()).split(b"HTTP/1.1 ")[1:]
        assert [answer[:3] for answer in answers] == [b"503"] * len(answers)
        assert len(answers) >= 2, "the heartbeat is answered, too"
        await ended_in_one_line(daemon)
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        assert (await ask(daemon.port, get(f"{EVENTS}?start=1&end=1"))).json == [{"timestamp": 1}]


@pytest_twisted.ensureDeferred
async def test_failed_sync_of_the_database(tmp_path: Path) -> None:
    """A checkpoint that fails to sync is an end, too; its content still is in the log."""
    disk = Disk(tmp_path / "disk")
    acknowledged = 0
    async with Daemon(tmp_path, environ=SQLITE, runner=disk.runner) as daemon:
        disk.begin(Fault.MAIN_SYNC)
        wire = await connect(daemon.port)
        for number in range(LISTS):
            events = [{"timestamp": number, "text": "x" * 2000} for _ in range(EVENTS_A_LIST)]
            for part in range(0, EVENTS_A_LIST, 50):
                before = len(wire.received)
                wire.send(post(events[part : part + 50]))
                if not await wire.more(before):
                    break
                acknowledged += wire.received[before:].startswith(b"HTTP/1.1 201 ")
            if wire.end is not None or not disk.has(Fault.MAIN_SYNC):
                break
        assert acknowledged
        wire.close()
        await ended_in_one_line(daemon)
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        count = (await ask(daemon.port, get(f"{EVENTS}/count"))).json
        assert count >= acknowledged * 50
