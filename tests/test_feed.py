"""The bell and the feed: who wakes when, what is read once for all, and how rounds go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from kpiggybank.events import Change
from kpiggybank.feed import (
    BELLS_AT_ONCE,
    BYTES_AT_ONCE,
    BYTES_BESIDE,
    CHANGES_AT_ONCE,
    Bell,
    Feed,
)
from kpiggybank.interfaces import InvalidCursor, StoreUnavailable
from kpiggybank.stores.memory import MemoryStore
from tests.feed_contract import events
from tests.socket_client import reactor, turn
from tests.web_client import has_fired, result_of


@attrs.define(eq=False)
class CountedStore(MemoryStore):
    """A store that notes what is asked for, and can hold its answers back.

    Attributes:
        asked: the cursors.
        hold: whether to hold answers back.
        held: what lets them go.
    """

    asked: list[str] = attrs.field(factory=list)
    hold: bool = False
    held: list[Deferred[None]] = attrs.field(factory=list)

    def changes(self, since: str, limit: int) -> Deferred[Sequence[Change]]:
        """What was there when the question came, perhaps some time later."""
        self.asked.append(since)
        answer = super().changes(since, limit)
        if not self.hold:
            return answer
        self.held.append(Deferred())
        return self.held[-1].addCallback(lambda _: answer)


@pytest.fixture
def store() -> CountedStore:
    """A store without events."""
    return CountedStore()


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Time by hand; no call may be left."""
    clock = Clock()
    yield clock
    assert clock.getDelayedCalls() == []


@pytest.fixture
def feed(store: CountedStore, clock: Clock) -> Feed:
    """The feed of the store."""
    return Feed(store, clock)


def test_bell_wakes_who_waits() -> None:
    """A ring fires what waits for it."""
    bell = Bell()
    waiting = bell.wait()
    assert not has_fired(waiting)
    bell.ring()
    assert has_fired(waiting)


def test_bell_remembers_one_ring() -> None:
    """A ring before the wait is not lost; many are one; muffling forgets them."""
    bell = Bell()
    bell.ring()
    bell.ring()
    assert bell.wait().called
    bell.muffle()
    assert not bell.wait().called


def test_bell_that_serves() -> None:
    """Who waits sleeps on as long as it can be served, and nobody is served who does not wait."""
    answers = [True, True, False]
    bell = Bell(lambda: answers.pop(0))
    bell.ring()
    bell.muffle()
    waiting = bell.wait()
    bell.ring()
    bell.ring()
    assert not has_fired(waiting)
    bell.ring()
    assert has_fired(waiting)


def test_cancelled_wait() -> None:
    """Who gave up waiting is not rung."""
    bell = Bell()
    waiting = bell.wait()
    waiting.addErrback(lambda failure: failure.trap(CancelledError) and None)
    waiting.cancel()
    bell.ring()


def bells_of(feed: Feed, count: int) -> tuple[list[Bell], list[Deferred[None]]]:
    """Bells of a feed, and who waits for each of them."""
    bells = [Bell() for _ in range(count)]
    for bell in bells:
        feed.join(bell)
    return bells, [bell.wait() for bell in bells]


def test_rung_in_the_next_turn(feed: Feed, clock: Clock) -> None:
    """A ring waits for the end of the turn, so that what comes together is told together."""
    _, (waiting,) = bells_of(feed, 1)
    feed.ring()
    feed.ring()
    assert not has_fired(waiting)
    clock.advance(0)
    assert has_fired(waiting)


@ensureDeferred
async def test_rounds_leave_room(store: CountedStore) -> None:
    """Many followers are woken in several turns, so that requests are served in between."""
    feed = Feed(store, reactor)
    _, waiting = bells_of(feed, 2 * BELLS_AT_ONCE + 1)
    feed.ring()
    counts = [0]
    while counts[-1] < len(waiting):
        await turn()
        counts.append(sum(each.called for each in waiting))
    steps = [after - before for before, after in pairwise(counts)]
    assert max(steps) == BELLS_AT_ONCE


@ensureDeferred
async def test_answers_go_first(store: CountedStore) -> None:
    """Between a ring and the bells the reactor sends what it has to send, whoever rings."""
    feed = Feed(store, reactor)
    _, (waiting,) = bells_of(feed, 1)
    looked: Deferred[bool] = Deferred()

    def stored() -> None:
        feed.ring()
        # What a thread brings, and the calls that are due then, come before anything is sent.
        reactor.callLater(0, lambda: looked.callback(waiting.called))

    reactor.callFromThread(stored)
    assert not await looked
    await waiting


@ensureDeferred
async def test_ring_during_a_round(store: CountedStore) -> None:
    """Who was woken in a round already is woken again by a ring that comes later."""
    feed = Feed(store, reactor)
    bells, waiting = bells_of(feed, BELLS_AT_ONCE + 1)
    feed.ring()
    while not waiting[0].called:
        await turn()
    assert not waiting[-1].called
    bells[0].muffle()
    again = bells[0].wait()
    feed.ring()
    for _ in range(5):
        await turn()
    assert again.called
    assert waiting[-1].called


