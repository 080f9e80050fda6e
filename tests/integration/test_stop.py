"""How the daemon stops: every request that reached it gets its answer, and the status is 0."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from kpiggybank.sample import SignIns
from tests.integration.daemon import EVENTS, Daemon, Wire, ask, connect, get, post

SQLITE = {"DB_BACKEND": "sqlite"}
MEMORY = {"DB_BACKEND": "memory"}

#: Fewer than the connections that wait in the kernel until Twisted accepts them.
REQUESTS = 40
#: Nearly as many connections as wait there.
CROWD = 900
#: As many as the sign-in server sends at once.
EVENTS_IN_ONE = 20

PING = b"GET /wsapi/ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def made_up_lists(count: int = REQUESTS) -> list[list[dict[str, Any]]]:
    """Lists of sign-ins, one for each request."""
    source = SignIns(seed=7)
    return [source.take(EVENTS_IN_ONE) for _ in range(count)]


async def connections(daemon: Daemon, count: int = REQUESTS) -> list[Wire]:
    """So many connections to the daemon, of which it need not have noticed anything yet."""
    wires = [Deferred.fromCoroutine(connect(daemon.port)) for _ in range(count)]
    return await gatherResults(wires, consumeErrors=True)


async def connections_in_use(daemon: Daemon, count: int = REQUESTS) -> list[Wire]:
    """Connections over which the daemon has answered once, and which stay open."""
    wires = await connections(daemon, count)
    for wire in wires:
        wire.send(PING)
    for wire in wires:
        await wire.heard(b"\r\n\r\npong")
        wire.received.clear()
    return wires


async def acknowledged(
    wires: Sequence[Wire], sent: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[str, Mapping[str, Any]]:
    """The events by id, once each request has got its 201."""
    kept: dict[str, Mapping[str, Any]] = {}
    for wire, events in zip(wires, sent, strict=True):
        answer = await wire.answer()
        assert answer.status == 201, answer
        kept.update(zip(answer.json["ids"], events, strict=True))
    assert len(kept) == len(sent) * EVENTS_IN_ONE
    return kept


async def all_events(daemon: Daemon) -> list[tuple[str, Mapping[str, Any]]]:
    """Everything that is in the daemon: id and event."""
    answer = await ask(daemon.port, get(f"{EVENTS}/rows"))
    assert answer.status == 200
    return [(row["id"], row["value"]) for row in answer.json]


def assert_clean(daemon: Daemon) -> None:
    """Holds if it has ended with 0, said so, and complained of nothing."""
    assert (daemon.status, daemon.err) == (0, "")
    assert daemon.out.count("KPIggyBank has stopped") == 1
    assert not re.search("Traceback|#(warn|error|critical)", daemon.out), daemon.out


@pytest.mark.parametrize("name", ["TERM", "INT"])
@pytest_twisted.ensureDeferred
async def test_requests_under_way_are_answered(name: str, tmp_path: Path) -> None:
    """A stop loses none of the requests that were written, and what they got is on the disk."""
    sent = made_up_lists()
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        wires = await connections_in_use(daemon)
        for wire, events in zip(wires, sent, strict=True):
            wire.send(post(events))
        assert await daemon.terminate(name) == 0
        kept = await acknowledged(wires, sent)
        assert_clean(daemon)
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        there = await all_events(daemon)
        assert len(there) == len(kept)
        assert dict(there) == kept


@pytest_twisted.ensureDeferred
async def test_requests_of_a_crowd_are_answered(tmp_path: Path) -> None:
    """The writer's way, a connection for each request: all that were open and written count."""
    sent = made_up_lists()
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        wires = await connections(daemon)
        for wire, events in zip(wires, sent, strict=True):
            wire.send(post(events, b"Connection: close"))
        daemon.signal("TERM")
        kept = await acknowledged(wires, sent)
        assert await daemon.ended() == 0
        assert_clean(daemon)
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        assert dict(await all_events(daemon)) == kept


@pytest.mark.parametrize("used", [True, False], ids=["connected", "unaccepted"])
@pytest_twisted.ensureDeferred
async def test_unread_requests_are_answered(used: bool, tmp_path: Path) -> None:
    """What the kernel had taken before a busy daemon saw the signal is answered all the same."""
    sent = made_up_lists()
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        # Twisted learns from this how few connections it need accept in one turn.
        await connections_in_use(daemon, 1)
        wires = await connections_in_use(daemon) if used else []
        daemon.signal("STOP")  # as busy as can be, from here on
        wires = wires or await connections(daemon)
        for wire, events in zip(wires, sent, strict=True):
            wire.send(post(events))
        daemon.signal("TERM")
        daemon.signal("CONT")
        await acknowledged(wires, sent)
        assert await daemon.ended() == 0
        assert_clean(daemon)


@pytest_twisted.ensureDeferred
async def test_a_crowd_that_came_at_once_is_answered(tmp_path: Path) -> None:
    """All that come back together after a restart are in the kernel at once, and lose nothing."""
    ping = PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        await connections_in_use(daemon, 1)
        daemon.signal("STOP")
        wires = await connections(daemon, CROWD)
        for wire in wires:
            wire.send(ping)
        daemon.signal("TERM")
        daemon.signal("CONT")
        for wire in wires:
            assert (await wire.answer()).body == b"pong"
        assert await daemon.ended() == 0
        assert_clean(daemon)


