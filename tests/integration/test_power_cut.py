"""What a power cut may take: nothing that was acknowledged, and so it was synced."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from random import Random

import attrs
import pytest
import pytest_twisted

from tests.integration.daemon import Daemon
from tests.integration.disk import CHECKPOINT, SYNCHRONOUS, Disk, Fault
from tests.integration.load import SOAKING, SQLITE, Load
from tests.integration.platter import cut_power

ROUNDS = 100 if SOAKING else 8
SEED = 20120803
#: The cut comes at random within so many seconds of load.
LOAD_SECONDS = 0.5
#: Much more often than usual: each checkpoint is two syncs in a row.
CHECKPOINT_PAGES = 100
#: Of the syncs of a first start, each that is cut, or every third one.
STEP = 1 if SOAKING else 3


@attrs.define(eq=False)
class Power:
    """A folder and a disk, on which the power is cut again and again."""

    folder: Path
    chance: Random
    load: Load = attrs.field(factory=Load)

    @property
    def disk(self) -> Disk:
        """The disk, and the folder beside the daemon's by which it is steered."""
        return Disk(self.folder / "disk")

    async def run_until_cut(self, **environ: str) -> str:
        """A daemon on the disk under load, until a random moment; tells what was left of it."""
        environ = SQLITE | {CHECKPOINT: str(CHECKPOINT_PAGES)} | environ
        async with Daemon(self.folder, environ=environ, runner=self.disk.runner) as daemon:
            await self.load.send_for(self.chance.uniform(0, LOAD_SECONDS), daemon)
        partly = self.chance if self.chance.random() < 0.7 else None
        return self.cut(partly)

    def cut(self, partly: Random | None = None) -> str:
        """Make the dead daemon's files what the disk holds."""
        return cut_power(self.folder, SQLITE["DB_NAME"], self.disk.state, partly)

    async def look(self) -> None:
        """A daemon on a healthy disk opens what was left; all that it had promised is there."""
        async with Daemon(self.folder, environ=SQLITE) as daemon:
            await self.load.assert_kept(daemon)
            # One in two leaves its write-ahead log behind.
            if self.chance.random() < 0.5:
                assert await daemon.terminate() == 0


@pytest_twisted.ensureDeferred
async def test_power_cut_takes_nothing_acknowledged(tmp_path: Path) -> None:
    """Whatever part of the unsynced bytes is lost, the bank opens, and keeps its promises."""
    power = Power(tmp_path, Random(SEED))
    for number in range(ROUNDS):
        story = "before the cut"
        try:
            story = await power.run_until_cut()
            await power.look()
        except BaseException as error:
            error.add_note(f"in round {number} of seed {SEED}: {story}")
            raise
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        await power.load.assert_all_kept(daemon)
    print(f"{ROUNDS} power cuts, {len(power.load.kept)} events acknowledged")


@pytest.mark.parametrize("level", ["OFF", "NORMAL"])
@pytest_twisted.ensureDeferred
async def test_rig_notices_missing_syncs(level: str, tmp_path: Path) -> None:
    """On this disk a store that acknowledges before it syncs does lose events: the rig can tell."""
    power = Power(tmp_path, Random(SEED))
    async with Daemon(
        tmp_path, environ=SQLITE | {SYNCHRONOUS: level}, runner=power.disk.runner
    ) as daemon:
        await power.load.send_for(LOAD_SECONDS, daemon)
    assert power.load.kept
    power.cut()
    with pytest.raises(AssertionError, match="acknowledged events lost"):
        await power.look()


@pytest_twisted.ensureDeferred
async def test_power_cut_in_the_first_start(tmp_path: Path) -> None:
    """Wherever a database was when the power was cut as it was made, the next start is well."""
    chance = Random(SEED)
    for number in count(0, STEP):
        folder = tmp_path / str(number)
        folder.mkdir()
        power = Power(folder, chance)
        power.disk.begin(Fault.DEATH, after=number)
        daemon = Daemon(folder, environ=SQLITE, runner=power.disk.runner).spawn()
        try:
            await daemon.settled()
        finally:
            await daemon.kill()
        if "listens at" in daemon.out:
            break  # so many syncs are more than a start needs
        power.cut(chance)
        async with Daemon(folder, environ=SQLITE) as daemon:
            assert await daemon.terminate() == 0
            assert (daemon.err, "Traceback" in daemon.out) == ("", False)
    assert number > STEP
