"""Things that happen to a bank and its followers in any order, and what must hold after each."""

from __future__ import annotations

import json
from typing import Any

import pytest_twisted
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from kpiggybank.web.query import HEARTBEAT_SECONDS
from tests.feed_model import WHERES, Model, Posted, query_of
from tests.feed_readers import Reader, messages, pairs
from tests.feed_stores import LazyStore
from tests.feed_taps import TapDoor
from tests.web_client import JSON, ROOT, STALL_SECONDS, result_of

reactor: Any = _reactor  # to mypy, it is a module

#: Heartbeats after which a reader that took nothing has been cut off.
STALL_HEARTBEATS = 2 + int(STALL_SECONDS / HEARTBEAT_SECONDS)

#: Readers that a machine has at the most.
READERS = 7

DOCS = st.fixed_dictionaries(
    {
        "timestamp": st.integers(0, 5),
        "kind": st.sampled_from(["a", "b", "ö\u2028"]),
        "n": st.integers(0, 2),
        "agent": st.fixed_dictionaries({"browser": st.sampled_from("xy")}),
        "pad": st.sampled_from(["", "", "", "p" * 400]),
    }
)
VALUES = DOCS | st.lists(DOCS, max_size=6)
#: Which of some things that are there by then; not drawn from them, as they may depend on threads.
CHOICE = st.integers(0, 10_000)
#: Whether to go on before what was begun has come to its end.
HASTE = st.booleans()


def turn() -> None:
    """One turn of the real reactor, which threads answer to."""
    pytest_twisted.blockon(deferLater(reactor, 0))


