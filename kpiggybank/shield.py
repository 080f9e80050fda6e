"""Work that goes on when nobody waits for it any more."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


def shield(work: Deferred[T]) -> Deferred[T]:
    """The outcome of `work`, in a Deferred that can be cancelled without stopping the work."""
    outcome: Deferred[T] = Deferred()
    work.chainDeferred(outcome)
    return outcome
