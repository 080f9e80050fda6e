"""Many small writes become one: what arrives together is written together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from kpiggybank.tally import SIZES, Histogram

Item = TypeVar("Item")


def _weightless(item: object) -> float:
    return 0


@attrs.define(eq=False)
class GroupCommit(Generic[Item]):
    """Hands items to a slow write in groups, one group at a time.

    What is submitted in one turn of the reactor goes together; what arrives while a write is under
    way goes together in the next one. There is no timer: a lone item goes at the end of its turn.

    Args:
        write: stores a group; fires with an outcome for each item, in order, which is None or the
            failure of that item alone. If the write itself fails, each item of the group does.
        clock: tells when a turn ends.
        weigh: the weight of an item. A group weighs 1 at the most, unless it is a single item.

    Attributes:
        sizes: how many items the groups had.
    """

    _write: Callable[[Sequence[Item]], Deferred[Sequence[Failure | None]]]
    _clock: IReactorTime
    _weigh: Callable[[Item], float] = _weightless
    sizes: Histogram = attrs.field(factory=lambda: Histogram(SIZES), init=False)
    #: The items in their order, each with who waits for its outcome.
    _waiting: dict[Deferred[None], Item] = attrs.field(factory=dict)
    _busy: bool = False  # a write is under way, or begins at the end of this turn
    _untold: int = 0  # groups that are written and whose outcomes are being told
    _idle: list[Deferred[None]] = attrs.field(factory=list)

    def submit(self, item: Item) -> Deferred[None]:
        """Have an item written; fires when it is. Cancelling does not stop a write under way."""
        outcome: Deferred[None] = Deferred(self._withdraw)
        self._waiting[outcome] = item
        if not self._busy:
            self._busy = True
            self._clock.callLater(0, self._begin)
        return outcome

    def drained(self) -> Deferred[None]:
        """Fire when everything submitted has its outcome."""
        if not self._busy and not self._untold:
            return succeed(None)
        self._idle.append(Deferred())
        return self._idle[-1]

    def _withdraw(self, outcome: Deferred[None]) -> None:
        # Nobody waits for it any more; if its write has begun, that goes on.
        self._waiting.pop(outcome, None)

    def _begin(self) -> None:
        waiters: list[Deferred[None]] = []
        group: list[Item] = []
        weight = 0.0
        for waiter, item in self._waiting.items():
            weight += self._weigh(item)
            if group and weight > 1:
                break
            waiters.append(waiter)
            group.append(item)
        for waiter in waiters:
            del self._waiting[waiter]
        if group:
            self.sizes.add(len(group))
        written = self._write(group) if group else succeed([])
        written.addErrback(lambda failure: [failure] * len(group))
        written.addCallback(self._tell, waiters)

    def _tell(self, outcomes: Sequence[Failure | None], waiters: Sequence[Deferred[None]]) -> None:
        self._untold += 1
        # The next write begins first: it need not wait until all these answers are made.
        if self._waiting:
            self._begin()
        else:
            self._busy = False
        for waiter, outcome in zip(waiters, outcomes, strict=True):
            if waiter.called:  # cancelled in the meantime
                continue
            if outcome is None:
                waiter.callback(None)
            else:
                waiter.errback(outcome)
        self._untold -= 1
        if not self._busy and not self._untold:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)
