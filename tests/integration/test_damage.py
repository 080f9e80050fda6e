"""A file that is not what was written: refused at the start, and never a wrong event."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import apsw
import pytest
import pytest_twisted

from tests.integration.daemon import EVENTS, Daemon, ask, connect, get, post
from tests.integration.load import SQLITE

PAGE = 4096
CLOSE = b"Connection: close"

Damage = Callable[[Path], None]


async def unclean(folder: Path) -> Path:
    """A file with thousands of events whose daemon was killed; its log has one more."""
    async with Daemon(folder, environ=SQLITE) as daemon:
        events = [{"timestamp": number, "text": f"text {number}"} for number in range(4000)]
        assert (await ask(daemon.port, post(events, CLOSE, b"Idempotency-Key: k"))).status == 201
        assert await daemon.terminate() == 0
    async with Daemon(folder, environ=SQLITE) as daemon:
        # In a place of its own, so that few pages are in the log, which would hide those below.
        assert (await ask(daemon.port, post({"timestamp": 9999}, CLOSE))).status == 201
        await daemon.kill()
    path = folder / f"{SQLITE['DB_NAME']}.sqlite3"
    assert os.path.getsize(f"{path}-wal") > 0
    return path


def inner_page(path: Path, seed: int) -> int:
    """Where a page begins of which the log has no other content."""
    log = Path(f"{path}-wal").read_bytes()[32:]
    hidden = {int.from_bytes(log[at : at + 4]) for at in range(0, len(log), 24 + PAGE)}
    pages = range(2, path.stat().st_size // PAGE + 1)
    return (Random(seed).choice([page for page in pages if page not in hidden]) - 1) * PAGE


def written(path: Path, place: int, content: bytes) -> None:
    """Put other bytes into a file."""
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def zeroed(seed: int) -> Damage:
    """A page was lost."""
    return lambda path: written(path, inner_page(path, seed), bytes(PAGE))


def torn(seed: int) -> Damage:
    """Of a page, only the second half was written."""
    return lambda path: written(path, inner_page(path, seed), bytes(PAGE // 2))


def cut(path: Path) -> None:
    """The end of the file is missing."""
    os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE)


def emptied(path: Path) -> None:
    """Only the log is left."""
    os.truncate(path, 0)


async def refusal(folder: Path) -> str:
    """The one line with which the daemon does not start."""
    daemon = Daemon(folder, environ=SQLITE).spawn()
    assert await daemon.ended() == 1
    assert "Traceback" not in daemon.out + daemon.err
    [line] = daemon.err.splitlines()
    return line


@pytest.mark.parametrize(
    "damage",
    [*map(zeroed, range(3)), *map(torn, range(3)), cut, emptied],
    ids=["zeroed0", "zeroed1", "zeroed2", "torn0", "torn1", "torn2", "cut", "emptied"],
)
@pytest_twisted.ensureDeferred
async def test_damage_is_found_at_the_start(tmp_path: Path, damage: Damage) -> None:
    """After a stop that was none in order, what is damaged is refused and left as it is."""
    path = await unclean(tmp_path)
    damage(path)
    before = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    line = await refusal(tmp_path)
    assert line.startswith("kpiggybank: ")
    assert str(path) in line and "damaged" in line and "backup" in line
    assert (path.read_bytes(), Path(f"{path}-wal").read_bytes()) == before


@pytest_twisted.ensureDeferred
async def test_lost_page_is_found_after_a_stop_in_order(tmp_path: Path) -> None:
    """A file that was closed in order is looked over, too."""
    path = await unclean(tmp_path)
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        assert await daemon.terminate() == 0
    written(path, path.stat().st_size // PAGE // 2 * PAGE, bytes(PAGE))
    assert "damaged" in await refusal(tmp_path)


@pytest_twisted.ensureDeferred
async def test_damaged_event_is_never_told(tmp_path: Path) -> None:
    """An event in which a character has changed is an error that names it; others are served."""
    path = await unclean(tmp_path)
    database = apsw.Connection(str(path))
    database.execute("UPDATE event SET json = replace(json, 'text 7', 'test 7') WHERE id = 'k.7'")
    database.close()
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        answer = await ask(daemon.port, get(f"{EVENTS}?id=k.7"))
        assert (answer.status, answer.json["error"]) == (500, "damaged")
        assert "k.7" in answer.json["reason"]
        for asked in ("?limit=10", "/rows?end=10", "?where=text:x", "/stream?since=0&feed=normal"):
            wire_answer = await ask_roughly(daemon, f"{EVENTS}{asked}")
            assert b"test 7" not in wire_answer
        assert (await ask(daemon.port, get(f"{EVENTS}?id=k.8"))).json["results"]["text"] == "text 8"


@pytest_twisted.ensureDeferred
async def test_log_is_taken_away(tmp_path: Path) -> None:
    """What was acknowledged goes to the file, nothing else is, and the daemon ends with a line."""
    path = tmp_path / f"{SQLITE['DB_NAME']}.sqlite3"
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        assert (await ask(daemon.port, post({"timestamp": 1}, CLOSE))).status == 201
        os.unlink(f"{path}-wal")
        answer = await ask(daemon.port, get("/__heartbeat__"))
        assert (answer.status, answer.json["ok"]) == (503, False)
        assert "-wal was removed" in answer.json["reason"]
        assert await daemon.ended() == 1
        assert "-wal was removed" in daemon.err
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        [event] = (await ask(daemon.port, get(EVENTS))).json
        assert event["timestamp"] == 1


@pytest_twisted.ensureDeferred
async def test_missing_log_is_remarked(tmp_path: Path) -> None:
    """A file without its log is refused, or starts, and the daemon's log says what that means."""
    path = await unclean(tmp_path)
    os.unlink(f"{path}-wal")
    assert "-wal is damaged (it is gone)" in await refusal(tmp_path)
    os.unlink(f"{path}-shm")
    async with Daemon(tmp_path, environ=SQLITE | {"MODE": "prod"}) as daemon:
        assert (await ask(daemon.port, get("/wsapi/ping"))).status == 200
        assert "unless SQLite has merged the two" in daemon.err + daemon.out


async def ask_roughly(daemon: Daemon, path: str) -> bytes:
    """Whatever comes as an answer, complete or not."""
    wire = await connect(daemon.port)
    wire.send(get(path))
    return await wire.rest()
