"""What a store of events promises, whatever keeps them.

An adapter implements `IEventStore` and as many of the capabilities below it as it can honour. The
promises are checked by one suite, `tests/store_contract.py`, which every adapter runs.

No method blocks the reactor. Where a method may fail with `StoreUnavailable`, the store cannot do
its work now and the caller may try again later. Cancelling a Deferred makes its caller free at once
and changes nothing else: an append that was cancelled may still be stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface

from kpiggybank.events import Change, Event, EventPage, EventText, Page, Range
from kpiggybank.tally import Histogram

#: Unwanted events after which a store ends a piece of a range early, empty perhaps.
PASSED_OVER = 2000

#: JSON bytes after which a store ends a piece of changes early.
CHANGES_BYTES = 256 * 2**10


class StoreError(Exception):
    """A store did not do what it was asked; the text is one line for people."""


class StoreUnavailable(StoreError):
    """The store cannot do its work now, or, from `open`, cannot be used at all."""


class StoreFull(StoreUnavailable):
    """There is no room for more events now; what is there can be read."""


class StoreBroken(StoreUnavailable):
    """The store cannot promise anything any more until it is opened anew, by another process."""


class StoreDamaged(StoreError):
    """What is stored is not what was written; to ask again is of no use."""


class EventNotFound(StoreError):
    """There is no event of that id."""


class IdConflict(StoreError):
    """An id is taken by another event; nothing of the append was stored."""


class InvalidCursor(StoreError):
    """A cursor, or an `EventPage.after`, that this store never gave out."""


class ForgottenCursor(StoreError):
    """The store no longer knows all that came after a cursor, which once was a good one.

    Attributes:
        oldest: the place from which on it knows everything.
    """

    def __init__(self, reason: str, oldest: str) -> None:
        super().__init__(reason)
        self.oldest = oldest


class IEventStore(Interface):
    """Keeps events: adds them durably and answers for ranges of them."""

    def open() -> Deferred[None]:
        """Make ready, creating what is missing; to be called once, before anything else.

        Waits for a server that is not there. Fails with `StoreUnavailable` or `StoreDamaged`, whose
        text is one line that says what to do, where waiting is of no use.
        """

    def close() -> Deferred[None]:
        """Fire when every append made so far has been answered and all resources are given back.

        Ends an `open` that waits for something outside of this process.
        Later calls of anything but `close` fail with `StoreUnavailable`.
        """

    def describe() -> str:
        """Where the events are, in a few words for the operator; never a password."""

    def append(events: Sequence[Event], absent: Sequence[str] = ()) -> Deferred[None]:
        """Store events durably, all or none; fires once they are durable.

        If all the ids are there already, with the same events by value, this is a repeat: it stores
        nothing and fires all the same. A store that can stop half-way completes such a piece when
        it is repeated; the others refuse it as a conflict.

        Args:
            events: may be empty.
            absent: ids that must not be there.

        Fails with `IdConflict` when an id is taken by another event or one of `absent` is there,
        and with `StoreUnavailable`; nothing that then is in the store was acknowledged. Fails with
        `InvalidEvent` for an event that this store could never take.
        """

    def read(span: Range, page: Page) -> Deferred[EventPage]:
        """Read a piece of a range, ordered by timestamp, then arrival; both reversed if descending.

        Fires with `page.limit` events or fewer: a store ends a piece early where its bytes would
        get many, or where it has passed over many events that are not wanted, so a piece may be
        empty although it is not the last one. A range whose start is greater than its end is empty.
        Fails with `InvalidCursor`, `StoreDamaged` and `StoreUnavailable`.
        """

    def get(id: str) -> Deferred[Event]:
        """Fire with the event of that id, never with a wrong one.

        Fails with `EventNotFound`, `StoreDamaged` and `StoreUnavailable`.
        """

    def count(span: Range) -> Deferred[int]:
        """Fire with how many events a range holds; fails with `StoreUnavailable`."""


class IChangeHistory(Interface):
    """Can tell what was stored since a cursor.

    A store on one machine tells changes in the order of arrival. One of several machines has no
    such order: it tells each change once, in an order of its own that cursors keep to.
    """

    def changes(since: str, limit: int) -> Deferred[Sequence[Change]]:
        """Fire with the next `limit` changes, or fewer, after a cursor; empty if there are none.

        A piece ends early where its JSON has `CHANGES_BYTES`; one that is short otherwise is the
        last. All that was acknowledged here before the call counts as there. Handing the last
        change's cursor back continues without a gap or a repeat. Fails with `InvalidCursor`,
        `ForgottenCursor` and `StoreUnavailable`.
        """

    def first() -> Deferred[str]:
        """Fire with the cursor before the oldest change that is known; `StoreUnavailable`."""

    def last() -> Deferred[str]:
        """Fire with the cursor after the newest change; fails with `StoreUnavailable`."""

    def pending(since: str) -> Deferred[int]:
        """Fire with how many changes there are after a cursor.

        A store of several machines may give an estimate. Fails with `InvalidCursor` and
        `StoreUnavailable`.
        """


class IEventBank(IEventStore, IChangeHistory):
    """What `Bank` needs of a store: events and the history of their arrival."""


class IChangeNotifier(Interface):
    """Hears of events that were stored elsewhere: by another process, or on another machine."""

    def notify(ring: Callable[[], None]) -> None:
        """Call `ring` whenever there may be more changes than before; to be said before `open`."""


class IRangeCopier(Interface):
    """Can give a range as text, without making events of it."""

    def copy(span: Range, page: Page, comma: bytes) -> Deferred[EventText]:
        """Read a piece of a range as `IEventStore.read` does, as the JSON of its events.

        Fires with about `page.limit` events, fewer where they are large, and a comma between any
        two of them. `page.where` is not looked at. Fails as `read` does; unlike with `read`, nobody
        sees whether an event is damaged.
        """


class IRemembersIds(Interface):
    """Knows the ids of the events that were stored before."""

    def greatest_minted(below: str) -> Deferred[str | None]:
        """Fire with the greatest id below that which looks like `Mint`'s, None if there is none.

        Fails with `StoreUnavailable`.
        """


@attrs.frozen
class Space:
    """The room on a store's disk, in bytes.

    Attributes:
        used: by what the store keeps.
        free: for whatever is added.
        trouble: why more and more of it is used than is needed, a line; None where all is well.
    """

    used: int
    free: int
    trouble: str | None = None


class IHasDisk(Interface):
    """Keeps its events on a disk of this machine."""

    def space() -> Deferred[Space]:
        """Fire with the room on the disk; fails with `StoreUnavailable`."""


class IWritesInGroups(Interface):
    """Writes together what arrives together."""

    def group_sizes() -> Histogram:
        """How many appends each write had, so far."""


class IBreakable(Interface):
    """Can fail in a way after which nothing may be acknowledged any more."""

    def when_broken(tell: Callable[[StoreError], None]) -> None:
        """Call `tell` once, with the reason, when that happens; to be said before `open`.

        Everything that is asked of the store from then on fails with it.
        """


class IDisposable(Interface):
    """Can be thrown away as a whole: for tests and administration, never over HTTP."""

    def destroy() -> Deferred[None]:
        """Delete all events and whatever holds them; the store must be closed."""
