"""A disk that cannot keep what was written to it: what was acknowledged before is there."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
import pytest_twisted

from kpiggybank import KPIggyBank
from tests.integration.daemon import COMMANDS, EVENTS, Daemon, ask, get
from tests.integration.load import CUT, SOAKING, SQLITE
from tests.integration.programs import Program
from tests.integration.thin_disk import thin_disk

#: With 28 there is no room for a commit, with 44 none for what is written to the file then.
MEGABYTES = range(24, 62, 2) if SOAKING else (28, 44)
#: A list is large enough for its pages to be sent ahead of its commit.
EVENTS_A_LIST = 1000


async def fill(daemon: Daemon) -> int:
    """Save lists, each with a timestamp, until one is not taken; how many there were before."""
    client = KPIggyBank("127.0.0.1", daemon.port)
    try:
        for number in count():
            await client.saveData(
                [{"timestamp": number, "text": "x" * 300}] * EVENTS_A_LIST, retries=0
            )
    except CUT:
        return number
    finally:
        await client.close()
    raise AssertionError("it is without end")


async def assert_kept(daemon: Daemon, lists: int) -> None:
    """Holds if each list is there, once and whole; of the last, nobody knows."""
    for number in range(lists):
        found = await ask(daemon.port, get(f"{EVENTS}/count?start={number}&end={number}"))
        assert found.json == EVENTS_A_LIST
    there = (await ask(daemon.port, get(f"{EVENTS}/count"))).json
    assert there in (lists * EVENTS_A_LIST, (lists + 1) * EVENTS_A_LIST)


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
@pytest.mark.parametrize("megabytes", MEGABYTES)
@pytest_twisted.ensureDeferred
async def test_disk_that_cannot_write(tmp_path: Path, megabytes: int, killed: bool) -> None:
    """Until a sync fails, all is kept: for the next start, and when nothing is in memory any more.

    It makes no difference whether the daemon ends by itself, or is killed when it has said 503.
    """
    with thin_disk(tmp_path, megabytes) as disk:
        environ = SQLITE | {"DATA_DIR": str(disk.path)}
        async with Daemon(tmp_path, environ=environ) as daemon:
            lists = await fill(daemon)
            if not killed:
                assert await daemon.ended() == 1
        assert lists
        disk.grow()
        async with Daemon(tmp_path, environ=environ) as daemon:
            await assert_kept(daemon, lists)
            assert await daemon.terminate() == 0
        disk.unmount()
        disk.mount()
        check = (
            str(COMMANDS / "kpiggybank-check"),
            str(disk.path / f"{SQLITE['DB_NAME']}.sqlite3"),
        )
        await Program.run(check, tmp_path).ended()
        async with Daemon(tmp_path, environ=environ) as daemon:
            await assert_kept(daemon, lists)
            assert await daemon.terminate() == 0