@pytest_twisted.ensureDeferred
async def test_second_signal_changes_nothing(tmp_path: Path) -> None:
    """Impatience, by whichever signal, neither cuts the answers nor spoils the status."""
    sent = made_up_lists()
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        wires = await connections_in_use(daemon)
        for wire, events in zip(wires, sent, strict=True):
            wire.send(post(events))
        for name in ("TERM", "TERM", "INT"):
            daemon.signal(name)
        await acknowledged(wires, sent)
        assert await daemon.ended() == 0
        assert_clean(daemon)


@pytest_twisted.ensureDeferred
async def test_half_a_body_is_awaited(tmp_path: Path) -> None:
    """A request that has begun to arrive gets its answer once the rest has come."""
    [events] = made_up_lists(1)
    request = post(events)
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        wire = await connect(daemon.port)
        wire.send(request[: -len(request) // 2])
        daemon.signal("TERM")
        await daemon.says(r"\(TCP Port \d+ Closed\)")
        daemon.signal("TERM")
        wire.send(request[-len(request) // 2 :])
        kept = await acknowledged([wire], [events])
        assert await daemon.ended() == 0
        assert_clean(daemon)
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        assert dict(await all_events(daemon)) == kept


@pytest_twisted.ensureDeferred
async def test_idle_connections_delay_nothing(tmp_path: Path) -> None:
    """Connections over which nothing is asked are closed; new ones are not taken."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        used, fresh = await connections_in_use(daemon), await connections(daemon, 3)
        assert await daemon.terminate() == 0
        assert_clean(daemon)
        for wire in (*used, *fresh):
            assert await wire.rest() == b""


def lines_of(body: bytes) -> list[Any]:
    """The values of a stream's lines, without the heartbeats."""
    assert body.endswith(b"\r\n")
    return [json.loads(line) for line in body.split(b"\r\n") if line]


async def streams(daemon: Daemon, *queries: str) -> list[Wire]:
    """A follower for each query, from which nothing that is stored from now on is hidden."""
    wires = await connections(daemon, len(queries))
    for wire, query in zip(wires, queries, strict=True):
        wire.send(get(f"{EVENTS}/stream{query}"))
        await wire.heard(b"\r\n\r\n")
    return wires


async def farewell(wire: Wire) -> tuple[list[str], str]:
    """The ids of all changes of a stream that ended in order, and its last cursor."""
    answer = await wire.answer()
    assert wire.received.endswith(b"\r\n0\r\n\r\n")  # the chunk that ends a body
    *changes, last = lines_of(answer.body)
    assert last == {"last_seq": changes[-1]["seq"]}
    return [change["id"] for change in changes], last["last_seq"]


@pytest_twisted.ensureDeferred
async def test_followers_hear_a_farewell(tmp_path: Path) -> None:
    """A stream ends with its last cursor and an ended body, and goes on from there next time."""
    before, during = made_up_lists(2)
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        wires = await streams(daemon, "", "")
        first = (await ask(daemon.port, post(before, b"Connection: close"))).json["ids"]
        for wire in wires:
            await wire.heard(first[-1].encode())
        [writer] = await connections_in_use(daemon, 1)
        writer.send(post(during))
        assert await daemon.terminate() == 0
        second = list(await acknowledged([writer], [during]))
        assert_clean(daemon)
        ended = [await farewell(wire) for wire in wires]
    async with Daemon(tmp_path, environ=SQLITE) as daemon:
        wires = await streams(daemon, *(f"?since={cursor}" for _, cursor in ended))
        after = {"timestamp": 1}
        third = (await ask(daemon.port, post(after, b"Connection: close"))).json["ids"]
        for wire in wires:
            await wire.heard(third[-1].encode())
        assert await daemon.terminate() == 0
    for wire, (heard, _) in zip(wires, ended, strict=True):
        assert heard + (await farewell(wire))[0] == first + second + third


@pytest.mark.parametrize("store", [SQLITE, MEMORY], ids=["sqlite", "memory"])
@pytest.mark.parametrize("moment", ["starting up", "reactor class", "starting on", "listens"])
@pytest_twisted.ensureDeferred
async def test_stop_during_start(moment: str, store: dict[str, str], tmp_path: Path) -> None:
    """A stop that comes early is obeyed without a complaint, and the next start finds all well."""
    daemon = Daemon(tmp_path, environ=store).spawn()
    try:
        await daemon.says(moment)
        status = await daemon.terminate()
    finally:
        await daemon.kill()
    assert "Traceback" not in daemon.out + daemon.err
    # Before the reactor runs, a signal is still Python's or Twisted's, which is as good an end.
    assert status == 0 or (status == -signal.SIGTERM and moment != "listens")
    async with Daemon(tmp_path, environ=store) as daemon:
        assert await all_events(daemon) == []
        assert await daemon.terminate() == 0
