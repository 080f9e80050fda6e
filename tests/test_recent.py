"""The newest events of a SQLite store in memory."""

from __future__ import annotations

import pytest

from kpiggybank.events import Columns, Event
from kpiggybank.interfaces import CHANGES_BYTES
from kpiggybank.stores.sequence import Sequence
from kpiggybank.stores.sqlite import recent as module
from kpiggybank.stores.sqlite.recent import Recent

SEQUENCE = Sequence()


def some(first: int, count: int, size: int = 10) -> Columns:
    """Events, each with its number for a timestamp."""
    numbers = range(first, first + count)
    return Columns.of([Event(f"e{number}", number, b"x" * size) for number in numbers])


def times(recent: Recent, number: int, limit: int = 10_000) -> list[float] | None:
    """The timestamps of what comes after a number; checks the cursors."""
    changes = recent.since(SEQUENCE.cursor(number), limit)
    if changes is None:
        return None
    for each in changes:
        assert each.cursor == SEQUENCE.cursor(int(each.event.timestamp))
    return [each.event.timestamp for each in changes]


def test_answers_from_every_place() -> None:
    """From each number on it has what came after it; it knows nothing from before it began."""
    recent = Recent(SEQUENCE, 100)
    assert times(recent, 100) == []
    recent.extend(some(101, 3))
    recent.extend(some(104, 1))
    recent.extend(some(105, 0))
    assert recent.head == SEQUENCE.cursor(104)
    for number in range(100, 105):
        assert times(recent, number) == list(range(number + 1, 105))
    assert times(recent, 101, 2) == [102, 103]
    assert times(recent, 99) is None
    assert times(recent, 105) is None
    assert recent.since("100-00000000", 10) is None
    assert recent.since("nonsense", 10) is None


def test_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is bounded in number; what it still has is complete."""
    monkeypatch.setattr(module, "RING_CHANGES", 100)
    recent = Recent(SEQUENCE, 0)
    newest = 0
    for count in [*range(1, 40), 250, 1, 1, 90]:
        recent.extend(some(newest + 1, count))
        newest += count
        known = [number for number in range(newest + 1) if times(recent, number) is not None]
        assert known == list(range(known[0], newest + 1))
        assert len(known) - 1 <= max(100, count)
        assert times(recent, known[0]) == known[1:]


def test_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large events leave sooner; what came last stays, however large it is."""
    monkeypatch.setattr(module, "RING_BYTES", 10_000)
    monkeypatch.setattr(module, "FEW_BYTES", 100)
    recent = Recent(SEQUENCE, 0)
    for number in range(1, 50):
        recent.extend(some(number, 1, 1000))
    assert times(recent, 30) is None
    assert times(recent, 45) == [46, 47, 48, 49]
    recent.extend(some(50, 1, 20_000))
    assert times(recent, 48) is None
    assert times(recent, 49) == [50]
    recent.extend(some(51, 20, 1000))  # what came together is too large, so its end stays
    assert times(recent, 62) is None
    assert times(recent, 63) == list(range(64, 71))
    recent.extend(some(71, 1, 1000))
    assert times(recent, 69) == [70, 71]


def test_pieces_are_bounded() -> None:
    """Not everything comes at once where it is large."""
    recent = Recent(SEQUENCE, 0)
    recent.extend(some(1, 5, CHANGES_BYTES // 2))
    assert times(recent, 0) == [1, 2]
