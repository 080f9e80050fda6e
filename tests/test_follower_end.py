"""When followers end, and with what."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred

from kpiggybank.bank import BEGINNING
from kpiggybank.feed import CHANGES_AT_ONCE
from kpiggybank.interfaces import StoreUnavailable
from tests.followers import Stage, conditions, stage_of
from tests.web_client import StagedStore, result_of


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A bank in memory."""
    yield from stage_of()


def test_limit(stage: Stage) -> None:
    """After so many changes it is done, within a piece too, and its place is behind the last."""
    stage.deposit(1, 2)
    follower, ear = stage.follow(BEGINNING, limit=3)
    assert stage.waiting == [True]
    stage.deposit(3, 4, 5)
    assert ear.times == [1, 2, 3]
    assert stage.waiting == [False]
    assert stage.follow(follower.cursor)[1].times == [4, 5]


def test_limit_of_what_is_wanted(stage: Stage) -> None:
    """The limit counts what is told, not what is passed over."""
    _, ear = stage.follow(where=conditions("kind:b"), limit=2)
    for time in range(6):
        stage.deposit(time, kind="ab"[time % 2])
    assert ear.times == [1, 3]
    assert stage.waiting == [False]


def test_catch_up_ends(stage: Stage) -> None:
    """A follower with an end tells what is there and is done, at the newest change."""
    stage.deposit(1, 2, 3)
    follower, ear = stage.catch_up(BEGINNING)
    assert ear.times == [1, 2, 3]
    assert stage.waiting == [False]
    assert follower.cursor == result_of(stage.store.last())


def test_catch_up_with_nothing(stage: Stage) -> None:
    """From now on there is nothing, whatever comes a moment later."""
    coming = Deferred.fromCoroutine(stage.bank.catch_up())
    stage.deposit(1)
    _, ear = stage.tell(result_of(coming))
    assert ear.times == []
    assert stage.waiting == [False]


def test_catch_up_ends_where_it_was_asked(stage: Stage) -> None:
    """What arrives while a slow listener catches up does not keep it for ever."""
    stage.deposit(*range(CHANGES_AT_ONCE + 3))
    coming = Deferred.fromCoroutine(stage.bank.catch_up(BEGINNING))
    stage.deposit(-1, -2)
    _, ear = stage.tell(result_of(coming))
    assert ear.times == list(range(CHANGES_AT_ONCE + 3))
    assert stage.waiting == [False]


def test_catch_up_with_nothing_wanted(stage: Stage) -> None:
    """An end is reached also where nothing before it is wanted."""
    stage.deposit(1, 2, 3)
    follower, ear = stage.catch_up(BEGINNING, where=conditions("kind:b"))
    assert ear.times == []
    assert stage.waiting == [False]
    assert follower.cursor == result_of(stage.store.last())


def test_catch_up_with_a_store_that_fails() -> None:
    """An answer with an end does not wait for the store: it fails."""
    store = StagedStore()
    stage = Stage(store)
    stage.deposit(1)
    follower = result_of(Deferred.fromCoroutine(stage.bank.catch_up(BEGINNING)))
    store.error = StoreUnavailable("gone")
    stage.tell(follower)
    with pytest.raises(StoreUnavailable):
        result_of(stage.told[0])


def test_end_of_the_feed(stage: Stage) -> None:
    """When the feed ends, who waits is done, and who comes later does not wait."""
    stage.follow()
    stage.bank.end_feed()
    assert stage.waiting == [False]
    stage.follow()
    assert stage.waiting == [False, False]
    assert stage.clock.getDelayedCalls() == []


def test_end_of_the_feed_with_a_slow_listener(stage: Stage) -> None:
    """A listener that is full is waited for, and then told nothing more."""
    follower, ear = stage.follow()
    ear.full = True
    stage.deposit(1)
    stage.deposit(2)
    stage.bank.end_feed()
    assert stage.waiting == [True]
    ear.empty()
    assert stage.waiting == [False]
    assert ear.times == [1]
    assert [e.event.timestamp for e in result_of(stage.store.changes(follower.cursor, 9))] == [2]


def test_leaving(stage: Stage) -> None:
    """A follower counts within its `with`, also when that ends badly."""
    follower = result_of(Deferred.fromCoroutine(stage.bank.follow()))
    with pytest.raises(KeyError), follower:
        assert len(stage.feed) == 1
        raise KeyError
    assert len(stage.feed) == 0


def test_nothing_stays_of_who_has_gone(stage: Stage) -> None:
    """A follower that has ended is free at once, with all that it told."""
    follower = result_of(Deferred.fromCoroutine(stage.bank.follow()))
    gone = weakref.ref(follower)
    gc.collect()
    gc.disable()
    try:
        with follower:
            stage.deposit(1)
        del follower
        assert gone() is None
    finally:
        gc.enable()
