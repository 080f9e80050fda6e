"""Plain figures: histograms, and what becomes of appends."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kpiggybank.events import Deposit
from kpiggybank.interfaces import IdConflict, StoreError, StoreFull, StoreUnavailable
from kpiggybank.tally import Appends, Histogram
from kpiggybank.texts import Texts
from tests.web_client import Door, StagedStore, has_fired

DEPOSIT = Deposit((1, 2), Texts.of([b'{"timestamp":1}', b'{"timestamp":2}']), False)


def test_histogram() -> None:
    """A value that equals a bound is within it; one beyond all is counted, too."""
    histogram = Histogram((1, 2.5))
    for value in (0.5, 1, 1.5, 2.5, 99):
        histogram.add(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 104.5


def test_appends() -> None:
    """The oldest of those that wait tells how long that has been."""
    clock = Clock()
    appends = Appends(clock.seconds)
    assert (appends.waiting, appends.bytes, appends.oldest) == (0, 0, 0)
    first = appends.begin(100)
    clock.advance(2)
    second = appends.begin(30)
    clock.advance(1)
    assert (appends.waiting, appends.bytes, appends.oldest) == (2, 130, 3)
    appends.end(first, "acknowledged", 5)
    assert (appends.waiting, appends.bytes, appends.oldest) == (1, 30, 1)
    appends.end(second, "full", 7)
    assert (appends.waiting, appends.bytes, appends.oldest) == (0, 0, 0)
    assert appends.events == {"acknowledged": 5, "full": 7}
    assert appends.durations.total == 4


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "acknowledged"),
        (IdConflict("taken"), "conflict"),
        (StoreFull("no room"), "full"),
        (StoreUnavailable("away"), "unavailable"),
        (StoreError("odd"), "failed"),
    ],
    ids=str,
)
def test_outcomes_of_deposits(error: StoreError | None, outcome: str) -> None:
    """Each event of a deposit counts, by what the store said, and once that is known."""
    store = StagedStore(error=error, hold=Deferred())
    bank = Door(store).bank
    deposit = bank.deposit(DEPOSIT)
    assert (bank.appends.waiting, bank.appends.events) == (1, {})
    deposit.cancel()  # its sender has gone; the store works on
    deposit.addErrback(lambda failure: None)
    assert bank.appends.waiting == 1
    assert store.hold is not None
    store.hold.callback(None)
    assert has_fired(deposit)
    assert (bank.appends.waiting, bank.appends.events) == (0, {outcome: 2})


def test_deliveries() -> None:
    """What is told to two followers is delivered twice."""
    door = Door()
    assert (door.bank.followers, door.bank.deliveries) == (0, 0)
    streams = [door.stream(), door.stream()]
    door.save([{"timestamp": 1}, {"timestamp": 2}, {"timestamp": 3}])
    door.flush()
    assert (door.bank.followers, door.bank.deliveries) == (2, 6)
    for stream in streams:
        door.leave(stream)
    assert door.bank.followers == 0
