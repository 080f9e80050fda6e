"""What `kill -9` may take, at any moment: nothing that was acknowledged."""

from __future__ import annotations

from pathlib import Path
from random import Random

import apsw
import pytest_twisted
from twisted.internet.task import deferLater

from tests.integration.daemon import Daemon, reactor
from tests.integration.load import SOAKING, SQLITE, Load

ROUNDS = 200 if SOAKING else 10
SEED = 20120802
#: The kill comes at random within so many seconds of load, or of a start.
LOAD_SECONDS = 0.5
START_SECONDS = 0.7
#: One round of so many is a kill during the start.
STARTS = 5

#: Within this a daemon is ready again, whatever it has to recover. Said of a soak only, and of all
#: rounds but one of 20: another program may have the machine for a moment.
READY_SECONDS = 2.0


@pytest_twisted.ensureDeferred
async def test_kill_takes_nothing_acknowledged(tmp_path: Path) -> None:
    """Killed at random moments, it starts again each time and has all that it had promised."""
    load = Load()
    chance = Random(SEED)
    starts: list[float] = []
    for number in range(ROUNDS):
        try:
            if number % STARTS == STARTS - 1:
                await killed_at_start(tmp_path, chance.uniform(0, START_SECONDS))
            begun = reactor.seconds()
            async with Daemon(tmp_path, environ=SQLITE) as daemon:
                starts.append(reactor.seconds() - begun)
                await load.assert_kept(daemon)
                await load.send_for(chance.uniform(0, LOAD_SECONDS), daemon)
        except BaseException as error:
            error.add_note(f"in round {number} of seed {SEED}")
            raise
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        await load.assert_kept(daemon)
        await load.assert_all_kept(daemon)
        assert await daemon.terminate() == 0
        assert "Traceback" not in daemon.out + daemon.err
    database = apsw.Connection(str(tmp_path / f"{SQLITE['DB_NAME']}.sqlite3"))
    try:
        assert database.pragma("integrity_check") == "ok"
    finally:
        database.close()
    starts.sort()
    usual = starts[len(starts) * 19 // 20 - 1]
    print(
        f"{ROUNDS} kills, {len(load.kept)} events acknowledged; ready again within {usual:.2f} s, "
        f"once {starts[-1]:.2f} s"
    )
    assert usual <= READY_SECONDS or not SOAKING


async def killed_at_start(folder: Path, seconds: float) -> None:
    """A daemon that dies so many seconds after it was born, wherever it is by then."""
    daemon = Daemon(folder, environ=SQLITE).spawn()
    try:
        await deferLater(reactor, seconds)
    finally:
        await daemon.kill()
