"""The bell, the feed and followers: who wakes when, and what a follower reads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kpiggybank.bank import Bank
from kpiggybank.events import Change, Event, from_json
from kpiggybank.feed import CHANGES_AT_ONCE, Bell, Feed
from kpiggybank.follower import Follower
from kpiggybank.interfaces import InvalidCursor
from kpiggybank.mint import Mint
from kpiggybank.pieces import Piece
from kpiggybank.stores.memory import MemoryStore


def now(coroutine: Coroutine[Deferred[Any], Any, Any]) -> Any:
    """The result of what needs no waiting."""
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    assert results, "it waits"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def later(coroutine: Coroutine[Deferred[Any], Any, Any]) -> Deferred[Any]:
    """What will be the result of something."""
    return Deferred.fromCoroutine(coroutine)


@pytest.fixture
def clock() -> Clock:
    """Time by hand."""
    return Clock()


@pytest.fixture
def bank(clock: Clock) -> Bank:
    """A bank in memory."""
    return Bank(MemoryStore(), clock)


@pytest.fixture
def feed(bank: Bank) -> Feed:
    """The feed of the bank."""
    return bank._feed


@pytest.fixture
def deposit(bank: Bank, clock: Clock) -> Callable[..., None]:
    """Stores events of given times, and lets the turn of the reactor end."""

    def deposit(*timestamps: float, **fields: Any) -> None:
        for timestamp in timestamps:
            bank.deposit(from_json(msgspec.json.encode({"timestamp": timestamp, **fields})))
        clock.advance(0)

    return deposit


def times(piece: Any) -> list[float]:
    """The times of the events in a piece."""
    assert isinstance(piece, Piece)
    return [change.event.timestamp for change in piece.changes]


def test_bell_wakes_who_waits() -> None:
    """A ring fires what waits for it."""
    bell = Bell()
    waiting = bell.wait()
    assert not waiting.called
    bell.ring()
    assert waiting.called


def test_bell_remembers_one_ring() -> None:
    """A ring before the wait is not lost; many are one; muffling forgets them."""
    bell = Bell()
    bell.ring()
    bell.ring()
    assert bell.wait().called
    bell.muffle()
    assert not bell.wait().called


def test_cancelled_wait() -> None:
    """Who gave up waiting is not rung."""
    bell = Bell()
    waiting = bell.wait()
    waiting.addErrback(lambda failure: failure.trap(CancelledError) and None)
    waiting.cancel()
    bell.ring()


def test_follower_hears_what_comes(bank: Bank, deposit: Callable[..., None]) -> None:
    """A waiting follower gets a new event at once, and nothing of before."""
    deposit(1)
    with now(bank.follow()) as follower:
        waiting = later(follower.more(15))
        assert not waiting.called
        deposit(2)
        assert times(waiting.result) == [2]


def test_stored_before_asking(bank: Bank, deposit: Callable[..., None]) -> None:
    """What is stored between following and asking is not missed."""
    follower = now(bank.follow())
    deposit(1, 2)
    with follower:
        assert times(now(follower.more(15))) == [1, 2]


def test_catching_up_is_paged(bank: Bank, deposit: Callable[..., None]) -> None:
    """However far behind, a follower reads so many at a time, all of them, in order."""
    follower = now(bank.follow())
    deposit(*range(2 * CHANGES_AT_ONCE + 5))
    with follower:
        pages = [now(follower.more(15)) for _ in range(3)]
    assert [len(page.changes) for page in pages] == [CHANGES_AT_ONCE, CHANGES_AT_ONCE, 5]
    assert [t for page in pages for t in times(page)] == list(range(2 * CHANGES_AT_ONCE + 5))


def test_follow_since(bank: Bank, deposit: Callable[..., None]) -> None:
    """A cursor leads on without gap or repeat."""
    with now(bank.follow()) as follower:
        deposit(1, 2)
        now(follower.more(15))
        cursor = follower.cursor
    deposit(3)
    with now(bank.follow(cursor)) as follower:
        assert times(now(follower.more(15))) == [3]


def test_follow_since_nonsense(bank: Bank) -> None:
    """A wrong cursor is found before there is a follower."""
    with pytest.raises(InvalidCursor):
        now(bank.follow("nonsense"))


def test_silence(bank: Bank, clock: Clock, deposit: Callable[..., None]) -> None:
    """After so many seconds without a change there is no piece; then it goes on."""
    with now(bank.follow()) as follower:
        silent = later(follower.more(15))
        clock.advance(14.9)
        assert not silent.called
        clock.advance(0.2)
        assert silent.result is None
        waiting = later(follower.more(15))
        deposit(1)
        assert times(waiting.result) == [1]
    assert clock.getDelayedCalls() == []


def test_end_wakes_followers(bank: Bank, clock: Clock) -> None:
    """When the feed ends, who waits is told, and who comes later does not wait."""
    with now(bank.follow()) as follower:
        waiting = later(follower.more(15))
        bank.end_feed()
        assert waiting.result is None
        assert follower.done
        assert now(follower.more(15)) is None
    with now(bank.follow()) as follower:
        assert follower.done
    assert clock.getDelayedCalls() == []


def test_leaving(bank: Bank, feed: Feed) -> None:
    """A follower counts within its `with`, also when that ends badly."""
    with pytest.raises(KeyError), now(bank.follow()):
        assert len(feed) == 1
        raise KeyError
    assert len(feed) == 0


def test_ring_that_makes_one_leave(feed: Feed, clock: Clock) -> None:
    """A follower that leaves while the bells ring does not disturb the round."""
    bells = [Bell(), Bell()]

    def leave(_: object) -> None:
        for bell in bells:
            feed.leave(bell)

    for bell in bells:
        feed.join(bell)
        bell.wait().addCallback(leave)
    feed.ring()
    clock.advance(0)
    assert len(feed) == 0


def test_ring_during_a_read_is_not_lost(clock: Clock) -> None:
    """A change stored while the follower reads makes it read again."""

    class SlowHistory(MemoryStore):
        """Answers when told to."""

        reads: list[Deferred[None]]

        def changes(self, since: str, limit: int) -> Deferred[Sequence[Change]]:
            """What was there when the question came, some time later."""
            answer = super().changes(since, limit)
            slow: Deferred[None] = Deferred()
            self.reads.append(slow)
            return slow.addCallback(lambda _: answer)

    history = SlowHistory()
    history.reads = []
    feed = Feed(history, clock)
    with Follower(feed, clock, history._last()) as follower:
        waiting = later(follower.more(15))
        history._append([Event("id", 1, b'{"timestamp":1}')], ())
        feed.ring()
        clock.advance(0)
        history.reads.pop().callback(None)
        assert not waiting.called
        history.reads.pop().callback(None)
        assert times(waiting.result) == [1]


def test_deposit_rings_without_its_sender(clock: Clock) -> None:
    """Followers hear of an event also when its sender gave up before the ack."""

    class SlowStore(MemoryStore):
        """Appends when told to."""

        go: Deferred[None]

        def append(self, events: Sequence[Event], absent: Sequence[str] = ()) -> Deferred[None]:
            """Store them later."""
            self.go = Deferred()
            return self.go.addCallback(lambda _: self._append(events, absent))

    store = SlowStore()
    bank = Bank(store, clock)
    with now(bank.follow()) as follower:
        waiting = later(follower.more(15))
        answer = bank.deposit(from_json(b'{"timestamp":1}'))
        answer.addErrback(lambda failure: failure.trap(CancelledError) and None)
        answer.cancel()
        store.go.callback(None)
        clock.advance(0)
        assert times(waiting.result) == [1]


def test_ids_are_in_order_of_time() -> None:
    """Ids grow, also within a millisecond and when the clock is set back."""
    clock = Clock()
    clock.advance(1_700_000_000)
    mint = Mint(clock.seconds)
    ids = [mint() for _ in range(1000)]
    clock.advance(0.001)
    ids.append(mint())
    clock.rightNow -= 3600
    ids += [mint() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {len(id) for id in ids} == {28}


def test_two_mints_do_not_meet() -> None:
    """Servers with the same clock make different ids."""
    clock = Clock()
    mints = Mint(clock.seconds), Mint(clock.seconds)
    assert len({mint() for mint in mints for _ in range(1000)}) == 2000
