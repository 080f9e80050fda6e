"""How the daemon starts: which setting counts, where it listens, and what it says of it."""

from __future__ import annotations

import re
import resource
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.utils import getProcessOutputAndValue

from kpiggybank.settings import SETTINGS
from tests.integration.daemon import (
    DEADLINE_SECONDS,
    EVENTS,
    ROOT,
    TWIST,
    TWISTD,
    Answer,
    Daemon,
    ask,
    get,
    post,
    reactor,
)

MEMORY = {"DB_BACKEND": "memory"}
SQLITE = {"DB_BACKEND": "sqlite"}
PROD = {"MODE": "prod"}

PONG = Answer(200, b"pong")
SAVE = post({"timestamp": 1}, b"Connection: close")

RUNNERS = pytest.mark.parametrize("runner", [TWISTD, TWIST], ids=["twistd", "twist"])


async def store_of(folder: Path, environ: dict[str, str], *options: str) -> str:
    """What a daemon with these settings says of its store."""
    async with Daemon(folder, options, environ) as daemon:
        _, store = await daemon.listening()
        assert await ask(daemon.port, get("/wsapi/ping")) == PONG
        assert await daemon.terminate() == 0
    return store


@pytest_twisted.ensureDeferred
async def test_environment_beats_default(tmp_path: Path) -> None:
    """Without a word, the file is bid_kpi in the working folder; a variable changes that."""
    assert await store_of(tmp_path, SQLITE) == f"sqlite, {tmp_path}/bid_kpi.sqlite3"
    named = SQLITE | {"DB_NAME": "other", "DATA_DIR": str(tmp_path / "there")}
    assert await store_of(tmp_path, named) == f"sqlite, {tmp_path}/there/other.sqlite3"
    assert {path.name for path in tmp_path.iterdir()} == {"bid_kpi.sqlite3", "there"}


@pytest_twisted.ensureDeferred
async def test_option_beats_environment(tmp_path: Path) -> None:
    """An option counts, even where the variable says something else, or nonsense."""
    environ = {
        "DB_BACKEND": "oracle",
        "DB_NAME": "unused",
        "DATA_DIR": "/dev/null",
        "PORT": "abc",
        "MODE": "loud",
    }
    options = ["--db-backend=sqlite", "--db-name=used", "--data-dir=here", "--port=0"]
    options += ["--mode", "dev"]
    assert await store_of(tmp_path, environ, *options) == f"sqlite, {tmp_path}/here/used.sqlite3"


@pytest_twisted.ensureDeferred
async def test_port_is_obeyed(tmp_path: Path) -> None:
    """The port that an option names is the one, whatever the variable says."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    async with Daemon(tmp_path, ["--port", str(port)], MEMORY | {"PORT": "1"}) as daemon:
        assert daemon.port == port
        assert await ask(port, get("/wsapi/ping")) == PONG
        assert await daemon.terminate() == 0


@pytest_twisted.ensureDeferred
async def test_systemd_names_the_folder(tmp_path: Path) -> None:
    """STATE_DIRECTORY is where the file goes, unless DATA_DIR says otherwise; folders are made."""
    state, data = tmp_path / "state", tmp_path / "a" / "b"
    environ = SQLITE | {"STATE_DIRECTORY": str(state)}
    assert await store_of(tmp_path, environ) == f"sqlite, {state}/bid_kpi.sqlite3"
    environ["DATA_DIR"] = str(data)
    assert await store_of(tmp_path, environ) == f"sqlite, {data}/bid_kpi.sqlite3"
    assert (data / "bid_kpi.sqlite3").is_file()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for that of a socket, which may have 100 bytes in all."""
    with tempfile.TemporaryDirectory(prefix="kpi-", dir="/tmp") as folder:
        yield Path(folder)


@pytest_twisted.ensureDeferred
async def test_listens_at_a_unix_socket(short_folder: Path) -> None:
    """A Twisted endpoint may be given instead of HOST and PORT."""
    path = short_folder / "kpi.sock"
    environ = MEMORY | {"HOST": "192.0.2.1"}
    async with Daemon(short_folder, ["--listen", f"unix:{path}"], environ) as daemon:
        where, _ = await daemon.listening()
        assert str(path) in where
        assert await ask(f"unix:{path}", get("/wsapi/ping")) == PONG
        assert await daemon.terminate() == 0
    assert not path.exists()


