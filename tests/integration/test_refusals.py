"""What the daemon refuses to start with: always one line, status 1, and nothing is touched."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import apsw
import pytest
import pytest_twisted

from tests.integration.daemon import ADOPTED, EVENTS, TWIST, TWISTD, Daemon, ask, get, post
from tests.integration.refusal import refusal_of

SQLITE = {"DB_BACKEND": "sqlite"}
MEMORY = {"DB_BACKEND": "memory"}
SAVE = post({"timestamp": 1}, b"Connection: close")

PORTS = ("PORT", "0 to 65535")


async def refusal(
    folder: Path,
    environ: Mapping[str, str],
    *options: str,
    runner: tuple[str, ...] = TWISTD,
) -> str:
    """The one line with which a daemon ends that may not start."""
    return await refusal_of(Daemon(folder, options, environ, runner))


@pytest.mark.parametrize(
    ("environ", "options", "words"),
    [
        ({"PORT": "abc"}, (), (*PORTS, "'abc'")),
        ({"PORT": "70000"}, (), (*PORTS, "'70000'")),
        ({"PORT": "-1"}, (), (*PORTS, "'-1'")),
        ({}, ("--port", "3e3"), (*PORTS, "'3e3'")),
        ({"DB_PORT": "x"}, (), ("DB_PORT", "0 to 65535", "'x'")),
        (
            {"DB_BACKEND": "oracle"},
            (),
            ("DB_BACKEND", "couchdb", "sqlite", "memory", "dummy", "'oracle'"),
        ),
        ({"DB_BACKEND": "couchdb", "DB_HOST": "ftp://x"}, (), ("DB_HOST", "URL", "https://")),
        ({"DB_BACKEND": "couchdb", "DB_HOST": "http://me:secret@x"}, (), ("DB_HOST", "URL")),
        ({"DB_BACKEND": "", "DB_PORT": "0"}, (), ("DB_PORT", "port", "https://")),
        ({"DB_TOTAL_TIMEOUT": "0"}, (), ("DB_TOTAL_TIMEOUT", "seconds", "'0'")),
        ({"DB_NAME": "../x"}, (), ("DB_NAME", "letters", "digits", "'../x'")),
        ({"MODE": "loud"}, (), ("MODE", "dev or prod", "'loud'")),
        ({"HOST": "not an address"}, (), ("HOST", "address", "'not an address'")),
        ({}, ("--listen", "nonsense"), ("LISTEN", "Twisted endpoint", "'nonsense'")),
        ({}, ("--listen", "tcp:abc"), ("LISTEN", "Twisted endpoint", "'tcp:abc'")),
        ({}, ("--listen", "tcp:1:2:3:4"), ("LISTEN", "Twisted endpoint", "'tcp:1:2:3:4'")),
        ({"LISTEN": "tcp6"}, (), ("LISTEN", "Twisted endpoint", "'tcp6'")),
        ({"LISTEN": ADOPTED}, (), ("LISTEN", "no such socket", ADOPTED)),
    ],
    ids=str,
)
@pytest_twisted.ensureDeferred
async def test_wrong_setting(
    environ: dict[str, str], options: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    """A wrong value is one line that names the variable and what it accepts."""
    line = await refusal(tmp_path, SQLITE | environ, *options)
    assert all(word in line for word in words), line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [("--nonsense",), ("--port",), ("nonsense",)], ids=str)
@pytest_twisted.ensureDeferred
async def test_no_option(options: tuple[str, ...], tmp_path: Path) -> None:
    """What is no option is one line, too, that says where they are listed."""
    assert "--help" in await refusal(tmp_path, SQLITE, *options)


@pytest.mark.parametrize("setting", ["LISTEN", "METRICS"])
@pytest.mark.parametrize("place", ["tcp:99999:interface=127.0.0.1", "unix:/no/such/folder/x"])
@pytest_twisted.ensureDeferred
async def test_place_that_cannot_be(setting: str, place: str, tmp_path: Path) -> None:
    """An endpoint that is proper, but cannot be, is named with its setting."""
    line = await refusal(tmp_path, MEMORY | {setting: place})
    assert f"{setting}{',' if setting == 'LISTEN' else ''} take" in line


@pytest.mark.parametrize("store", [SQLITE, MEMORY], ids=["sqlite", "memory"])
@pytest_twisted.ensureDeferred
async def test_host_of_another_machine(store: dict[str, str], tmp_path: Path) -> None:
    """An address that is none of ours, which only listening can tell, is named in the line."""
    assert "192.0.2.1" in await refusal(tmp_path, store | {"HOST": "192.0.2.1"})


@pytest.mark.parametrize("store", [SQLITE, MEMORY], ids=["sqlite", "memory"])
@pytest.mark.parametrize("runner", [TWISTD, TWIST], ids=["twistd", "twist"])
@pytest.mark.parametrize("mode", ["dev", "prod"])
@pytest_twisted.ensureDeferred
async def test_port_is_taken(
    mode: str, runner: tuple[str, ...], store: dict[str, str], tmp_path: Path
) -> None:
    """A daemon that could not listen ends, instead of living on deaf."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        line = await refusal(tmp_path, store | {"PORT": port, "MODE": mode}, runner=runner)
    assert port in line
    # And it has let go of its file, if it has one.
    async with Daemon(tmp_path, environ=store) as daemon:
        assert await daemon.terminate() == 0


