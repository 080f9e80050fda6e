"""The bank: the one thing that every door talks to."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kpiggybank.events import Deposit, Event, EventPage, Page, Range
from kpiggybank.feed import Feed, Follower
from kpiggybank.interfaces import IChangeNotifier, IEventBank
from kpiggybank.mint import Mint
from kpiggybank.shield import shield


@attrs.define(eq=False)
class Bank:
    """Takes deposits, answers for ranges, and tells followers: everything but HTTP.

    Args:
        store: keeps the events; it need not be open yet.
        clock: for the patience of followers.
        mint: makes the ids of events that come without an idempotency key.
    """

    _store: IEventBank
    _clock: IReactorTime
    _mint: Callable[[], str] = attrs.field(factory=Mint)
    _feed: Feed = attrs.field(factory=Feed)

    def __attrs_post_init__(self) -> None:
        if IChangeNotifier.providedBy(self._store):
            IChangeNotifier(self._store).notify(self._feed.ring)

    def deposit(self, deposit: Deposit, key: str | None = None) -> Deferred[list[str]]:
        """Store what a request brought; fires with the ids, in order, once all of it is durable.

        With an idempotency key the ids are the key itself for a single event, and `KEY.0`, `KEY.1`
        and so on for a list; repeating the same deposit stores nothing and fires with the same ids.

        Cancelling changes nothing but that nobody is told. Fails with `IdConflict` when the key
        came with another deposit before, and with `StoreUnavailable`.
        """
        count = len(deposit.drafts)
        absent: tuple[str, ...] = ()
        if key is None:
            ids = [self._mint() for _ in range(count)]
        elif deposit.single:
            ids, absent = [key], (f"{key}.0",)
        else:
            # The ids of a shorter or a longer list under this key, or of a single event.
            ids, absent = [f"{key}.{index}" for index in range(count)], (key, f"{key}.{count}")
        events = [Event(id, *draft) for id, draft in zip(ids, deposit.drafts, strict=True)]

        def stored(_: None) -> list[str]:
            self._feed.ring()
            return ids

        # Followers must hear of it even when the sender has gone meanwhile.
        return shield(self._store.append(events, absent).addCallback(stored))

    def read(self, span: Range, page: Page) -> Deferred[EventPage]:
        """Read a piece of a range: `IEventStore.read`."""
        return self._store.read(span, page)

    def get(self, id: str) -> Deferred[Event]:
        """Fire with the event of that id: `IEventStore.get`."""
        return self._store.get(id)

    def count(self, span: Range) -> Deferred[int]:
        """Fire with how many events a range holds: `IEventStore.count`."""
        return self._store.count(span)

    def last(self) -> Deferred[Event | None]:
        """Fire with the event of the greatest timestamp, the latest of equals, or None."""
        newest = self._store.read(Range(), Page(limit=1, descending=True))
        return newest.addCallback(lambda page: page.events[0] if page.events else None)

    async def follow(self, since: str | None = None) -> Follower:
        """A follower of all that is stored from now on, or after the cursor `since`.

        It misses nothing that is stored after this has returned. Use it in `with`. Raises
        `InvalidCursor` and `StoreUnavailable`.
        """
        if since is None:
            since = await self._store.last()
        else:
            await self._store.changes(since, 1)  # so that a wrong cursor is found before any answer
        return Follower(self._store, self._feed, self._clock, since)

    def end_feed(self) -> None:
        """Let every follower, also one that comes later, end after what it has already read."""
        self._feed.end()
