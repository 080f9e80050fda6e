"""What twistd itself offers works with the plugin: the background, files, and another user."""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_twisted

from tests.integration.daemon import COMMANDS, EVENTS, ROOT, Daemon, ask, get, post
from tests.integration.systemd import Ear

SUBREAPER = (sys.executable, "-m", "tests.integration.subreaper")
TWISTD = (str(COMMANDS / "twistd"),)
#: The same where the other user cannot read Python's own files: this one is imported late.
RUN = "import importlib.readers; from twisted.scripts.twistd import run; run()"
PRELOADED = (sys.executable, "-c", RUN)
SAVE = post({"timestamp": 1}, b"Connection: close")
#: Of nobody, on every Linux.
NOBODY = 65534

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may enter; a daemon that is left there is killed."""
    with tempfile.TemporaryDirectory(prefix="kpi-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((folder / "pid").read_text()), signal.SIGKILL)


async def lives_and_ends(folder: Path, ear: Ear, twistd: tuple[str, ...], *options: str) -> None:
    """Holds if a daemon goes into the background, serves, and ends in order."""
    pid, log = folder / "pid", folder / "log"
    runner = (*SUBREAPER, *twistd, f"--pidfile={pid}", f"--logfile={log}", *options)
    environ = {"DB_BACKEND": "sqlite", "DATA_DIR": str(folder / "data"), **ear.environ}
    starter = Daemon(folder, environ=environ, runner=runner).spawn()
    try:
        ready = await ear.hears("READY=1\n")
        url = re.search(r"listens at http://127\.0\.0\.1:(\d+);", ready)
        assert url
        await starter.says("the program ended with 0\n")
        assert (await ask(int(url[1]), SAVE)).status == 201
        assert (await ask(int(url[1]), get(f"{EVENTS}/count"))).json == 1
        os.kill(int(pid.read_text()), signal.SIGTERM)
        await starter.says("what it left ended with 0\n")
        assert await starter.ended() == 0
    finally:
        await starter.kill()
    assert not pid.exists()
    said = log.read_text()
    assert "KPIggyBank listens at" in said and "KPIggyBank has stopped" in said
    assert "Traceback" not in said
    assert starter.err == ""


@pytest_twisted.ensureDeferred
async def test_in_the_background(folder: Path, ear: Ear) -> None:
    """Without -n, twistd ends with 0 at once, and the daemon lives on with its pidfile and log."""
    await lives_and_ends(folder, ear, TWISTD)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
@pytest.mark.skipif(
    not all(above.stat().st_mode & stat.S_IXOTH for above in (ROOT, *ROOT.parents)),
    reason="other users cannot read this checkout",
)
@pytest_twisted.ensureDeferred
async def test_as_another_user(folder: Path, ear: Ear) -> None:
    """With --uid and --gid the daemon is that user's, and so are its files."""
    os.chown(folder, NOBODY, NOBODY)
    await lives_and_ends(folder, ear, PRELOADED, f"--uid={NOBODY}", f"--gid={NOBODY}")
    file = (folder / "data" / "bid_kpi.sqlite3").stat()
    assert (file.st_uid, file.st_gid) == (NOBODY, NOBODY)
    assert stat.S_IMODE(file.st_mode) & 0o077 == 0
