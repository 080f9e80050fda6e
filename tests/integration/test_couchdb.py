"""Daemons before a CouchDB: several with one truth, an old database, and what is kept out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from kpiggybank import KPIggyBank
from kpiggybank.sample import SignIns
from tests.couchdb_servers import Place
from tests.integration.daemon import EVENTS, Daemon, Wire, ask, connect, get, post

#: What JavaScript would make something else of, and what people have in their events.
EXACT = {
    "timestamp": 1.0,
    "big": 2**53 + 1,
    "huge": 10**30,
    "whole": 7.0,
    "zero": -0.0,
    "kpiggybank": {"arrival": "f" * 28, "json": "mine"},
    "deep": [{"__proto__": {"a": 1}, "toJSON": 1}],
    "text": 'nul \0, line \u2028, quote ", 😀',
    "10": 1,
    "2": 2,
}

#: Documents as the first KPIggyBank left them, with ids made by CouchDB, and its views.
OLD_EVENTS: list[dict[str, Any]] = [
    {"_id": "6e1295ed6c29495e54cc05947f18c8af", "timestamp": 1354800000000, "lang": "en"},
    {"_id": "4d1b9f5f6f9c4f2e9f4f0c1c9c0c7a11", "timestamp": 1354799400000, "number_emails": 2},
    {
        "_id": "0cafe09d9d6c4c3f8d0e5c3d1a2b3c4d",
        "timestamp": 1354800000000,
        "exact": 9007199254740993,
    },
]
OLD_VIEWS = {
    "_id": "_design/data",
    "views": {"timestamp": {"map": "function(doc) { emit(doc.timestamp, doc); }"}},
}


def save(events: Any, *head: bytes) -> bytes:
    """A request that saves events over a connection of its own."""
    return post(events, b"Connection: close", *head)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal to the last digit and type of number."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@attrs.frozen
class Look:
    """Looks at the test database itself, past KPIggyBank."""

    place: Place

    async def document(self, id: str) -> dict[str, Any] | None:
        """A document, None where there is none."""
        document: dict[str, Any] | None = await self.ask("GET", f"/{id}", dict[str, Any])
        return document

    async def ids(self) -> list[str]:
        """The ids of all documents."""
        answer = await self.ask("GET", "/_all_docs", dict[str, Any])
        return [row["id"] for row in (answer or {"rows": []})["rows"]]

    async def write(self, *documents: dict[str, Any]) -> None:
        """Write documents as another program does, whether or not there is a database."""
        await self.ask("PUT", "", object)
        body = json.dumps({"docs": documents}).encode()
        await self.ask("POST", "/_bulk_docs", list[Any], body)

    async def ask(self, method: str, path: str, kind: type[Any], body: bytes | None = None) -> Any:
        """Make one request."""
        server = self.place.server()
        try:
            statuses = (200, 201, 202, 404, 412)
            return (await server.ask(method, path, kind, body=body, expected=statuses))[1]
        finally:
            await server.close()


@asynccontextmanager
async def stream(daemon: Daemon, since: str | None = None) -> AsyncIterator[Wire]:
    """The open stream of a daemon."""
    wire = await connect(daemon.port)
    try:
        wire.send(get(f"{EVENTS}/stream" + (f"?since={since}" if since else "")))
        await wire.heard(b"200 OK")
        yield wire
    finally:
        wire.close()


def changes(wire: Wire) -> list[dict[str, Any]]:
    """The changes that a stream has told."""
    lines = bytes(wire.received).split(b"\r\n")
    return [json.loads(line) for line in lines if line.startswith(b'{"seq"')]


@pytest_twisted.ensureDeferred
async def test_two_daemons_one_truth(couchdb: Place, tmp_path: Path) -> None:
    """What one takes the other serves and tells; a follower moves between them with its cursor."""
    async with (
        Daemon(tmp_path, environ=couchdb.environ) as one,
        Daemon(tmp_path, environ=couchdb.environ) as other,
    ):
        async with stream(other) as wire:
            await ask(one.port, save({"timestamp": 1, "name": "first"}))
            await wire.heard(b'"first"')
            [first] = changes(wire)
        ids = (await ask(other.port, save([{"timestamp": place} for place in range(2, 30)]))).json
        async with stream(one, since=first["seq"]) as wire:
            await ask(one.port, save({"timestamp": 0, "name": "last"}))
            await wire.heard(b'"last"')
            told = [change["id"] for change in changes(wire)]
        assert sorted(told) == sorted({*ids["ids"], *told} - {first["id"]})
        assert len(told) == 29
        for daemon in (one, other):
            rows = (await ask(daemon.port, get(f"{EVENTS}/rows"))).json
            assert [row["key"] for row in rows] == list(range(30))
            assert (await ask(daemon.port, get(f"{EVENTS}/count"))).json == 30
            assert await daemon.terminate() == 0
            assert daemon.err == ""


@pytest_twisted.ensureDeferred
async def test_daemons_that_start_at_once(couchdb_place: Place, tmp_path: Path) -> None:
    """On a new server, all of them start, and have the same database."""
    await couchdb_place.forget()
    daemons = [Daemon(tmp_path, environ=couchdb_place.environ).spawn() for _ in range(4)]
    try:
        await gatherResults(Deferred.fromCoroutine(each.listening()) for each in daemons)
        for place, daemon in enumerate(daemons):
            assert (await ask(daemon.port, save({"timestamp": place}))).status == 201
        cursors = []
        for daemon in daemons:
            async with stream(daemon) as wire:
                await ask(daemons[0].port, save({"timestamp": 9, "for": daemon.port}))
                await wire.heard(b'"for":%d' % daemon.port)
                cursors.append(changes(wire)[-1]["seq"])
        for daemon in daemons:
            assert (await ask(daemon.port, get(f"{EVENTS}/count"))).json == 8
        for daemon in daemons:
            async with stream(daemon, since=cursors[0]) as wire:
                await wire.heard(b'"for":%d' % daemons[-1].port)
        assert [await daemon.terminate() for daemon in daemons] == [0] * 4
    finally:
        for daemon in daemons:
            await daemon.kill()
    assert sorted(id for id in await Look(couchdb_place).ids() if id.startswith("_")) == [
        "_design/kpiggybank",
        "_design/kpiggybank-life",
    ]


@pytest_twisted.ensureDeferred
async def test_exact_values_everywhere(couchdb: Place, tmp_path: Path) -> None:
    """Whichever way an event is read, and by whatever name, it equals what was sent."""
    async with Daemon(tmp_path, environ=couchdb.environ) as daemon, stream(daemon) as wire:
        for key in (None, b"Idempotency-Key: named", b"Idempotency-Key: _local"):
            answer = await ask(daemon.port, save(EXACT, *([key] if key else [])))
            assert answer.status == 201, answer
            [id] = answer.json["ids"]
            await wire.heard(f'"{id}"'.encode())
            assert same(changes(wire)[-1]["doc"], EXACT)
            assert same((await ask(daemon.port, get(f"{EVENTS}?id={id}"))).json["results"], EXACT)
            for path in ("?start=1&end=1", "?format=json", "?descending=true&limit=1"):
                assert same((await ask(daemon.port, get(EVENTS + path))).json[0], EXACT)
            row = (await ask(daemon.port, get(f"{EVENTS}/rows?descending=true&limit=1"))).json[0]
            assert (row["id"], str(row["key"])) == (id, "1.0")
            assert same((await ask(daemon.port, get(f"{EVENTS}/last"))).json, EXACT)
        assert await daemon.terminate() == 0


@pytest_twisted.ensureDeferred
async def test_nanoseconds(couchdb: Place, tmp_path: Path) -> None:
    """Times beyond 2**53 are told apart to the last digit, and so are the ends of ranges."""
    base = 1_700_000_000_000_000_000
    events = [{"timestamp": base + offset} for offset in (300, -1, 2, 0, 1, -200, 2**53 - base)]
    async with Daemon(tmp_path, environ=couchdb.environ) as daemon:
        await ask(daemon.port, save(events))
        found = (await ask(daemon.port, get(EVENTS))).json
        assert found == sorted(events, key=lambda event: event["timestamp"])
        query = f"?start={base}&end={base + 2}"
        assert [
            e["timestamp"] - base for e in (await ask(daemon.port, get(EVENTS + query))).json
        ] == [
            0,
            1,
            2,
        ]
        assert (await ask(daemon.port, get(f"{EVENTS}/count{query}"))).json == 3
        assert await daemon.terminate() == 0


@pytest_twisted.ensureDeferred
async def test_database_of_the_first_kpiggybank(couchdb: Place, tmp_path: Path) -> None:
    """It is served as it is, together with what is new; its design document stays as it was."""
    look = Look(couchdb)
    await look.write(OLD_VIEWS, *OLD_EVENTS, {"_id": "no-event", "type": "something else"})
    before = await look.document("_design/data")
    exact = await look.document(OLD_EVENTS[2]["_id"])  # pouchdb-server has rounded it itself
    assert exact is not None
    old = [
        {"timestamp": 1354799400000, "number_emails": 2},
        {"timestamp": 1354800000000, "exact": exact["exact"]},
        {"timestamp": 1354800000000, "lang": "en"},
    ]
    async with Daemon(tmp_path, environ=couchdb.environ) as daemon, stream(daemon) as wire:
        assert (await ask(daemon.port, get(EVENTS))).json == old
        rows = (await ask(daemon.port, get(f"{EVENTS}/rows?start=1354800000000"))).json
        assert [row["id"] for row in rows] == [OLD_EVENTS[2]["_id"], OLD_EVENTS[0]["_id"]]
        assert (await ask(daemon.port, get(f"{EVENTS}/count?end=1354799400000"))).json == 1
        assert (await ask(daemon.port, get(f"{EVENTS}/last"))).json == old[2]
        by_id = await ask(daemon.port, get(f"{EVENTS}?id={OLD_EVENTS[1]['_id']}"))
        assert by_id.json == {"results": old[0]}
        assert (await ask(daemon.port, get(f"{EVENTS}?id=no-event"))).status == 404
        assert (await ask(daemon.port, get(f"{EVENTS}?id=_design/data"))).status == 404
        # The old program may still be writing.
        await look.write({"_id": "f00d", "timestamp": 1354800600000, "lang": "eo"})
        await ask(daemon.port, save({"timestamp": 1354800600000, "lang": "new"}))
        await wire.heard(b'"new"')
        await wire.heard(b'"eo"')
        assert sorted(change["doc"]["lang"] for change in changes(wire)) == ["eo", "new"]
        assert (await ask(daemon.port, get(f"{EVENTS}/count"))).json == 5
        assert await daemon.terminate() == 0
    assert await look.document("_design/data") == before
    await look.ask("DELETE", "", object)


@pytest.mark.parametrize(
    "trick",
    [
        {"_id": "_design/evil"},
        {"_id": 7},
        {"_rev": "1-abc"},
        {"_deleted": True},
        {"_attachments": {"a": {"data": "x"}}},
        {"_local": 1},
        {"_x": 1},
    ],
    ids=lambda trick: next(iter(trick)),
)
@pytest_twisted.ensureDeferred
async def test_nothing_is_smuggled_in(
    trick: dict[str, Any], couchdb: Place, tmp_path: Path
) -> None:
    """What means something to CouchDB is refused, with all that came with it."""
    look = Look(couchdb)
    async with Daemon(tmp_path, environ=couchdb.environ) as daemon:
        await ask(daemon.port, save({"timestamp": 1}, b"Idempotency-Key: kept"))
        kept = await look.document("kept")
        ids = await look.ids()
        for events in (
            {"timestamp": 1, **trick},
            [{"timestamp": 1}, {"timestamp": 2, **trick}],
        ):
            for key in (b"X-None: x", b"Idempotency-Key: kept", b"Idempotency-Key: other"):
                assert (await ask(daemon.port, save(events, key))).status == 400
        assert (await look.document("kept"), await look.ids()) == (kept, ids)
        assert await daemon.terminate() == 0


@pytest_twisted.ensureDeferred
async def test_event_is_the_document(couchdb: Place, tmp_path: Path) -> None:
    """Whoever looks into CouchDB sees the event's fields at the top, and nothing else."""
    look = Look(couchdb)
    sign_in = SignIns(seed=5).take(1)[0]
    async with Daemon(tmp_path, environ=couchdb.environ) as daemon:
        [id] = (await ask(daemon.port, save(sign_in))).json["ids"]
        document = await look.document(id)
        assert document is not None
        assert document == {**sign_in, "_id": id, "_rev": document["_rev"]}
        assert (await ask(daemon.port, save(sign_in, b"Idempotency-Key: _design"))).status == 201
        named = await look.document("~_design")
        assert named is not None
        assert named.keys() - sign_in.keys() == {"_id", "_rev", "kpiggybank"}
        assert (await ask(daemon.port, get(f"{EVENTS}?id=_design"))).json == {"results": sign_in}
        assert (await ask(daemon.port, get(f"{EVENTS}?id=~_design"))).status == 404
        assert await daemon.terminate() == 0