class FeedMachine(RuleBasedStateMachine):
    """A bank behind its HTTP interface, its writers and its readers."""

    def __init__(self) -> None:
        super().__init__()
        self.store = self.opened(None)
        self.door = TapDoor(self.store)
        self.model = Model()
        self.readers: list[Reader] = []
        self.cursors: list[str] = []
        self.under_way: list[tuple[Posted, Deferred[Any]]] = []
        #: The place of all that is acknowledged.
        self.acknowledged = 0
        self.posts = 0

    def opened(self, before: LazyStore | None) -> LazyStore:
        """An open store, given that of before a restart."""
        raise NotImplementedError

    # What happens to the bank

    @rule(lazy=st.booleans())
    def disk_changes_its_pace(self, lazy: bool) -> None:
        """What is read from now on comes late, or at once."""
        self.store.lazy = lazy

    @rule(values=st.lists(VALUES, min_size=1, max_size=3), keyed=st.booleans(), haste=HASTE)
    def post(self, values: list[Any], keyed: bool, haste: bool) -> None:
        """New events come, and do not wait for each other."""
        for value in values:
            self.posts += 1
            self._post(value, f"key-{self.posts}" if keyed else None)
            self.door.haste = True
        self._end_rule(haste)

    @rule(value=DOCS, lazy=st.booleans())
    def post_under_a_ring(self, value: Any, lazy: bool) -> None:
        """An event comes while readers are being told of another one."""
        self.settle()
        self.store.lazy, self.door.haste = lazy, True
        for _ in range(2):
            self._post(value, None)
        self.settle()

    @precondition(lambda self: self.model.keys)
    @rule(which=CHOICE, haste=HASTE)
    def post_again(self, which: int, haste: bool) -> None:
        """A writer that missed its answer sends the same with the same key."""
        key = _chosen(self.model.keys, which)
        self._post(self.model.value(key), key)
        self._end_rule(haste)

    @precondition(lambda self: self.model.keys)
    @rule(value=VALUES, which=CHOICE, haste=HASTE)
    def confuse_keys(self, value: Any, which: int, haste: bool) -> None:
        """A writer uses a key for something else."""
        self._post(value, _chosen(self.model.keys, which))
        self._end_rule(haste)

    @rule(start=st.integers(-1, 6), length=st.integers(-1, 7), where=st.sampled_from([*WHERES]))
    def ask(self, start: int, length: int, where: tuple[str, ...]) -> None:
        """Ranges and counts are those of a plain list."""
        self.settle()
        end = start + length
        wanted = self.model.span(where, start, end)
        query = query_of(where, start=start, end=end)
        rows = json.loads(self._get(f"/rows{query}"))
        assert [(row["id"], row["value"]) for row in rows] == pairs(wanted)
        assert json.loads(self._get(f"/count{query}")) == len(wanted)
        everything = json.loads(self._get(f"/count{query_of(where)}"))
        assert everything == len(self.model.wanted(where))

    @rule(long=st.booleans())
    def nothing_happens(self, long: bool) -> None:
        """Time passes; readers that take nothing for too long are cut off, and nobody else is."""
        self.settle()
        for _ in range(STALL_HEARTBEATS if long else 1):
            self.door.clock.advance(HEARTBEAT_SECONDS)
            self._work()
        self.settle()
        assert not long or all(reader.slow_since is None for reader in self.readers)

    @rule(patient=st.booleans(), haste=HASTE)
    def restart(self, patient: bool, haste: bool) -> None:
        """The bank ends, answers what it was asked, and is opened again; then readers come back."""
        self._end_rule(haste)
        self.door.bank.end_feed()
        following = [reader for reader in self.readers if reader.following]
        for reader in following:
            if patient:
                reader.hurry_up(0)
        self._work()
        for reader in following:
            reader.hear()
            assert reader.slow_since is not None or reader.last is not None
            reader.leave(self.door)
        self._take_answers()
        assert len(self.door.feed) == 0
        self.store = self.opened(self.store)
        self.door = TapDoor(self.store)
        self._check()
        for reader in following:
            self._open(reader)
        self.settle()

    # What happens to readers

    @precondition(lambda self: len(self.readers) < READERS)
    @rule(
        since=st.sampled_from(["now", "0", None, None]),
        which=CHOICE,
        where=st.sampled_from([(), (), (), *WHERES]),
        limit=st.none() | st.integers(1, 9),
        form=st.sampled_from(["ndjson", "sse"]),
        feed=st.sampled_from(["continuous", "continuous", "normal"]),
        slow=st.booleans(),
        haste=HASTE,
    )
    def follow(self, since: str | None, which: int, slow: bool, haste: bool, **wish: Any) -> None:
        """A new reader comes, from any place that was ever given out."""
        if since is None:
            since = _chosen(self.cursors or ["0"], which)
        reader = Reader(since=since, slow_since=self._now if slow else None, **wish)
        self.readers.append(reader)
        self._open(reader)
        self._end_rule(haste)

    @precondition(lambda self: self.readers)
    @rule(which=CHOICE, lost=st.integers(0, 1000), haste=HASTE)
    def reconnect(self, which: int, lost: int, haste: bool) -> None:
        """A reader loses its stream, in the middle of a line perhaps, and goes on from there."""
        reader = _chosen(self.readers, which)
        reader.leave(self.door, lost)
        self._open(reader)
        self._end_rule(haste)

    @precondition(lambda self: self.readers)
    @rule(which=CHOICE)
    def slow_down(self, which: int) -> None:
        """A reader takes nothing from now on."""
        _chosen(self.readers, which).slow_down(self._now)

    @precondition(lambda self: self.readers)
    @rule(which=CHOICE, haste=HASTE)
    def take_a_little(self, which: int, haste: bool) -> None:
        """A slow reader takes what waits."""
        _chosen(self.readers, which).take_a_little(self._now)
        self._end_rule(haste)

    @precondition(lambda self: self.readers)
    @rule(which=CHOICE, haste=HASTE)
    def hurry_up(self, which: int, haste: bool) -> None:
        """A reader takes all from now on."""
        _chosen(self.readers, which).hurry_up(self._now)
        self._end_rule(haste)

    @precondition(lambda self: self.readers)
    @rule(lost=st.integers(0, 1000))
    def all_reconnect(self, lost: int) -> None:
        """All readers lose their streams, of which nothing is left, and then get all they want."""
        for reader in self.readers:
            reader.leave(self.door, lost)
        assert len(self.door.feed) == 0
        assert self.door.clock.getDelayedCalls() == []
        for reader in self.readers:
            self._open(reader)
        self.settle()

    # How it is done

    @property
    def _now(self) -> float:
        return self.door.clock.seconds()

    def _post(self, value: Any, key: str | None) -> None:
        headers = {"Content-Type": JSON} | ({} if key is None else {"Idempotency-Key": key})
        posted = self.model.post(value, key)
        answer = self.door.begin("POST", ROOT, json.dumps(value).encode(), headers)
        self.under_way.append((posted, answer))

    def _open(self, reader: Reader) -> None:
        if reader.left != 0:
            reader.open(self.door, self.acknowledged)

    def _get(self, path: str) -> bytes:
        begun = self.door.begin("GET", ROOT + path)
        self._work()
        response = result_of(begun)
        assert response.code == 200
        content: Deferred[bytes] = response.content()
        self._work()
        return result_of(content)

    def _end_rule(self, haste: bool) -> None:
        # The next rule begins before this one has come to its end, if both are in haste.
        self.door.haste = haste
        if not haste:
            self.settle()

    def settle(self) -> None:
        """Let all that was begun come to its end, and look at it."""
        self._work()
        self._take_answers()
        self._check()

    def _work(self) -> None:
        self.door.haste = False
        self.door.flush()
        while self.store.busy or reactor.getDelayedCalls() or self.store.let_go():
            if self.store.busy:
                # Rather than to turn and turn: others need the processor while the disk works.
                pytest_twisted.blockon(self.store.answered())
            turn()
            self.door.flush()

    def _take_answers(self) -> None:
        for posted, begun in self.under_way:
            answer = self.door.finish(begun)
            assert answer.status == (409 if posted.kept is None else 201)
            if posted.kept is not None:
                for kept, id in zip(posted.kept, answer.value["ids"], strict=True):
                    assert kept.id in (None, id)
                    kept.id = id
        self.under_way.clear()
        self.acknowledged = len(self.model.all)

    def _check(self) -> None:
        for reader in self.readers:
            reader.check(self.model, self._place_of)
            if reader.cut:
                assert reader.slow_since is not None
                assert self._now - reader.slow_since >= STALL_SECONDS
            if not reader.following:
                reader.leave(self.door)
        # In the order in which they were given out.
        self.cursors = list(self.model.places)

    def _place_of(self, cursor: str) -> int:
        """The place of a cursor: what it is is told by what comes after it."""
        if cursor not in self.model.places:
            body = self._get(f"/stream{query_of((), since=cursor, feed='normal')}")
            (*rest, last), _ = messages(body, "ndjson")
            place = len(self.model.all) - len(rest)
            assert [message.change for message in rest] == pairs(self.model.all[place:])
            assert last.last["pending"] == 0
            self.model.learn(cursor, place)
        return self.model.places[cursor]

    def teardown(self) -> None:
        """Leave nothing behind."""
        for reader in self.readers:
            reader.leave(self.door)
        self._work()
        pytest_twisted.blockon(self.store.close())


def _chosen(things: Any, which: int) -> Any:
    return things[which % len(things)]
