"""The bank: the one thing that every door talks to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import attrs
from msgspec.structs import replace
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from kpiggybank.events import Columns, Deposit, Event, EventPage, EventText, Page, Range
from kpiggybank.feed import Feed
from kpiggybank.follower import Follower, Wish
from kpiggybank.interfaces import (
    ForgottenCursor,
    IChangeNotifier,
    IdConflict,
    IEventBank,
    IHasDisk,
    IRangeCopier,
    IRemembersIds,
    IWritesInGroups,
    Space,
    StoreFull,
    StoreUnavailable,
)
from kpiggybank.mint import Mint
from kpiggybank.shield import shield
from kpiggybank.tally import Appends, Histogram
from kpiggybank.where import EVERYTHING, Where

#: What a follower may say instead of a cursor: from now on, and everything that is known.
NOW = "now"
BEGINNING = "0"

#: Events that are looked at between two turns of the reactor, when not all are counted.
EVENTS_COUNTED_AT_ONCE = 2000

#: What becomes of events that are given to the store.
ACKNOWLEDGED, CONFLICT, FULL, UNAVAILABLE, FAILED = OUTCOMES = (
    "acknowledged",
    "conflict",
    "full",
    "unavailable",
    "failed",
)


def _outcome(failure: Failure) -> str:
    match failure.value:
        case IdConflict():
            return CONFLICT
        case StoreFull():
            return FULL
        case StoreUnavailable():
            return UNAVAILABLE
        case _:
            return FAILED


@attrs.define(eq=False)
class Bank:
    """Takes deposits, answers for ranges, and tells followers: everything but HTTP.

    Args:
        store: keeps the events; it need not be open yet.
        clock: for the patience of followers, and the turns of the reactor.
        mint: makes the ids of events that come without an idempotency key.

    Attributes:
        appends: what became of the deposits, and which are on their way into the store, whether or
            not their senders wait for it.
    """

    _store: IEventBank
    _clock: IReactorTime
    _mint: Mint = attrs.field(factory=Mint)
    appends: Appends = attrs.field(factory=Appends)
    _feed: Feed = attrs.field(init=False)
    _copier: IRangeCopier | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._feed = Feed(self._store, self._clock)
        self._copier = IRangeCopier(self._store, None)
        if IChangeNotifier.providedBy(self._store):
            IChangeNotifier(self._store).notify(self._feed.ring)

    async def open(self) -> None:
        """Open the store: `IEventStore.open`; its ids go on, also where the clock was set back."""
        await self._store.open()
        if IRemembersIds.providedBy(self._store):
            latest = await IRemembersIds(self._store).greatest_minted(self._mint.horizon)
            if latest is not None:
                self._mint.go_on_after(latest)

    def deposit(self, deposit: Deposit, key: str | None = None) -> Deferred[Sequence[str]]:
        """Store what a request brought; fires with the ids, in order, once all of it is durable.

        With an idempotency key the ids are the key itself for a single event, and `KEY.0`, `KEY.1`
        and so on for a list; repeating the same deposit stores nothing and fires with the same ids.

        Cancelling changes nothing but that nobody is told. Fails with `IdConflict` when the key
        came with another deposit before, and with `StoreUnavailable`.
        """
        count = len(deposit.timestamps)
        ids: Sequence[str]
        absent: tuple[str, ...] = ()
        if key is None:
            ids = self._mint.several(count)
        elif deposit.single:
            ids, absent = [key], (f"{key}.0",)
        else:
            # The ids of a shorter or a longer list under this key, or of a single event.
            ids, absent = [f"{key}.{index}" for index in range(count)], (key, f"{key}.{count}")
        events = Columns(ids, deposit.timestamps, deposit.texts)
        number = self.appends.begin(deposit.texts.size)
        written = self._store.append(events, absent).addBoth(self._answered, number, ids)
        # Followers must hear of it even when the sender has gone meanwhile.
        return shield(written)

    def _answered(
        self, result: Failure | None, number: int, ids: Sequence[str]
    ) -> Failure | Sequence[str]:
        if result is not None:
            outcome = _outcome(result)
            trouble = None if outcome == CONFLICT else result.getErrorMessage()
            self.appends.end(number, outcome, len(ids), trouble)
            return result
        self.appends.end(number, ACKNOWLEDGED, len(ids))
        self._feed.ring()
        return ids

    def read(self, span: Range, page: Page) -> Deferred[EventPage]:
        """Read a piece of a range: `IEventStore.read`."""
        return self._store.read(span, page)

    def copy(self, span: Range, page: Page, comma: bytes) -> Deferred[EventText]:
        """Read a piece of a range as text: `IRangeCopier.copy`, but all conditions are met."""
        if self._copier is not None and not page.where:
            return self._copier.copy(span, page, comma)
        return self._store.read(span, page).addCallback(EventPage.joined, comma)

    async def page(self, span: Range, page: Page) -> EventPage:
        """Read a page of a range: as `read`, but where events are passed over it goes on.

        So it holds as many events as are asked for, or are there, unless they are large.
        """
        piece = await self._store.read(span, page)
        events = list(piece.events)
        size = sum(len(event.json) for event in events)
        while page.where and piece.after and len(events) < page.limit and size < page.size:
            await deferLater(self._clock, 0)  # a store in memory answers at once
            rest = replace(page, limit=page.limit - len(events), after=piece.after)
            piece = await self._store.read(span, rest)
            events += piece.events
            size += sum(len(event.json) for event in piece.events)
        return EventPage(events, piece.after)

    def get(self, id: str) -> Deferred[Event]:
        """Fire with the event of that id: `IEventStore.get`."""
        return self._store.get(id)

    async def count(self, span: Range, where: Where = EVERYTHING) -> int:
        """How many events a range holds; raises `StoreUnavailable`.

        With conditions it looks at each event, so that the answer is that of a range.
        """
        if not where:
            return await self._store.count(span)
        count = 0
        page = Page(EVENTS_COUNTED_AT_ONCE, where=where)
        while True:
            piece = await self._store.read(span, page)
            count += len(piece.events)
            if piece.after is None:
                return count
            page = replace(page, after=piece.after)
            await deferLater(self._clock, 0)  # a store in memory answers at once

    def last(self) -> Deferred[Event | None]:
        """Fire with the event of the greatest timestamp, the latest of equals, or None."""
        newest = self._store.read(Range(), Page(limit=1, descending=True))
        return newest.addCallback(lambda page: page.events[0] if page.events else None)

    def pending(self, since: str) -> Deferred[int]:
        """Fire with how many changes there are after a cursor: `IChangeHistory.pending`."""
        return self._store.pending(since)

    async def follow(
        self, since: str = NOW, where: Where = EVERYTHING, limit: int | None = None
    ) -> Follower:
        """A follower of the changes after a cursor, without end unless there is a limit.

        It misses nothing that is stored after this has returned. Use it in `with`.

        Args:
            since: a cursor, or `NOW` or `BEGINNING`.
            where: what the events must meet.
            limit: changes at the most.

        Raises:
            InvalidCursor: it is none.
            StoreUnavailable: the place cannot be found now.
        """
        return self._follower(await self._place(since), Wish(where, limit))

    async def catch_up(
        self, since: str = NOW, where: Where = EVERYTHING, limit: int | None = None
    ) -> Follower:
        """A follower that ends with what is there now; otherwise as `follow`."""
        start = await self._place(since)
        return self._follower(start, Wish(where, limit, await self._store.last()))

    def _follower(self, start: str, wish: Wish) -> Follower:
        return Follower(self._feed, self._clock, start, wish)

    async def _place(self, since: str) -> str:
        if since == NOW:
            return await self._store.last()
        if since == BEGINNING:
            return await self._store.first()
        with suppress(ForgottenCursor):  # which the follower will tell of
            await self._store.changes(since, 1)  # so that a wrong one is found before any answer
        return since

    def space(self) -> Deferred[Space | None]:
        """Fire with the room on the store's disk: `IHasDisk.space`; None where it has none."""
        if not IHasDisk.providedBy(self._store):
            return succeed(None)
        return cast("Deferred[Space | None]", IHasDisk(self._store).space())

    def group_sizes(self) -> Histogram | None:
        """How many appends each write had, where the store writes in groups."""
        if IWritesInGroups.providedBy(self._store):
            return IWritesInGroups(self._store).group_sizes()
        return None

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._feed)

    @property
    def deliveries(self) -> int:
        """How many changes were told to followers, to each of them counted."""
        return self._feed.told

    def end_feed(self) -> None:
        """Let every follower, also one that comes later, end after what it has already read."""
        self._feed.end()
