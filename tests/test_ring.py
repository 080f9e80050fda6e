"""The ring of the newest changes, the memory of what was told, and the seals of cursors."""

from __future__ import annotations

import pytest

from kpiggybank.events import Change
from kpiggybank.interfaces import InvalidCursor
from kpiggybank.stores import ring as module
from kpiggybank.stores.couchdb import memory as memory_module
from kpiggybank.stores.couchdb.cursors import Seal
from kpiggybank.stores.couchdb.memory import Memory
from kpiggybank.stores.ring import Ring
from tests.feed_contract import event

NOW = 1_700_000_000_000


def change(number: int, size: int = 0) -> Change:
    """A change with a cursor of that number."""
    return Change(str(number), event(f"e{number}", number, text="x" * size))


def stamp(milliseconds: int) -> str:
    """The stamp of an arrival at that time."""
    return f"{milliseconds:012x}{0:016x}"


def times(changes: object) -> list[float]:
    """The times of some changes."""
    assert isinstance(changes, list)
    return [each.event.timestamp for each in changes]


def test_ring_answers_from_every_place() -> None:
    """From each cursor on, a ring has what came after it, and the limit is kept."""
    ring = Ring("0")
    for number in range(1, 6):
        ring.add(change(number))
    assert ring.head == "5"
    for number in range(6):
        assert times(ring.since(str(number), 10)) == list(range(number + 1, 6))
    assert times(ring.since("1", 2)) == [2, 3]
    assert ring.since("other", 10) is None


def test_ring_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring is bounded; who stands at a place that was dropped is told so, never skipped on."""
    monkeypatch.setattr(module, "RING_CHANGES", 100)
    ring = Ring("0")
    for number in range(1, 1000):
        ring.add(change(number))
        known = [place for place in range(number + 1) if ring.knows(str(place))]
        assert known == list(range(known[0], number + 1))
        assert len(known) <= 101
        assert times(ring.since(str(known[0]), 1000)) == known[1:]


def test_ring_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large events leave sooner; a single one that is larger than the ring still is told."""
    monkeypatch.setattr(module, "RING_BYTES", 10_000)
    ring = Ring("0")
    for number in range(1, 50):
        ring.add(change(number, 1000))
    assert not ring.knows("30")
    assert times(ring.since("45", 10)) == [46, 47, 48, 49]
    ring.add(change(50, 20_000))
    assert times(ring.since("49", 10)) == [50]


def test_ring_with_a_cursor_twice() -> None:
    """A cursor that would lead two ways leads nowhere but on."""
    ring = Ring("0")
    for number in (1, 2, 1, 3):
        ring.add(change(number))
    assert ring.since("0", 10) is None
    assert ring.since("2", 10) is None
    assert times(ring.since("1", 10)) == [3]


def test_memory_tells_each_once() -> None:
    """A document that was told is not new, whether or not the feed goes back."""
    memory = Memory(NOW, 0, 0)
    assert memory.is_new(2, "x", stamp(NOW))
    assert not memory.is_new(3, "x", stamp(NOW))
    assert memory.is_new(1, "y", stamp(NOW))
    memory.forget("x")
    assert memory.is_new(3, "x", stamp(NOW))


def test_memory_of_what_was_there_before() -> None:
    """What was there at the start, and is not remembered, is known by its age in a rewind."""
    memory = Memory(NOW, NOW, 10)
    assert memory.is_new(100, "new", stamp(NOW + 5))
    assert not memory.is_new(7, "old", stamp(NOW - 3_600_000))
    assert not memory.is_new(8, "of another program", None)
    assert memory.is_new(9, "other node", stamp(NOW - 1_000))
    # Beyond where the feed was before, everything is new, however wrong its writer's clock is.
    assert memory.is_new(101, "clock", stamp(NOW - 7_200_000))
    assert memory.is_new(102, "no clock", None)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest ids are dropped, and known by their age from then on."""
    monkeypatch.setattr(memory_module, "REMEMBERED", 10)
    memory = Memory(NOW, 0, 0)
    for number in range(30):
        assert memory.is_new(number, f"e{number}", stamp(NOW + number * 100_000))
    assert sum(f"e{number}" in memory for number in range(30)) == 10
    for number in range(19):
        assert not memory.is_new(3, f"e{number}", stamp(NOW + number * 100_000))


def test_seal() -> None:
    """A text comes out of its seal; a changed one does not, nor one of another life or kind."""
    seal = Seal("cursor", "life")
    for text in ("0", "12-g1AAAA-_x", "", "a~b"):
        assert seal.open(seal.seal(text)) == text
    sealed = seal.seal("12-abc")
    wrong = [
        sealed[1:],
        sealed[:-1],
        f"{sealed}0",
        "1" + sealed,
        "",
        "~",
        "12-abc~",
        "é~",
        "12-abc",
    ]
    wrong += [Seal("cursor", "other").seal("12-abc"), Seal("place", "life").seal("12-abc")]
    for text in wrong:
        with pytest.raises(InvalidCursor):
            seal.open(text)
