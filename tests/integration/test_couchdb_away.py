"""A CouchDB that is not there, is slow, goes and comes back, or does not let us in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from kpiggybank import KPIggyBank
from tests.couchdb_servers import Place
from tests.integration.daemon import EVENTS, Daemon, Pulse, ask, connect, get, post, reactor
from tests.integration.gate import Gate, gates

__all__ = ["gates"]

SAVE = post({"timestamp": 1}, b"Connection: close")

#: What the issue of a broken CouchDB promises, and what a busy machine may add to it.
PROMISE_SECONDS = 5.0
MARGIN_SECONDS = 2.5


@pytest_twisted.async_fixture
async def gate(pouchdb: Place, gates: Callable[[int], Gate]) -> Gate:
    """A shut gate before a server whose test database is not there."""
    await pouchdb.forget()
    return gates(int(pouchdb.url.rpartition(":")[2]))


def through(gate: Gate, place: Place, **more: str) -> dict[str, str]:
    """The settings of a daemon that reaches the server by the gate."""
    own = {"DB_HOST": "127.0.0.1", "DB_PORT": str(gate.port), "DB_PASS": place.password}
    return {**place.environ, **own, **more}


@asynccontextmanager
async def daemon_behind(gate: Gate, place: Place, folder: Path) -> AsyncIterator[Daemon]:
    """A daemon that has started while the gate was open; its log has no secrets in the end."""
    gate.open()
    async with Daemon(folder, environ=through(gate, place)) as daemon:
        await daemon.says("feed is open")
        yield daemon
        assert await daemon.terminate() == 0
        assert daemon.err == ""
        assert "Traceback" not in daemon.out
        assert not re.search(f"{place.user}|{place.password}", daemon.out)


async def refused(daemon: Daemon) -> None:
    """Holds if what needs the store is answered with 503, soon, and the daemon is alive."""
    begun = reactor.seconds()
    questions = [SAVE, *(get(EVENTS + path) for path in ("", "/count", "/last", "?id=x"))]
    answers = await gatherResults(
        Deferred.fromCoroutine(ask(daemon.port, question)) for question in questions
    )
    assert [answer.status for answer in answers] == [503] * len(questions)
    assert {answer.json["error"] for answer in answers} == {"unavailable"}
    assert reactor.seconds() - begun < PROMISE_SECONDS + MARGIN_SECONDS
    assert (await ask(daemon.port, get("/wsapi/ping"))).status == 200
    wire = await connect(daemon.port)
    wire.send(SAVE)
    assert b"\r\nRetry-After: " in await wire.rest()


async def served(daemon: Daemon) -> None:
    """Waits until an event is taken again."""
    deadline = reactor.seconds() + 20
    while (await ask(daemon.port, SAVE)).status != 201:
        assert reactor.seconds() < deadline
        await deferLater(reactor, 0.1)


@pytest.mark.parametrize("way", ["shut", "deaf"])
@pytest_twisted.ensureDeferred
async def test_couchdb_goes_and_comes_back(
    way: str, gate: Gate, pouchdb: Place, tmp_path: Path
) -> None:
    """Meanwhile there are 503s, and streams stay; then all goes on, and nothing is told twice."""
    async with daemon_behind(gate, pouchdb, tmp_path) as daemon:
        follower = KPIggyBank("127.0.0.1", daemon.port)
        heard: list[str] = []
        errors: list[Exception] = []
        pulse = Pulse()

        def hear(change: dict[str, str]) -> None:
            heard.append(change["id"])
            pulse.beat()

        follower.on("change", hear)
        follower.on("error", errors.append)
        try:
            await follower.followChanges()
            assert (await ask(daemon.port, SAVE)).status == 201
            if way == "shut":
                await gate.shut()
            else:
                gate.deaf = True
            await refused(daemon)
            if way == "shut":
                gate.open()
            else:
                await gate.shut()
                gate.deaf = False
                gate.open()
            await served(daemon)
            await daemon.says("feed was lost(.|\n)*feed is open")
            [last] = (await ask(daemon.port, SAVE)).json["ids"]
            await pulse.until(lambda: last in heard or None, lambda: f"{last} in {heard}")
            rows = (await ask(daemon.port, get(f"{EVENTS}/rows"))).json
            assert sorted(heard) == sorted(row["id"] for row in rows)
            assert errors == []
        finally:
            await follower.close()
    assert len(re.findall("feed was lost", daemon.out)) == 1


@pytest_twisted.ensureDeferred
async def test_start_without_couchdb(gate: Gate, pouchdb: Place, tmp_path: Path) -> None:
    """The daemon waits, says once what it waits for and what needs no server, and then listens."""
    gate.open()
    await gate.shut()
    daemon = Daemon(tmp_path, environ=through(gate, pouchdb, MODE="prod")).spawn()
    try:
        await daemon.says("waiting for CouchDB.*DB_BACKEND=sqlite")
        await deferLater(reactor, 1.5)  # some more attempts, about which there is nothing to say
        assert "listens at" not in daemon.out
        assert len(daemon.out.splitlines()) == 1
        gate.open()
        await daemon.listening()
        assert (await ask(daemon.port, SAVE)).status == 201
        assert await daemon.terminate() == 0
        assert daemon.err == ""
    finally:
        await daemon.kill()


@pytest_twisted.ensureDeferred
async def test_stop_while_waiting(gate: Gate, pouchdb: Place, tmp_path: Path) -> None:
    """A daemon that waits for its CouchDB can be stopped, in order."""
    gate.open()
    await gate.shut()
    daemon = Daemon(tmp_path, environ=through(gate, pouchdb)).spawn()
    try:
        await daemon.says("waiting for CouchDB")
        assert await daemon.terminate() == 0
        assert daemon.err == ""
        assert "Traceback" not in daemon.out
    finally:
        await daemon.kill()


@pytest_twisted.ensureDeferred
async def test_wrong_password(gate: Gate, pouchdb: Place, tmp_path: Path) -> None:
    """It ends the start at once, with one line that does not tell it, and after one try."""
    gate.open()
    environ = through(gate, pouchdb, DB_USER="kurt", DB_PASS="s3cret")
    daemon = Daemon(tmp_path, environ=environ).spawn()
    try:
        assert await daemon.ended() == 1
    finally:
        await daemon.kill()
    [line] = daemon.err.splitlines()
    assert "DB_USER" in line and "DB_PASS" in line
    assert bytes(gate.heard).count(b"HTTP/1.1") == 1
    assert b"Authorization: Basic " in gate.heard
    for secret in ("kurt", "s3cret", "a3VydDpzM2NyZXQ"):
        assert secret not in daemon.out + daemon.err


@pytest_twisted.ensureDeferred
async def test_no_user_is_no_authentication(gate: Gate, pouchdb: Place, tmp_path: Path) -> None:
    """With an empty DB_USER no login is sent; where all is set up, a mere reader gets along."""
    async with daemon_behind(gate, pouchdb, tmp_path):
        pass
    gate.heard.clear()
    environ = through(gate, pouchdb, DB_USER="", DB_PASS="s3cret")
    async with Daemon(tmp_path, environ=environ) as daemon:
        assert (await ask(daemon.port, get(f"{EVENTS}/count"))).json == 0
        assert await daemon.terminate() == 0
    assert gate.heard.startswith(b"GET /bid_kpi_test HTTP/1.1")
    assert b"uthorization" not in gate.heard