def test_ring_that_makes_one_leave(feed: Feed, clock: Clock) -> None:
    """A follower that leaves while the bells ring does not disturb the round."""
    bells, waiting = bells_of(feed, 3)

    def leave(_: object) -> None:
        for bell in bells:
            feed.leave(bell)

    for each in waiting:
        each.addCallback(leave)
    feed.ring()
    clock.advance(0)
    assert len(feed) == 0
    assert [each.called for each in waiting] == [True, False, False]


@pytest.mark.parametrize("size", [0, 500_000])
@ensureDeferred
async def test_turns_of_those_who_catch_up(store: CountedStore, size: int) -> None:
    """Not all who have much at hand tell it in one turn; each has its own, in order."""
    feed = Feed(store, reactor)
    told: list[int] = []
    given_up: list[int] = []
    for number in range(200):
        mine = feed.turn(size)
        if mine is None:
            told.append(number)
        elif number % 10:
            mine.addCallback(lambda _, number: told.append(number), number)
        else:
            mine.addErrback(lambda _, number: given_up.append(number), number)
            mine.cancel()
    counts = [0, len(told)]
    while told[-1] < 199:
        await turn()
        counts.append(len(told))
    steps = [after - before for before, after in pairwise(counts)]
    assert max(steps) == -(-BYTES_AT_ONCE // (size + BYTES_BESIDE))
    assert told == [number for number in range(200) if number not in given_up]
    assert given_up
    await turn()
    assert feed.turn(size) is None


def test_end_is_told_at_once(feed: Feed) -> None:
    """The end is no matter of rounds: all hear of it before the connections are wound up."""
    _, waiting = bells_of(feed, BELLS_AT_ONCE + 1)
    feed.end()
    assert all(each.called for each in waiting)
    assert feed.ended


def test_read_once_for_all(feed: Feed, store: CountedStore) -> None:
    """All who stand at the same place get the very same piece, now and later."""
    start = store._last()
    store._append(events([1, 2, 3]), ())
    first, second = result_of(feed.after(start)), result_of(feed.after(start))
    assert first is second
    assert feed.at_hand(start) is first
    assert store.asked == [start]
    assert [change.event.timestamp for change in first.changes] == [1, 2, 3]


def test_read_once_while_reading(feed: Feed, store: CountedStore) -> None:
    """Who asks for what is being read gets that, also when the first who asked has gone."""
    store.hold = True
    start = store._last()
    store._append(events([1]), ())
    asked = [feed.after(start) for _ in range(3)]
    for each in asked[:2]:
        each.addErrback(lambda failure: failure.trap(CancelledError) and None)
        each.cancel()
    store.held.pop().callback(None)
    assert len(result_of(asked[2]).changes) == 1
    assert store.asked == [start]


def test_nothing_is_read_at_the_end(feed: Feed, store: CountedStore) -> None:
    """Where nothing more was found, the store is asked again only after a ring or a doubt."""
    start = store._last()
    for _ in range(3):
        assert not result_of(feed.after(start)).changes
    assert store.asked == [start]
    feed.doubt()
    assert not result_of(feed.after(start)).changes
    assert store.asked == [start] * 2


def test_end_behind_a_short_piece(feed: Feed, store: CountedStore) -> None:
    """A piece with fewer changes than could be is the last one; asking behind it costs nothing."""
    start = store._last()
    store._append(events([1, 2]), ())
    place = result_of(feed.after(start)).cursor
    assert not result_of(feed.after(place)).changes
    assert store.asked == [start]


def test_no_end_behind_a_full_piece(feed: Feed, store: CountedStore) -> None:
    """A piece as large as can be says nothing about what comes next."""
    start = store._last()
    store._append(events(range(CHANGES_AT_ONCE + 1)), ())
    place = result_of(feed.after(start)).cursor
    assert len(result_of(feed.after(place)).changes) == 1


def test_what_comes_during_a_read(feed: Feed, store: CountedStore, clock: Clock) -> None:
    """A read that began before a ring does not settle that there is no more."""
    store.hold = True
    start = store._last()
    asked = feed.after(start)
    store._append(events([1]), ())
    feed.ring()
    clock.advance(0)
    store.held.pop().callback(None)
    assert not result_of(asked).changes
    again = feed.after(start)
    store.held.pop().callback(None)
    assert len(result_of(again).changes) == 1


def test_read_ahead(feed: Feed, store: CountedStore, clock: Clock) -> None:
    """What all wait for is read before they are woken."""
    start = store._last()
    result_of(feed.after(start))
    _, (waiting,) = bells_of(feed, 1)
    store._append(events([1]), ())
    store.hold = True
    feed.ring()
    clock.advance(0)
    assert not has_fired(waiting)
    store.held.pop().callback(None)
    assert has_fired(waiting)
    assert feed.at_hand(start) is not None


def test_store_that_fails(feed: Feed, store: CountedStore, clock: Clock) -> None:
    """A store that cannot answer fails the question, and bells ring all the same."""
    start = store._last()
    result_of(feed.after(start))
    _, (waiting,) = bells_of(feed, 1)
    store._closed = True
    feed.ring()
    clock.advance(0)
    assert has_fired(waiting)
    with pytest.raises(StoreUnavailable):
        result_of(feed.after(start))
    store._closed = False
    assert not result_of(feed.after(start)).changes


def test_nonsense(feed: Feed) -> None:
    """A wrong cursor is refused."""
    asked = feed.after("nonsense")
    with pytest.raises(InvalidCursor):
        result_of(asked)
    assert has_fired(asked)
