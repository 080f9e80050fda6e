"""Backups while the daemon writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue

from kpiggybank import KPIggyBank
from tests.integration.daemon import EVENTS, ROOT, Daemon, ask, get, reactor
from tests.integration.load import SQLITE

FILE = f"{SQLITE['DB_NAME']}.sqlite3"


async def command(module: str, *arguments: Path) -> tuple[int, str, str]:
    """The status of a command, and what it writes to stdout and stderr."""
    out, err, status = await getProcessOutputAndValue(
        sys.executable,
        ["-m", f"kpiggybank.{module}", *map(str, arguments)],
        env={"PYTHONPATH": str(ROOT)},
        reactor=reactor,
    )
    return status, out.decode(), err.decode()


@pytest_twisted.ensureDeferred
async def test_backup_while_writing(tmp_path: Path) -> None:
    """The copy is whole, and has at least what was acknowledged when it was begun."""
    copy = tmp_path / "copy"
    copy.mkdir()
    acknowledged: list[str] = []
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        client = KPIggyBank("127.0.0.1", daemon.port)
        going = True

        async def write() -> None:
            number = 0
            while going:
                events = [{"timestamp": number + place, "text": "x" * 300} for place in range(50)]
                acknowledged.extend(await client.saveData(events))
                number += 50

        writers = [Deferred.fromCoroutine(write()) for _ in range(3)]
        while len(acknowledged) < 5000:
            await client.saveData({"timestamp": 0})
        before = list(acknowledged)
        status, out, err = await command("backup", tmp_path / FILE, copy / FILE)
        assert (status, err) == (0, "")
        assert len(acknowledged) > len(before), "it was written meanwhile"
        going = False
        for writer in writers:
            await writer
        await client.close()
    assert [path.name for path in copy.iterdir()] == [FILE]
    assert (await command("check", copy / FILE))[0] == 0
    async with Daemon(copy, environ=SQLITE) as daemon:
        rows = (await ask(daemon.port, get(f"{EVENTS}/rows"))).json
        ids = [row["id"] for row in rows]
        assert len(set(ids)) == len(ids)
        assert set(before) <= set(ids)
        assert f"{len(ids)} events" in out


@pytest_twisted.ensureDeferred
async def test_cursors_of_a_backup(tmp_path: Path) -> None:
    """A copy goes on from cursors of the original, but not from those that came later."""
    copy = tmp_path / "copy"
    copy.mkdir()

    async def told(daemon: Daemon, since: str) -> tuple[list[int], str]:
        answer = await ask(daemon.port, get(f"{EVENTS}/stream?since={since}&feed=normal"))
        *lines, end = [json.loads(line) for line in answer.body.splitlines() if line]
        return [line["doc"]["timestamp"] for line in lines], end.get("last_seq", "")

    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        client = KPIggyBank("127.0.0.1", daemon.port)
        await client.saveData({"timestamp": 1})
        early = (await told(daemon, "0"))[1]
        await client.saveData({"timestamp": 2})
        assert (await command("backup", tmp_path / FILE, copy / FILE))[0] == 0
        await client.saveData({"timestamp": 3})
        late = (await told(daemon, "0"))[1]
        await client.close()
    async with Daemon(copy, environ=SQLITE) as daemon:
        client = KPIggyBank("127.0.0.1", daemon.port)
        await client.saveData([{"timestamp": 4}, {"timestamp": 5}])
        await client.close()
        assert (await told(daemon, early))[0] == [2, 4, 5]
        refused = await ask(daemon.port, get(f"{EVENTS}/stream?since={late}&feed=normal"))
        assert refused.status == 400


@pytest.mark.parametrize("case", ["there", "no source", "not ours", "no folder"])
@pytest_twisted.ensureDeferred
async def test_refusals(tmp_path: Path, case: str) -> None:
    """What cannot be done is one line and status 1, and leaves nothing behind."""
    source, target = tmp_path / FILE, tmp_path / "copy"
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        assert await daemon.terminate() == 0
    match case:
        case "there":
            target.write_text("dear diary")
        case "no source":
            source = tmp_path / "nothing"
        case "not ours":
            source = tmp_path / "text"
            source.write_text("dear diary" * 100)
        case _:
            target = tmp_path / "folder" / "copy"
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    status, out, err = await command("backup", source, target)
    assert (status, out) == (1, "")
    [line] = err.splitlines()
    assert line.startswith("kpiggybank-backup: ")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
