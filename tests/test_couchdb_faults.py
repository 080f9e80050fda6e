"""The CouchDB store when CouchDB refuses, fails, hangs or is not there; see `scripted_couchdb`."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.logger import LogEvent

from kpiggybank.events import Event, InvalidEvent, Range
from kpiggybank.interfaces import EventNotFound, IdConflict, StoreUnavailable
from kpiggybank.mint import Mint
from tests.couchdb_calls import (
    Call,
    every_call,
    failures,
    minted,
    opened,
)
from tests.feed_contract import event, events, read_all
from tests.scripted_couchdb import BULK, BY_TIME, LOOK_UP, PASSWORD, USER, ScriptedCouchDB
from tests.scripted_replies import (
    Answer,
    Reply,
    changed,
    cut_short,
    hang_up,
    hang_up_after,
    say,
)


def one_clean_line(text: str) -> None:
    """Check that a text is for people, and no secret."""
    login = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert text and text.isprintable()
    assert not any(secret in text for secret in (USER, PASSWORD, login))


@pytest.mark.parametrize("given", [events([1, 2, 3]), minted(3)], ids=["named", "minted"])
@ensureDeferred
async def test_degraded_cluster(couch: ScriptedCouchDB, given: list[Event]) -> None:
    """202 is no promise: the append fails, and sending it again completes it."""
    store = await couch.open()
    couch.scripts[BULK].append(changed(lambda _, rows: (202, json.dumps(rows).encode())))
    with pytest.raises(StoreUnavailable, match="202"):
        await store.append(given)
    assert all(each.id in couch.documents for each in given)
    await store.append(given)
    assert await read_all(store) == given
    assert await store.count(Range()) == 3


@pytest.mark.parametrize("status", [401, 403])
@ensureDeferred
async def test_login_refused_at_the_start(
    couch: ScriptedCouchDB, status: int, warnings: Sequence[LogEvent]
) -> None:
    """A wrong login ends `open` with one line after one request: more would lock the account."""
    couch.mood = say(status, json.dumps({"error": "unauthorized", "reason": f"{USER}\nwho?"}))
    with pytest.raises(StoreUnavailable, match=str(status)) as raised:
        await couch.store().open()
    one_clean_line(str(raised.value))
    assert couch.asked == ["GET "]
    assert warnings == []


@every_call
@ensureDeferred
async def test_locked_out_later(couch: ScriptedCouchDB, call: Call) -> None:
    """A login that no longer works is told without it, and once for each question."""
    store, cursor = await opened(couch)
    couch.mood = say(403, json.dumps({"error": "forbidden", "reason": f"{USER} is locked"}))
    asked = len(couch.asked)
    with pytest.raises(StoreUnavailable, match="403") as raised:
        await call(store, cursor)
    one_clean_line(str(raised.value))
    assert len(couch.asked) == asked + 1
    couch.mood = None
    await call(store, cursor)


@ensureDeferred
async def test_a_group_is_locked_out_once(couch: ScriptedCouchDB) -> None:
    """A login that is refused is not tried again for each append of a group: that locks it."""
    store = await couch.open()
    couch.mood = say(401)
    given = minted(3)
    found = await failures([store.append([each]) for each in given])
    assert all(failure and failure.check(StoreUnavailable) for failure in found)
    assert couch.statuses(BULK) == [401]


TROUBLES: dict[str, Reply] = {
    "500": say(500, '{"error": "badmatch", "reason": null}'),
    "500 over lines": say(500, json.dumps({"error": "a\nb", "reason": "\x1b[2K\u2028\r\x85"})),
    "503 of a proxy": say(503, "<html>\nout to lunch\n</html>"),
    "garbage": say(200, "<html>\nWelcome to our network\n</html>"),
    "garbage, made": say(201, '[{"id": '),
    "empty": say(200, ""),
    "another shape": say(201, "[17]"),
    "cut": cut_short,
    "not made, not accepted": say(204, ""),
}


@every_call
@ensureDeferred
async def test_bad_answers(couch: ScriptedCouchDB, call: Call) -> None:
    """What is no whole answer of CouchDB fails with one line; the next good answer works."""
    store, cursor = await opened(couch)
    for name, trouble in TROUBLES.items():
        couch.mood = trouble
        with pytest.raises(StoreUnavailable) as raised:
            pytest.fail(f"{name}: {await call(store, cursor)}")
        one_clean_line(str(raised.value))
        couch.mood = None
        await call(store, cursor)


@ensureDeferred
async def test_a_bulk_answer_for_others(couch: ScriptedCouchDB) -> None:
    """Rows of other documents, or too few of them, confirm nothing."""
    store = await couch.open()
    given = minted(2)
    for rows in ([], [{"ok": True, "id": given[0].id}], [{"ok": True, "id": "x"}] * 2):
        couch.scripts[BULK].append(say(201, json.dumps(rows)))
        with pytest.raises(StoreUnavailable):
            await store.append(given)
    await store.append(given)
    assert await read_all(store) == given


@ensureDeferred
async def test_a_document_refused(couch: ScriptedCouchDB) -> None:
    """A row with an error that is no conflict confirms nothing; the same may be sent again."""

    def refuse(status: int, rows: Any) -> Answer:
        rows[1] = {"id": rows[1]["id"], "error": "forbidden", "reason": "not on\na \x1bSunday"}
        return status, json.dumps(rows).encode()

    store = await couch.open()
    given = minted(3)
    couch.scripts[BULK].append(changed(refuse))
    with pytest.raises(StoreUnavailable, match="forbidden not on a Sunday"):
        await store.append(given)
    await store.append(given)
    assert await read_all(store) == given


@ensureDeferred
async def test_one_too_large_of_a_group(couch: ScriptedCouchDB) -> None:
    """What CouchDB finds too large fails for itself; appends beside it are stored."""

    async def narrow(request: Any, do: Callable[[], Answer]) -> Answer:
        request.content.seek(0)
        return do() if len(request.content.read()) < 2000 else (413, b'{"error": "too_large"}')

    store = await couch.open()
    mint = Mint()
    small, large, last = event(mint(), 1), event(mint(), 2, text="x" * 2000), event(mint(), 3)
    couch.scripts[BULK] = [narrow] * 4
    before, trouble, after = await failures([store.append([each]) for each in (small, large, last)])
    assert before is None and after is None
    assert trouble is not None and trouble.check(InvalidEvent)
    assert couch.statuses(BULK) == [413, 201, 413, 201]
    assert await read_all(store) == [small, last]


@ensureDeferred
async def test_a_stale_connection(couch: ScriptedCouchDB) -> None:
    """A connection that dies before any answer costs nothing: the request is made again."""
    store = await couch.open()
    given = minted(2)
    couch.scripts[BULK].append(hang_up)
    await store.append(given)
    for kind in (BY_TIME, LOOK_UP):
        couch.scripts[kind].append(hang_up)
        assert await read_all(store) == given
    assert couch.asked.count(BULK) == 2
    assert await store.count(Range()) == 2


@pytest.mark.parametrize("given", [events([1, 2, 3]), minted(3)], ids=["named", "minted"])
@ensureDeferred
async def test_stored_but_not_told(couch: ScriptedCouchDB, given: list[Event]) -> None:
    """The conflicts with ourselves that a repeated request meets are a success."""
    store = await couch.open()
    couch.scripts[BULK].append(hang_up_after)
    await store.append(given)
    assert couch.statuses(BULK) == [201]
    assert couch.asked.count(BULK) == 2
    assert await read_all(store) == given


@ensureDeferred
async def test_another_daemon_was_faster(couch: ScriptedCouchDB) -> None:
    """A conflict with another event is one, also when it was stored after we looked."""
    store = await couch.open()

    async def late(request: Any, do: Callable[[], Answer]) -> Answer:
        couch.keep(event("one", 5))
        return do()

    couch.scripts[BULK].append(late)
    with pytest.raises(IdConflict):
        await store.append([event("one", 6)])
    assert await store.get("one") == event("one", 5)


@ensureDeferred
async def test_id_of_a_document_that_is_no_event(couch: ScriptedCouchDB) -> None:
    """An id that another kind of document has is taken; nothing is acknowledged that is not."""
    store = await couch.open()
    couch.put("taken", {"type": "no event"})
    with pytest.raises(IdConflict):
        await store.append([event("taken", 1)])
    with pytest.raises(EventNotFound):
        await store.get("taken")
    await store.append([event("free", 1)])
    assert [each.id for each in await read_all(store)] == ["free"]


@ensureDeferred
async def test_database_that_only_requests_miss(couch: ScriptedCouchDB) -> None:
    """A database that is deleted without the feed's knowledge is made again, too."""
    store = await couch.open()
    couch.exists, couch.documents, couch.places = False, {}, {}
    with pytest.raises(StoreUnavailable):
        await store.append(minted(1))
    await couch.until(lambda: couch.exists and len(couch.sinces) == 2)
    given = minted(1)
    await store.append(given)
    assert await read_all(store) == given