@pytest_twisted.ensureDeferred
async def test_file_is_in_use(tmp_path: Path) -> None:
    """The second daemon on a file is refused, and the first does not even notice."""
    async with Daemon(tmp_path, environ=SQLITE) as first:
        assert (await ask(first.port, SAVE)).status == 201
        line = await refusal(tmp_path, SQLITE)
        assert f"{tmp_path}/bid_kpi.sqlite3" in line
        assert "in use" in line
        assert (await ask(first.port, SAVE)).status == 201
        assert (await ask(first.port, get(f"{EVENTS}/count"))).json == 2
        assert await first.terminate() == 0
        assert first.err == ""


@pytest_twisted.ensureDeferred
async def test_folder_is_a_file(tmp_path: Path) -> None:
    """A DATA_DIR in which there can be no file is named in the line, and left alone."""
    file = tmp_path / "file"
    file.write_text("mine")
    assert str(file) in await refusal(tmp_path, SQLITE | {"DATA_DIR": str(file)})
    assert file.read_text() == "mine"


async def assert_left_alone(path: Path, *words: str) -> None:
    """Holds if the daemon refuses this file with these words, and changes no byte around it."""
    before = {each: each.read_bytes() for each in path.parent.iterdir()}
    line = await refusal(path.parent, SQLITE)
    assert all(word in line for word in (str(path), *words)), line
    assert {each: each.read_bytes() for each in path.parent.iterdir()} == before


@pytest_twisted.ensureDeferred
async def test_file_is_no_database(tmp_path: Path) -> None:
    """A file of another kind is not taken for a damaged database, and not overwritten."""
    path = tmp_path / "bid_kpi.sqlite3"
    path.write_text("the only copy of my novel\n" * 1000)
    await assert_left_alone(path, "no SQLite database")


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest_twisted.ensureDeferred
async def test_database_of_another_program(journal: str, tmp_path: Path) -> None:
    """A database of something else stays as it is, byte for byte."""
    path = tmp_path / "bid_kpi.sqlite3"
    change(path, f"PRAGMA journal_mode = {journal}; CREATE TABLE event (x); CREATE TABLE bank (x)")
    await assert_left_alone(path, "another program")


@pytest_twisted.ensureDeferred
async def test_database_of_a_later_version(tmp_path: Path) -> None:
    """A database whose schema is of a later version is left to that version."""
    path = tmp_path / "bid_kpi.sqlite3"
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        assert await daemon.terminate() == 0
    change(path, "UPDATE bank SET version = 99")
    await assert_left_alone(path, "version", "99")


def change(path: Path, statements: str) -> None:
    """Work on a database, made where there is none."""
    database = apsw.Connection(str(path))
    try:
        database.execute(statements).fetchall()  # else only the first of them is run
    finally:
        database.close()
