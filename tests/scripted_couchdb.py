"""A small CouchDB that a test scripts: it misbehaves as clusters, proxies and operators do.

What it does by itself is what CouchDB 3 does, as far as the store asks for it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, ClassVar, cast
from urllib.parse import unquote

import attrs
import pytest
import pytest_twisted
from klein import Klein
from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import LogEvent, Logger
from twisted.web.server import Request, Site

from kpiggybank.events import Change, Event
from kpiggybank.mint import Mint
from kpiggybank.stores.couchdb import listener, store
from kpiggybank.stores.couchdb.documents import document
from kpiggybank.stores.couchdb.server import Limits, Server
from kpiggybank.stores.couchdb.store import CouchDBStore
from tests.client_street import Door
from tests.feed_contract import event
from tests.integration.daemon import Pulse, reactor
from tests.scripted_feed import Feed, number, sequence
from tests.scripted_replies import Answer, Reply, answer

NAME, USER, PASSWORD = "kpi", "grunter", "p1g:sty/s3cret"

BULK, LOOK_UP = "POST /_bulk_docs", "POST /_all_docs"
READ, FEED = "GET /_changes", "GET /_changes?feed"
VIEWS, LIFE = "/_design/kpiggybank", "/_design/kpiggybank-life"
BY_TIME = f"GET {VIEWS}/_view/by_time"

#: Events that a feed tells of.
A, B, C, D = (event(id, place, text="é🐷\u2028") for place, id in enumerate("abcd"))


@attrs.define(eq=False, slots=False)
class ScriptedCouchDB:
    """A server with one database.

    Attributes:
        scripts: replies to the next requests of a kind; such as `BULK`.
        mood: the reply to all requests for which there is no script.
        telling: whether feeds tell what is stored; a test may say it by hand instead.
        answered: all requests that were answered, with the status.
        asked: all requests that came.
        feeds: those that are open.
        sinces: where each feed was asked to begin.
        rings: how often a store said that there may be changes.
        pauses: how often a store waits, or waited, before it tries again; each `pause_seconds`.
    """

    app: ClassVar[Klein] = Klein()

    port: int = 0
    exists: bool = False
    documents: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    places: dict[str, int] = attrs.field(factory=dict)
    scripts: dict[str, list[Reply]] = attrs.field(factory=lambda: defaultdict(list))
    mood: Reply | None = None
    telling: bool = True
    answered: list[tuple[str, int]] = attrs.field(factory=list)
    asked: list[str] = attrs.field(factory=list)
    feeds: list[Feed] = attrs.field(factory=list)
    sinces: list[str] = attrs.field(factory=list)
    rings: int = 0
    pauses: int = 0
    pause_seconds: float = 0.02
    stores: list[CouchDBStore] = attrs.field(factory=list)
    pulse: Pulse = attrs.field(factory=Pulse)
    _mint: Mint = attrs.field(factory=Mint)
    _door: Door | None = None
    _listening: IListeningPort | None = None

    def listen(self) -> None:
        """Begin to serve, at the same port as before if there was one."""
        site: Any = Site(self.app.resource())
        site.noisy = False
        self._door = Door(site)
        listening = reactor.listenTCP(self.port, self._door, interface="127.0.0.1")
        self._listening, self.port = listening, listening.getHost().port

    async def shut(self) -> None:
        """Cut all connections and listen no more."""
        if self._door is not None:
            assert self._listening is not None
            await maybeDeferred(self._listening.stopListening)
            for connection in list(self._door.protocols):
                connection.abortConnection()
            await self._door.when_empty()
            self._door = None

    def server(self, limits: Limits | None = None) -> Server:
        """A way to the database."""
        limits = limits or Limits(connect=5, answer=5, total=10)
        return Server(reactor, f"http://127.0.0.1:{self.port}", NAME, USER, PASSWORD, limits)

    async def round_trip(self) -> None:
        """Come back when all that was on its way here has arrived."""
        server = self.server()
        await server.ask("GET", "/_local/nothing", object, expected=(404,))
        await server.close()

    def store(self, limits: Limits | None = None) -> CouchDBStore:
        """A store of this server, not yet open; closed after the test."""
        self.stores.append(CouchDBStore(reactor, self.server(limits)))
        self.stores[-1].notify(self.ring)
        return self.stores[-1]

    def pause(self, attempts: int) -> float:
        """How long a store shall wait before it tries again."""
        self.pauses += 1
        self._beat()
        return self.pause_seconds

    def ring(self) -> None:
        """What stores call when there may be changes."""
        self.rings += 1
        self._beat()

    def _beat(self) -> None:
        # Not from within what the store or the server is doing.
        reactor.callLater(0, self.pulse.beat)

    async def open(self, limits: Limits | None = None) -> CouchDBStore:
        """A store of this server, open and listening."""
        feeds, rings = len(self.sinces), self.rings
        opened = self.store(limits)
        await opened.open()
        await self.until(lambda: len(self.sinces) > feeds and self.rings > rings)
        return opened

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so."""
        await self.pulse.until(lambda: bool(condition()) or None, lambda: repr(self.answered))

    async def hears(self, hearing: CouchDBStore, since: str, *ids: str) -> list[Change]:
        """Wait until a store has told that many changes; they must be these, each once."""
        changes: list[Change] = []
        while len(changes) < len(ids):
            rings = self.rings + 1
            found = await hearing.changes(changes[-1].cursor if changes else since, 100)
            changes.extend(found)
            if not found:
                await self._rung(rings)
        assert sorted(change.event.id for change in changes) == sorted(ids)
        return changes

    async def _rung(self, times: int) -> None:
        await self.until(lambda: self.rings >= times)

    def statuses(self, kind: str) -> list[int]:
        """How requests of a kind were answered."""
        return [status for name, status in self.answered if name == kind]

    def put(self, name: str, content: dict[str, Any]) -> None:
        """Store a document as another program would, in place of the one of that name."""
        self.exists = True
        place = max(self.places.values(), default=0) + 1
        self.documents[name] = {"_id": name, "_rev": f"{place}-c0ffee", **content}
        self.places.pop(name, None)
        self.places[name] = place
        if self.telling:
            for feed in self.feeds:
                feed.say(self.line(name))

    def keep(self, *events: Event, stamp: Callable[[], str] | None = None) -> None:
        """Store events as another daemon would."""
        for each in events:
            content = json.loads(document(each, stamp or self._mint))
            self.put(content.pop("_id"), content)

    def line(self, name: str, place: int | None = None) -> bytes:
        """The line that tells of a document, as if it were at some other place of the feed.

        A feed that goes back has other sequences than before, with numbers that it had.
        """
        return json.dumps(self._row(name, place), ensure_ascii=False).encode() + b"\n"

    def delete(self) -> Answer:
        """Delete the database."""
        self.exists = False
        last = json.dumps({"last_seq": self.last, "pending": 0}).encode() + b"\n"
        self.documents, self.places = {}, {}
        for feed in tuple(self.feeds):
            feed.say(last)
            feed.finish()
        return answer(200, {"ok": True})

    @property
    def last(self) -> str:
        """The sequence after the newest change."""
        return sequence(max(self.places.values(), default=0))

    def _row(self, name: str, place: int | None = None) -> dict[str, Any]:
        found = self.documents[name]
        seq = sequence(self.places[name]) if place is None else f"{place}-again-{name}"
        row = {"seq": seq, "id": name, "changes": [{"rev": found["_rev"]}], "doc": found}
        return {**row, "deleted": True} if "_deleted" in found else row

    def _rows(self, since: str) -> list[dict[str, Any]]:
        first = max(self.places.values(), default=0) if since == "now" else number(since)
        return [self._row(name) for name, place in self.places.items() if place > first]

    @app.route("/", branch=True)
    async def serve(self, request: Request) -> bytes | None:
        """Answer any request."""
        path = unquote(request.path.decode()).removeprefix(f"/{NAME}")
        query = {name.decode(): values[0].decode() for name, values in request.args.items()}
        kind = f"{request.method.decode()} {path}" + ("?feed" if "feed" in query else "")
        self.asked.append(kind)
        self._beat()
        reply = self.scripts[kind].pop(0) if self.scripts[kind] else self.mood
        if reply is None and kind == FEED and self.exists:
            await self._feed(request, query["since"])
            return None
        content: Any = request.content
        body = content.read()

        def do() -> Answer:
            return self._do(kind, path, query, json.loads(body) if body else None)

        status, said = do() if reply is None else await reply(request, do)
        self.answered.append((kind, status))
        request.setResponseCode(status)
        request.setHeader("content-type", "application/json")
        return said

    async def _feed(self, request: Request, since: str) -> None:
        feed = Feed(request, since)
        self.sinces.append(since)
        self.feeds.append(feed)
        self._beat()
        feed.say(b"\n")
        for row in self._rows(since) if self.telling else ():
            feed.say(self.line(row["id"]))
        try:
            await feed.over
        finally:
            self.feeds.remove(feed)

    def _do(self, kind: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if kind == "PUT ":
            made = answer(412, {"error": "file_exists"}) if self.exists else answer(201, {})
            self.exists = True
            return made
        if not self.exists:
            return answer(404, {"error": "not_found", "reason": "Database does not exist."})
        if kind == "DELETE ":
            return self.delete()
        if kind == "GET ":
            return answer(200, {"db_name": NAME})
        if kind == BULK:
            return answer(201, [self._write(each) for each in body["docs"]])
        if kind == LOOK_UP:
            return answer(200, {"rows": [{"doc": self._found(key)} for key in body["keys"]]})
        if kind == READ:
            return self._changes(query)
        if kind == BY_TIME:
            return self._by_time(query)
        if kind.startswith("GET /_design/") and (found := self._found(path[1:])):
            return answer(200, [{"ok": found}] if "open_revs" in query else found)
        if kind.startswith("PUT /_design/"):
            there = (self._found(path[1:]) or {}).get("_rev")
            if there != body.pop("_rev", None):
                return answer(409, {"error": "conflict"})
            self.put(path[1:], body)
            return answer(201, {"ok": True})
        return answer(404, {"error": "not_found", "reason": "missing"})

    def _found(self, name: str) -> dict[str, Any] | None:
        found = self.documents.get(name)
        return None if found is None or "_deleted" in found else found

    def _write(self, content: dict[str, Any]) -> dict[str, Any]:
        name = content.pop("_id")
        if self._found(name):
            return {"id": name, "error": "conflict", "reason": "Document update conflict."}
        self.put(name, content)
        return {"ok": True, "id": name, "rev": self.documents[name]["_rev"]}

    def _changes(self, query: dict[str, str]) -> Answer:
        rows = self._rows(query.get("since", "0"))
        if "descending" in query:
            rows.reverse()
        rows = rows[: int(query.get("limit", len(rows)))]
        if "include_docs" not in query:
            rows = [{name: row[name] for name in row if name != "doc"} for row in rows]
        return answer(200, {"results": rows, "last_seq": rows[-1]["seq"] if rows else self.last})

    def _by_time(self, query: dict[str, str]) -> Answer:
        """All events by their time; their JSON comes by `_all_docs`, as for other's documents."""
        assert "startkey" not in query and "endkey" not in query, "whole ranges only"
        found = [each for each in self.documents.values() if "timestamp" in each]
        if query.get("reduce") != "false":
            return answer(200, {"rows": [{"key": None, "value": len(found)}] if found else []})
        keys = sorted([each["timestamp"], each["_id"]] for each in found)
        rows = [{"id": key[1], "key": key, "value": None} for key in keys]
        return answer(200, {"rows": rows[: int(query["limit"])]})


async def by_hand(couch: ScriptedCouchDB) -> tuple[CouchDBStore, str, Feed]:
    """A store that listens to a feed which a test writes, and the cursor where it begins."""
    store = await couch.open()
    couch.telling = False
    return store, await store.last(), couch.feeds[-1]


@pytest_twisted.async_yield_fixture
async def couch(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedCouchDB]:
    """A scripted CouchDB without a database, whose stores don't wait long between two tries."""
    couch = ScriptedCouchDB()
    for module in (listener, store):
        monkeypatch.setattr(module, "_pause", couch.pause)
    couch.listen()
    yield couch
    await gatherResults([each.close() for each in couch.stores]).addTimeout(10, reactor)
    await couch.shut()


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> Sequence[LogEvent]:
    """What stores log themselves, which then comes here only."""
    events: list[LogEvent] = []
    monkeypatch.setattr(CouchDBStore, "_log", Logger(observer=cast(Any, events.append)))
    return events