def has_ipv6() -> bool:
    """Whether this machine has the address ::1."""
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
@pytest.mark.parametrize(
    "environ", [{"LISTEN": r"tcp6:0:interface=\:\:1"}, {"HOST": "::1"}], ids=["LISTEN", "HOST"]
)
@pytest_twisted.ensureDeferred
async def test_listens_at_ipv6(environ: dict[str, str], tmp_path: Path) -> None:
    """IPv6 works, too, and the line at the start is a URL that one can use."""
    async with Daemon(tmp_path, environ=MEMORY | environ) as daemon:
        where, _ = await daemon.listening()
        match = re.fullmatch(r"http://\[::1\]:(\d+)", where)
        assert match, where
        assert await ask(rf"tcp:\:\:1:{match[1]}", get("/wsapi/ping")) == PONG
        assert await daemon.terminate() == 0


@RUNNERS
def test_help_names_every_setting(runner: tuple[str, ...], tmp_path: Path) -> None:
    """`--help` shows each option with the variable that says the same, and the default."""
    shown = subprocess.run(
        [*runner, "kpiggybank", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    words = " ".join(shown.stdout.split())
    for setting in SETTINGS:
        default = f"; default {re.escape(setting.default)}" if setting.default else ""
        pattern = rf"--{setting.option}= ((?!--).)*\({setting.variable}{default}\)"
        assert re.search(pattern, words), f"{pattern}\n{shown.stdout}"
    assert shown.stderr == ""
    assert list(tmp_path.iterdir()) == []


@RUNNERS
@pytest_twisted.ensureDeferred
async def test_runs_with_either_command(runner: tuple[str, ...], tmp_path: Path) -> None:
    """`twistd` and `twist` both run it, on any store, and both end with 0."""
    async with Daemon(tmp_path, environ=SQLITE, runner=runner) as daemon:
        assert (await ask(daemon.port, SAVE)).status == 201
        assert (await ask(daemon.port, get(f"{EVENTS}/count"))).json == 1
        assert await daemon.terminate() == 0
        assert (daemon.err, "Traceback" in daemon.out) == ("", False)


@RUNNERS
@pytest_twisted.ensureDeferred
async def test_production_logs_start_and_stop(runner: tuple[str, ...], tmp_path: Path) -> None:
    """MODE=prod: one line when it listens, one when it has stopped, and nothing of requests."""
    async with Daemon(tmp_path, environ=SQLITE | PROD, runner=runner) as daemon:
        assert (await ask(daemon.port, SAVE)).status == 201
        assert (await ask(daemon.port, get("/nowhere"))).status == 404
        assert await daemon.terminate() == 0
    first, last = daemon.out.splitlines()
    assert "KPIggyBank listens at " in first
    assert last.endswith("KPIggyBank has stopped")
    assert daemon.err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process's files")
@RUNNERS
@pytest_twisted.ensureDeferred
async def test_production_logs_warnings(runner: tuple[str, ...], tmp_path: Path) -> None:
    """MODE=prod: a disk that is full is told of in a line, and the daemon goes on afterwards."""
    async with Daemon(tmp_path, environ=SQLITE | PROD, runner=runner) as daemon:
        unlimited = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))
        assert (await ask(daemon.port, SAVE)).status == 503
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, unlimited)
        assert (await ask(daemon.port, SAVE)).status == 201
        assert await daemon.terminate() == 0
    first, warning, last = daemon.out.splitlines()
    assert "KPIggyBank listens at " in first
    assert "the store is unavailable: " in warning
    assert last.endswith("KPIggyBank has stopped")


@pytest_twisted.ensureDeferred
async def test_development_shows_a_command(tmp_path: Path) -> None:
    """MODE=dev: the curl line in the log can be pasted into a shell, and saves an event."""
    async with Daemon(tmp_path, environ=SQLITE | {"MODE": "dev"}) as daemon:
        line = await daemon.says(r"try: (curl .+)\n")
        curl, flag, form, url = shlex.split(line[1])
        assert (curl, flag) == ("curl", "-d")
        if shutil.which("curl"):
            said, _, status = await getProcessOutputAndValue(
                "/bin/sh", ["-c", f"{line[1]} --silent --noproxy '*'"], reactor=reactor
            )
            assert status == 0
            assert b'"ok":true' in said
        else:
            assert url == f"http://127.0.0.1:{daemon.port}{EVENTS}"
            kind = b"Content-Type: application/x-www-form-urlencoded\r\nConnection: close"
            head = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n%s\r\n\r\n"
            request = head % (EVENTS.encode(), len(form), kind) + form.encode()
            assert (await ask(daemon.port, request)).status == 201
        saved = await ask(daemon.port, get(EVENTS))
        assert saved.json == [{"type": "hello", "timestamp": 1}]
        assert await daemon.terminate() == 0
