"""What becomes of work when nobody waits for it any more."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred

T = TypeVar("T")


def shield(work: Deferred[T]) -> Deferred[T]:
    """The outcome of `work`, in a Deferred that can be cancelled without stopping the work."""
    outcome: Deferred[T] = Deferred()
    work.chainDeferred(outcome)
    return outcome


def plainly_cancelled(work: Deferred[T]) -> Deferred[T]:
    """The outcome of `work`; cancelling it stops the work, and is a `CancelledError`.

    Work of many layers, such as a request of twisted.web, makes other errors of being cancelled,
    which look like trouble that may be over at a second try.
    """

    def cancel(outcome: Deferred[T]) -> None:
        outcome.errback(CancelledError())
        work.cancel()

    def tell(result: Any) -> None:
        if not outcome.called:
            outcome.callback(result)  # or fails, if the result is a failure

    outcome: Deferred[T] = Deferred(cancel)
    work.addBoth(tell)
    return outcome
