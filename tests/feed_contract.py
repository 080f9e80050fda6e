"""The part of the one suite that even a store which keeps nothing runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_twisted
from msgspec.structs import replace
from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from kpiggybank.events import Change, Event, EventPage, Page, Range
from kpiggybank.interfaces import (
    CHANGES_BYTES,
    IDisposable,
    IEventBank,
    InvalidCursor,
    StoreUnavailable,
)


def event(id: str, timestamp: float = 0, **fields: Any) -> Event:
    """An event of that id and time."""
    return Event(id, timestamp, msgspec.json.encode({"timestamp": timestamp, **fields}))


def events(timestamps: Iterable[float], prefix: str = "e") -> list[Event]:
    """Events of these times, named by their place."""
    return [event(f"{prefix}{place}", timestamp) for place, timestamp in enumerate(timestamps)]


async def walk(store: IEventBank, span: Range, page: Page) -> list[EventPage]:
    """All pieces of a range, the next one continuing where the one before ended."""
    pieces = [await store.read(span, page)]
    while pieces[-1].after is not None:
        pieces.append(await store.read(span, replace(page, after=pieces[-1].after)))
    return pieces


async def read_all(store: IEventBank, span: Range | None = None, **page: Any) -> list[Event]:
    """A whole range."""
    pieces = await walk(store, span or Range(), Page(**{"limit": 1000, **page}))
    return [event for piece in pieces for event in piece.events]


async def stored(store: IEventBank, given: Sequence[Event]) -> Sequence[Change]:
    """The changes that appending these events made."""
    cursor = await store.last()
    await store.append(given)
    return await store.changes(cursor, len(given) + 1)


def by_id(found: Iterable[Event]) -> list[Event]:
    """Events in an order that has nothing to do with their arrival."""
    return sorted(found, key=lambda event: event.id)


class FeedContract:
    """What even a store that keeps nothing promises."""

    def make_store(self, folder: Path) -> IEventBank:
        """A store, not yet open, that may use a folder."""
        raise NotImplementedError

    @pytest_twisted.async_yield_fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[IEventBank]:
        """An open store, closed afterwards."""
        store = self.make_store(tmp_path)
        await store.open()
        yield store
        await store.close()

    def test_provides_the_interface(self, tmp_path: Path) -> None:
        """The adapter has all the methods with the right signatures."""
        assert verifyObject(IEventBank, self.make_store(tmp_path))

    def test_describes_itself(self, tmp_path: Path) -> None:
        """An operator is told something about where events are."""
        assert self.make_store(tmp_path).describe()

    @ensureDeferred
    async def test_append_of_nothing(self, store: IEventBank) -> None:
        """No events are no changes, and no trouble."""
        before = await store.last()
        await store.append([])
        assert await store.last() == before

    @ensureDeferred
    async def test_changes_since_a_cursor(self, store: IEventBank) -> None:
        """A follower gets all that was stored since its cursor, each once, with its own cursor."""
        await store.append(events([1], "before"))
        cursor = await store.last()
        given = events([5, 3, 4])
        await store.append(given)
        changes = await store.changes(cursor, 10)
        assert by_id(change.event for change in changes) == given
        assert len({cursor, *(change.cursor for change in changes)}) == 4

    @ensureDeferred
    async def test_changes_without_gap_or_repeat(self, store: IEventBank) -> None:
        """Handing each change's cursor back reads all of them once, however small the steps."""
        cursor = await store.last()
        given = events(range(10))
        for one in given:
            await store.append([one])
        for step in (1, 3, 100):
            seen: list[Event] = []
            place = cursor
            while changes := await store.changes(place, step):
                assert len(changes) <= step
                seen.extend(change.event for change in changes)
                place = changes[-1].cursor
            assert by_id(seen) == given

    @ensureDeferred
    async def test_any_change_is_a_place_to_go_on(self, store: IEventBank) -> None:
        """The changes before a cursor and those after it are all of them, wherever it stands."""
        given = events(range(6))
        changes = await stored(store, given)
        for place, change in enumerate(changes, 1):
            rest = await store.changes(change.cursor, 10)
            seen = [*changes[:place], *rest]
            assert by_id(change.event for change in seen) == given

    @ensureDeferred
    async def test_no_changes_after_the_last(self, store: IEventBank) -> None:
        """After the newest change there is nothing, and `last` is its cursor."""
        changes = await stored(store, events([1, 2]))
        assert await store.last() == changes[-1].cursor
        assert list(await store.changes(changes[-1].cursor, 5)) == []

    @pytest.mark.parametrize("garbled", ["", "0", "-1", "x", "1-", "99999999999999999999", "é\x00"])
    @ensureDeferred
    async def test_garbled_cursor(self, store: IEventBank, garbled: str) -> None:
        """What is no cursor is refused rather than taken for some place."""
        with pytest.raises(InvalidCursor):
            await store.changes(garbled, 1)

    @ensureDeferred
    async def test_cursor_of_another_store(self, store: IEventBank, tmp_path: Path) -> None:
        """A cursor of a store that is gone is refused, although its number may exist here, too."""
        cursor = (await stored(store, events([1])))[-1].cursor
        await store.close()
        if IDisposable.providedBy(store):
            await IDisposable(store).destroy()
        new = self.make_store(tmp_path)
        await new.open()
        try:
            await new.append(events(range(5)))
            with pytest.raises(InvalidCursor):
                await new.changes(cursor, 1)
        finally:
            await new.close()

    @ensureDeferred
    async def test_from_the_first_to_the_last(self, store: IEventBank) -> None:
        """`first` is before everything that is known, and `last` is after it."""
        given = events([3, 1, 2])
        changes = await stored(store, given)
        found = await store.changes(await store.first(), 1000)
        assert by_id(change.event for change in found)[-3:] == given
        assert found[-1].cursor == await store.last() == changes[-1].cursor

    @ensureDeferred
    async def test_pending(self, store: IEventBank) -> None:
        """From every place it is told how many changes there still are."""
        cursor = await store.last()
        assert await store.pending(cursor) == 0
        changes = await stored(store, events(range(5)))
        assert await store.pending(cursor) == 5
        assert [await store.pending(change.cursor) for change in changes] == [4, 3, 2, 1, 0]
        with pytest.raises(InvalidCursor):
            await store.pending("nonsense")

    @ensureDeferred
    async def test_changes_are_bounded_in_bytes(self, store: IEventBank) -> None:
        """Large changes come in small pieces, at least one at a time, and all of them."""
        cursor = await store.last()
        given = [event(f"e{n}", n, text="x" * (CHANGES_BYTES // 3)) for n in range(7)]
        given.append(event("e7", 7, text="x" * (2 * CHANGES_BYTES)))
        await store.append(given)
        seen: list[Event] = []
        while changes := await store.changes(cursor, 1000):
            assert len(changes) <= 3
            seen.extend(change.event for change in changes)
            cursor = changes[-1].cursor
        assert by_id(seen) == given

    @ensureDeferred
    async def test_a_short_piece_is_the_last(self, store: IEventBank) -> None:
        """Fewer changes than asked for, and not many bytes, mean that there were no more."""
        cursor = await store.last()
        await store.append(events(range(10)))
        for limit in (1, 4, 9, 10, 11):
            assert len(await store.changes(cursor, limit)) == min(limit, 10)

    @ensureDeferred
    async def test_pages_make_up_the_range(self, store: IEventBank) -> None:
        """Small pieces are the whole in order, in both directions, each within its limit."""
        await store.append(events([4, 2, 2, 2, 9, 2]))
        for descending in (False, True):
            whole = await read_all(store, descending=descending)
            pieces = await walk(store, Range(), Page(2, descending=descending))
            assert [event for piece in pieces for event in piece.events] == whole
            assert all(len(piece.events) <= 2 for piece in pieces)

    @ensureDeferred
    async def test_count_is_what_read_returns(self, store: IEventBank) -> None:
        """Counting a range and reading it agree."""
        await store.append(events([1, 2, 3]))
        for span in (Range(), Range(start=2), Range(end=2), Range(2, 2), Range(3, 1)):
            assert await store.count(span) == len(await read_all(store, span))

    @ensureDeferred
    async def test_closed_store_is_unavailable(self, tmp_path: Path) -> None:
        """After `close` every question fails, and closing again does not."""
        store = self.make_store(tmp_path)
        await store.open()
        cursor = await store.last()
        await store.close()
        questions = (
            lambda: store.append(events([1])),
            lambda: store.read(Range(), Page(1)),
            lambda: store.get("e0"),
            lambda: store.count(Range()),
            lambda: store.changes(cursor, 1),
            lambda: store.first(),
            lambda: store.last(),
            lambda: store.pending(cursor),
        )
        for question in questions:
            with pytest.raises(StoreUnavailable):
                await question()
        await store.close()


class ArrivalContract:
    """What a store promises besides that keeps one order of arrival: one on a single machine."""

    @ensureDeferred
    async def test_changes_in_the_order_of_arrival(self, store: IEventBank) -> None:
        """Changes come as they were appended, whatever their times and ids are."""
        cursor = await store.last()
        given = [event("z", 5), event("a", 3), event("m", 4)]
        await store.append(given)
        await store.append([event("b", 1)])
        changes = await store.changes(cursor, 10)
        assert [change.event.id for change in changes] == ["z", "a", "m", "b"]

    @ensureDeferred
    @pytest.mark.parametrize("place", [0, 99, 100, 320, 349, 350])
    async def test_lists_at_once(self, store: IEventBank, place: int) -> None:
        """Lists in flight together keep their order, also with an odd timestamp among theirs."""
        cursor = await store.last()
        times: list[float] = list(range(400))
        times[place] = 2**64
        ends = [0, 100, 230, 231, 350, 351, 352, 400]
        lists = [events(times[a:b], f"n{a}-") for a, b in pairwise(ends)]
        await gatherResults([store.append(each) for each in lists])
        changes = await store.changes(cursor, 1000)
        assert [change.event for change in changes] == [event for each in lists for event in each]
        assert len({change.cursor for change in changes}) == 400