@pytest_twisted.ensureDeferred
async def test_keys_across_daemons(couchdb: Place, tmp_path: Path) -> None:
    """An idempotency key that one daemon has seen counts at every other."""
    key = b"Idempotency-Key: batch"
    batch = [{"timestamp": 5, "place": place} for place in range(12)]
    async with (
        Daemon(tmp_path, environ=couchdb.environ) as one,
        Daemon(tmp_path, environ=couchdb.environ) as other,
    ):
        for daemon in (one, other, one):
            answer = await ask(daemon.port, save(batch, key))
            assert (answer.status, len(answer.json["ids"])) == (201, 12)
        assert (await ask(other.port, save(batch[:3], key))).status == 409
        assert (await ask(other.port, save(batch[0], key))).status == 409
        assert (await ask(other.port, save([*batch, batch[0]], key))).status == 409
        assert (await ask(one.port, get(EVENTS))).json == batch
        for daemon in (one, other):
            assert await daemon.terminate() == 0


@pytest_twisted.ensureDeferred
async def test_client_follows_one_and_saves_at_the_other(couchdb: Place, tmp_path: Path) -> None:
    """The documented client hears from one daemon all that was saved at another, each once."""
    heard: list[int] = []
    async with (
        Daemon(tmp_path, environ=couchdb.environ) as one,
        Daemon(tmp_path, environ=couchdb.environ) as other,
    ):
        follower, writer = (KPIggyBank("127.0.0.1", daemon.port) for daemon in (one, other))
        done: Deferred[None] = Deferred()

        def hear(change: Any) -> None:
            heard.append(change["doc"]["timestamp"])
            if len(heard) == 500:
                done.callback(None)

        try:
            follower.on("change", hear)
            await follower.followChanges()
            await gatherResults(writer.saveData({"timestamp": place}) for place in range(500))
            await done
            assert sorted(heard) == list(range(500))
        finally:
            await follower.close()
            await writer.close()
