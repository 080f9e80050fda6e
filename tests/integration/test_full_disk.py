"""A full disk: nothing is promised, everything else goes on, and so does the rest afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest_twisted

from tests.integration.daemon import EVENTS, Answer, Daemon, ask, connect, get, post
from tests.integration.disk import Disk, Fault
from tests.integration.load import SQLITE

CLOSE = b"Connection: close"
#: More events than go into one statement, and more bytes than SQLite keeps until the commit.
LARGE_LISTS = ([{"timestamp": 2}] * 250, [{"timestamp": 2, "text": "x" * 250_000}] * 30)
FOLLOW = f"GET {EVENTS}/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


@pytest_twisted.ensureDeferred
async def test_full_disk(tmp_path: Path) -> None:
    """Posts are 507 while there is no room, and taken again at once when there is."""
    disk = Disk(tmp_path / "disk")
    async with Daemon(tmp_path, environ=SQLITE, runner=disk.runner) as daemon:
        assert (await ask(daemon.port, post({"timestamp": 1}, CLOSE))).status == 201
        follower = await connect(daemon.port)
        follower.send(FOLLOW)
        await follower.heard(b"\r\n\r\n")

        disk.begin(Fault.FULL)
        wire = await connect(daemon.port)
        wire.send(post({"timestamp": 2}, CLOSE))
        refused = await wire.rest()
        assert b"\r\nRetry-After: " in refused
        answer = Answer.parse(refused)
        assert (answer.status, answer.json["error"]) == (507, "insufficient_storage")
        for large in LARGE_LISTS:
            answer = await ask(daemon.port, post(large, CLOSE))
            assert (answer.status, answer.json["error"]) == (507, "insufficient_storage")
        assert (await ask(daemon.port, get(EVENTS))).json == [{"timestamp": 1}]
        assert (await ask(daemon.port, get(f"{EVENTS}/count"))).json == 1
        assert (await ask(daemon.port, get("/__heartbeat__"))).status == 200
        past = await ask(daemon.port, get(f"{EVENTS}/stream?since=0&feed=normal"))
        assert past.body.count(b'"doc"') == 1

        disk.end(Fault.FULL)
        assert (await ask(daemon.port, post({"timestamp": 3}, CLOSE))).status == 201
        await follower.heard(b'"doc":{"timestamp":3}')
        assert b'"timestamp":2' not in follower.received
        follower.close()
        assert (await ask(daemon.port, get(f"{EVENTS}/count"))).json == 2
        assert await daemon.terminate() == 0
        assert "Traceback" not in daemon.out + daemon.err


@pytest_twisted.ensureDeferred
async def test_stop_while_the_disk_is_full(tmp_path: Path) -> None:
    """A stop is a clean one although the log cannot be written to the database; all is kept."""
    disk = Disk(tmp_path / "disk")
    async with Daemon(tmp_path, environ=SQLITE, runner=disk.runner) as daemon:
        assert (await ask(daemon.port, post({"timestamp": 1}, CLOSE))).status == 201
        disk.begin(Fault.FULL)
        assert await daemon.terminate() == 0
        assert "Traceback" not in daemon.out + daemon.err
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        assert (await ask(daemon.port, get(EVENTS))).json == [{"timestamp": 1}]


@pytest_twisted.ensureDeferred
async def test_start_while_the_disk_is_full(tmp_path: Path) -> None:
    """What a killed daemon has left in its log is served, though there is no room to merge it."""
    disk = Disk(tmp_path / "disk")
    async with Daemon(tmp_path, environ=SQLITE, runner=disk.runner) as daemon:
        assert (await ask(daemon.port, post({"timestamp": 1}, CLOSE))).status == 201
        disk.begin(Fault.FULL)
        await daemon.kill()
    async with Daemon(tmp_path, environ=SQLITE, runner=disk.runner) as daemon:
        assert (await ask(daemon.port, get(EVENTS))).json == [{"timestamp": 1}]
        assert (await ask(daemon.port, post({"timestamp": 2}, CLOSE))).status == 507
        disk.end(Fault.FULL)
        assert (await ask(daemon.port, post({"timestamp": 3}, CLOSE))).status == 201
        assert await daemon.terminate() == 0
        assert "Traceback" not in daemon.out + daemon.err
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        assert (await ask(daemon.port, get(EVENTS))).json == [{"timestamp": 1}, {"timestamp": 3}]
