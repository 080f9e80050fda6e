"""Many small writes become one: what arrives together is written together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

Item = TypeVar("Item")
Result = TypeVar("Result")


@attrs.define(eq=False)
class GroupCommit(Generic[Item, Result]):
    """Hands items to a slow write in groups, one group at a time.

    What is submitted in one turn of the reactor goes together; what arrives while a write is under
    way goes together in the next one. There is no timer: a lone item goes at the end of its turn.

    Args:
        write: stores a group; fires with one outcome for each item, in order, which is a result or
            the failure of that item alone. If the write itself fails, each item of the group does.
        clock: tells when a turn ends.
    """

    _write: Callable[[Sequence[Item]], Deferred[Sequence[Result | Failure]]]
    _clock: IReactorTime
    _waiting: list[tuple[Item, Deferred[Result]]] = attrs.field(factory=list)
    _busy: bool = False  # a write is under way, or begins at the end of this turn
    _untold: int = 0  # groups that are written and whose outcomes are being told
    _idle: list[Deferred[None]] = attrs.field(factory=list)

    def submit(self, item: Item) -> Deferred[Result]:
        """Have an item written; fires with its outcome. Cancelling does not stop the write."""
        outcome: Deferred[Result] = Deferred()
        self._waiting.append((item, outcome))
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

    def _begin(self) -> None:
        group, self._waiting = self._waiting, []
        written = self._write([item for item, _ in group])
        written.addErrback(lambda failure: [failure] * len(group))
        written.addCallback(self._tell, group)

    def _tell(
        self, outcomes: Sequence[Result | Failure], group: Sequence[tuple[Item, Deferred[Result]]]
    ) -> None:
        self._untold += 1
        # The next write begins first: it need not wait until all these answers are made.
        if self._waiting:
            self._begin()
        else:
            self._busy = False
        for (_, waiter), outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Failure):
                waiter.errback(outcome)
            else:
                waiter.callback(outcome)
        self._untold -= 1
        if not self._busy and not self._untold:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)
