"""The CouchDB store when the continuous feed of `_changes` does what such feeds do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import LogEvent

from kpiggybank.interfaces import InvalidCursor
from kpiggybank.stores.couchdb import changes, listener
from kpiggybank.stores.couchdb.reading import find
from tests.feed_contract import by_id, events, read_all
from tests.integration.daemon import reactor
from tests.scripted_couchdb import FEED, READ, A, B, C, ScriptedCouchDB, by_hand
from tests.scripted_feed import sequence
from tests.scripted_replies import Answer, answer, changed, hang, hang_up, say

T = TypeVar("T")


@ensureDeferred
async def test_break_in_a_line(couch: ScriptedCouchDB) -> None:
    """A feed that ends in the middle of a line goes on behind the last whole one."""
    store, cursor, feed = await by_hand(couch)
    couch.keep(A, B, C)
    couch.telling = True
    feed.say(couch.line("a"), couch.line("b")[:-9])
    feed.cut()
    await couch.until(lambda: len(couch.sinces) == 2)
    assert couch.sinces[1] == sequence(couch.places["a"])
    found = await couch.hears(store, cursor, "a", "b", "c")
    assert [change.event for change in found] == [A, B, C]


@ensureDeferred
async def test_opened_again_until_it_works(
    couch: ScriptedCouchDB, warnings: Sequence[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost feed is opened again, whatever is said to that; meanwhile CouchDB itself is read."""
    monkeypatch.setattr(listener, "REFUSED_SECONDS", 0.05)
    store = await couch.open()
    cursor = await store.last()
    couch.scripts["GET "] = [say(500), hang_up, hang_up]
    couch.scripts[FEED] = [say(500), say(404), say(403), hang_up, say(204)]
    couch.pause_seconds = 0.05
    couch.feeds[-1].cut()
    await couch.until(lambda: couch.pauses)
    await store.append([A])
    first = await couch.hears(store, cursor, "a")
    couch.keep(B)
    await couch.hears(store, first[-1].cursor, "b")
    await couch.until(lambda: len(couch.sinces) == 2)
    couch.keep(C)
    await couch.hears(store, first[-1].cursor, "b", "c")
    await couch.hears(store, cursor, "a", "b", "c")


def pieces_of(text: bytes, size: int) -> list[bytes]:
    """A text in pieces of that size."""
    return [text[start : start + size] for start in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 7, 250, 10_000])
@ensureDeferred
async def test_lines_in_chunks(couch: ScriptedCouchDB, size: int) -> None:
    """However lines and characters are cut into chunks, each change comes out whole."""
    store, cursor, feed = await by_hand(couch)
    couch.keep(A, B, C)
    text = couch.line("a") + b"\n" + couch.line("b") + b"\r\n" + couch.line("c") + b"\n"
    feed.say(*pieces_of(text, size))
    found = await couch.hears(store, cursor, "a", "b", "c")
    assert [change.event for change in found] == [A, B, C]
    assert len(couch.sinces) == 1


@ensureDeferred
async def test_silence(couch: ScriptedCouchDB, monkeypatch: pytest.MonkeyPatch) -> None:
    """A feed that says nothing more is left, and the next one goes on where it was."""
    monkeypatch.setattr(changes, "SILENCE_SECONDS", 0.15)
    store, cursor, feed = await by_hand(couch)
    couch.keep(A, B)
    couch.telling = True
    feed.say(couch.line("a"))
    await couch.until(lambda: len(couch.sinces) == 2)
    assert couch.sinces[1] == sequence(couch.places["a"])
    await couch.hears(store, cursor, "a", "b")
    assert feed not in couch.feeds, "its connection is left open"


