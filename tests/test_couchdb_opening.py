"""How the CouchDB store opens: on servers that are late, shared, old or newer than we are."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, gatherResults
from twisted.logger import LogEvent, formatEvent

from kpiggybank.interfaces import StoreUnavailable
from tests.feed_contract import event, read_all
from tests.integration.daemon import reactor
from tests.scripted_couchdb import FEED, LIFE, READ, VIEWS, ScriptedCouchDB
from tests.scripted_replies import Reply, hang, say, together


def only_warning(warnings: Sequence[LogEvent]) -> str:
    """The text of the one thing that was logged, which must say what else one could do."""
    (warning,) = warnings
    text = formatEvent(warning)
    assert warning["log_level"].name == "warn"
    assert "DB_BACKEND=sqlite" in text and "\n" not in text
    return text


@ensureDeferred
async def test_waits_for_a_server(couch: ScriptedCouchDB, warnings: Sequence[LogEvent]) -> None:
    """Where nobody listens yet, `open` says so once and goes on when somebody does."""
    await couch.shut()
    store = couch.store()
    opening = store.open()
    await couch.until(lambda: couch.pauses == 3)
    assert not opening.called
    couch.listen()
    await opening
    assert f"127.0.0.1:{couch.port}" in only_warning(warnings)
    await store.append([event("one", 1)])
    assert await read_all(store) == [event("one", 1)]


@pytest.mark.parametrize("step", ["GET ", "PUT ", f"PUT {VIEWS}", f"GET {LIFE}", READ])
@ensureDeferred
async def test_waits_for_good_answers(
    couch: ScriptedCouchDB, warnings: Sequence[LogEvent], step: str
) -> None:
    """A server that is just starting answers all kinds of things: `open` tries again."""
    replies = say(500), say(503, "<html>"), say(404, '{"error": "not_found"}')
    couch.scripts[step] = [each for each in replies if step == READ or each is not replies[2]]
    store = couch.store()
    await store.open()
    only_warning(warnings)
    await store.append([event("one", 1)])
    assert await read_all(store) == [event("one", 1)]


@ensureDeferred
async def test_waits_for_a_whole_answer(
    couch: ScriptedCouchDB, warnings: Sequence[LogEvent]
) -> None:
    """Something else that answers at the port, in HTML, is waited out as well."""
    couch.scripts["GET "] = [say(200, "<html>\nIt works!\n</html>")]
    await couch.store().open()
    only_warning(warnings)


@ensureDeferred
async def test_close_ends_the_wait(couch: ScriptedCouchDB) -> None:
    """A store that waits for its server can be closed; it then asks no more."""
    couch.pause_seconds = 60
    couch.mood = say(500)
    store = couch.store()
    opening = store.open()
    await couch.until(lambda: couch.pauses == 1)
    await store.close()
    with pytest.raises((CancelledError, StoreUnavailable)):
        await opening.addTimeout(5, reactor)
    assert couch.asked == ["GET "]


@pytest.mark.parametrize("step", ["GET ", f"GET {LIFE}", READ, FEED])
@ensureDeferred
async def test_close_ends_an_opening_that_hangs(couch: ScriptedCouchDB, step: str) -> None:
    """A store that waits for an answer can be closed; it does not ask again."""
    couch.scripts[step] = [hang]
    store = couch.store()
    opening = store.open()
    await couch.until(lambda: step in couch.asked)
    asked = list(couch.asked)
    await store.close()
    with pytest.raises((CancelledError, StoreUnavailable)):
        await opening.addTimeout(5, reactor)
    await couch.round_trip()
    assert couch.asked[:-1] == asked


@ensureDeferred
async def test_opened_together(couch: ScriptedCouchDB, warnings: Sequence[LogEvent]) -> None:
    """Daemons that start at once on an empty server open one life of one database."""
    count = 4
    for step in ("GET ", f"GET {VIEWS}", f"GET {LIFE}"):
        couch.scripts[step] = [together(count)] * count
    stores = [couch.store() for _ in range(count)]
    await gatherResults([store.open() for store in stores])
    assert sorted(couch.statuses("PUT ")) == [201, 412, 412, 412]
    assert sorted(couch.statuses(f"PUT {VIEWS}")) == [201, 409, 409, 409]
    assert sorted(couch.statuses(f"PUT {LIFE}")) == [201, 409, 409, 409]
    assert warnings == []
    cursors = await gatherResults([store.last() for store in stores])
    await stores[0].append([event("one", 1)])
    for store in stores:
        for cursor in cursors:
            await couch.hears(store, cursor, "one")


@ensureDeferred
async def test_two_lives_are_one(couch: ScriptedCouchDB) -> None:
    """Where two nodes each got a document of the life, all daemons take the same of them."""
    first = await couch.open()
    cursor = await first.last()
    await first.append([event("one", 1)])
    ours = couch.documents[LIFE[1:]]["generation"]
    found = [{"ok": {"generation": ours}}, {"missing": "1-a"}, {"ok": {"generation": "x" * 16}}]
    for leaves in (found, found[::-1]):
        # The first answer tells that it is there, the second one all that are.
        body = json.dumps(leaves)
        couch.scripts[f"GET {LIFE}"] = [say(200, '{"_rev": "1-a"}'), say(200, body)]
        await couch.hears(await couch.open(), cursor, "one")


@pytest.mark.parametrize("old", [{}, {"version": 0, "views": {"by_day": {"map": "x"}}}])
@ensureDeferred
async def test_older_views_are_replaced(couch: ScriptedCouchDB, old: dict[str, object]) -> None:
    """A design document of an earlier version gives way; the next start leaves ours alone."""
    couch.put(VIEWS[1:], {"language": "javascript", **old})
    rev = couch.documents[VIEWS[1:]]["_rev"]
    await couch.open()
    new = dict(couch.documents[VIEWS[1:]])
    assert new["version"] == 1 and list(new["views"]) == ["by_time"] and new["_rev"] != rev
    assert couch.statuses(f"PUT {VIEWS}") == [201]
    await couch.open()
    assert couch.documents[VIEWS[1:]] == new


@ensureDeferred
async def test_later_views_are_refused(
    couch: ScriptedCouchDB, warnings: Sequence[LogEvent]
) -> None:
    """What a later version has set up is neither used nor touched."""
    couch.put(VIEWS[1:], {"language": "javascript", "version": 99, "views": {}})
    before = dict(couch.documents)
    with pytest.raises(StoreUnavailable, match="later version") as raised:
        await couch.store().open()
    assert "\n" not in str(raised.value)
    assert couch.documents == before
    assert warnings == []


@ensureDeferred
async def test_the_first_kpiggybank_is_left_alone(couch: ScriptedCouchDB) -> None:
    """The views of the first KPIggyBank stay, and its events are ours."""
    couch.put("_design/data", {"views": {"by_date": {"map": "function (doc) {}"}}})
    couch.put("5f1c", {"timestamp": 1700000000000, "type": "sign-in"})
    before = dict(couch.documents["_design/data"])
    store = await couch.open()
    assert couch.documents["_design/data"] == before
    (found,) = await read_all(store)
    assert (found.id, found.timestamp) == ("5f1c", 1700000000000)


@ensureDeferred
async def test_a_refusal_while_waiting(
    couch: ScriptedCouchDB, warnings: Sequence[LogEvent]
) -> None:
    """A server that comes up and does not let us in ends the waiting, too."""
    replies: list[Reply] = [say(500), say(401)]
    couch.scripts["GET "] = replies
    with pytest.raises(StoreUnavailable, match="401"):
        await couch.store().open()
    only_warning(warnings)
    assert couch.asked == ["GET ", "GET "]
