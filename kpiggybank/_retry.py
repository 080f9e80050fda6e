"""When a request may be made once more, and how long to wait before that."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from kpiggybank._wire import RequestFailed
from kpiggybank.outgoing.connections import LOST

T = TypeVar("T")

#: How a request may fail that was none of its own fault; of `RequestFailed`, see its status.
TROUBLE = (*LOST, RequestFailed, TimeoutError)

#: Statuses that say "not now" although they look like "never".
NOT_NOW = frozenset((408, 425, 429))


def is_refusal(error: Exception) -> bool:
    """Whether the server wants nothing of this request, now or later."""
    status = error.status if isinstance(error, RequestFailed) else 0
    return 400 <= status < 500 and status not in NOT_NOW


def is_strange(error: Exception, success: int) -> bool:
    """Whether the answer is neither of success nor an error: of another server, maybe."""
    status = error.status if isinstance(error, RequestFailed) else success
    return status < 400 and status != success


def asked_pause(error: Exception) -> float:
    """Seconds that the server asks to wait after this error."""
    return error.retry_after if isinstance(error, RequestFailed) else 0.0


def growing_pauses(initial_delay: float, max_delay: float) -> Callable[[int], float]:
    """Seconds to wait after a try that failed, by its number from 0: twice as long each time.

    A half of each is up to chance, so that those who were cut off together do not all come back
    at the same moment.
    """
    pause = backoffPolicy(initial_delay, max_delay, factor=2, jitter=lambda: 0.0)
    return lambda number: pause(number) * random.uniform(0.5, 1.0)


@attrs.frozen
class Persistence:
    """How often, and how soon, a request is made again that found trouble.

    Attributes:
        retries: tries after the first one.
        initial_delay: seconds before the first of them at the most; then twice as many each time.
        max_delay: seconds between two tries at the most, unless the server asks for more.

    Raises:
        ValueError: one of them is below zero.
    """

    retries: int = attrs.field(validator=attrs.validators.ge(0))
    initial_delay: float = attrs.field(validator=attrs.validators.ge(0))
    max_delay: float = attrs.field(validator=attrs.validators.ge(0))

    async def insist(
        self, clock: IReactorTime, request: Callable[[], Awaitable[T]], success: int
    ) -> T:
        """Make the request until it succeeds, is refused or was made often enough.

        Args:
            clock: for the pauses.
            request: makes it.
            success: the status of an answer that is none of these, even if its body was cut.

        Raises:
            Exception: what the last try failed with.
        """
        pause = growing_pauses(self.initial_delay, self.max_delay)
        number = 0
        while True:
            try:
                return await request()
            except TROUBLE as error:
                in_vain = is_refusal(error) or is_strange(error, success)
                if in_vain or number >= self.retries:
                    raise
                seconds = asked_pause(error) + pause(number)
            await deferLater(clock, seconds)
            number += 1
