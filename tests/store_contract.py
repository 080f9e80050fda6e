"""The one suite that every store runs which keeps events; `feed_contract` is the part for all.

A store's own test file has one factory and the tests of its own quirks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults

from kpiggybank.events import PAGE_BYTES, Event, Page, Range, sortable
from kpiggybank.interfaces import (
    PASSED_OVER,
    EventNotFound,
    IdConflict,
    IEventBank,
    InvalidCursor,
)
from tests.feed_contract import FeedContract, event, events, read_all, stored, walk
from tests.followers import conditions


class StoreContract(FeedContract):
    """What every store that keeps events promises."""

    @ensureDeferred
    async def test_get(self, store: IEventBank) -> None:
        """An event is found by its id, exactly as it was stored."""
        given = event("one", 1.0, big=2**64, huge=10**30, text="\0\u2028😀", deep=[[{"a": None}]])
        await store.append([event("other", 1), given])
        assert await store.get("one") == given

    @ensureDeferred
    async def test_get_unknown(self, store: IEventBank) -> None:
        """An id that nobody used is not found."""
        with pytest.raises(EventNotFound):
            await store.get("nobody")

    @ensureDeferred
    async def test_empty(self, store: IEventBank) -> None:
        """A new store holds nothing."""
        assert await read_all(store) == []
        assert await store.count(Range()) == 0

    @ensureDeferred
    async def test_order_is_timestamp_then_arrival(self, store: IEventBank) -> None:
        """Events come by time, then as they arrived; descending is the reverse of it."""
        await store.append(events([5, 1, 5], "a"))
        await store.append(events([5, 0, 1], "b"))
        order = ["b1", "a1", "b2", "a0", "a2", "b0"]
        assert [event.id for event in await read_all(store)] == order
        descending = await read_all(store, descending=True)
        assert [event.id for event in descending] == order[::-1]

    @pytest.mark.parametrize(
        ("span", "expected"),
        [
            (Range(), [-5, -0.5, 0, 1.5, 2, 10]),
            (Range(start=0), [0, 1.5, 2, 10]),
            (Range(end=0), [-5, -0.5, 0]),
            (Range(-0.5, 2), [-0.5, 0, 1.5, 2]),
            (Range(-0.5, 2.0), [-0.5, 0, 1.5, 2]),
            (Range(1.5, 1.5), [1.5]),
            (Range(3, 9), []),
            (Range(2, 1), []),
            (Range(11), []),
            (Range(end=-6), []),
            (Range(-(10**300), 10**300), [-5, -0.5, 0, 1.5, 2, 10]),
        ],
    )
    @ensureDeferred
    async def test_range(self, store: IEventBank, span: Range, expected: Sequence[float]) -> None:
        """Both ends are included, either may be open, and an end before its start is empty."""
        await store.append(events([10, 1.5, -5, 2, 0, -0.5]))
        for descending in (False, True):
            found = [
                event.timestamp for event in await read_all(store, span, descending=descending)
            ]
            assert found == (expected[::-1] if descending else expected)
        assert await store.count(span) == len(expected)

    @ensureDeferred
    async def test_pages_within_a_range(self, store: IEventBank) -> None:
        """Pieces stay within the range, also where many events share the time at its edge."""
        await store.append(events([1, 2, 2, 2, 2, 3, 3, 3, 4]))
        for descending in (False, True):
            for limit in (1, 2, 3, 4, 100):
                pieces = await walk(store, Range(2, 3), Page(limit, descending=descending))
                ids = [event.id for piece in pieces for event in piece.events]
                expected = [f"e{place}" for place in range(1, 8)]
                assert ids == (expected[::-1] if descending else expected)
                assert all(len(piece.events) == limit for piece in pieces[:-1])
                assert pieces[-1].events

    @ensureDeferred
    async def test_page_after_with_other_bounds(self, store: IEventBank) -> None:
        """A place outside the range does not lead out of it."""
        await store.append(events(range(10)))
        first = await store.read(Range(), Page(2))
        assert [e.timestamp for e in await read_all(store, Range(5, 6), after=first.after)] == [
            5,
            6,
        ]
        beyond = await store.read(Range(), Page(9))
        assert await read_all(store, Range(5, 6), after=beyond.after) == []

    @ensureDeferred
    async def test_what_arrives_between_pages(self, store: IEventBank) -> None:
        """An event that arrives while paging neither hides nor repeats another."""
        await store.append(events([1, 3, 5, 7]))
        first = await store.read(Range(), Page(2))
        await store.append([event("early", 2), event("same", 3), event("late", 6)])
        rest = await read_all(store, after=first.after)
        assert [e.id for e in rest] == ["same", "e2", "late", "e3"]

    @pytest.mark.parametrize("garbled", ["", "0", "x", "1-00000000", "12345678901234567890-a"])
    @ensureDeferred
    async def test_garbled_after(self, store: IEventBank, garbled: str) -> None:
        """What is no place in a range is refused."""
        await store.append(events([1]))
        with pytest.raises(InvalidCursor):
            await store.read(Range(), Page(1, garbled))

    @ensureDeferred
    async def test_page_of_large_events_ends_early(self, store: IEventBank) -> None:
        """A piece is bounded in bytes, too, so that a range costs constant memory."""
        large = [event(f"large{place}", place, text="x" * (PAGE_BYTES // 3)) for place in range(8)]
        await store.append(large)
        pieces = await walk(store, Range(), Page(1000))
        assert len(pieces) > 1
        assert [event for piece in pieces for event in piece.events] == large

    @ensureDeferred
    async def test_numbers_of_all_sizes(self, store: IEventBank) -> None:
        """Timestamps are compared as numbers, exactly within 64 bits, and come back as sent."""
        times = [
            2**53,
            2**53 + 1,
            2**63 - 1,
            -(2**63),
            2**64,
            10**30,
            -(10**30),
            1e300,
            0.1,
            1,
            1.0,
        ]
        await store.append(events(times))
        found = [event.timestamp for event in await read_all(store)]
        expected = sorted(times, key=sortable)
        assert list(map(repr, found)) == list(map(repr, expected))
        assert await store.count(Range(2**53 + 1, 2**53 + 1)) == 1
        assert await store.count(Range(start=2**64)) == 3

    @pytest.mark.parametrize("descending", [False, True])
    @ensureDeferred
    async def test_only_what_is_wanted(self, store: IEventBank, descending: bool) -> None:
        """Conditions pass events over, whatever the size of the pieces, and lose no other."""
        wanted = conditions("kind:b", "deep.er:2")
        given = [
            event(f"e{n}", n // 3, kind="ab"[n % 2], deep={"er": (2, 2.0, "2", 3, None)[n % 5]})
            for n in range(60)
        ]
        await store.append(given)
        expected = [one for one in given if wanted.holds(one.json)]
        assert len(expected) == 18
        for span in (Range(), Range(5, 15)):
            inside = [
                one
                for one in expected[:: -1 if descending else 1]
                if span.start is None or 5 <= one.timestamp <= 15
            ]
            for limit in (1, 2, 7, 1000):
                page = Page(limit, descending=descending, where=wanted)
                pieces = await walk(store, span, page)
                assert all(len(piece.events) <= limit for piece in pieces)
                assert [one for piece in pieces for one in piece.events] == inside

    @ensureDeferred
    async def test_much_that_is_not_wanted(self, store: IEventBank) -> None:
        """A piece ends, empty perhaps, before it has cost much; the next ones bring the rest."""
        await store.append(events(range(PASSED_OVER + 100)))
        await store.append([event("wanted", PASSED_OVER + 500, kind="b")])
        pieces = await walk(store, Range(), Page(10, where=conditions("kind:b")))
        assert [len(piece.events) for piece in pieces] == [0, 1]

    @ensureDeferred
    async def test_repeat_stores_nothing(self, store: IEventBank) -> None:
        """The same events with the same ids again are answered as the first time."""
        await store.append(events([1, 2]))
        cursor = await store.last()
        await store.append([event("e0", 1), Event("e1", 2, b'{ "timestamp": 2 }')])
        assert await store.count(Range()) == 2
        assert list(await store.changes(cursor, 5)) == []

    @ensureDeferred
    async def test_members_in_another_order_are_a_repeat(self, store: IEventBank) -> None:
        """Equality is that of JSON values."""
        await store.append([Event("id", 1, b'{"timestamp":1,"a":{"b":1,"c":2}}')])
        await store.append([Event("id", 1, b'{"a":{"c":2,"b":1},"timestamp":1}')])
        assert await store.count(Range()) == 1

    @pytest.mark.parametrize(
        "other",
        [b'{"timestamp":1,"a":2}', b'{"timestamp":1}', b'{"timestamp":1.0,"a":1}'],
    )
    @ensureDeferred
    async def test_taken_id(self, store: IEventBank, other: bytes) -> None:
        """An id is never given to another event, and nothing of that append is stored."""
        given = Event("id", 1, b'{"timestamp":1,"a":1}')
        await store.append([given])
        with pytest.raises(IdConflict):
            await store.append([event("new", 1), Event("id", 1, other)])
        assert await read_all(store) == [given]
        # What was refused leaves no gap before the next one.
        changes = await stored(store, [event("next", 1)])
        assert [change.event.id for change in changes] == ["next"]
        assert await store.last() == changes[-1].cursor

    @ensureDeferred
    async def test_absent(self, store: IEventBank) -> None:
        """An append that wants an id absent stores nothing when it is there."""
        await store.append([event("there", 1)])
        with pytest.raises(IdConflict):
            await store.append([event("new", 1)], ["not there", "there"])
        await store.append([event("new", 1)], ["not there"])
        assert await store.count(Range()) == 2

    @ensureDeferred
    async def test_appends_at_once(self, store: IEventBank) -> None:
        """Appends in flight together are each answered for themselves."""
        await store.append([event("taken", 0)])
        cursor = await store.last()
        good = [store.append(events([place, place], f"n{place}-")) for place in range(50)]
        bad = store.append([event("taken", 1)])
        repeat = store.append([event("n7-0", 7), event("n7-1", 7)])
        await gatherResults([*good, repeat])
        with pytest.raises(IdConflict):
            await bad
        assert await store.count(Range()) == 101
        changes = await store.changes(cursor, 1000)
        ids = [f"n{place}-{part}" for place in range(50) for part in (0, 1)]
        assert sorted(change.event.id for change in changes) == sorted(ids)

    @ensureDeferred
    async def test_close_waits_for_appends(self, tmp_path: Path) -> None:
        """What was appended before `close` is answered."""
        store = self.make_store(tmp_path)
        await store.open()
        appended = [store.append(events([place], f"n{place}-")) for place in range(20)]
        await store.close()
        assert all(one.called for one in appended)
        assert len(await gatherResults(appended)) == 20

    @ensureDeferred
    async def test_cancelled_append(self, store: IEventBank) -> None:
        """Who cancels an append is free at once; the store goes on well."""
        append = store.append([event("cancelled", 1)])
        append.addErrback(lambda failure: None)
        append.cancel()
        await store.append([event("next", 1)])
        ids = {event.id for event in await read_all(store)}
        assert "next" in ids