@ensureDeferred
async def test_heartbeats(couch: ScriptedCouchDB, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty lines are signs of life, and nothing else."""
    monkeypatch.setattr(changes, "SILENCE_SECONDS", 0.4)
    _, _, feed = await by_hand(couch)
    beats = LoopingCall(feed.say, b"\n")
    ended = beats.start(0.05)
    reactor.callLater(1.0, beats.stop)
    await ended
    assert couch.sinces == couch.sinces[:1] and couch.feeds == [feed]


@ensureDeferred
async def test_last_line(couch: ScriptedCouchDB) -> None:
    """A feed that ends in order goes on behind the last change that was told."""
    store, cursor, feed = await by_hand(couch)
    couch.keep(A, B)
    couch.telling = True
    feed.say(couch.line("a"), b'{"last_seq":"99-zzz","pending":0}\n')
    feed.finish()
    await couch.until(lambda: len(couch.sinces) == 2)
    assert couch.sinces[1] == sequence(couch.places["a"])
    await couch.hears(store, cursor, "a", "b")


@ensureDeferred
async def test_deleted(couch: ScriptedCouchDB) -> None:
    """That somebody deleted a document is no event; one of the same id later is another event."""
    store = await couch.open()
    cursor = await store.last()
    couch.keep(A)
    (first,) = await couch.hears(store, cursor, "a")
    couch.put("a", {"_deleted": True})
    couch.put("stranger", {"mood": "no timestamp"})
    couch.put("a", {"timestamp": 9})
    couch.keep(B)
    again = await couch.hears(store, first.cursor, "a", "b")
    assert [change.event.timestamp for change in (first, *again)] == [0, 9, 1]


@pytest.mark.parametrize(
    "garbage",
    [
        b"<html>\n",
        b'{"seq": "9-x", "id": "a", "doc": [1]}\n',
        b'{"seq": {}, "id": "a"}\n',
        b'{"seq": "9-x", "id": "\xff"}\n',
        b"[" * 100_000 + b"\n",
        b'{"seq": "opaque", "id": "a", "doc": {"_id": "a", "timestamp": 1}}\n',
    ],
    ids=["html", "doc", "seq", "utf-8", "deep", "no number"],
)
@ensureDeferred
async def test_garbage(couch: ScriptedCouchDB, garbage: bytes) -> None:
    """A feed that says what is no change is left; what it said before counts."""
    store, cursor, feed = await by_hand(couch)
    couch.keep(A, B)
    couch.telling = True
    feed.say(couch.line("a") + garbage)
    await couch.until(lambda: len(couch.sinces) == 2)
    assert couch.sinces[1] == sequence(couch.places["a"])
    await couch.hears(store, cursor, "a", "b")


@ensureDeferred
async def test_database_made_anew(couch: ScriptedCouchDB) -> None:
    """A store whose database is deleted makes it again: old cursors are refused, new ones work."""
    store = await couch.open()
    before = await store.last()
    await store.append([A, B])
    (old, _) = await couch.hears(store, before, "a", "b")
    await couch.round_trip()
    rings = couch.rings
    couch.delete()
    await couch.until(lambda: couch.rings > rings)
    for cursor in (before, old.cursor):
        with pytest.raises(InvalidCursor):
            await store.changes(cursor, 10)
    assert await read_all(store) == []
    new = await store.last()
    await store.append([A, C])
    await couch.hears(store, new, "a", "c")


@ensureDeferred
async def test_database_made_anew_in_trouble(
    couch: ScriptedCouchDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new database whose feed does not come at once is listened to all the same."""
    monkeypatch.setattr(listener, "OPEN_SECONDS", 0.1)
    store = await couch.open()
    couch.scripts[FEED] = [say(500)]
    couch.delete()
    await couch.until(lambda: len(couch.sinces) == 2)
    await deferLater(reactor, 0.2)  # nobody waits for the feed any more
    cursor, rings = await store.last(), couch.rings
    reads = couch.asked.count(READ)
    couch.keep(A)
    await couch.until(lambda: couch.rings > rings)
    await couch.hears(store, cursor, "a")
    assert couch.asked.count(READ) == reads, "this is not what the feed told"
    assert len(couch.feeds) == 1
    await store.close()
    await couch.round_trip()
    assert len(couch.sinces) == 2 and couch.feeds == []


def passed(result: T, ended: list[object]) -> T:
    """Note that a result has come."""
    ended.append(result)
    return result


@ensureDeferred
async def test_acknowledged_before_it_is_told(couch: ScriptedCouchDB) -> None:
    """What was acknowledged counts as there, although the feed tells it a moment later."""
    store, cursor, feed = await by_hand(couch)
    await store.append([A])
    ended: list[object] = []
    found, last = store.changes(cursor, 10), store.last()
    for question in (found, last):
        question.addCallback(passed, ended)
    await store.get("a")  # a way to CouchDB and back
    assert ended == []
    feed.say(couch.line("a"))
    (change,) = await found
    assert change.event == A
    assert await last == change.cursor


@ensureDeferred
async def test_repeats_within_an_answer(couch: ScriptedCouchDB) -> None:
    """An answer that tells something twice loses nothing, wherever a reader goes on."""
    first = await couch.open()
    cursor = await first.last()
    couch.keep(A, B)
    early = json.loads(couch.line("a"))
    couch.keep(A)  # its place is behind the other one now
    second = await couch.open()

    def repeat(status: int, body: Any) -> Answer:
        return answer(status, {**body, "results": [early, *body["results"]]})

    couch.scripts[READ].append(changed(repeat))
    found = await second.changes(cursor, 10)
    for place, change in enumerate(found, 1):
        rest = await second.changes(change.cursor, 10)
        seen = {each.event.id for each in (*found[:place], *rest)}
        assert seen == {"a", "b"}
    assert by_id(change.event for change in found) == [A, B]


@ensureDeferred
async def test_two_stores(couch: ScriptedCouchDB) -> None:
    """What one store appends the other one hears of and tells; their cursors are each other's."""
    one = await couch.open()
    other = couch.store()
    rings: list[int] = []

    def ring() -> None:
        rings.append(1)
        couch.ring()

    other.notify(ring)
    await other.open()
    await couch.until(lambda: rings)
    rings.clear()
    cursor = await one.last()
    assert await other.last() == cursor
    given = events(range(6))
    for each in given:
        await one.append([each])
    await couch.until(lambda: rings)
    ids = [each.id for each in given]
    for teller, reader in ((one, other), (other, one)):
        for place, change in enumerate(await couch.hears(teller, cursor, *ids), 1):
            await couch.hears(reader, change.cursor, *ids[place:])


@pytest.mark.parametrize("step", ["GET ", READ, FEED])
@ensureDeferred
async def test_close_while_the_feed_is_sought(couch: ScriptedCouchDB, step: str) -> None:
    """A store that is looking for its feed when it is closed asks for nothing more."""
    store = await couch.open()
    couch.scripts[step] = [hang]
    asked = couch.asked.count(step)
    couch.delete()
    await couch.until(lambda: couch.asked.count(step) > asked)
    before = list(couch.asked)
    await store.close()
    await couch.round_trip()
    assert couch.asked[:-1] == before


@ensureDeferred
async def test_unexpected_trouble(
    couch: ScriptedCouchDB, monkeypatch: pytest.MonkeyPatch, logged_errors: list[LogEvent]
) -> None:
    """What nobody thought of is in the log, and does not silence the feed for good."""
    store = await couch.open()
    cursor = await store.last()
    troubles = [KeyError("surprise")]

    async def surprise(*args: Any) -> Any:
        if troubles:
            raise troubles.pop()
        return await find(*args)

    monkeypatch.setattr("kpiggybank.stores.couchdb.listener.find", surprise)
    couch.keep(A)
    await couch.hears(store, cursor, "a")
    (error,) = logged_errors
    assert isinstance(error["log_failure"].value, KeyError)
    logged_errors.clear()
